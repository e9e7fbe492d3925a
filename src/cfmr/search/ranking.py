"""From an index to ranked moments: rows that are moments of their own, or moments read off the curves of videos."""

import math
from dataclasses import dataclass

from cfmr.index.base import Hit, Index, Selection, Video
from cfmr.index.codec import Floats
from cfmr.moments import curve as curves
from cfmr.moments.curve import MOMENTS, floor_of, moments_of_curve
from cfmr.moments.nms import nms

NMS_IOU = 0.5  # anchors of one video that overlap so much are one moment; curves are read with their own bound
ROWS_PER_MOMENT = 12  # of a model read by curve, so many rows for each moment asked for are looked at first
FIRST_ROWS = 64  # but no fewer than these


def rank(
    index: Index,
    readout: str,
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
    floor = floor_of(readout)
    if floor is None:
        return _best_rows(index, vector, top, selection, NMS_IOU if duplicate is None else duplicate)
    reader = _CurveReader(index, vector, floor, top, duplicate)
    if alone is not None:  # then which video is best is no question
        return reader.moments(index.video(alone))
    return _best_of_curves(reader, selection)


def _best_rows(index: Index, vector: Floats, top: int, selection: Selection, iou: float) -> list[Hit]:
    """Rows after temporal NMS, of which ever more are asked for until enough are left."""
    asked = 8 * top
    while True:
        hits = index.top(vector, asked, selection)
        kept = nms(hits, _span, iou, top) if iou < 1 else hits[:top]
        if len(kept) == top or len(hits) < asked or asked >= selection.rows:
            return kept
        asked *= 4


def _best_of_curves(reader: "_CurveReader", selection: Selection) -> list[Hit]:
    """Moments of whole curves, video after video from that with the best row, until no other can be better.

    A moment scores its peak's height, so a video has none above its best row.
    """
    top, index = reader.top, reader.index
    asked, read, hits = max(FIRST_ROWS, ROWS_PER_MOMENT * top), set[str](), list[Hit]()
    while True:
        rows = index.top(reader.vector, asked, selection)
        for row in rows:
            if len(hits) >= top and hits[top - 1].score >= row.score:
                return hits[:top]
            if row.video.id in read:
                continue
            read.add(row.video.id)
            hits += reader.moments(row.video, hits[top - 1].score if len(hits) >= top else -math.inf)
            hits.sort(key=lambda hit: -hit.score)
        if len(rows) < asked or asked >= selection.rows:
            return hits[:top]
        asked *= 4


@dataclass(frozen=True, slots=True)
class _CurveReader:
    """Reads at most `top` moments off a video's curve."""

    index: Index
    vector: Floats
    floor: float
    top: int
    duplicate: float | None

    def moments(self, video: Video, above: float = -math.inf) -> list[Hit]:
        """Best first; those after the first that score no more than `above` may be missing."""
        spans, scores = self.index.curve(self.vector, video.id)
        closer = self.duplicate is not None and self.duplicate < curves.DUPLICATE
        count = MOMENTS if closer else min(self.top, MOMENTS)
        found, values = moments_of_curve(scores, spans, self.floor, count, above)
        hits = [Hit(video, s, e, v) for (s, e), v in zip(found.tolist(), values.tolist(), strict=True)]
        return nms(hits, _span, self.duplicate, self.top) if closer and self.duplicate is not None else hits


def _span(hit: Hit) -> tuple[str, float, float]:
    return hit.video.id, hit.start, hit.end
