"""Where the rows of moments are, of which what a search has found is scored again.

A server keeps all that it searches in its memory, and rows are two thirds of a moment there. They can lie in a folder
instead that everyone who searches can read, `milvus://host:port/collection?rows=FOLDER`: a file for each video,

    FOLDER/NAME__G/THOUSANDS/NUMBER.npy    (n, d + K): rows, and the norms of their concepts

written before the server has the video, never changed, and deleted when no reader asks for it any more.
"""

import contextlib
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cfmr.errors import InputError
from cfmr.files.atomic import make_directory, replacing
from cfmr.index.codec import Floats
from cfmr.index.files import damaged, map_array, write_array
from cfmr.index.milvus import layout
from cfmr.index.milvus.address import MilvusAddress
from cfmr.index.milvus.layout import Generation

KEPT = "rows_in"  # key of the state of a generation: FOLDER, or nothing for the server
FOLDER = "folder"
_MAPPED = 4096  # files that stay open


class MissingRowsError(Exception):
    """The file of a video's rows is gone: the video is being taken out, or the folder is not the index's."""

    def __init__(self, number: int, path: Path) -> None:
        super().__init__(str(path))
        self.number, self.path = number, path


class ExactRows(Protocol):
    """The rows of a generation."""

    @property
    def fields(self) -> Sequence[str]:
        """Of an entity, those that `of` needs."""

    def of(self, entities: Sequence[Mapping[str, Any]]) -> tuple[Floats, Floats | None]:
        """Rows (n, d) and scales (n, K) of moments. Raises MissingRowsError."""

    def put(self, number: int, rows: Floats, scales: Floats | None) -> list[str] | None:
        """Keep the rows of a video; the texts that its moments' entities get, if they do."""

    def keep_only(self, numbers: Collection[int]) -> None:
        """Delete the rows of all other videos, where they are not deleted with their moments."""


class RowsOnServer:
    """With the moments. `width` is d."""

    fields = ("exact",)

    def __init__(self, width: int) -> None:
        self._width = width

    def of(self, entities: Sequence[Mapping[str, Any]]) -> tuple[Floats, Floats | None]:
        """See `ExactRows`."""
        return layout.unpacked([entity["exact"] for entity in entities], self._width)

    def put(self, number: int, rows: Floats, scales: Floats | None) -> list[str]:
        """See `ExactRows`."""
        return layout.packed(rows, scales)

    def keep_only(self, numbers: Collection[int]) -> None:
        """See `ExactRows`."""


class RowsInFolder:
    """In files beside the server.

    Args:
        folder: of all generations.
        width: d.
        concepts: K, or 0 where rows have no scales.
    """

    fields = ("row",)

    def __init__(self, folder: Path, generation: Generation, width: int, concepts: int) -> None:
        self._folder, self._width, self._concepts = folder / generation.moments, width, concepts
        self._mapped: dict[int, NDArray[np.float32]] = {}

    def of(self, entities: Sequence[Mapping[str, Any]]) -> tuple[Floats, Floats | None]:
        """See `ExactRows`."""
        ids = np.array([entity["row"] for entity in entities], np.int64)
        numbers, places = ids >> layout.ROW_BITS, ids & ((1 << layout.ROW_BITS) - 1)
        whole = np.empty((len(ids), self._width + self._concepts), np.float32)
        for number in np.unique(numbers).tolist():
            of_video = numbers == number
            rows = self._rows(number)
            if int(places[of_video].max()) >= len(rows):
                raise damaged(self._path(number), f"it has {len(rows)} rows, and more are searched")
            whole[of_video] = rows[places[of_video]]
        return whole[:, : self._width], whole[:, self._width :] if self._concepts else None

    def put(self, number: int, rows: Floats, scales: Floats | None) -> None:
        """See `ExactRows`."""
        path = self._path(number)
        make_directory(path.parent)
        with replacing(path) as temporary:
            write_array(temporary, [rows if scales is None else np.concatenate([rows, scales], axis=1)], len(rows))

    def keep_only(self, numbers: Collection[int]) -> None:
        """See `ExactRows`."""
        wanted = {self._path(number) for number in numbers}
        for path in self._folder.glob("*/*.npy"):
            if path not in wanted:
                path.unlink(missing_ok=True)
        for folder in self._folder.glob("*"):
            with contextlib.suppress(OSError):  # there are others in it
                folder.rmdir()

    def _path(self, number: int) -> Path:
        return self._folder / str(number // 1000) / f"{number}.npy"

    def _rows(self, number: int) -> NDArray[np.float32]:
        if (found := self._mapped.get(number)) is not None:
            return found
        path = self._path(number)
        try:
            rows: NDArray[np.float32] = map_array(path).view(np.ndarray)
        except FileNotFoundError as error:
            raise MissingRowsError(number, path) from error
        if rows.ndim != 2 or rows.shape[1] != self._width + self._concepts or rows.dtype != np.float32:
            raise damaged(path, f"{rows.dtype} {rows.shape} instead of rows of {self._width + self._concepts} numbers")
        if len(self._mapped) >= _MAPPED:
            self._mapped.clear()
        self._mapped[number] = rows
        return rows


def exact_rows(
    address: MilvusAddress, generation: Generation, state: Mapping[str, Any], width: int, concepts: int
) -> ExactRows:
    """The rows of a generation that is there.

    Raises:
        InputError: the address names a folder of rows where there is none, or the other way round.
    """
    check_place(address, state)
    if address.rows is None:
        return RowsOnServer(width)
    return RowsInFolder(address.rows, generation, width, concepts)


def in_place(address: MilvusAddress, state: Mapping[str, Any]) -> bool:
    """Whether an address says where the rows of a generation are."""
    return (state.get(KEPT) == FOLDER) == (address.rows is not None)


def check_place(address: MilvusAddress, state: Mapping[str, Any]) -> None:
    """Raise InputError if an address does not say where the rows of a generation are."""
    if in_place(address, state):
        return
    if address.rows is None:
        raise InputError(f"{address}: the rows of this index are in a folder; name it: {address}?rows=FOLDER")
    raise InputError(f"{address}: the rows of this index are on the server; leave out ?rows=, or use --rebuild")


def drop_rows(address: MilvusAddress, generation: Generation) -> None:
    """Delete the rows of a generation, if the address names a folder."""
    if address.rows is not None:
        shutil.rmtree(address.rows / generation.moments, ignore_errors=True)
