"""Processes that are interrupted in tests."""

import signal


def heeding_interrupts() -> None:
    """In a process begun from one that a shell has put into the background, interrupts are ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
