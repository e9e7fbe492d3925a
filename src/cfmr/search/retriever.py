"""The online line, from a sentence to ranked moments: numpy, ONNX Runtime and an index, no deep-learning framework.

from cfmr import MomentRetriever
retriever = MomentRetriever.load("runs/demo/index")
for moment in retriever.search("a red ball bounces twice", top=5):
    print(moment.video, moment.start, moment.end, moment.score)

With an example moment: `retriever.search(ComposedQuery("a ball", like=(Stretch("kitchen", 3, 5),)))`.
"""

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from cfmr.errors import InputError
from cfmr.index.base import Hit, Index, StaleIndexError, Value, Video, matches
from cfmr.index.location import GivenLocation, IndexAddress, IndexLocation
from cfmr.index.open import open_index, parse_location
from cfmr.index.text_encoder import Query, TextEncoder, UnknownWord, open_text_encoder
from cfmr.index.workspace import MANIFEST, find_workspace
from cfmr.moments.anchors import anchor_relevance
from cfmr.moments.span_reader import Readout, readout_from_json
from cfmr.search.composed import EMPTY, ComposedQuery, compose, shows_example
from cfmr.search.own_labels import FILE, OwnLabel, alike_labels, read_own_labels
from cfmr.search.ranking import rank

Times = NDArray[np.float64]
Answer = TypeVar("Answer")

CURVE_POINTS = 200
MAX_TOP = 10_000  # answers to one query
SHOWING_ONE = 8  # moments that may show one and the same example, which are left out
MIN_THRESHOLD_ACCURACY = 0.65  # share of its sentences that a threshold has to be right for; guessing is for 0.5
AROUND = 2.5  # seconds before and after a label that are shown where the model has no moment there
LOOKED_AT = 5  # moments of a label's video of which one may be around it
MAX_REOPENS = 3  # times that an index may be replaced while one question is answered


@dataclass(frozen=True, slots=True)
class Moment:
    """An answer: a span of a video in seconds. Scores are comparable within an index, also across videos."""

    video: str
    start: float
    end: float
    score: float
    duration: float
    path: str | None = None
    metadata: Mapping[str, Value] = field(default_factory=dict)
    label: OwnLabel | None = None  # by whose text it was found, whatever the model thinks


@dataclass(frozen=True, slots=True)
class SearchResult(Sequence[Moment]):
    """Moments, first those of matching labels and then the best of the model, with details of the search.

    Args:
        unknown: words unknown to the model, each with the known form or spelling used instead, if any.
        threshold: the score below which nothing matches; None if no threshold was chosen.
        best: the best score before `min_score` was applied; None if there is nothing to search.
        encode_seconds: time for encoding the sentence.
        search_seconds: time for the search.
        query: the sentence and the other parts of the query.
    """

    sentence: str
    moments: tuple[Moment, ...]
    unknown: tuple[UnknownWord, ...]
    threshold: float | None
    best: float | None
    encode_seconds: float
    search_seconds: float
    query: ComposedQuery = EMPTY

    @property
    def has_match(self) -> bool | None:
        """Whether the best score reaches the threshold; None if there is no threshold."""
        if self.best is None:
            return False
        return None if self.threshold is None else self.best >= self.threshold

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

    index: Index
    encoder: TextEncoder
    readout: Readout

    @classmethod
    def at(cls, location: IndexLocation, verify: bool) -> "_Opened":
        index = open_index(location, verify)
        try:
            readout = readout_from_json(index.card["readout"], str(location))
            encoder = open_text_encoder(index.model_path, index.card)
        except KeyError as error:
            raise InputError(f"{location}: key {error} of its card is not known here; update cfmr") from error
        encoder.warm_up()
        return cls(index, encoder, readout)


