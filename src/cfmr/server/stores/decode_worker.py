"""Run as `python -m cfmr.server.stores.decode_worker NICENESS`: decodes for the server, apart and within limits.

A task is a line of JSON on stdin, {"do": NAME, "seconds": LIMIT, ...arguments}; the answer is a line of JSON on stdout:
{"value": ...}, {"refused": one line that says why} or {"full": true} where the disk is. An answer may say that it was
the last one ("leaving"), since memory once taken is seldom given back. A task that takes too long ends the process.
"""

import errno
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cfmr.errors import InputError
from cfmr.video.clip import cut, thumbnail
from cfmr.video.decode import probe
from cfmr.video.sheet import sheet as pictures
from cfmr.video.timing import read_timing

MEMORY = 3 << 30  # bytes of address space
_HELD = 400 << 20  # bytes of memory with which a process makes way for a new one


def still(path: str, time: float, width: int, out: str) -> None:
    """Write a JPEG of what is on the screen at a time."""
    with open(out, "wb") as file:
        file.write(thumbnail(path, time, width))


def sheet(path: str, start: float, interval: float, out: str) -> None:
    """Write a sheet of small pictures as a JPEG."""
    with open(out, "wb") as file:
        file.write(pictures(path, start, interval))


def clip(path: str, start: float, end: float, out: str) -> None:
    """Write a stretch as an MP4."""
    cut(path, start, end, out)


def duration(path: str) -> float:
    """Length of a video in seconds."""
    return probe(path).duration


def timing(path: str) -> dict[str, Any]:
    """How the frames of a video lie in time; a rate is written as a fraction."""
    found = asdict(read_timing(path))
    return found | {"fps": str(found["fps"])}


_TASKS: dict[str, Callable[..., Any]] = {
    "still": still,
    "sheet": sheet,
    "clip": clip,
    "duration": duration,
    "timing": timing,
}


def answer_to(task: dict[str, Any]) -> dict[str, Any]:
    """Do a task."""
    signal.alarm(round(task.pop("seconds")) + 1)
    try:
        return {"value": _TASKS[task.pop("do")](**task)}
    except (InputError, OSError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return {"full": True}
        return {"refused": str(error).split("\n")[0]}
    except MemoryError:
        return {"refused": f"{task['path']}: its pictures need more memory than there is for one request"}
    finally:
        signal.alarm(0)


def held() -> int:
    """Bytes of memory that this process holds; 0 where the system does not tell.

    `getrusage` would count what the server held when it started this process.
    """
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def main() -> None:
    """Answer until stdin ends."""
    os.nice(int(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server decides
    for line in sys.stdin:
        answer = answer_to(json.loads(line))
        leaving = held() > _HELD
        sys.stdout.write(json.dumps(answer | {"leaving": leaving}) + "\n")
        sys.stdout.flush()
        if leaving:
            return


if __name__ == "__main__":
    main()
