import errno
import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cfmr.errors import InputError
from cfmr.files.atomic import (
    cache_folder,
    map_npy,
    present_directory,
    read_json,
    replacing,
    replacing_directory,
    write_json,
)


def test_a_failure_while_writing_keeps_the_old_file_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, [1])
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert json.loads(path.read_text()) == [1]
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_line_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.json: cannot be written \(No space left on device\)"):  # noqa: SIM117
        with replacing(tmp_path / "a.json"):
            raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: cannot be written"):
        write_json(tmp_path / "file" / "a.json", 1)


def test_a_directory_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with replacing_directory(path) as folder:
        (folder / "old").write_text("1")
    with pytest.raises(ZeroDivisionError), replacing_directory(path) as folder:
        (folder / "new").write_text("2")
        raise ZeroDivisionError
    assert [file.name for file in path.iterdir()] == ["old"]
    with replacing_directory(path) as folder:
        (folder / "new").write_text("2")
    assert [file.name for file in path.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [path]


def test_json_that_is_missing_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gone: no such file"):
        read_json(tmp_path / "gone")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="binary: is UTF-16 text"):
        read_json(tmp_path / "binary")


@settings(deadline=None)
@given(
    array=arrays(st.sampled_from(["<f4", "<f8", "<i8", "|u1"]), array_shapes(max_dims=3, max_side=5)),
    turned=st.booleans(),
)
def test_arrays_are_mapped_as_numpy_would(
    tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, turned: bool
) -> None:
    path = tmp_path_factory.mktemp("arrays") / "a.npy"
    np.save(path, array.T if turned else array)
    expected, found = np.load(path, mmap_mode="r"), map_npy(path)
    assert (found.dtype, found.shape, found.offset) == (expected.dtype, expected.shape, expected.offset)
    np.testing.assert_array_equal(found, expected)


def test_what_is_no_array_of_numbers_is_not_mapped(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    for content in (np.array([{}]), np.array([1, 2], [("a", "i4")])):
        np.save(path, content, allow_pickle=True)
        with pytest.raises(ValueError, match="array"):
            map_npy(path)
    np.save(path, np.ones(100))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="file size"):
        map_npy(path)
    path.write_bytes(b"text")
    with pytest.raises(ValueError, match="magic"):
        map_npy(path)


def test_json_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf["caf\xc3\xa9"]')
    assert read_json(tmp_path / "a.json") == ["café"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1]\n[2]\n", r"holds several JSON values, the second in line 2 \(JSON Lines\?\)"),
        ("[" + "9" * 5000 + "]", "a number of 5000 digits"),
        ("[-" + "9" * 400 + "]", "a number of 401 digits"),
        ("[" * 100_000, "nested too deeply"),
        (r'["\ud800"]', "half of a surrogate pair"),
        ('["a"', "line 1"),
        (" ", "is empty"),
    ],
)
def test_json_that_no_reader_could_use_is_named_as_what_it_is(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=rf"a\.json: .*{says}"):
        read_json(tmp_path / "a.json")


def test_a_directory_whose_writer_was_killed_between_its_renames_is_found_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "last"
    with replacing_directory(path) as folder:
        (folder / "epoch").write_text("1")
    path.rename(tmp_path / ".last.old")  # and here the power went
    assert (present_directory(path) / "epoch").read_text() == "1"
    with pytest.raises(ZeroDivisionError), replacing_directory(path):
        raise ZeroDivisionError
    assert (present_directory(path) / "epoch").read_text() == "1"
    with replacing_directory(path) as folder:
        (folder / "epoch").write_text("2")
    assert (present_directory(path) / "epoch").read_text() == "2"
    assert list(tmp_path.iterdir()) == [path]


def test_what_dead_writers_left_is_swept_and_what_others_write_is_not(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    dead, living = (tmp_path / f".a.json.{pid}-7.partial" for pid in (ended.pid, os.getppid()))
    other = tmp_path / f".b.json.{ended.pid}-7.partial"
    for path in (dead, living, other):
        path.write_text("half")
    write_json(tmp_path / "a.json", 1)
    assert sorted(tmp_path.iterdir()) == sorted([living, other, tmp_path / "a.json"])


def test_a_name_as_long_as_the_disk_allows_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 125 + ".json")
    write_json(path, [1])
    assert read_json(path) == [1]
    assert list(tmp_path.iterdir()) == [path]


def test_a_user_without_a_home_has_a_private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    first = cache_folder()
    assert first.parent.stat().st_mode & 0o077 == 0
    assert cache_folder() == first
    first.parent.chmod(0o777)  # another user's trap, it may be
    assert cache_folder() != first
