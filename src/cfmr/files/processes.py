"""Starting processes that leave an interrupt to whoever started them."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def interrupt_blocked() -> Iterator[None]:
    """Holds SIGINT back while the block runs; processes started in it never get one, not even while they import."""
    resource_tracker.ensure_running()  # it would let SIGINT through again when a first process is started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
