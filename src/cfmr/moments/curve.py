"""Reading moments off a relevance curve: the stretch around its peak first, then what else stands out.

A curve is what a sentence's vector says of each clip of a video. Nothing here knows a model or a framework.

Every search reads some curves, and most have fewer than a hundred clips: there a call of numpy costs more than its
work. So whole curves are numpy's, and what is done place by place is plain Python over a few numbers.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]
Curve = NDArray[np.floating[Any]]
Places = NDArray[np.intp]
Place = tuple[int, int]  # first and last clip

FLOOR = 0.2  # quantile of a curve that counts as "nothing there", where a model says nothing else
FRACTION = 0.5  # a moment ends where the curve has fallen so far from its peak towards the floor
DEMOTION = 3.0  # of a moment that is another reading of a place, in units of the curve
PEAKS = 8
MOMENTS = 10
DUPLICATE = 0.6  # intersection over union with a better moment from which one is dropped
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
        return FLOOR
    return float(readout.removeprefix(_CURVE)) if readout.startswith(_CURVE) else None


def moments_of_curve(
    scores: Curve,
    spans: NDArray[np.floating[Any]],
    floor: float = FLOOR,
    count: int = MOMENTS,
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
    places, heights = list[Place](), list[float]()
    for first, last in _in_turn(_stretches(curve, floor), _standing_out(curve)):
        height = float(curve[first : last + 1].max())
        if any(first <= other[1] and other[0] <= last for other in places):
            height -= DEMOTION
        if heights and (height := min(height, heights[-1])) <= above:
            break
        places.append((first, last))
        heights.append(height)
        if len(places) == count:
            break
    firsts, lasts = zip(*places, strict=True)
    return np.array([spans[:, 0].take(firsts), spans[:, 1].take(lasts)]).T, np.array(heights)


def stretch_around(curve: Times, place: float, near: float, floor: float = FLOOR) -> Place:
    """First and last clip of the stretch around the peak nearest to a place, which it contains.

    Args:
        curve: (n,) relevance of each clip.
        place: fraction of the video.
        near: how far the peak may lie from it, as a fraction.
        floor: as for `moments_of_curve`.
    """
    count = len(curve)
    here, reach = min(int(place * count), count - 1), max(1, int(near * count))
    lowest = max(0, here - reach)
    peak = lowest + int(curve[lowest : here + reach + 1].argmax())
    first, last = _stretch(curve, peak, _quantile(curve, floor))
    return min(first, here), max(last, here)


def _in_turn(stretches: Iterator[Place], others: Iterator[Place]) -> Iterator[Place]:
    """Places from both in turn, without duplicates; the first is the first stretch."""
    given = [next(stretches)]
    yield given[0]
    sources = [stretches, others]
    while sources:
        source = sources.pop(0)
        place = next(source, None)
        if place is None:
            continue
        sources.append(source)
        if all(_overlap(place, other) < DUPLICATE for other in given):
            given.append(place)
            yield place


def overlap(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Intersection over union of two spans."""
    common = min(a[1], b[1]) - max(a[0], b[0])
    return max(common, 0.0) / max(max(a[1], b[1]) - min(a[0], b[0]), 1e-9)


def _overlap(a: Place, b: Place) -> float:
    return overlap((a[0], a[1] + 1), (b[0], b[1] + 1))


def _stretches(curve: Times, floor: float) -> Iterator[Place]:
    """First and last clip of the stretch around each of the highest peaks, highest first."""
    nothing = _quantile(curve, floor)
    for peak in _peaks(curve):
        yield _stretch(curve, peak, nothing)


def _quantile(curve: Times, share: float) -> float:
    """As numpy's, with the lower of two neighbours; it is asked for every curve that is read."""
    place = int(share * (len(curve) - 1))
    return float(np.partition(curve, place)[place])


def _peaks(curve: Times) -> list[int]:
    """Positions of the highest local maxima, highest first. Of a plateau the last position counts."""
    rises = np.empty(len(curve) + 1, bool)  # to each clip from the one before
    rises[0], rises[-1] = True, False
    np.greater_equal(curve[1:], curve[:-1], out=rises[1:-1])
    found = np.flatnonzero(rises[:-1] > rises[1:])
    highest: list[int] = found[np.argsort(-curve[found], kind="stable")][:PEAKS].tolist()
    return highest


