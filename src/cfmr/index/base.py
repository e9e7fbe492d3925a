"""What a search asks of an index and a build of its writer: the two protocols of a store, and what they exchange.

A new store is a folder beside `embedded` and `milvus`, and a line in `open.py`; `tests/index/contract.py` says what it
has to do.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from cfmr.errors import InputError
from cfmr.index.codec import Codec, Floats

CARD = "card.json"
CODEC = "codec.npy"
CACHED_SELECTIONS = 64

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Video:
    """What is known of an indexed video.

    Args:
        id: its name in the feature file.
        duration: seconds.
        rows: how many rows it has; `first` is where a store finds the first one.
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
    """The rows a search may look at: how many they are, and whether no row of the index is left out.

    A store adds how it finds them.
    """

    rows: int
    everything: bool


Chosen = TypeVar("Chosen", bound=Selection)


class SelectionCache(Generic[Chosen]):
    """Cache of selections: the same filter is not worked out again.

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
            if len(self._kept) >= CACHED_SELECTIONS:
                self._kept.clear()
            self._kept[key] = self._choose(videos, where or {})
        return self._kept[key]


def no_such_video(root: object, name: str, known: Iterable[str]) -> InputError:
    """The error for a video that an index lacks, with the most similar of those it has."""
    import difflib

    close = difflib.get_close_matches(name, known, n=1) if len(name) < 200 else []
    near = f"; did you mean {close[0]!r}?" if close else ""
    return InputError(f"{root}: no video {name[:200]!r} in this index{near}")


def not_removable(root: object, name: str) -> InputError:
    """The error for a video that is to be taken out and is not there."""
    return InputError(f"{root}: no video {name!r} in this index, so it cannot be removed")


class BeingWrittenError(InputError):
    """Another process is writing the index; the same works when it has finished."""


def being_written(root: object, owner: str) -> BeingWrittenError:
    """The error for an index that has a writer."""
    return BeingWrittenError(
        f"{root}: another process is writing this index (process {owner}); wait until it has finished, then try again"
    )


def no_index(root: object, detail: str = "") -> InputError:
    """The error for a place without an index."""
    return InputError(f"{root}: no index here{detail}; build one with: cfmr index --out {root}")


def no_such_metadata(root: object, where: Mapping[str, Value], videos: Iterable[Video]) -> InputError:
    """The error for values that no video has, with the keys there are."""
    keys = sorted({key for video in videos for key in video.metadata})
    asked = ", ".join(f"{key}={value}" for key, value in where.items())
    told = f"keys it knows: {', '.join(keys[:20])}" if keys else "its videos have no metadata"
    return InputError(f"{root}: no video has {asked}; {told}")


def top_k(scores: Floats, count: int) -> NDArray[np.intp]:
    """Indices of the `count` largest scores, best first; of equal ones the first one first."""
    if count < len(scores):
        edge = np.partition(scores, len(scores) - count)[len(scores) - count]
        kept = np.flatnonzero(scores >= edge)  # ties with the last one are among them
    else:
        kept = np.arange(len(scores))
    return kept[np.argsort(-scores[kept], kind="stable")[:count]]


def matches(video: Video, where: Mapping[str, Value]) -> bool:
    """Whether a video's metadata has all of these values (compared as text, so that 3 from a shell means 3)."""
    return all(key in video.metadata and str(video.metadata[key]) == str(value) for key, value in where.items())


class StaleIndexError(Exception):
    """The index was replaced while it was searched; open it again."""


