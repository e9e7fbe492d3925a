"""From an index to ranked moments: rows that are moments of their own, or moments read off the curves of videos."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cfmr.index.base import Hit, Index, Selection, Video
from cfmr.index.codec import Floats
from cfmr.moments.nms import nms
from cfmr.moments.span_reader import MAX_MOMENTS, Readout, SpanReader, iterate_moments

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
    """Moments of whole curves, video after video from that with the best row, until no other can be better.

    A moment scores its peak's height, so a video has none above its best row.
    """
    index = reader.index
    asked, read, hits = max(FIRST_ROWS, ROWS_PER_MOMENT * top), set[str](), list[Hit]()
    while True:
        rows = index.top(reader.vector, asked, selection)
        for row in rows:
            if len(hits) >= top and hits[top - 1].score >= row.score:
                return hits[:top]
            if row.video.id in read:
                continue
            read.add(row.video.id)
            worst = hits[top - 1].score if len(hits) >= top else -math.inf
            hits += reader.moments(row.video, min(top, MAX_MOMENTS), MAX_MOMENTS, worst)
            hits.sort(key=lambda hit: -hit.score)
        if len(rows) < asked or asked >= selection.rows:
            return hits[:top]
        asked *= 4


@dataclass(frozen=True, slots=True)
class _CurveReader:
    """Reads moments off the curves of videos."""

    index: Index
    vector: Floats
    reader: SpanReader
    duplicate: float

    def moments(self, video: Video, most: int, usual: int, above: float = -math.inf) -> list[Hit]:
        """At most `most` that score more than `above`, best first; looks at twice the `usual` number."""
        read = itertools.islice(self._read(video), 2 * usual)
        return nms(itertools.takewhile(lambda hit: hit.score > above, read), _span, self.duplicate, most)

    def _read(self, video: Video) -> Iterator[Hit]:
        """Moments of a video, duplicates too, each read when it is asked for."""
        spans, scores = self.index.curve(self.vector, video.id)
        edges = np.append(spans[:, 0], spans[-1, 1]).tolist()  # moments start and end where clips do
        peak, likeliest = float(scores.max()), 0.0
        for first, end, chance in iterate_moments(scores, video.duration, self.reader):
            likeliest = likeliest or chance
            yield Hit(video, edges[first], edges[end], peak + math.log(chance / likeliest))


def _span(hit: Hit) -> tuple[str, float, float]:
    return hit.video.id, hit.start, hit.end
