"""Processes of a job that outlive their server, where it was killed without a chance to stop them."""

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

MARK = "CFMR_JOB"  # in the environment of every process of a job: its id, and the process that waits for it
PATIENCE = 5.0  # seconds between asking a process to end and ending it
_PR_SET_PDEATHSIG = 1


def marked(job: str) -> dict[str, str]:
    """What marks the processes of a job; they hand it on to those that they start."""
    return {MARK: f"{job}:{os.getpid()}"}


def end_with_server() -> None:
    """Called in a command that may be a job's: let the system end it when the server that started it dies."""
    _, _, server = os.environ.get(MARK, "").partition(":")
    if server.isdigit() and os.getppid() == int(server) and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(server):  # it died before that
            os.kill(os.getpid(), signal.SIGTERM)


def end_processes(job: str) -> None:
    """End what still runs of a job whose server is dead, and wait until it has, so that its files are nobody's."""
    for number, patience in ((signal.SIGTERM, PATIENCE), (signal.SIGKILL, PATIENCE)):
        for process in processes_of(job):
            with contextlib.suppress(OSError):
                os.kill(process, number)
        deadline = time.monotonic() + patience
        while any(processes_of(job)):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        else:
            return


def processes_of(job: str) -> Iterator[int]:
    """Living processes with the mark of a job, where the system has /proc."""
    mark = f"{MARK}={job}:".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # of a process that has ended but was not waited for, the environment is empty
            if any(value.startswith(mark) for value in (folder / "environ").read_bytes().split(b"\0")):
                yield int(folder.name)