class Index(Protocol):
    """An index opened for searching, at one generation. Safe to use from several threads.

    Attributes:
        model_path: directory of the files of the text encoder.
        card: what the index says of its model (JSON).
    """

    model_path: Path
    card: dict[str, Any]

    @property
    def generation(self) -> int:
        """The generation, which rises by one with every change of the index."""

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Measurements made when the index was written: thresholds, recall."""

    @property
    def engine(self) -> str:
        """The engine of a search over everything: "exact" or "ivf"."""

    def __len__(self) -> int:
        """Number of rows of all videos."""

    def videos(self) -> list[Video]:
        """All videos, in the order in which they were added."""

    def video(self, name: str) -> Video:
        """One video. Raises InputError if the index has no video of that name."""

    def select(self, videos: Sequence[str] | None = None, where: Mapping[str, Value] | None = None) -> Selection:
        """The rows of these videos (None: all) whose metadata has all of `where`.

        Raises:
            InputError: a video is not in the index, or no video has such metadata.
        """

    def top(self, vector: Floats, count: int, selection: Selection | None = None, exact: bool = False) -> list[Hit]:
        """The `count` rows with the largest inner product, best first.

        Args:
            vector: query, (dim,) float32.
            selection: from `select`; None for all rows.
            exact: search every row, or as many as the store can, for comparison.

        Raises:
            StaleIndexError: the index was replaced meanwhile.
        """

    def curve(self, vector: Floats, name: str) -> tuple[NDArray[np.float64], Floats]:
        """Spans (n, 2) in seconds and scores (n,) of all rows of one video."""

    def vectors(self, name: str) -> tuple[NDArray[np.float64], Floats]:
        """Spans (n, 2) in seconds and vectors (n, dim) of all rows of one video, comparable with a query vector."""

    def changed(self) -> bool:
        """Whether the index has changed since it was opened. Raises InputError if it is damaged."""


class IndexWriter(Protocol):
    """The single writer of an index. Nothing changes for readers until `commit`."""

    @property
    def card(self) -> dict[str, Any]:
        """The model card of the index; empty before `set_model`."""

    @property
    def videos(self) -> Mapping[str, Video]:
        """The videos of the index after `commit`, by name."""

    @property
    def rows(self) -> int:
        """Number of rows after `commit`."""

    @property
    def engine(self) -> str:
        """The engine after the last commit: "exact" or "ivf"."""

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Measurements of the index."""

    def set_metric(self, name: str, value: Any) -> None:
        """Store a measurement in the index (JSON)."""

    def set_engine(self, engine: str) -> None:
        """Choose the engine: "exact", "ivf", or "auto". Raises InputError if the store does not support it."""

    def set_queries(self, queries: Callable[[], Floats]) -> None:
        """Provide typical queries (n, dim), on which approximate search is tuned when it is built."""

    def plan_capacity(self, rows: Callable[[], int], sample: Callable[[], Floats]) -> None:
        """Announce the expected number of rows, and typical vectors (n, dim), before `set_model`."""

    def set_model(self, card: Mapping[str, Any], codec: Codec, write: Callable[[Path], Iterable[str]]) -> None:
        """Start a new index for a model: all videos of another model are dropped at the next commit.

        Args:
            card: the reader's description of the model (JSON), including what `write` adds to it.
            codec: the representation of vectors by rows.
            write: writes the text encoder's files into a directory and returns their names.
        """

    def add(self, videos: Iterable[VideoRows]) -> None:
        """Add videos; existing ones are replaced.

        Raises:
            InputError: a video without rows, of the wrong width, or with values that are not finite.
        """

    def remove(self, names: Iterable[str]) -> None:
        """Remove videos from the index. Raises InputError if one is not in it."""

    def commit(self, tidy: bool = True) -> int:
        """Publish everything since the last commit; returns the new generation.

        Args:
            tidy: also update the approximate search, which a long run does at its end only.
        """


class PendingVideos:
    """Videos that a writer was given and has not yet written; a later one replaces an earlier one of its name."""

    def __init__(self) -> None:
        self._videos: dict[str, VideoRows] = {}
        self.rows = 0

    def __contains__(self, name: str) -> bool:
        return name in self._videos

    def add(self, item: VideoRows) -> None:
        """Hold a video back."""
        self.discard(item.video.id)
        self._videos[item.video.id] = item
        self.rows += len(item.rows)

    def discard(self, name: str) -> bool:
        """Forget a video; whether it was there."""
        item = self._videos.pop(name, None)
        self.rows -= 0 if item is None else len(item.rows)
        return item is not None

    def take(self) -> list[VideoRows]:
        """All of them, in order; then none are left."""
        videos, self._videos, self.rows = list(self._videos.values()), {}, 0
        return videos

    def videos(self) -> dict[str, Video]:
        """By name."""
        return {name: item.video for name, item in self._videos.items()}
