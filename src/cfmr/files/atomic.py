"""Reading and writing files so that nothing is ever half there: written beside, then renamed."""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cfmr.errors import InputError

_NPY_HEADER = re.compile(
    r"\{'descr': '([<>|=][biuf]\d+)', 'fortran_order': (True|False), 'shape': \(([\d, ]*)\), \}\s*"
)


def _cannot_write(path: Path, error: OSError) -> InputError:
    return InputError(f"{path}: cannot be written ({error.strerror or error}); choose another place or make room there")


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def make_directory(path: Path) -> Path:
    """Create a directory and its parents. Raises InputError if that is not possible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(path, error) from error
    return path


def written_at(path: Path) -> int:
    """When a file or a folder was last changed, in nanoseconds since 1970; 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary file name beside `path` that takes its place when the block ends well, and vanishes when not.

    Raises:
        InputError: the file cannot be written (no permission, disk full); nothing remains under either name.
    """
    path = Path(path)
    make_directory(path.parent)
    temporary = _beside(path)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and error.filename not in (None, str(temporary)):
            raise
        raise _cannot_write(path, error) from error
    finally:
        _remove(temporary)


@contextlib.contextmanager
def replacing_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Like `replacing`, for a whole directory: the old one stays in place until the new one is complete.

    Two renames are needed where a directory of that name exists; whoever finds only `.NAME.old` after a power cut has
    the old one.
    """
    path = Path(path)
    make_directory(path.parent)
    temporary = _beside(path)
    old = path.with_name(f".{path.name}.old")
    _remove(temporary)
    try:
        temporary.mkdir()
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                with open(file, "rb") as handle:
                    os.fsync(handle.fileno())
        _remove(old)
        if path.exists():
            path.rename(old)
        temporary.rename(path)
        _remove(old)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        _remove(temporary)


def read_json(path: str | os.PathLike[str]) -> Any:
    """The content of a JSON file. Raises InputError that names the file if it is missing, unreadable or no JSON."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        where = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "it is not text"
        raise InputError(f"{path}: not valid JSON ({where}); is the file complete?") from error


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write JSON beside and rename."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def map_npy(path: Path) -> Any:
    """Map a .npy file of numbers into memory, to be read only; an `np.memmap`.

    numpy's reader has Python parse the header, and Python 3.11 may fail at that when another thread is parsing, too
    ("AST constructor recursion depth mismatch"): two threads could not open files.

    Raises:
        ValueError: the file is no such array, or not all of it is there.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        version = np.lib.format.read_magic(file)
        length = int.from_bytes(file.read(2 if version == (1, 0) else 4), "little")
        found = _NPY_HEADER.fullmatch(file.read(length).decode("latin-1"))
        if found is None:
            raise ValueError("it is no array of numbers")
        shape = tuple(int(part) for part in found[3].split(",") if part.strip())
        return np.memmap(path, found[1], "r", file.tell(), shape, "F" if found[2] == "True" else "C")


def cache_folder() -> Path:
    """Where things that can be made again are kept for this user (XDG_CACHE_HOME is respected)."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or "")
    return (base if base.is_absolute() else Path.home() / ".cache") / "cfmr"
