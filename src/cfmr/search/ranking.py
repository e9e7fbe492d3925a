"""From an index to ranked moments: rows that are moments of their own, or moments read off the curves of videos."""

import heapq
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from cfmr.index.base import Hit, Index, Selection, Video
from cfmr.index.codec import Floats
from cfmr.moments.nms import iterate_nms, nms
from cfmr.moments.span_reader import MAX_MOMENTS, Readout, SpanReader, scored_moments

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
    # a heap: what the next moment scores at most, negated; the order of best rows; whose moment it is
    waiting: list[tuple[float, int, _Reading]] = []
    while True:
        rows = index.top(reader.vector, asked, selection)
        for row in rows:
            if row.video.id not in known:
                heapq.heappush(waiting, (-row.score, len(known), _Reading(reader, row.video, min(top, MAX_MOMENTS))))
                known.add(row.video.id)
        all_rows = len(rows) < asked or asked >= selection.rows
        least = -math.inf if all_rows else rows[-1].score  # below it, a video that is not known yet may be better
        while waiting and len(hits) < top and -waiting[0][0] >= least:
            _, order, reading = waiting[0]
            hits += reading.advance()
            if reading.most == -math.inf:
                heapq.heappop(waiting)
            else:
                heapq.heapreplace(waiting, (-reading.most, order, reading))
        if all_rows or len(hits) >= top:
            return sorted(hits, key=lambda hit: -hit.score)[:top]
        asked *= 4


class _Reading:
    """The moments of a video, of which the next one is known as soon as it may be the best of all.

    Attributes:
        most: the next one scores no more; minus infinity if there is none.
    """

    def __init__(self, reader: "_CurveReader", video: Video, count: int) -> None:
        looked_at = itertools.islice(reader.read(video), 2 * MAX_MOMENTS)
        self._moments = itertools.islice(iterate_nms(looked_at, _span_read, reader.duplicate), count)
        self._next: _Read | None = None
        self.most = math.inf

    def advance(self) -> list[Hit]:
        """Take the next moment if it is known, else find out what it scores."""
        if self._next is None:
            self._next = next(self._moments, None)
            self.most = -math.inf if self._next is None else self._next.hit.score
            return []
        hit, self.most = self._next
        self._next = None
        return [hit]


class _Read(NamedTuple):
    """A moment of a video, and what its next one scores at most."""

    hit: Hit
    most: float


@dataclass(frozen=True, slots=True)
class _CurveReader:
    """Reads moments off the curves of videos."""

    index: Index
    vector: Floats
    reader: SpanReader
    duplicate: float

    def moments(self, video: Video, most: int, usual: int) -> list[Hit]:
        """At most `most`, best first; looks at twice the `usual` number."""
        read = itertools.islice(self.read(video), 2 * usual)
        return [one.hit for one in nms(read, _span_read, self.duplicate, most)]

    def read(self, video: Video) -> Iterator[_Read]:
        """Moments of a video, duplicates too, each read when it is asked for."""
        spans, scores = self.index.curve(self.vector, video.id)
        starts, ends = spans[:, 0], spans[:, 1]  # moments start and end where clips do
        for read, score, most in scored_moments(scores, video.duration, self.reader):
            until = float(starts[read.end]) if read.end < len(starts) else float(ends[-1])
            yield _Read(Hit(video, float(starts[read.first]), until, score), most)


def _span_read(read: _Read) -> tuple[str, float, float]:
    return _span(read.hit)


def _span(hit: Hit) -> tuple[str, float, float]:
    return hit.video.id, hit.start, hit.end
