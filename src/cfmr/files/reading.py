"""The boundary at which a file that somebody gave is read: whatever goes wrong there is one error that names the file.

Every reader wraps its library calls in `reading`, so that no caller needs to know what h5py, numpy, zipfile or a
protobuf parser raise for a damaged file.
"""

import contextlib
import os
import stat
from collections.abc import Iterator

from cfmr.errors import InputError

LONGEST_REASON = 160  # characters of a library's message that are quoted
SMALL = 64 << 20  # bytes that may be unpacked of anything
MAX_RATIO = 64  # of unpacked to stored bytes, above that


@contextlib.contextmanager
def reading(
    path: str | os.PathLike[str], kind: str = "a file of this kind", hint: str = "copy or download it again"
) -> Iterator[None]:
    """Turn every error of the block into an InputError of one line that names `path`.

        with reading(path, "a NumPy array"):
            array = np.load(path, allow_pickle=False)

    The block reads and parses, nothing else: a mistake of ours in it would be reported as a damaged file. An InputError
    passes through as it is.

    Args:
        path: what is read; begins the message.
        kind: what the file should be, with its article.
        hint: what to do about a file that is damaged.

    Raises:
        InputError: the file is missing, may not be read, is locked, does not fit into memory, or is not `kind`.
    """
    try:
        yield
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{path}: says that it holds more than fits into memory; {hint}") from error
    except OSError as error:
        raise _unreadable(path, kind, hint, error) from error
    except Exception as error:  # whatever a library makes of a damaged file; that is the point
        raise InputError(f"{path}: not {kind}, or damaged ({brief(error)}); {hint}") from error


def _unreadable(path: str | os.PathLike[str], kind: str, hint: str, error: OSError) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError(f"{path}: no such file")
    if isinstance(error, IsADirectoryError):
        return InputError(f"{path}: is a folder, {kind} is expected")
    if isinstance(error, BlockingIOError):
        return InputError(f"{path}: locked, another program is writing it; try again when that has finished")
    if error.errno is None:  # a library's own, such as h5py's for a truncated file
        return InputError(f"{path}: not {kind}, or not complete ({brief(error)}); {hint}")
    return InputError(f"{path}: cannot be read ({os.strerror(error.errno)})")


def brief(error: BaseException) -> str:
    """What an error says, in one line of bounded length; its kind where it says nothing."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= LONGEST_REASON else f"{text[: LONGEST_REASON - 3]}..."


def require_regular(path: str | os.PathLike[str]) -> int:
    """Size in bytes of a regular file; a pipe or a device would never end. Raises InputError, or OSError as `stat`."""
    found = os.stat(path)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(f"{path}")
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{path}: is not a regular file; copy its content into one")
    if found.st_size > SMALL and found.st_blocks * 512 * MAX_RATIO < found.st_size and _begins_with_a_hole(path):
        raise InputError(f"{path}: is said to have {found.st_size:,} bytes, almost none of them written; copy it again")
    return found.st_size


def _begins_with_a_hole(path: str | os.PathLike[str]) -> bool:
    """Whether nothing was written where a file begins; not every file system tells by the number of its blocks."""
    handle = os.open(path, os.O_RDONLY)
    try:
        return os.lseek(handle, 0, os.SEEK_DATA) > 0
    except OSError:  # nothing was written anywhere, or the system does not tell
        return os.lseek(handle, 0, os.SEEK_END) > 0 and not any(os.pread(handle, 4096, 0))
    finally:
        os.close(handle)


def limit_unpacked(path: str | os.PathLike[str], unpacked: int, stored: int, what: str = "it") -> None:
    """Refuse content that is declared to be far larger than what is stored of it, before room is made for it.

    Features and weights hardly compress; what unpacks to more than `MAX_RATIO` times its size was made to fill memory,
    or was never written.

    Args:
        unpacked: bytes that the file says there are.
        stored: bytes of the file that hold them.
        what: of the file, for the message.

    Raises:
        InputError: `what` is too large for what is stored of it.
    """
    if unpacked > SMALL and unpacked > MAX_RATIO * stored:
        raise InputError(
            f"{path}: {what} is said to hold {unpacked / 1e6:,.0f} MB, of which {stored / 1e6:,.1f} MB are stored; "
            "write the file again"
        )


_NO_TEXT = {
    b"\xff\xfe": "is UTF-16 text; save it again as UTF-8",
    b"\xfe\xff": "is UTF-16 text; save it again as UTF-8",
    b"\x1f\x8b": "is compressed (gzip); unpack it",
    b"BZh": "is compressed (bzip2); unpack it",
    b"\xfd7zXZ": "is compressed (xz); unpack it",
    b"\x28\xb5\x2f\xfd": "is compressed (zstd); unpack it",
    b"PK\x03\x04": "is a zip archive; unpack it",
}


def refuse_no_text(beginning: bytes, path: str | os.PathLike[str]) -> None:
    """Raise InputError where the first bytes of a file tell that it is of another encoding, or compressed."""
    kind = next((kind for magic, kind in _NO_TEXT.items() if beginning.startswith(magic)), None)
    zeros = [byte == 0 for byte in beginning[:4]]
    if kind is None and zeros in ([False, True] * 2, [True, False] * 2):  # without a mark of its byte order
        kind = _NO_TEXT[b"\xff\xfe"]
    if kind is not None:
        raise InputError(f"{path}: {kind}")


def decode_text(content: bytes, path: str | os.PathLike[str]) -> str:
    """The text in the bytes of a UTF-8 file, with or without a byte order mark.

    Raises:
        InputError: it is none; says what it is instead, where that can be told.
    """
    refuse_no_text(content, path)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}: is not UTF-8 text (line {line}); save it again as UTF-8") from error


def natural(text: str | None) -> int | None:
    """The number that a text of at most 18 ASCII digits stands for; None for any other, which `int` may take or refuse
    in ways of its own (signs, underscores, thousands of digits)."""
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None
