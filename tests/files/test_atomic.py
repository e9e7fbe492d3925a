import errno
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cfmr.errors import InputError
from cfmr.files.atomic import map_npy, read_json, replacing, replacing_directory, write_json


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
    with pytest.raises(InputError, match="binary: not valid JSON"):
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
