"""Rows in a folder beside a server: each video's in a file of its own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cfmr.errors import InputError
from cfmr.index.milvus.address import MilvusAddress
from cfmr.index.milvus.exact import (
    FOLDER,
    KEPT,
    MissingRowsError,
    RowsInFolder,
    RowsOnServer,
    check_place,
    drop_rows,
    exact_rows,
)
from cfmr.index.milvus.layout import ROW_BITS, Generation

HERE = Generation("films__1a")


def entities(*places: tuple[int, int]) -> list[dict[str, Any]]:
    """Moments as a server gives them, by the numbers of their videos and their places in these."""
    return [{"row": (number << ROW_BITS) + place} for number, place in places]


def rows_of(seed: int, count: int, concepts: int = 2) -> tuple[np.ndarray, np.ndarray | None]:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, 4)).astype(np.float32)
    return rows, rng.random((count, concepts)).astype(np.float32) if concepts else None


@pytest.mark.parametrize("concepts", [0, 2])
def test_rows_come_back_in_the_order_that_is_asked_for(tmp_path: Path, concepts: int) -> None:
    kept = RowsInFolder(tmp_path, HERE, 4, concepts)
    whole = {number: rows_of(number, 5 + number % 7, concepts) for number in (0, 3, 1200)}
    for number, (rows, scales) in whole.items():
        assert kept.put(number, rows, scales) is None
    places = [(1200, 4), (0, 1), (3, 0), (0, 0), (1200, 4)]
    rows, scales = RowsInFolder(tmp_path, HERE, 4, concepts).of(entities(*places))
    np.testing.assert_array_equal(rows, np.stack([whole[n][0][i] for n, i in places]))
    if concepts:
        assert scales is not None
        np.testing.assert_array_equal(scales, np.stack([whole[n][1][i] for n, i in places]))  # type: ignore[index]
    else:
        assert scales is None


def test_none_are_none(tmp_path: Path) -> None:
    rows, scales = RowsInFolder(tmp_path, HERE, 4, 2).of([])
    assert rows.shape == (0, 4)
    assert scales is not None
    assert scales.shape == (0, 2)


def test_on_the_server_they_are_with_the_moments() -> None:
    rows, scales = rows_of(0, 3)
    kept = RowsOnServer(4)
    texts = kept.put(7, rows, scales)
    found, norms = kept.of([{"exact": text} for text in texts])
    np.testing.assert_array_equal(found, rows)
    assert norms is not None
    assert scales is not None
    np.testing.assert_array_equal(norms, scales)


def test_a_video_whose_file_is_gone_is_told(tmp_path: Path) -> None:
    kept = RowsInFolder(tmp_path, HERE, 4, 2)
    kept.put(1, *rows_of(1, 5))
    with pytest.raises(MissingRowsError) as error:
        kept.of(entities((1, 0), (2, 0)))
    assert error.value.number == 2
    assert error.value.path.name == "2.npy"


@pytest.mark.parametrize("change", ["cut", "text", "narrow", "short"])
def test_a_damaged_file_is_named(tmp_path: Path, change: str) -> None:
    kept = RowsInFolder(tmp_path, HERE, 4, 2)
    kept.put(1, *rows_of(1, 5))
    (path,) = tmp_path.glob("*/*/*.npy")
    if change == "cut":
        path.write_bytes(path.read_bytes()[:-8])
    elif change == "text":
        path.write_text("rows")
    else:
        np.save(path, np.zeros((5, 3) if change == "narrow" else (2, 6), np.float32))
    with pytest.raises(InputError, match=r"1\.npy: .*damaged"):
        RowsInFolder(tmp_path, HERE, 4, 2).of(entities((1, 4)))


def test_only_the_rows_of_the_index_are_kept(tmp_path: Path) -> None:
    kept = RowsInFolder(tmp_path, HERE, 4, 2)
    for number in (1, 2, 2500):
        kept.put(number, *rows_of(number, 3))
    kept.keep_only([2])
    assert [path.relative_to(tmp_path) for path in tmp_path.glob("*/*/*.npy")] == [Path("films__1a/0/2.npy")]
    assert not (tmp_path / "films__1a" / "2").exists()


def test_another_generation_has_rows_of_its_own(tmp_path: Path) -> None:
    address = MilvusAddress("host", 1, "films", rows=tmp_path)
    other = Generation("films__2b")
    for generation in (HERE, other):
        exact_rows(address, generation, {KEPT: FOLDER}, 4, 2).put(1, *rows_of(1, 3))
    drop_rows(address, HERE)
    assert [path.name for path in tmp_path.iterdir()] == ["films__2b"]


def test_an_address_has_to_say_where_they_are(tmp_path: Path) -> None:
    server, folder = MilvusAddress("host", 1, "films"), MilvusAddress("host", 1, "films", rows=tmp_path)
    check_place(server, {})
    check_place(folder, {KEPT: FOLDER})
    with pytest.raises(InputError, match=r"/films: the rows of this index are in a folder; name it: .*\?rows=FOLDER"):
        check_place(server, {KEPT: FOLDER})
    with pytest.raises(InputError, match=r"the rows of this index are on the server; leave out \?rows="):
        check_place(folder, {})
