"""Files of an index: written once, flushed, checksummed; never changed afterwards.

A writer makes whole directories ("parts") that nothing refers to yet, flushes them to the disk, and then renames a new
manifest over the old one. So a crash at any point leaves the index as it was or as it was to become.
"""

import contextlib
import fcntl
import io
import itertools
import json
import os
import shutil
import stat
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from cfmr.errors import InputError
from cfmr.files.atomic import cannot_write, map_npy
from cfmr.files.reading import reading

CHUNK = 1 << 22  # bytes read or written at a time


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What a file has to be: its size in bytes and the CRC-32 of its content."""

    size: int
    crc32: int


@dataclass(frozen=True, slots=True)
class Part:
    """A directory of immutable files, relative to the index."""

    directory: str
    files: Mapping[str, FileRecord]


def _write(file: IO[bytes], data: memoryview | bytes) -> None:
    file.write(data)


def sync_directory(path: Path) -> None:
    """Make the names in a directory survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_chunks(path: Path, chunks: Iterable[bytes | memoryview]) -> FileRecord:
    """Write a new file and flush it to the disk. Raises InputError if the disk is full or read-only."""
    size, crc = 0, 0
    try:
        with open(path, "wb") as file:
            for data in chunks:
                view = memoryview(data).cast("B")
                for at in range(0, len(view), CHUNK):
                    piece = view[at : at + CHUNK]
                    _write(file, piece)
                    crc = zlib.crc32(piece, crc)
                size += len(view)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise cannot_write(path, error) from error
    return FileRecord(size, crc)


def write_array(path: Path, blocks: Iterable[NDArray[Any]], rows: int) -> FileRecord:
    """Write blocks of rows as one .npy file of `rows` rows."""
    iterator = iter(blocks)
    first = next(iterator)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header,
        {
            "descr": np.lib.format.dtype_to_descr(first.dtype),
            "fortran_order": False,
            "shape": (rows, *first.shape[1:]),
        },
    )

    def chunks() -> Iterator[bytes | memoryview]:
        yield header.getvalue()
        for block in itertools.chain([first], iterator):
            yield np.ascontiguousarray(block).data

    return write_chunks(path, chunks())


def map_array(path: Path) -> Any:
    """Map a .npy file of an index into memory, to be read only; an `np.memmap`.

    Raises:
        InputError: the file is no array, or may not be read.
        FileNotFoundError: it is gone.
    """
    with part_file(path):
        return map_npy(path)


def read_array(path: Path) -> Any:
    """Read a .npy file of an index; an array. Raises as `map_array`."""
    return np.array(map_array(path))


def write_json(path: Path, value: Any) -> FileRecord:
    """Write compact JSON."""
    return write_chunks(path, [json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()])


def record(path: Path) -> FileRecord:
    """Size and checksum of a file that some library has written; flushed to the disk first."""
    crc = 0
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        while data := file.read(CHUNK):
            crc = zlib.crc32(data, crc)
        return FileRecord(file.tell(), crc)


def damaged(path: Path, why: str) -> InputError:
    """The error for a file of an index that is not what the manifest says."""
    return InputError(
        f"{path}: the index is damaged here ({why}); restore this file from a copy, or build the index again"
    )


@contextlib.contextmanager
def part_file(path: Path) -> Iterator[None]:
    """The boundary at which a file of an index is read, see `reading`.

    A file that is gone stays a FileNotFoundError, since the reader decides what that means.
    """
    gone = None
    with reading(path, "a whole file of an index", "restore it from a copy, or build the index again"):
        try:
            yield
        except FileNotFoundError as error:
            gone = error
    if gone is not None:
        raise gone


def check_part(root: Path, part: Part, verify: bool = True) -> None:
    """Compare a part's files with their sizes and, with `verify`, their checksums (some 5 GB a second).

    Links are not followed: an index is made of its own files.

    Raises:
        InputError: names the damaged file, or that which may not be read.
        FileNotFoundError: a file is gone; the reader decides whether a writer has replaced the index meanwhile.
    """
    buffer = bytearray(CHUNK)
    if part.files and (root / part.directory).is_symlink():
        raise damaged(root / part.directory, "it is a link, and links are not followed")
    for name, expected in part.files.items():
        path = root / part.directory / name
        with part_file(path):
            found = path.lstat()
            if not stat.S_ISREG(found.st_mode):
                raise damaged(path, "it is a link or no file, and links are not followed")
            if found.st_size != expected.size:
                raise damaged(path, f"{found.st_size} bytes instead of {expected.size}")
            if not verify:
                continue
            crc = 0
            with open(path, "rb", buffering=0) as file:
                while got := file.readinto(buffer):
                    crc = zlib.crc32(memoryview(buffer)[:got], crc)
            if crc != expected.crc32:
                raise damaged(path, "its content does not fit its checksum")


def remove_part(path: Path) -> None:
    """Delete a directory that the manifest no longer names. Whoever has its files open or mapped keeps them."""
    shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def writer_lock(root: Path) -> Iterator[None]:
    """Hold the index for writing. Raises InputError if another process does; the lock ends with its process."""
    path = root / "lock"
    try:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115  closed below: closing it gives the lock back
    except OSError as error:
        raise InputError(f"{root}: cannot be written ({error.strerror or error})") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise InputError(
                f"{root}: another process is writing this index (process {owner}); "
                "wait until it has finished, then try again"
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
