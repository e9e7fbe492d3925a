import gzip
import os
from pathlib import Path

import pytest

from cfmr.errors import InputError
from cfmr.files.reading import brief, decode_text, limit_unpacked, natural, reading, require_regular


@pytest.mark.parametrize(
    ("raised", "says"),
    [
        (KeyError("w"), r"f: not a thing, or damaged \('w'\); copy or download it again"),
        (ZeroDivisionError(), r"f: not a thing, or damaged \(ZeroDivisionError\)"),
        (OSError("truncated\n  file"), r"f: not a thing, or not complete \(truncated file\)"),
        (MemoryError(), "f: says that it holds more than fits into memory"),
        (PermissionError(13, "x"), r"f: cannot be read \(Permission denied\)"),
        (BlockingIOError(11, "x"), "f: locked, another program is writing it"),
        (IsADirectoryError(21, "x"), "f: is a folder, a thing is expected"),
        (FileNotFoundError(2, "x"), "f: no such file"),
        (InputError("row 3 is wrong"), "^row 3 is wrong$"),
    ],
)
def test_whatever_a_library_raises_becomes_one_line_that_names_the_file(raised: Exception, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught, reading("f", "a thing"):
        raise raised
    assert "\n" not in str(caught.value)


def test_an_interruption_is_no_damaged_file() -> None:
    with pytest.raises(KeyboardInterrupt), reading("f"):
        raise KeyboardInterrupt


def test_a_long_message_is_cut() -> None:
    assert len(brief(ValueError("x" * 10_000))) <= 160


def test_a_pipe_is_no_file_that_ends(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe: is not a regular file"):
        require_regular(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"12345")
    assert require_regular(tmp_path / "file") == 5


def test_what_would_unpack_to_far_more_than_is_stored_is_refused() -> None:
    limit_unpacked("f", 1 << 20, 0)  # whatever it is, it is small
    limit_unpacked("f", 10 << 30, 1 << 30)
    with pytest.raises(InputError, match=r"f: it is said to hold 3,700 MB, of which 2\.0 MB are stored"):
        limit_unpacked("f", 3_700_000_000, 2_000_000)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[1]".encode("utf-16"), "is UTF-16 text"),
        ("[1]".encode("utf-16-be"), "is UTF-16 text"),
        ("[1]".encode("utf-16-le"), "is UTF-16 text"),
        (gzip.compress(b"[1]", mtime=0), r"is compressed \(gzip\)"),
        (b"PK\x03\x04...", "is a zip archive"),
        (b"[1,\n'\xe9']", r"is not UTF-8 text \(line 2\)"),
    ],
)
def test_what_is_no_text_is_named_as_what_it_is(content: bytes, says: str) -> None:
    with pytest.raises(InputError, match=rf"^rows\.json: {says}"):
        decode_text(content, "rows.json")
    assert decode_text(b"\xef\xbb\xbf[1]", "rows.json") == "[1]"


def test_a_file_that_is_mostly_a_hole_is_refused(tmp_path: Path) -> None:
    with open(tmp_path / "hole.json", "wb") as file:
        file.truncate(10 << 30)
    if (tmp_path / "hole.json").stat().st_blocks > 1000:
        pytest.skip("this file system writes holes")
    with pytest.raises(InputError, match=r"hole\.json: is said to have 10,737,418,240 bytes, almost none of them"):
        require_regular(tmp_path / "hole.json")
    with open(tmp_path / "dense", "wb") as file:
        file.write(bytes(70 << 20))
    assert require_regular(tmp_path / "dense") == 70 << 20


@pytest.mark.parametrize("text", ["", None, "-1", "+1", "1_0", "1.0", "²", "१२", "9" * 19, "1" * 5000, "abc"])
def test_only_digits_are_a_natural_number(text: str | None) -> None:
    assert natural(text) is None


def test_blanks_and_zeros_before_a_number_do_not_matter() -> None:
    assert (natural(" 012\n"), natural("9" * 18)) == (12, 10**18 - 1)
