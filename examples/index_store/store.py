import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from cfmr.errors import InputError
from cfmr.index.base import (
    Hit,
    PendingVideos,
    Selection,
    Value,
    Video,
    VideoRows,
    check_rows,
    matches,
    no_index,
    no_such_metadata,
    no_such_video,
    not_removable,
    top_k,
)
from cfmr.index.codec import Codec, Floats
from cfmr.index.location import IndexAddress


@dataclass(frozen=True)
class MemoryAddress(IndexAddress):
    name: str

    def __str__(self) -> str:
        return f"memory://{self.name}"


@dataclass(frozen=True)
class State:
    """One generation of an index."""

    generation: int = 0
    card: dict[str, Any] = field(default_factory=dict)
    codec: Codec | None = None
    folder: Path | None = None
    videos: dict[str, VideoRows] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)


STATES: dict[str, State] = {}


@dataclass(frozen=True, slots=True)
class NamedVideos(Selection):
    names: tuple[str, ...] = ()


class MemoryIndex:
    engine = "exact"

    def __init__(self, address: MemoryAddress) -> None:
        if address.name not in STATES:
            raise no_index(address)
        self.address, self.state = address, STATES[address.name]
        assert self.state.codec is not None
        assert self.state.folder is not None
        self.codec, self.model_path, self.card = self.state.codec, self.state.folder, self.state.card
        self.generation, self.metrics = self.state.generation, self.state.metrics

    def __len__(self) -> int:
        return sum(len(item.rows) for item in self.state.videos.values())

    def videos(self) -> list[Video]:
        return [item.video for item in self.state.videos.values()]

    def video(self, name: str) -> Video:
        if name not in self.state.videos:
            raise no_such_video(self.address, name, self.state.videos)
        return self.state.videos[name].video

    def select(self, videos: Sequence[str] | None = None, where: Mapping[str, Value] | None = None) -> NamedVideos:
        named = self.videos() if videos is None else [self.video(name) for name in dict.fromkeys(videos)]
        kept = [video for video in named if matches(video, where or {})]
        if where and not kept:
            raise no_such_metadata(self.address, where, self.videos())
        rows = sum(video.rows for video in kept)
        return NamedVideos(rows, rows == len(self), tuple(video.id for video in kept))

    def top(self, vector: Floats, count: int, selection: Selection | None = None, exact: bool = False) -> list[Hit]:
        selection = selection or self.select()
        assert isinstance(selection, NamedVideos)
        hits = []
        for name in selection.names:
            spans, scores = self.curve(vector, name)
            hits += [Hit(self.video(name), *span, score) for span, score in zip(spans, scores.tolist(), strict=True)]
        best = top_k(np.array([hit.score for hit in hits], np.float32), count)
        return [hits[i] for i in best]

    def curve(self, vector: Floats, name: str) -> tuple[np.ndarray, Floats]:
        self.video(name)
        item = self.state.videos[name]
        return item.spans, Codec.score(item.rows, self.codec.scales(item.rows), self.codec.prepare(vector))

    def vectors(self, name: str) -> tuple[np.ndarray, Floats]:
        self.video(name)
        item = self.state.videos[name]
        return item.spans, self.codec.expand(item.rows, self.codec.scales(item.rows))

    def changed(self) -> bool:
        return STATES[self.address.name].generation != self.generation


class MemoryWriter:
    engine = "exact"

    def __init__(self, address: MemoryAddress) -> None:
        self.address = address
        self._state = STATES.get(address.name, State())
        self._pending = PendingVideos()

    @property
    def card(self) -> dict[str, Any]:
        return self._state.card

    @property
    def videos(self) -> Mapping[str, Video]:
        return {**{name: item.video for name, item in self._state.videos.items()}, **self._pending.videos()}

    @property
    def rows(self) -> int:
        written = sum(len(item.rows) for name, item in self._state.videos.items() if name not in self._pending)
        return written + self._pending.rows

    @property
    def metrics(self) -> Mapping[str, Any]:
        return self._state.metrics

    def set_metric(self, name: str, value: Any) -> None:
        self._state = replace(self._state, metrics={**self._state.metrics, name: value})

    def set_engine(self, engine: str) -> None:
        if engine not in ("auto", "exact"):
            raise InputError(f"--engine {engine}: an index in memory is searched exactly")

    def set_queries(self, queries: Callable[[], Floats]) -> None: ...
    def plan_capacity(self, rows: Callable[[], int], sample: Callable[[], Floats]) -> None: ...

    def set_model(self, card: Mapping[str, Any], codec: Codec, write: Callable[[Path], Iterable[str]]) -> None:
        folder = Path(tempfile.mkdtemp())
        list(write(folder))
        whole = {**card, "width": codec.width, "dim": codec.dim}
        self._state = State(self._state.generation, whole, codec, folder)
        self._pending = PendingVideos()

    def add(self, videos: Iterable[VideoRows]) -> None:
        assert self._state.codec is not None
        for item in videos:
            check_rows(item, self._state.codec.width)
            self._pending.add(item)

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            left = {k: v for k, v in self._state.videos.items() if k != name}
            if not self._pending.discard(name) and len(left) == len(self._state.videos):
                raise not_removable(self.address, name)
            self._state = replace(self._state, videos=left)

    def commit(self, tidy: bool = True) -> int:
        videos = self._state.videos | {item.video.id: item for item in self._pending.take()}
        self._state = replace(self._state, videos=videos, generation=self._state.generation + 1)
        STATES[self.address.name] = self._state
        return self._state.generation


@contextmanager
def open_writer(location: MemoryAddress, create: bool) -> Iterator[MemoryWriter]:
    if not create and location.name not in STATES:
        raise no_index(location)
    yield MemoryWriter(location)
