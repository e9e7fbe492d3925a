"""Work that is killed at each of its changes of the disk, as by a power cut or `kill -9`."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def killed_at(number: int, work: Callable[[], object], folder: Path) -> bool:
    """Run `work` in a child that is killed just before its `number`-th change of something in `folder`.

    Returns:
        whether it was killed; False if it ended well before that.
    """
    child = os.fork()
    if child == 0:
        left = number

        def watch(event: str, arguments: tuple) -> None:
            nonlocal left
            changes = event in CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES)
            if changes and str(folder) in os.fsdecode(arguments[0] if not isinstance(arguments[0], int) else b""):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        try:
            work()
            os._exit(0)
        except BaseException as error:  # noqa: BLE001
            sys.stderr.write(f"{error!r}\n")
            os._exit(3)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL), code
    return code != 0


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

    Returns:
        how often it was killed.
    """
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
