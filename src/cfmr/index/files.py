"""Files of an index: written once, flushed, with size and CRC-32 on record; never changed afterwards."""

import contextlib
import io
import itertools
import json
import os
import stat
import zlib
from collections.abc import Iterable, Iterator
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

    @classmethod
    def of(cls, content: bytes) -> "FileRecord":
        """The record of a whole content."""
        return cls(len(content), zlib.crc32(content))

    def mismatch(self, path: Path, verify: bool = True) -> str | None:
        """What is wrong with a file; None if nothing is. With `verify` it is read (some 5 GB a second).

        Links are not followed: an index is made of its own files.

        Raises:
            InputError: it may not be read.
            FileNotFoundError: it is gone.
        """
        with part_file(path):
            return self._mismatch(path, verify)

    def _mismatch(self, path: Path, verify: bool) -> str | None:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            return "it is a link or no file, and links are not followed"
        if found.st_size != self.size:
            return f"{found.st_size} bytes instead of {self.size}"
        if verify and _checksum(path, found.st_size) != self.crc32:
            return "its content does not fit its checksum"
        return None


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


def _checksum(path: Path, size: int) -> int:
    crc, buffer = 0, bytearray(max(min(size, CHUNK), 1))
    with open(path, "rb", buffering=0) as file:
        while got := file.readinto(buffer):
            crc = zlib.crc32(memoryview(buffer)[:got], crc)
    return crc


def _write(file: IO[bytes], data: memoryview | bytes) -> None:
    file.write(data)


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


def npy_chunks(blocks: Iterable[NDArray[Any]], rows: int) -> Iterator[bytes | memoryview]:
    """Blocks of rows as the content of one .npy file of `rows` rows."""
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
    yield header.getvalue()
    for block in itertools.chain([first], iterator):
        yield np.ascontiguousarray(block).data


def npy_bytes(array: NDArray[Any]) -> bytes:
    """An array as the content of a .npy file."""
    return b"".join(npy_chunks([array], len(array)))


def write_array(path: Path, blocks: Iterable[NDArray[Any]], rows: int) -> FileRecord:
    """Write blocks of rows as one .npy file of `rows` rows."""
    return write_chunks(path, npy_chunks(blocks, rows))


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
