"""The online line: a sentence to ranked moments. numpy, ONNX Runtime and an index; no deep-learning framework.

from cfmr import MomentRetriever
retriever = MomentRetriever.load("runs/demo/index")
for moment in retriever.search("a red ball bounces twice", top=5):
    print(moment.video, moment.start, moment.end, moment.score)
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from cfmr.errors import InputError
from cfmr.index.base import Hit, SearchedIndex, Selection, StaleIndexError, Value, Video
from cfmr.index.embedded.reader import EmbeddedIndex
from cfmr.index.location import MilvusAddress, Place, parse_place
from cfmr.index.token_encoder import TokenEncoder
from cfmr.index.word_encoder import Query, SentenceEncoder, UnknownWord
from cfmr.moments.nms import anchor_relevance, distinct
from cfmr.moments.span_reader import (
    MAX_MOMENTS,
    Readout,
    SpanReader,
    moment_scores,
    read_moments,
    readout_from_json,
)

Times = NDArray[np.float64]
Answer = TypeVar("Answer")

DUPLICATE = 0.5  # anchors of one video that overlap so much are one moment
CURVE_DUPLICATE = 0.6  # the same of moments that are read off a curve
CURVE_POINTS = 200
MOST = 1000  # answers to one query
TRUSTED = 0.65  # a threshold has to be right for such a share of the sentences it was chosen on; guessing is for 0.5
REPLACED = 3  # times that an index may be replaced while one question is answered
ROWS = 12  # of a model read by curve, so many rows for each moment asked for are looked at first


@dataclass(frozen=True, slots=True)
class Moment:
    """An answer: a stretch of a video in seconds. Scores of one index can be compared, across videos too."""

    video: str
    start: float
    end: float
    score: float
    duration: float
    path: str | None = None
    metadata: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SearchResult(Sequence[Moment]):
    """Moments, best first, and what else a person wants to know.

    Args:
        unknown: words the model does not know, and what was taken for them.
        threshold: the score, chosen on validation, below which nothing here matches; None if none was chosen.
        best: the best score before `min_score` was applied; None if there is nothing to search.
        encode_seconds, search_seconds: how long the sentence and the search took.
    """

    sentence: str
    moments: tuple[Moment, ...]
    unknown: tuple[UnknownWord, ...]
    threshold: float | None
    best: float | None
    encode_seconds: float
    search_seconds: float

    @property
    def convincing(self) -> bool:
        """False where the validated threshold says that nothing here matches."""
        return self.best is not None and (self.threshold is None or self.best >= self.threshold)

    def __len__(self) -> int:
        return len(self.moments)

    @overload
    def __getitem__(self, index: int) -> Moment: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Moment, ...]: ...
    def __getitem__(self, index: int | slice) -> Moment | tuple[Moment, ...]:
        return self.moments[index]

    def __iter__(self) -> Iterator[Moment]:
        return iter(self.moments)


@dataclass(frozen=True, slots=True)
class _Opened:
    """One generation of an index with its text encoder; replaced as a whole, so threads never see half of two."""

    index: SearchedIndex
    encoder: SentenceEncoder | TokenEncoder
    readout: Readout


class MomentRetriever:
    """Finds moments in indexed videos by sentence. Safe to share between threads."""

    def __init__(self, opened: _Opened, place: Place, verify: bool) -> None:
        self._opened, self._place, self._verify = opened, place, verify
        self._opening = threading.Lock()

    @classmethod
    def load(cls, path: str | os.PathLike[str] | MilvusAddress, verify: bool = True) -> "MomentRetriever":
        """Open an index.

        Args:
            path: what `cfmr index --out` wrote: a directory, or `milvus://host:port/collection`.
            verify: compare all files with their checksums (some 5 GB a second); without it, only their sizes.

        Raises:
            InputError: there is no index, it is damaged, or its server does not answer; names the file or address.
        """
        place = parse_place(path)
        return cls(_open(place, verify), place, verify)

    def reload(self) -> bool:
        """Take up the index's present state, if it has changed since; searches under way finish on the old one.

        Raises:
            InputError: as `load`; the old state then goes on being served.
        """
        with self._opening:
            if not self._opened.index.changed():
                return False
            self._opened = _open(self._place, self._verify)
            return True

    def _on_present(self, ask: Callable[[_Opened], Answer]) -> Answer:
        """Ask the opened index; if it was replaced by another meanwhile, ask that one."""
        for _ in range(REPLACED):
            opened = self._opened
            try:
                return ask(opened)
            except StaleIndexError:
                with self._opening:
                    if self._opened is opened:  # no other thread has opened the new one
                        self._opened = _open(self._place, self._verify)
        return ask(self._opened)

    @property
    def generation(self) -> int:
        """Rises with every change of the index that was taken up."""
        return self._opened.index.generation

    @property
    def index(self) -> SearchedIndex:
        """The index being searched."""
        return self._opened.index

    def videos(self) -> list[Video]:
        """Every video in the index: id, duration, path, metadata."""
        return self._on_present(lambda opened: opened.index.videos())

    def threshold(self, videos: Sequence[str] | None = None) -> float | None:
        """The least score that means a match, chosen on validation; one video asks less than a collection does.

        None if none was chosen, or if it was right too rarely to be believed.
        """
        notes = self._opened.index.notes
        scope = "video" if videos is not None and len(videos) == 1 else "collection"
        if "thresholds" not in notes or notes["threshold_accuracy"][scope] < TRUSTED:
            return None
        return float(notes["thresholds"][scope])

    def encode(self, sentence: str) -> Query:
        """The query vector of a sentence, and which words of it were used. Raises InputError, see `search`."""
        return self._opened.encoder.encode(sentence)

    def search(
        self,
        sentence: str,
        top: int = 5,
        videos: Sequence[str] | None = None,
        where: Mapping[str, Value] | None = None,
        min_score: float | None = None,
        duplicate: float | None = None,
    ) -> SearchResult:
        """The moments that a sentence describes, best first.

        Args:
            sentence: what happens.
            top: at most so many moments.
            videos: search only in these.
            where: search only in videos whose metadata has these values.
            min_score: leave out moments below it.
            duplicate: leave out moments whose intersection over union with a better one of the same video is as large.
                None: 0.5 of the published model's anchors, 0.6 of what is read off curves; 1 keeps all, as evaluation
                does.

        Raises:
            InputError: the sentence is empty, too long or made of unknown words; a video is not in the index; no video
                has such metadata.
        """
        if not 1 <= top <= MOST:
            raise InputError(f"top is {top}; ask for 1 to {MOST} moments")
        began = time.perf_counter()

        def ask(opened: _Opened) -> tuple[Query, list[Hit], float]:
            query = opened.encoder.encode(sentence)
            encoded = time.perf_counter()
            selection = opened.index.select(videos, where)
            return query, _moments(opened.index, opened.readout, query, top, selection, videos, duplicate), encoded

        query, hits, encoded = self._on_present(ask)
        done = time.perf_counter()
        return SearchResult(
            sentence=sentence,
            moments=tuple(_moment(h) for h in hits if min_score is None or h.score >= min_score),
            unknown=query.unknown,
            threshold=self.threshold(videos),
            best=hits[0].score if hits else None,
            encode_seconds=encoded - began,
            search_seconds=done - encoded,
        )

    def curve(self, sentence: str, video: str, points: int = CURVE_POINTS) -> tuple[Times, Times]:
        """How well each point in time of a video fits a sentence.

        Returns:
            times (points,) in seconds over the whole video, and scores (points,), comparable within the video.

        Raises:
            InputError: as `search`.
        """

        def ask(opened: _Opened) -> tuple[float, Times, NDArray[np.float32], Readout]:
            duration = opened.index.video(video).duration
            spans, scores = opened.index.curve(opened.encoder.encode(sentence).vector, video)
            return duration, spans, scores, opened.readout

        duration, spans, scores, readout = self._on_present(ask)
        times = (np.arange(points) + 0.5) / points * duration
        if readout != "anchors":
            return times, np.interp(times, spans.mean(1), scores)
        return times, anchor_relevance(spans, scores, times)


def _open(place: Place, verify: bool) -> _Opened:
    index: SearchedIndex
    if isinstance(place, Path):
        index = EmbeddedIndex.open(place, verify)
    else:
        from cfmr.index.milvus.reader import MilvusIndex  # its client library takes half a second to import

        index = MilvusIndex.open(place)
    reader = TokenEncoder if index.card.get("reads") == "tokens" else SentenceEncoder
    encoder = reader(index.model_path, int(index.card["max_words"]))
    encoder.warm_up()
    return _Opened(index, encoder, readout_from_json(index.card["readout"], str(place)))


def _moment(hit: Hit) -> Moment:
    video = hit.video
    return Moment(video.id, hit.start, hit.end, hit.score, video.duration, video.path, video.metadata)


def _span(hit: Hit) -> tuple[str, float, float]:
    return hit.video.id, hit.start, hit.end


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads at most `top` moments off a video's curve."""

    index: SearchedIndex
    query: Query
    reader: SpanReader
    top: int
    duplicate: float

    def moments(self, video: Video, most: int) -> list[Hit]:
        """At most `most`, best first."""
        spans, scores = self.index.curve(self.query.vector, video.id)
        fractions, chances = read_moments(scores, video.duration, self.reader, 2 * most)
        # moments start and end where clips do
        edges = np.append(spans[:, 0], spans[-1, 1])
        found = edges[np.round(fractions * len(scores)).astype(np.intp)]
        values = moment_scores(float(scores.max()), chances)
        hits = [Hit(video, s, e, v) for (s, e), v in zip(found.tolist(), values.tolist(), strict=True)]
        return distinct(hits, _span, self.duplicate, most)


