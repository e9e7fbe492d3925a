"""Files that are made when they are asked for, and kept as long as they are of use."""

import hashlib
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from weakref import WeakValueDictionary

import anyio

from cfmr.files.atomic import is_alive, make_directory
from cfmr.server.problems import Problem

_UNFINISHED = re.compile(r"\.making-(\d+)-.*")  # name of a folder, with the process that makes something in it
_TOUCHED = 3600.0  # seconds after which it is written down again that a file is of use


class Turn:
    """Who makes a file; a lock as such cannot be referred to weakly."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


class Kept:
    """Files that are made when first asked for; those that were of use last are kept.

    Args:
        folder: where.
        most: how many.
        workers: how many are made at once.
    """

    def __init__(self, folder: Path, most: int, workers: int) -> None:
        self.folder = make_directory(folder)
        for left in self.folder.glob(".making-*"):  # by a server that was killed
            found = _UNFINISHED.fullmatch(left.name)
            if found is None or not is_alive(int(found[1])):
                shutil.rmtree(left, ignore_errors=True)
        self.most = most
        self._workers = workers
        self._limiter: anyio.CapacityLimiter | None = None
        self._made = 0
        self._lock = threading.Lock()
        self._making: WeakValueDictionary[Path, Turn] = WeakValueDictionary()

    def place(self, source: Path, key: str, suffix: str) -> Path:
        """Where the file for a source as it is now and a key is, or will be."""
        stat = source.stat()
        text = f"{source}\n{stat.st_mtime_ns}\n{stat.st_size}\n{key}"
        return self.folder / f"{hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}{suffix}"

    def has(self, place: Path) -> bool:
        """Whether a file is there; it is then of use."""
        try:
            seen = place.stat().st_mtime
        except OSError:
            return False
        if time.time() - seen > _TOUCHED:
            with suppress(OSError):
                os.utime(place)
        return True

    async def get(self, source: Path, key: str, suffix: str, make: Callable[[Path], None]) -> Path:
        """The file for a source as it is now and a key; `make` writes it to the path it is given."""
        place = self.place(source, key, suffix)
        if not self.has(place):
            if self._limiter is None:
                self._limiter = anyio.CapacityLimiter(self._workers)
            await anyio.to_thread.run_sync(self.make, place, make, limiter=self._limiter)
        return place

    def make(self, place: Path, make: Callable[[Path], None]) -> None:
        """Have a file made, unless it is there by now; nobody sees it before it is whole.

        Raises:
            Problem: there is no room for it, or it is what `make` raises.
        """
        with self._lock:
            turn = self._making.setdefault(place, Turn())
        with turn.lock:
            if place.exists():  # made while this one waited
                return
            try:
                # whatever a process that was ended leaves behind goes with the folder
                with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".making-{os.getpid()}-") as folder:
                    made = Path(folder) / place.name
                    make(made)
                    made.replace(place)
            except OSError as error:
                raise Problem(507, f"there is no room for what was made of it ({error.strerror or error})") from error
        with self._lock:
            self._made += 1
            if self._made % max(self.most // 10, 1) == 1 % max(self.most // 10, 1):
                self._forget_oldest()

    def _forget_oldest(self) -> None:
        found = []
        for path in self.folder.iterdir():
            if not path.name.startswith("."):
                with suppress(OSError):  # another process forgets, too
                    found.append((path.stat().st_mtime, path))
        for _, path in sorted(found)[: max(len(found) - self.most, 0)]:
            path.unlink(missing_ok=True)
