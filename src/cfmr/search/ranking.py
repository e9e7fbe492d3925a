"""From an index to ranked moments: rows that are moments of their own, or moments read off the curves of videos."""

import heapq
import itertools
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cfmr.index.base import Hit, Index, Selection, Video
from cfmr.index.codec import Floats
from cfmr.moments.nms import iterate_nms, nms
from cfmr.moments.span_reader import MAX_MOMENTS, ReadMoment, Readout, SpanReader, moment_score
from cfmr.moments.together import AT_ONCE, first_moments

Times = NDArray[np.float64]

NMS_IOU = 0.5  # anchors of one video that overlap so much are one moment
CURVE_NMS_IOU = 0.6  # the same of moments that are read off a curve
ROWS_PER_MOMENT = 12  # of a model read by curve, so many rows for each moment asked for are looked at first
FIRST_ROWS = 64  # but no fewer than these


def rank(
    index: Index,
    readout: Readout,
    vector: Floats,
    top: int,
    selection: Selection,
    alone: str | None,
    duplicate: float | None,
) -> list[Hit]:
    """The best moments that are no duplicates, best first.

    Args:
        vector: query, (dim,).
        readout: how moments are read, as the card of the index says.
        top: at most so many.
        selection: the rows to search.
        alone: the video that `selection` consists of, if it is one.
        duplicate: intersection over union with a better moment of the same video from which one is left out; None for
            the usual one of the readout.
    """
    if readout == "anchors":
        return _best_rows(index, vector, top, selection, NMS_IOU if duplicate is None else duplicate)
    reader = _CurveReader(index, vector, readout, CURVE_NMS_IOU if duplicate is None else duplicate)
    if alone is not None:  # then which video is best is no question
        return reader.moments(index.video(alone), top, max(top, MAX_MOMENTS))
    return _best_of_curves(reader, top, selection)


def _best_rows(index: Index, vector: Floats, top: int, selection: Selection, iou: float) -> list[Hit]:
    """Rows after temporal NMS, of which ever more are asked for until enough are left."""
    asked = 8 * top
    while True:
        hits = index.top(vector, asked, selection)
        kept = nms(hits, _span, iou, top) if iou < 1 else hits[:top]
        if len(kept) == top or len(hits) < asked or asked >= selection.rows:
            return kept
        asked *= 4


def _best_of_curves(reader: "_CurveReader", top: int, selection: Selection) -> list[Hit]:
    """Moments of whole curves, of all videos the best first; each is read when nothing else can be better.

    A moment scores its peak's height at most, so a video has none above its best row, and none above what `_Reading`
    says of it.
    """
    index = reader.index
    asked, hits, known = max(FIRST_ROWS, ROWS_PER_MOMENT * top), list[Hit](), set[str]()
    unread = deque[Hit]()  # the best row of each video that is not read yet, the best first
    # a heap: what the next moment scores at most, negated; the order of reading; whose moment it is
    waiting: list[tuple[float, int, _Reading]] = []
    order = itertools.count()
    while True:
        rows = index.top(reader.vector, asked, selection)
        for row in rows:
            if row.video.id not in known:
                known.add(row.video.id)
                unread.append(row)
        all_rows = len(rows) < asked or asked >= selection.rows
        least = -math.inf if all_rows else rows[-1].score  # below it, a video that is not known yet may be better
        while len(hits) < top and (unread or waiting):
            read = -waiting[0][0] if waiting else -math.inf
            if max(read, unread[0].score if unread else -math.inf) < least:
                break
            if unread and unread[0].score >= read:
                # each has a moment that scores as much: all that may be shown are read at once
                more = [unread.popleft() for _ in range(min(len(unread), top - len(hits), AT_ONCE))]
                for reading in reader.begin(more, min(top, MAX_MOMENTS)):
                    heapq.heappush(waiting, (-reading.most, next(order), reading))
                continue
            _, place, reading = waiting[0]
            hits += reading.advance()
            if reading.most == -math.inf:
                heapq.heappop(waiting)
            else:
                heapq.heapreplace(waiting, (-reading.most, place, reading))
        if all_rows or len(hits) >= top:
            return sorted(hits, key=lambda hit: -hit.score)[:top]
        asked *= 4


