"""What a search asks of an index, wherever it is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cfmr.index.codec import Floats
from cfmr.index.segment import Value, Video
from cfmr.index.store import Hit, Selection


class StaleIndexError(Exception):
    """The index was replaced while it was searched; open it again."""


class SearchedIndex(Protocol):
    """An opened index; `EmbeddedIndex` says what its methods do."""

    model_path: Path
    card: dict[str, Any]

    @property
    def generation(self) -> int: ...
    @property
    def notes(self) -> Mapping[str, Any]: ...
    @property
    def engine(self) -> str: ...
    def __len__(self) -> int: ...
    def videos(self) -> list[Video]: ...
    def video(self, name: str) -> Video: ...
    def select(self, videos: Sequence[str] | None = None, where: Mapping[str, Value] | None = None) -> Selection: ...
    def top(self, vector: Floats, count: int, selection: Selection | None = None, exact: bool = False) -> list[Hit]: ...
    def curve(self, vector: Floats, name: str) -> tuple[NDArray[np.float64], Floats]: ...
    def changed(self) -> bool: ...
