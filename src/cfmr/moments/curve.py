"""Reading moments off a relevance curve: the stretch around its peak first, then what else stands out.

A curve is what a sentence's vector says of each clip of a video. Nothing here knows a model or a framework.

Every search reads some curves, and most have fewer than a hundred clips: there a call of numpy costs more than its
work. So whole curves are numpy's, and what is done clip by clip is plain Python over a few numbers.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.moments.nms import Times, iou

Curve = NDArray[np.floating[Any]]
Clips = NDArray[np.intp]
ClipRange = tuple[int, int]  # its first and its last clip

FLOOR_QUANTILE = 0.2  # quantile of a curve that counts as "nothing there", where a model says nothing else
PEAK_SHARE = 0.5  # a moment ends where the curve has fallen to this share of its peak's height over the floor
OVERLAP_PENALTY = 3.0  # taken from the score of a moment that overlaps a better one, in units of the curve
PEAKS = 8
MAX_MOMENTS = 10
NMS_IOU = 0.6  # intersection over union with a better moment from which one is dropped
WIDTHS = 20  # tried for moments of any width
CANDIDATES = 100  # of them, the best that are looked at for duplicates
LONG = 400  # clips from which windows are worked out width by width, without a table of all

_CURVE = "curve@"


def curve_readout(floor: float) -> str:
    """The name of this way of reading, for `Model.readout` and an index's card."""
    return f"{_CURVE}{floor:g}"


def floor_of(readout: str) -> float | None:
    """The quantile that counts as nothing; None if a model is not read off curves."""
    if readout == "curve":
        return FLOOR_QUANTILE
    return float(readout.removeprefix(_CURVE)) if readout.startswith(_CURVE) else None


def moments_of_curve(
    scores: Curve,
    spans: NDArray[np.floating[Any]],
    floor: float = FLOOR_QUANTILE,
    count: int = MAX_MOMENTS,
    above: float = -math.inf,
) -> tuple[Times, Times]:
    """Moments of one video, best first.

    The first is the stretch around the highest clip. Then come, in turn, stretches around other peaks, and spans of any
    width that stand out from the rest of the video (a matched filter), as long as they are no duplicates.

    Args:
        scores: (n,) relevance of each clip.
        spans: (n, 2) of the clips, any unit of time; they may overlap, as those of overlapping windows do.
        floor: quantile of the curve that counts as nothing.
        count: at most so many moments.
        above: moments after the first that score no more than this are not looked for.

    Returns:
        spans (k, 2) in the same unit and scores (k,), k at least 1; the first's score is the curve's height.
    """
    curve, spans = _one_timeline(np.asarray(scores, np.float64), np.asarray(spans, np.float64))
    # take spans from both readings in turn; one that overlaps a better one is penalised, none may score above it
    ranges, heights = list[ClipRange](), list[float]()
    for first, last in _interleave(_peak_spans(curve, floor), _matched_filter(curve)):
        height = float(curve[first : last + 1].max())
        if any(first <= other[1] and other[0] <= last for other in ranges):
            height -= OVERLAP_PENALTY
        if heights and (height := min(height, heights[-1])) <= above:
            break
        ranges.append((first, last))
        heights.append(height)
        if len(ranges) == count:
            break
    firsts, lasts = zip(*ranges, strict=True)
    return np.array([spans[:, 0].take(firsts), spans[:, 1].take(lasts)]).T, np.array(heights)


def stretch_around(curve: Times, point: float, near: float, floor: float = FLOOR_QUANTILE) -> ClipRange:
    """Range of clips around the peak nearest to a point in time, which it contains.

    Args:
        curve: (n,) relevance of each clip.
        point: fraction of the video.
        near: how far the peak may lie from it, as a fraction.
        floor: as for `moments_of_curve`.
    """
    count = len(curve)
    here, reach = min(int(point * count), count - 1), max(1, int(near * count))
    lowest = max(0, here - reach)
    peak = lowest + int(curve[lowest : here + reach + 1].argmax())
    first, last = _peak_span(curve, peak, _quantile(curve, floor))
    return min(first, here), max(last, here)


def _interleave(stretches: Iterator[ClipRange], others: Iterator[ClipRange]) -> Iterator[ClipRange]:
    """Ranges from both in turn, without duplicates (non-maximum suppression); the first is the highest peak's."""
    given = [next(stretches)]
    yield given[0]
    sources = [stretches, others]
    while sources:
        source = sources.pop(0)
        found = next(source, None)
        if found is None:
            continue
        sources.append(source)
        if all(_iou(found, other) < NMS_IOU for other in given):
            given.append(found)
            yield found


def _iou(a: ClipRange, b: ClipRange) -> float:
    return iou((a[0], a[1] + 1), (b[0], b[1] + 1))


def _peak_spans(curve: Times, floor: float) -> Iterator[ClipRange]:
    """Range of clips around each of the highest peaks, highest first."""
    nothing = _quantile(curve, floor)
    for peak in _peaks(curve):
        yield _peak_span(curve, peak, nothing)


def _quantile(curve: Times, share: float) -> float:
    """As numpy's, with the lower of two neighbours; it is asked for every curve that is read."""
    rank = int(share * (len(curve) - 1))
    return float(np.partition(curve, rank)[rank])


