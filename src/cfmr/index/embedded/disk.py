"""Directories of an index on the disk: made whole before anything refers to them, and one writer at a time.

A writer makes whole directories ("parts") that nothing refers to yet, flushes them to the disk, and then renames a new
manifest over the old one. So a crash at any point leaves the index as it was or as it was to become.
"""

import contextlib
import fcntl
import os
import shutil
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cfmr.errors import InputError
from cfmr.index.base import being_written
from cfmr.index.files import FileRecord, damaged


@dataclass(frozen=True, slots=True)
class Part:
    """A directory of immutable files, relative to the index."""

    directory: str
    files: Mapping[str, FileRecord]


def sync_directory(path: Path) -> None:
    """Make the names in a directory survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_part(root: Path, part: Part, verify: bool = True, later: Collection[str] = ()) -> None:
    """Compare a part's files with their sizes and, with `verify`, their checksums; but those named in `later` not yet.

    Raises:
        InputError: names the damaged file, or that which may not be read.
        FileNotFoundError: a file is gone; the reader decides whether a writer has replaced the index meanwhile.
    """
    if part.files and (root / part.directory).is_symlink():
        raise damaged(root / part.directory, "it is a link, and links are not followed")
    for name, expected in part.files.items():
        path = root / part.directory / name
        if (wrong := expected.mismatch(path, verify and name not in later)) is not None:
            raise damaged(path, wrong)


class Verification:
    """Compares files with their checksums in a thread of its own, as long as nobody stops it.

    Attributes:
        finished: set when all are compared, one is damaged, or it was stopped.
    """

    def __init__(self, root: Path, files: Sequence[tuple[Path, FileRecord]]) -> None:
        self.finished = threading.Event()
        self._files, self._stopped = files, False
        self._error: InputError | None = None
        if files:
            threading.Thread(target=self._compare, name=f"checksums of {root.name}", daemon=True).start()
        else:
            self.finished.set()

    def _compare(self) -> None:
        try:
            for path, expected in self._files:
                if self._stopped:
                    return
                if (wrong := expected.mismatch(path)) is not None:
                    raise damaged(path, wrong)
        except InputError as error:
            self._error = error
        except FileNotFoundError:
            pass  # a writer has replaced the index; what is mapped stays as it is
        finally:
            self.finished.set()

    def require(self) -> None:
        """Raise the InputError of a file that was found to be damaged."""
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Compare no further file."""
        self._stopped = True


def remove_part(path: Path) -> None:
    """Delete a directory that the manifest no longer names. Whoever has its files open or mapped keeps them."""
    shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def writer_lock(root: Path) -> Iterator[None]:
    """Hold the index for writing. Raises InputError if another process does; the lock ends with its process."""
    path = root / "lock"
    try:
        file = open(path, "ab+", buffering=0)  # noqa: SIM115  closed below: closing it gives the lock back
    except OSError as error:
        raise InputError(f"{root}: cannot be written ({error.strerror or error})") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            owner = file.read().decode("utf-8", "replace").strip() or "unknown"
            raise being_written(root, owner) from error
        with contextlib.suppress(OSError):  # a full disk: who holds the lock cannot be said, what is written tells
            file.truncate(0)
            file.write(f"{os.getpid()}\n".encode())
        yield