class _Read(NamedTuple):
    """A moment of a video, and what its next one scores at most."""

    hit: Hit
    most: float


class _Reading:
    """The moments of a video, of which the next one is known as soon as it may be the best of all.

    Args:
        best: the best row of their video that is known. Their first one may score more, where the search for rows was
            approximate, but counts from there on: which videos happen to be read with others changes no answer.
        curve: their video and its curve.
        first: the first of them.
        later: the others, duplicates too.
        duplicate: see `rank`.
        count: at most so many are no duplicates.

    Attributes:
        most: the next one scores no more; minus infinity if there is none.
    """

    def __init__(
        self,
        best: Hit,
        curve: "_Curve",
        first: ReadMoment,
        later: Iterator[ReadMoment],
        duplicate: float,
        count: int,
    ) -> None:
        self._curve, self._later, self._duplicate, self._count = curve, later, duplicate, count
        self._first, self._likeliest = first, first.chance
        self._next: _Read | None = None
        self._others: Iterator[_Read] | None = None
        self._begun = False
        self.most = best.score

    def advance(self) -> list[Hit]:
        """Take the next moment if it is known, else find out what it scores."""
        if self._next is None:
            self._next = self._after() if self._begun else self._curve.scored(self._first, self._likeliest)
            self._begun = True
            self.most = -math.inf if self._next is None else self._next.hit.score
            return []
        hit, self.most = self._next
        self._next = None
        return [hit]

    def _after(self) -> _Read | None:
        """The next one after the first that is no duplicate; most videos are not asked for any."""
        if self._others is None:
            read = (self._curve.scored(one, self._likeliest) for one in itertools.chain([self._first], self._later))
            kept = iterate_nms(itertools.islice(read, 2 * MAX_MOMENTS), _span_read, self._duplicate)
            self._others = itertools.islice(kept, 1, self._count)
        return next(self._others, None)


class _Curve:
    """A video and its curve: the spans of its clips and their scores."""

    def __init__(self, video: Video, spans: Times, scores: Floats) -> None:
        self.video, self.scores = video, scores
        self._spans, self._peak = spans, float(scores.max())

    def scored(self, read: ReadMoment, likeliest: float) -> _Read:
        """A moment with its score; it starts and ends where clips do. `likeliest` is the chance of the first one."""
        start = float(self._spans[read.first, 0])
        end = float(self._spans[read.end, 0] if read.end < len(self._spans) else self._spans[-1, 1])
        score = moment_score(self._peak, read.chance, likeliest)
        return _Read(Hit(self.video, start, end, score), moment_score(self._peak, read.rest, likeliest))


@dataclass(frozen=True, slots=True)
class _CurveReader:
    """Reads moments off the curves of videos."""

    index: Index
    vector: Floats
    reader: SpanReader
    duplicate: float

    def moments(self, video: Video, most: int, usual: int) -> list[Hit]:
        """At most `most`, best first; looks at twice the `usual` number."""
        curve, first, later = self._read([video])[0]
        read = (curve.scored(one, first.chance) for one in itertools.chain([first], later))
        return [one.hit for one in nms(itertools.islice(read, 2 * usual), _span_read, self.duplicate, most)]

    def begin(self, rows: Sequence[Hit], count: int) -> list[_Reading]:
        """The moments of the videos of some rows; of each at most `count` will be asked for."""
        read = zip(rows, self._read([row.video for row in rows]), strict=True)
        return [_Reading(row, *one, self.duplicate, count) for row, one in read]

    def _read(self, videos: Sequence[Video]) -> list[tuple[_Curve, ReadMoment, Iterator[ReadMoment]]]:
        curves = [_Curve(video, *self.index.curve(self.vector, video.id)) for video in videos]
        found = first_moments([one.scores for one in curves], [video.duration for video in videos], self.reader)
        return [(curve, first, later) for curve, (first, later) in zip(curves, found, strict=True)]


def _span_read(read: _Read) -> tuple[str, float, float]:
    return _span(read.hit)


def _span(hit: Hit) -> tuple[str, float, float]:
    return hit.video.id, hit.start, hit.end
