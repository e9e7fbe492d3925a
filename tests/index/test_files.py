import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfmr.errors import InputError
from cfmr.index.files import FileRecord, map_array, npy_bytes, read_array, record, write_array, write_json


@given(st.integers(1, 50), st.integers(1, 4), st.integers(1, 20))
def test_blocks_of_rows_are_one_array(rows: int, width: int, size: int) -> None:
    array = np.arange(rows * width, dtype=np.float32).reshape(rows, width)
    plain = io.BytesIO()
    np.save(plain, array)
    assert npy_bytes(array) == plain.getvalue()


def test_an_array_is_read_back_with_its_record(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.float64).reshape(6, 2)
    written = write_array(tmp_path / "a.npy", (array[at : at + 4] for at in (0, 4)), 6)
    np.testing.assert_array_equal(read_array(tmp_path / "a.npy"), array)
    np.testing.assert_array_equal(map_array(tmp_path / "a.npy"), array)
    assert written == record(tmp_path / "a.npy") == FileRecord.of((tmp_path / "a.npy").read_bytes())


def test_a_file_is_held_to_its_record(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    expected = write_json(path, {"sentence": "ein Ball springt über den Zaun"})
    assert expected.mismatch(path) is None
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"]")
    assert expected.mismatch(path) == "its content does not fit its checksum"
    assert expected.mismatch(path, verify=False) is None
    path.write_bytes(content[:-1])
    assert expected.mismatch(path) == f"{len(content) - 1} bytes instead of {len(content)}"
    path.unlink()
    with pytest.raises(FileNotFoundError):
        expected.mismatch(path)


def test_what_is_no_array_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"text")
    with pytest.raises(InputError, match=r"a\.npy: not a whole file of an index"):
        read_array(tmp_path / "a.npy")