def _peaks(curve: Times) -> list[int]:
    """Positions of the highest local maxima, highest first. Of a plateau the last position counts."""
    rises = np.empty(len(curve) + 1, bool)  # to each clip from the one before
    rises[0], rises[-1] = True, False
    np.greater_equal(curve[1:], curve[:-1], out=rises[1:-1])
    found = np.flatnonzero(rises[:-1] > rises[1:])
    highest: list[int] = found[np.argsort(-curve[found], kind="stable")][:PEAKS].tolist()
    return highest


def _peak_span(curve: Times, peak: int, nothing: float) -> ClipRange:
    """Range of clips around a peak where the curve stays above `PEAK_SHARE` of its height over the floor."""
    level = nothing + PEAK_SHARE * (curve[peak] - nothing)
    below = (curve <= level).tobytes()  # whose search for a byte is the fastest there is
    end = below.find(1, peak + 1)
    return below.rfind(1, 0, peak) + 1, (end if end >= 0 else len(curve)) - 1


def _matched_filter(curve: Times) -> Iterator[ClipRange]:
    """Matched filter: windows of any width, by the z-score of their mean against the rest, without duplicates.

    With white noise of one strength the difference of the two means has variance 1/w + 1/(n - w).
    """
    value = _negative_z_scores(curve)
    if not len(value):
        return
    best = np.argpartition(value, CANDIDATES)[:CANDIDATES] if len(value) > CANDIDATES else np.arange(len(value))
    best = best[np.argsort(value[best], kind="stable")]
    starts, ends = _window_ends(len(curve), best)
    while len(starts):
        start, end = int(starts[0]), int(ends[0])
        yield start, end - 1
        common = np.minimum(ends, end) - np.maximum(starts, start)  # below 0 where they are apart, which keeps them
        kept = common < NMS_IOU * (ends - starts + (end - start) - common)
        starts, ends = starts[kept], ends[kept]


def _negative_z_scores(curve: Times) -> Times:
    """Negative z-score of every window's mean against the rest (lower stands out more); windows as `_window_ends`."""
    # sums over windows are differences of running sums
    summed = np.empty(len(curve) + 1)
    summed[0] = 0
    curve.cumsum(out=summed[1:])
    if len(curve) < LONG:
        table = _table(len(curve))
        inside = summed.take(table.end) - summed.take(table.first)
        value: Times = ((summed[-1] - inside) / table.rest - inside / table.width) * table.factor
        return value
    # a table of all windows would be large: width by width
    values = []
    for width in _widths(len(curve))[0].tolist():
        inside = summed[width:] - summed[:-width]
        rest = len(curve) - width
        values.append(((summed[-1] - inside) / rest - inside / width) * math.sqrt(width * (rest / len(curve))))
    return np.concatenate(values)


@lru_cache(maxsize=256)
def _widths(count: int) -> tuple[Clips, Clips]:
    """Widths tried in a video of so many clips, and how many windows are narrower than each.

    Windows are numbered by width, and by their first clip among those of one width.
    """
    if count < 2:
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    widths = np.unique(np.round(np.geomspace(1, 0.95 * count, WIDTHS)).astype(np.intp))
    widths = widths[widths < count]
    return widths, np.cumsum(count - widths + 1) - (count - widths + 1)


def _window_ends(count: int, numbers: Clips) -> tuple[Clips, Clips]:
    """First clip of windows, by their numbers, in a video of so many clips, and the clip after their last."""
    widths, before = _widths(count)
    at = before.searchsorted(numbers, side="right") - 1
    starts: Clips = numbers - before[at]
    return starts, starts + widths[at]


@dataclass(frozen=True, slots=True)
class _Table:
    """All windows of a short video: first clip, the clip after the last, width, width of the rest, and its factor."""

    first: Clips
    end: Clips
    width: Times
    rest: Times
    factor: Times


@lru_cache(maxsize=256)
def _table(count: int) -> _Table:
    widths, _ = _widths(count)
    first, end = _window_ends(count, np.arange((count - widths + 1).sum()))
    width, rest = end - first, count - (end - first)
    return _Table(first, end, width.astype(float), rest.astype(float), np.sqrt(width * (rest / count)))


def _one_timeline(curve: Times, spans: Times) -> tuple[Times, Times]:
    """Clips of overlapping windows, resampled onto one grid of times and averaged where several fall into a cell."""
    if len(spans) < 2 or (spans[1:, 0] >= spans[:-1, 1] - 1e-6 * spans[:-1, 1]).all():
        return curve, spans
    step = float(np.median(spans[:, 1] - spans[:, 0]))
    # the grid's step is the usual clip; each clip falls into the cell that holds its middle
    cell = np.floor((spans.mean(1) - spans[:, 0].min()) / step).astype(np.intp)
    counts = np.bincount(cell)
    present = np.flatnonzero(counts)  # a gap between windows stays a gap
    starts = spans[:, 0].min() + present * step
    merged = np.bincount(cell, weights=curve)[present] / counts[present]
    return merged, np.stack([starts, np.minimum(starts + step, spans[:, 1].max())], axis=1)