class MomentRetriever:
    """Finds moments in indexed videos by sentence. Safe to share between threads."""

    def __init__(self, opened: _Opened, given: GivenLocation, location: IndexLocation, verify: bool) -> None:
        self._opened, self._given, self._location, self._verify = opened, given, location, verify
        self._opening = threading.Lock()
        self._labels = _labels_of(given)

    @classmethod
    def load(cls, path: GivenLocation, verify: bool = True) -> "MomentRetriever":
        """Open an index.

        Args:
            path: a folder of videos read by `cfmr serve` or `cfmr index --in`, or the output of `cfmr index --out`:
                a directory, or `milvus://host:port/collection`.
            verify: compare all files with their checksums (about 5 GB a second); if False, only their sizes.

        Raises:
            InputError: there is no index, it is damaged, or its server does not answer; names the file or address.
        """
        location = parse_location(path)
        return cls(_Opened.at(location, verify), path, location, verify)

    def reload(self) -> bool:
        """Load the current state of the index if it has changed; searches in progress finish on the old one.

        For a folder of videos, this includes a switch to another model.

        Returns:
            whether anything has changed.

        Raises:
            InputError: as `load`; the old state then stays in use.
        """
        with self._opening:
            location = parse_location(self._given)
            if location == self._location and not self._opened.index.changed():
                return False
            self._opened, self._location = _Opened.at(location, self._verify), location
            return True

    def _on_present(self, ask: Callable[[_Opened], Answer]) -> Answer:
        """Ask the opened index; if it was replaced by another meanwhile, ask that one."""
        for _ in range(MAX_REOPENS):
            opened = self._opened
            try:
                return ask(opened)
            except StaleIndexError:
                with self._opening:
                    if self._opened is opened:  # no other thread has opened the new one
                        self._opened = _Opened.at(self._location, self._verify)
        return ask(self._opened)

    @property
    def generation(self) -> int:
        """Generation of the loaded index, which rises with every change."""
        return self._opened.index.generation

    @property
    def index(self) -> Index:
        """The index being searched."""
        return self._opened.index

    def videos(self) -> list[Video]:
        """Every video in the index: id, duration, path, metadata."""
        return self._on_present(lambda opened: opened.index.videos())

    def threshold(self, videos: Sequence[str] | None = None) -> float | None:
        """The lowest score that counts as a match; lower for one video than for a collection (`cfmr.search.calibrate`).

        None if none was chosen, or if it was right too rarely to be used.
        """
        metrics = self._opened.index.metrics
        scope = "video" if videos is not None and len(videos) == 1 else "collection"
        right = metrics.get("threshold_accuracy") or {}  # known where sentences were annotated
        if "thresholds" not in metrics or right.get(scope, 1.0) < MIN_THRESHOLD_ACCURACY:
            return None
        return float(metrics["thresholds"][scope])

    def encode(self, sentence: str) -> Query:
        """The query vector of a sentence, and the words that were used. Raises InputError, see `search`."""
        return self._opened.encoder.encode(sentence)

    def search(
        self,
        query: str | ComposedQuery,
        top: int = 5,
        videos: Sequence[str] | None = None,
        where: Mapping[str, Value] | None = None,
        min_score: float | None = None,
        duplicate: float | None = None,
        own_labels: bool = True,
    ) -> SearchResult:
        """The moments that a sentence describes, best first.

        For a folder of videos, moments of labels with matching text come before all others, whatever the model scores
        them; each has its label. Whether anything matches is judged by the model's moments only.

        Args:
            query: a sentence, or a query composed of a sentence, example moments, excluded moments and excluded words.
                The given moments are not returned, and no threshold applies.
            top: maximum number of moments.
            videos: search only in these videos.
            where: search only in videos whose metadata has these values.
            min_score: leave out moments with a lower score, except those of labels.
            own_labels: also return moments of labels with matching text.
            duplicate: leave out moments with at least this intersection over union with a better one of the same video.
                None: 0.5 for the published model's anchors, 0.6 for moments read off curves; 1 keeps all, as in
                evaluation.

        Raises:
            InputError: the sentence is empty, too long or made of unknown words; a video is not in the index; no video
                has such metadata.
        """
        if not 1 <= top <= MAX_TOP:
            raise InputError(f"top is {top}; ask for 1 to {MAX_TOP} moments")
        composed = ComposedQuery(query) if isinstance(query, str) else query
        own = self._own(composed, top, videos, where or {}) if own_labels and composed.sentence else []
        try:
            result = self._search(composed, top, videos, where, min_score, duplicate)
        except InputError:
            if not own or not composed.plain:
                raise
            return SearchResult(composed.sentence, tuple(own), (), self.threshold(videos), None, 0.0, 0.0, composed)
        others = (moment for moment in result.moments if not any(is_of_label(moment, one) for one in own))
        return replace(result, moments=(*own, *others)[:top])

    def _own(
        self, composed: ComposedQuery, top: int, videos: Sequence[str] | None, where: Mapping[str, Value]
    ) -> list[Moment]:
        """Moments of labels that say the same."""
        labels = [] if self._labels is None else read_own_labels(self._labels)
        if not (alike := alike_labels(composed.sentence, labels)):
            return []
        allowed = [v for v in self.videos() if (videos is None or v.id in videos) and matches(v, where)]
        return labelled_moments(composed, alike, allowed, top, functools.partial(self.search, own_labels=False))

    def _search(
        self,
        composed: ComposedQuery,
        top: int,
        videos: Sequence[str] | None,
        where: Mapping[str, Value] | None,
        min_score: float | None,
        duplicate: float | None,
    ) -> SearchResult:
        """What the model finds."""
        began = time.perf_counter()
        examples = len(composed.like) + len(composed.unlike)

        def ask(opened: _Opened) -> tuple[Query, list[Hit], float]:
            encoded = compose(composed, opened.index, opened.encoder, opened.readout)
            at = time.perf_counter()
            selection = opened.index.select(videos, where)
            alone = videos[0] if videos is not None and len(set(videos)) == 1 else None
            most = top + SHOWING_ONE * examples
            hits = rank(opened.index, opened.readout, encoded.vector, most, selection, alone, duplicate)
            return encoded, hits, at

        encoded, hits, at = self._on_present(ask)
        if examples:
            shown = shows_example(composed)
            hits = [hit for hit in hits if not shown(hit.video.id, hit.start, hit.end)][:top]
        done = time.perf_counter()
        return SearchResult(
            sentence=composed.sentence,
            moments=tuple(_moment(h) for h in hits if min_score is None or h.score >= min_score),
            unknown=encoded.unknown,
            threshold=self.threshold(videos) if composed.plain else None,
            best=hits[0].score if hits else None,
            encode_seconds=at - began,
            search_seconds=done - at,
            query=composed,
        )

    def curve(
        self,
        query: str | ComposedQuery,
        video: str,
        points: int = CURVE_POINTS,
        part: tuple[float, float] | None = None,
    ) -> tuple[Times, Times]:
        """How well each point in time of a video fits a query.

        Args:
            points: number of intervals of equal length; each gets the best score of its clips.
            part: start and end in seconds; None: the whole video.

        Returns:
            times (points,) in seconds, the middles of the intervals, and scores (points,), comparable within the video.

        Raises:
            InputError: as `search`.
        """

        composed = ComposedQuery(query) if isinstance(query, str) else query

        def ask(opened: _Opened) -> tuple[float, Times, NDArray[np.float32], Readout]:
            duration = opened.index.video(video).duration
            vector = compose(composed, opened.index, opened.encoder, opened.readout).vector
            spans, scores = opened.index.curve(vector, video)
            return duration, spans, scores, opened.readout

        duration, spans, scores, readout = self._on_present(ask)
        start, end = part or (0.0, duration)
        if not max(start, 0.0) < min(end, duration):
            raise InputError(f"{video}: from {start:g} s to {end:g} s there is nothing; it is {duration:g} s long")
        edges = np.linspace(max(start, 0.0), min(end, duration), points + 1)
        times = (edges[:-1] + edges[1:]) / 2
        if readout != "anchors":
            return times, _peaks(edges, times, spans.mean(1), scores)
        return times, anchor_relevance(spans, scores, times)