def _of_many_curves(reader: _Reader, selection: Selection) -> list[Hit]:
    """Moments of whole curves, video after video from that with the best row, until no other can be better.

    A moment scores its peak's height, so a video has none above its best row.
    """
    top, index = reader.top, reader.index
    asked, read, hits = max(64, ROWS * top), set[str](), list[Hit]()
    while True:
        rows = index.top(reader.query.vector, asked, selection)
        for row in rows:
            if len(hits) >= top and hits[top - 1].score >= row.score:
                return hits[:top]
            if row.video.id in read:
                continue
            read.add(row.video.id)
            hits += reader.moments(row.video, MAX_MOMENTS)
            hits.sort(key=lambda hit: -hit.score)
        if len(rows) < asked or asked >= selection.rows:
            return hits[:top]
        asked *= 4


def _moments(
    index: SearchedIndex,
    readout: Readout,
    query: Query,
    top: int,
    selection: Selection,
    videos: Sequence[str] | None,
    duplicate: float | None,
) -> list[Hit]:
    """The best moments that are no duplicates: of whole curves, or of rows, of which ever more are asked for.

    `videos` are those that `selection` was made of, if any were named.
    """
    if readout != "anchors":
        reader = _Reader(index, query, readout, top, CURVE_DUPLICATE if duplicate is None else duplicate)
        if videos is not None and len(videos) == 1:  # then which video is best is no question
            return reader.moments(index.video(videos[0]), max(top, MAX_MOMENTS))
        return _of_many_curves(reader, selection)
    most = DUPLICATE if duplicate is None else duplicate
    asked = 8 * top
    while True:
        hits = index.top(query.vector, asked, selection)
        kept = distinct(hits, _span, most, top) if most < 1 else hits[:top]
        if len(kept) == top or len(hits) < asked or asked >= selection.rows:
            return kept
        asked *= 4
