"""What a search asks of an index, wherever it is."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from cfmr.errors import InputError
from cfmr.index.codec import Floats

CARD = "card.json"
CODEC = "codec.npy"
REMEMBERED = 64  # filters whose rows are kept

Range = tuple[int, int, int]  # segment, from row, to row
Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Video:
    """What is known of an indexed video.

    Args:
        id: its name in the feature file.
        duration: seconds.
        rows: how many rows it has; `first` is the first one's place in its segment.
        path: where the video file was when it was indexed, if known.
        metadata: free values to filter by.
        fingerprint: of the features it was made from, so that unchanged videos are not encoded again.
    """

    id: str
    duration: float
    rows: int
    first: int = 0
    path: str | None = None
    metadata: Mapping[str, Value] = field(default_factory=dict)
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class VideoRows:
    """A video to add: its rows (n, width) and what each row spans, (n, 2) in seconds."""

    video: Video
    rows: Floats
    spans: NDArray[np.float64]


def check_rows(item: VideoRows, width: int) -> None:
    """Raises InputError for a video whose rows an index of some width cannot take."""
    name = item.video.id
    if item.rows.ndim != 2 or item.rows.shape[1] != width or not len(item.rows):
        raise InputError(f"video {name!r}: rows {item.rows.shape}, the index takes (n, {width})")
    if item.spans.shape != (len(item.rows), 2):
        raise InputError(f"video {name!r}: {len(item.rows)} rows but spans {item.spans.shape}")
    if not np.isfinite(item.rows).all() or not np.isfinite(item.spans).all():
        raise InputError(f"video {name!r}: its rows have values that are not finite; are its features damaged?")


class Hit(NamedTuple):
    """A row that was found: its video, span in seconds and score. A tuple, as a search makes dozens."""

    video: Video
    start: float
    end: float
    score: float


@dataclass(frozen=True, slots=True)
class Selection:
    """The rows a search may look at: merged ranges in the order of the index, and how many rows that is.

    `everything`: no row of the index is left out.
    """

    ranges: tuple[Range, ...]
    rows: int
    everything: bool


Chosen = TypeVar("Chosen", bound=Selection)


class Selections(Generic[Chosen]):
    """What was selected lately, so that the same question need not be worked out again.

    Args:
        everything: all rows.
        choose: rows of videos, or of all (None), whose metadata has some values.
    """

    def __init__(
        self, everything: Chosen, choose: Callable[[Sequence[str] | None, Mapping[str, Value]], Chosen]
    ) -> None:
        self.everything, self._choose = everything, choose
        self._kept: dict[Any, Chosen] = {}

    def get(self, videos: Sequence[str] | None, where: Mapping[str, Value] | None) -> Chosen:
        """The rows of these videos (None: all) whose metadata has all of `where`."""
        if videos is None and not where:
            return self.everything
        key = None if videos is None else tuple(videos), tuple(sorted((where or {}).items()))
        if key not in self._kept:
            if len(self._kept) >= REMEMBERED:
                self._kept.clear()
            self._kept[key] = self._choose(videos, where or {})
        return self._kept[key]


def no_such_video(root: object, name: str, known: Iterable[str]) -> InputError:
    """The error for a video that an index lacks, with the most similar of those it has."""
    import difflib

    close = difflib.get_close_matches(name, known, n=1) if len(name) < 200 else []
    near = f"; did you mean {close[0]!r}?" if close else ""
    return InputError(f"{root}: no video {name[:200]!r} in this index{near}")


def no_such_metadata(root: object, where: Mapping[str, Value], videos: Iterable[Video]) -> InputError:
    """The error for values that no video has, with the keys there are."""
    keys = sorted({key for video in videos for key in video.metadata})
    asked = ", ".join(f"{key}={value}" for key, value in where.items())
    told = f"keys it knows: {', '.join(keys[:20])}" if keys else "its videos have no metadata"
    return InputError(f"{root}: no video has {asked}; {told}")


def _merged(ranges: Iterator[Range]) -> tuple[Range, ...]:
    result: list[Range] = []
    for segment, low, high in ranges:
        if result and result[-1][0] == segment and result[-1][2] == low:
            result[-1] = (segment, result[-1][1], high)
        else:
            result.append((segment, low, high))
    return tuple(result)


def best(scores: Floats, count: int) -> NDArray[np.intp]:
    """Places of the `count` largest scores, best first; of equal ones the first place first."""
    if count < len(scores):
        edge = np.partition(scores, len(scores) - count)[len(scores) - count]
        places = np.flatnonzero(scores >= edge)
    else:
        places = np.arange(len(scores))
    return places[np.argsort(-scores[places], kind="stable")[:count]]


def matches(video: Video, where: Mapping[str, Value]) -> bool:
    """Whether a video's metadata has all of these values (compared as text, so that 3 from a shell means 3)."""
    return all(key in video.metadata and str(video.metadata[key]) == str(value) for key, value in where.items())


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