def _stretch(curve: Times, peak: int, nothing: float) -> Place:
    """First and last position around a peak where the curve stays above FRACTION of its height over nothing."""
    level = nothing + FRACTION * (curve[peak] - nothing)
    below = (curve <= level).tobytes()  # whose search for a byte is the fastest there is
    end = below.find(1, peak + 1)
    return below.rfind(1, 0, peak) + 1, (end if end >= 0 else len(curve)) - 1


def _standing_out(curve: Times) -> Iterator[Place]:
    """Stretches of any width, by how far their mean lies above that of the rest, in standard errors.

    With white noise of one strength the difference of the two means has variance 1/w + 1/(n - w).
    """
    value = _shortfall(curve)
    if not len(value):
        return
    best = np.argpartition(value, CANDIDATES)[:CANDIDATES] if len(value) > CANDIDATES else np.arange(len(value))
    best = best[np.argsort(value[best], kind="stable")]
    starts, ends = _places(len(curve), best)
    while len(starts):
        start, end = int(starts[0]), int(ends[0])
        yield start, end - 1
        common = np.minimum(ends, end) - np.maximum(starts, start)  # below 0 where they are apart, which keeps them
        kept = common < DUPLICATE * (ends - starts + (end - start) - common)
        starts, ends = starts[kept], ends[kept]


def _shortfall(curve: Times) -> Times:
    """How far the mean of each window lies below that of the rest, in standard errors: the least stands out most."""
    summed = np.empty(len(curve) + 1)
    summed[0] = 0
    curve.cumsum(out=summed[1:])
    if len(curve) < LONG:
        table = _table(len(curve))
        inside = summed.take(table.end) - summed.take(table.first)
        value: Times = ((summed[-1] - inside) / table.rest - inside / table.width) * table.factor
        return value
    values = []
    for width in _widths(len(curve))[0].tolist():
        inside = summed[width:] - summed[:-width]
        rest = len(curve) - width
        values.append(((summed[-1] - inside) / rest - inside / width) * math.sqrt(width * (rest / len(curve))))
    return np.concatenate(values)


@lru_cache(maxsize=256)
def _widths(count: int) -> tuple[Places, Places]:
    """Widths tried in a video of so many clips, and how many windows are narrower than each.

    Windows are numbered by width, and by their first clip among those of one width.
    """
    if count < 2:
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    widths = np.unique(np.round(np.geomspace(1, 0.95 * count, WIDTHS)).astype(np.intp))
    widths = widths[widths < count]
    return widths, np.cumsum(count - widths + 1) - (count - widths + 1)


def _places(count: int, numbers: Places) -> tuple[Places, Places]:
    """First clip of windows in a video of so many clips, and the clip after their last."""
    widths, before = _widths(count)
    at = before.searchsorted(numbers, side="right") - 1
    starts: Places = numbers - before[at]
    return starts, starts + widths[at]


@dataclass(frozen=True, slots=True)
class _Table:
    """All windows of a short video: first clip, the clip after the last, width, width of the rest, and its factor."""

    first: Places
    end: Places
    width: Times
    rest: Times
    factor: Times


@lru_cache(maxsize=256)
def _table(count: int) -> _Table:
    widths, _ = _widths(count)
    first, end = _places(count, np.arange((count - widths + 1).sum()))
    width, rest = end - first, count - (end - first)
    return _Table(first, end, width.astype(float), rest.astype(float), np.sqrt(width * (rest / count)))


def _one_timeline(curve: Times, spans: Times) -> tuple[Times, Times]:
    """Rows of overlapping windows, put on one grid of times and averaged where several say something."""
    if len(spans) < 2 or (spans[1:, 0] >= spans[:-1, 1] - 1e-6 * spans[:-1, 1]).all():
        return curve, spans
    step = float(np.median(spans[:, 1] - spans[:, 0]))
    cell = np.floor((spans.mean(1) - spans[:, 0].min()) / step).astype(np.intp)
    counts = np.bincount(cell)
    present = np.flatnonzero(counts)
    starts = spans[:, 0].min() + present * step
    merged = np.bincount(cell, weights=curve)[present] / counts[present]
    return merged, np.stack([starts, np.minimum(starts + step, spans[:, 1].max())], axis=1)
