"""Reading and writing files so that nothing is ever half there: written beside, then renamed."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cfmr.errors import NO_ROOM, DiskFullError, InputError
from cfmr.files.reading import decode_text, reading, require_regular

MAX_DIGITS = 20  # of a whole number in JSON; the largest of 64 bits has so many
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_PARTIAL = re.compile(r"\.(.+)\.(\d+)-\d+\.partial", re.DOTALL)
_NPY_HEADER = re.compile(
    r"\{'descr': '([<>|=][biuf]\d+)', 'fortran_order': (True|False), 'shape': \(([\d, ]*)\), \}\s*"
)


def cannot_write(path: Path, error: OSError) -> InputError:
    """The error for a place that cannot be written: no permission, or no room."""
    kind = DiskFullError if error.errno in NO_ROOM else InputError
    return kind(f"{path}: cannot be written ({error.strerror or error}); choose another place or make room there")


def beside(path: Path) -> Path:
    """A name beside `path` that no other thread or process writes to; `sweep` knows it when its process is dead.

    It fits on the disk even where `path` has a name as long as is allowed.
    """
    return path.with_name(f".{_short(path.name)}.{os.getpid()}-{threading.get_native_id()}.partial")


def _short(name: str) -> str:
    encoded = os.fsencode(name)
    return name if len(encoded) <= 200 else hashlib.blake2b(encoded, digest_size=16).hexdigest()


def _old(path: Path) -> Path:
    return path.with_name(f".{_short(path.name)}.old")


def sweep(folder: Path, name: str | None = None) -> None:
    """Remove what processes that are dead by now left half-written in a folder; of one file, if it is named."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            found = _PARTIAL.fullmatch(entry.name)
            if found and name in (None, found[1]) and not is_alive(int(found[2])):
                _remove(Path(entry.path))


def is_alive(process: int) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it is somebody else's
        return True
    return True


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
        raise cannot_write(path, error) from error
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
    temporary = beside(path)
    sweep(path.parent, _short(path.name))
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and error.filename not in (None, str(temporary)):
            raise
        raise cannot_write(path, error) from error
    finally:
        _remove(temporary)


@contextlib.contextmanager
def replacing_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Like `replacing`, for a whole directory: the old one stays in place until the new one is complete.

    Two renames are needed where a directory of that name exists. Between them only `.NAME.old` is there, which
    `present_directory` finds; it goes when the new one is in place.
    """
    path = Path(path)
    make_directory(path.parent)
    temporary, old = beside(path), _old(path)
    sweep(path.parent, _short(path.name))
    _remove(temporary)
    try:
        temporary.mkdir()
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                with open(file, "rb") as handle:
                    os.fsync(handle.fileno())
        if path.exists():
            _remove(old)
            path.rename(old)
        temporary.rename(path)
        _remove(old)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        _remove(temporary)


def present_directory(path: str | os.PathLike[str]) -> Path:
    """Where the directory `path` is to be read: it may have been replaced only halfway when its writer was killed."""
    path = Path(path)
    old = _old(path)
    return old if not path.exists() and old.is_dir() else path


def settle_directory(path: Path) -> None:
    """Finish what a killed `replacing_directory` left: the old directory goes, or is back where there is no new one."""
    old = _old(path)
    with contextlib.suppress(OSError):
        if path.exists():
            _remove(old)
        elif old.is_dir():
            old.rename(path)


def read_json(path: str | os.PathLike[str]) -> Any:
    """The content of a JSON file, with or without a byte order mark.

    Raises:
        InputError: it is missing, unreadable, no JSON, several JSON values, or has a number of more than 64 bits.
    """
    with reading(path, "valid JSON"):
        require_regular(path)
        with open(path, "rb") as file:
            return parse_json(file.read(), path)


def parse_json(content: bytes, path: str | os.PathLike[str]) -> Any:
    """The value in the bytes of a JSON file, see `read_json`; `path` is named in errors."""
    text = decode_text(content, path)
    if not text.strip():
        raise InputError(f"{path}: is empty; a JSON value is expected")
    try:
        value = json.loads(text, parse_int=_integer)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            raise InputError(
                f"{path}: holds several JSON values, the second in line {error.lineno} (JSON Lines?); one is expected: "
                "put them into a list, with commas between them"
            ) from error
        raise InputError(f"{path}: not valid JSON (line {error.lineno}); is the file complete?") from error
    except RecursionError as error:
        raise InputError(f"{path}: not valid JSON that can be read (it is nested too deeply)") from error
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error})") from error
    if "\\u" in text and _has_lone_surrogate(value):
        raise InputError(f"{path}: not valid JSON (half of a surrogate pair, which is no character)")
    return value


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits, at most {MAX_DIGITS} are read")
    return int(digits)


def _has_lone_surrogate(value: Any) -> bool:
    return _LONE_SURROGATE.search(json.dumps(value, ensure_ascii=False)) is not None


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
    """Where things that can be made again are kept for this user (XDG_CACHE_HOME is respected).

    A user without a home, as in many containers, has it in a private folder among the temporary files.
    """
    return _base("XDG_CACHE_HOME", ".cache") / "cfmr"


def data_folder() -> Path:
    """Where things of this user are kept that cannot be made again (XDG_DATA_HOME is respected); see `cache_folder`."""
    return _base("XDG_DATA_HOME", ".local/share") / "cfmr"


def _base(variable: str, below_home: str) -> Path:
    base = Path(os.environ.get(variable) or "")
    if base.is_absolute():
        return base
    try:
        return Path.home() / below_home
    except RuntimeError:
        return _private_folder()


def _private_folder() -> Path:
    """A folder in a place where everybody writes, that nobody else could have filled."""
    folder = Path(tempfile.gettempdir()) / f"cache-{os.getuid()}"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700)
    try:
        found = folder.lstat()
    except OSError:
        return folder
    mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    return folder if mine else Path(tempfile.mkdtemp())