def labelled_moments(
    query: ComposedQuery,
    alike: Iterable[OwnLabel],
    videos: Collection[Video],
    top: int,
    search: Callable[..., SearchResult],
) -> list[Moment]:
    """Moments of labels that say what the sentence of a query says.

    A label is one second: the moment is the model's best one around it, or some seconds where it has none.

    Args:
        alike: those labels, the most alike first.
        videos: those whose labels are looked at.
        top: at most so many.
        search: of the model alone.
    """
    there = {video.id: video for video in videos}
    shown = shows_example(query)
    found: list[Moment] = []
    for label in alike:
        if len(found) == top:
            break
        if label.video not in there or shown(label.video, label.glance, label.glance):
            continue
        if not any(_holds(moment, label) for moment in found):
            found.append(_around(label, there[label.video], search))
    return found


def is_of_label(moment: Moment, own: Moment) -> bool:
    """Whether a moment of the model is the one that was found by a label."""
    return own.label is not None and _holds(moment, own.label)


def _holds(moment: Moment, label: OwnLabel) -> bool:
    return moment.video == label.video and moment.start <= label.glance <= moment.end


def _around(label: OwnLabel, video: Video, search: Callable[..., SearchResult]) -> Moment:
    start, end = max(label.glance - AROUND, 0.0), min(label.glance + AROUND, video.duration)
    moment = Moment(video.id, start, end, 0.0, video.duration, video.path, video.metadata)
    with contextlib.suppress(InputError):  # the model reads no word of it
        best = search(label.sentence, top=LOOKED_AT, videos=[video.id])
        moment = next((one for one in best if _holds(one, label)), moment)
    return replace(moment, label=label)


def _labels_of(given: GivenLocation) -> Path | None:
    """The file of the labels of a folder of videos; None for an index that was named itself."""
    if isinstance(given, IndexAddress) or (Path(given) / MANIFEST).exists():
        return None
    workspace = find_workspace(Path(given))
    return None if workspace is None else workspace.root / FILE


def _peaks(edges: Times, times: Times, middles: Times, scores: NDArray[np.float32]) -> Times:
    """The best score between each two edges, or what lies between the clips around where there is none.

    In a film of hours hundreds of clips share a point, and a moment of seconds is to be seen among them.
    """
    found = np.interp(times, middles, scores)
    first, last = np.searchsorted(middles, edges[:-1]), np.searchsorted(middles, edges[1:])
    several = last > first + 1
    if several.any():
        bounds = np.stack([first[several], last[several]], 1).ravel()
        found[several] = np.maximum.reduceat(np.append(scores, -np.inf), bounds)[::2]
    return np.asarray(found, np.float64)


def _moment(hit: Hit) -> Moment:
    video = hit.video
    return Moment(video.id, hit.start, hit.end, hit.score, video.duration, video.path, video.metadata)
