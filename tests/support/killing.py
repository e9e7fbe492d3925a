"""Work that is killed at each of its calls that change the disk, as by a power cut or `kill -9`.

The calls are those of the kernel (ptrace), so what HDF5, SQLite and other libraries write is among them.
"""

import ctypes
import os
import platform
import signal
import struct
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

_CALLS = {
    "x86_64": {
        "open": {2: 1, 257: 2},  # which argument has the flags
        "write": {1, 18, 20, 296, 328, 77, 285, 40, 326, 74, 75, 91},
        "path": {76, 82, 264, 316, 83, 258, 84, 85, 86, 265, 87, 263, 88, 266, 90, 268},
    },
    "aarch64": {
        "open": {56: 2},
        "write": {64, 68, 66, 70, 287, 46, 47, 71, 285, 82, 83, 52},
        "path": {45, 38, 276, 34, 37, 35, 36, 53},
    },
}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_SYSCALL, _SETOPTIONS, _CONT, _GET_SYSCALL_INFO = 24, 0x4200, 7, 0x420E
_SYSGOOD, _CLONE, _EXITKILL = 0x1, 0x8, 0x100000
_WALL = 0x40000000
_ENTERED = 1
_ENDED, _FAILED, _REFUSED = 0, 3, 4


def killed_at(number: int, work: Callable[[], object], folder: Path) -> bool:
    """Run `work` in a child that is killed as it begins its `number`-th call that changes something in `folder`.

    Returns:
        whether it was killed; False if it ended well before that.
    """
    tracer = os.fork()  # waits for any child, and so must not be the process of the tests
    if tracer == 0:
        try:
            os._exit(_trace(number, work, folder))
        finally:
            os._exit(_FAILED)
    code = os.waitstatus_to_exitcode(os.waitpid(tracer, 0)[1])
    if code == _REFUSED:
        pytest.skip("this system lets no process be traced")
    assert code in (_ENDED, signal.SIGKILL), code
    return code != _ENDED


def _trace(number: int, work: Callable[[], object], folder: Path) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    child = os.fork()
    if child == 0:
        _work(libc, work)
    _, status = os.waitpid(child, 0)
    if not os.WIFSTOPPED(status):
        return os.waitstatus_to_exitcode(status)
    libc.ptrace(_SETOPTIONS, child, None, _SYSGOOD | _CLONE | _EXITKILL)
    libc.ptrace(_SYSCALL, child, None, None)
    info = ctypes.create_string_buffer(88)
    while True:
        thread, status = os.waitpid(-1, _WALL)
        if not os.WIFSTOPPED(status):
            if thread == child:
                return abs(os.waitstatus_to_exitcode(status))
            continue
        passed = os.WSTOPSIG(status)
        if passed == signal.SIGTRAP | 0x80:
            passed = 0
            libc.ptrace(_GET_SYSCALL_INFO, thread, 88, info)
            number -= _changes(info.raw, thread, str(folder))
            if number == 0:
                os.kill(child, signal.SIGKILL)
                number = -1
        elif passed in (signal.SIGTRAP, signal.SIGSTOP):  # a thread that begins
            passed = 0
        libc.ptrace(_SYSCALL, thread, None, passed)


def _work(libc: ctypes.CDLL, work: Callable[[], object]) -> None:
    if libc.ptrace(0, 0, None, None) != 0:
        os._exit(_REFUSED)
    os.kill(os.getpid(), signal.SIGSTOP)
    try:
        work()
        os._exit(_ENDED)
    except BaseException as error:  # noqa: BLE001
        sys.stderr.write(f"{error!r}\n")
        os._exit(_FAILED)


def _changes(info: bytes, thread: int, folder: str) -> bool:
    """Whether a call that begins changes a file in a folder, or names of any."""
    if info[0] != _ENTERED:
        return False
    call, *arguments = struct.unpack_from("7Q", info, 24)
    calls = _CALLS[platform.machine()]
    if call in calls["path"]:
        return True
    if call in calls["open"]:
        return bool(arguments[calls["open"][call]] & _WRITES)
    if call in calls["write"]:
        try:
            return os.readlink(f"/proc/{thread}/fd/{arguments[0]}").startswith(folder)
        except OSError:
            return False
    return False


@cache
def _supported() -> bool:
    return sys.platform == "linux" and platform.machine() in _CALLS


def killed_everywhere(
    start: Callable[[Path], None],
    work: Callable[[Path], object],
    check: Callable[[Path], object],
    root: Path,
    step: int = 1,
) -> int:
    """Kill `work` at each change (each `step`-th), look at what is left, do it again, and look again.

    Args:
        start: fills a folder with what is there before.
        work: changes the folder.
        check: looks at a folder, killed or whole; raises where it is neither as before nor as after.
        step: 1 kills everywhere; so does CFMR_KILL_EVERYWHERE=1 in the environment, whatever is given.

    Returns:
        how often it was killed.
    """
    if not _supported():
        pytest.skip("calls of the kernel are known for Linux on x86-64 and arm64")
    step = 1 if os.environ.get("CFMR_KILL_EVERYWHERE") else step
    number, kills = 1, 0
    while True:
        folder = root / str(number)
        folder.mkdir()
        start(folder)
        killed = killed_at(number, lambda folder=folder: work(folder), folder)
        check(folder)
        if not killed:
            return kills
        kills += 1
        assert not killed_at(10**9, lambda folder=folder: work(folder), folder), "the same work goes on"
        check(folder)
        left = [path.name for path in folder.rglob("*") if path.name.endswith((".partial", ".old", ".parts"))]
        assert not left, f"killed at {number}, {left} is left"
        number += step
