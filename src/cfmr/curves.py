"""Reading moments off a relevance curve: the stretch around its peak first, then what else stands out.

A curve is what a sentence's vector says of each clip of a video. Nothing here knows a model or a framework.
"""

from collections.abc import Iterator
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
    scores: Curve, spans: NDArray[np.floating[Any]], floor: float = FLOOR, count: int = MOMENTS
) -> tuple[Times, Times]:
    """Moments of one video, best first.

    The first is the stretch around the highest clip. Then come, in turn, stretches around other peaks, and spans of any
    width that stand out from the rest of the video (a matched filter), as long as they are no duplicates.

    Args:
        scores: (n,) relevance of each clip.
        spans: (n, 2) of the clips, any unit of time; they may overlap, as those of overlapping windows do.
        floor: quantile of the curve that counts as nothing.
        count: at most so many moments.

    Returns:
        spans (k, 2) in the same unit and scores (k,), k at least 1; the first's score is the curve's height.
    """
    curve, spans = _one_timeline(np.asarray(scores, np.float64), np.asarray(spans, np.float64))
    places = _in_turn(_stretches(curve, floor), _standing_out(curve), count)
    heights = np.array([curve[first : last + 1].max() for first, last in places])
    again = [any(_overlap(place, other) > 0 for other in places[:i]) for i, place in enumerate(places)]
    heights -= DEMOTION * np.array(again)
    found = np.array([(spans[first, 0], spans[last, 1]) for first, last in places])
    return found, np.minimum.accumulate(heights)


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


def _in_turn(stretches: Iterator[Place], others: Iterator[Place], count: int) -> list[Place]:
    """Places from both in turn, without duplicates; the first is the first stretch."""
    kept = [next(stretches)]
    sources = [stretches, others]
    while sources and len(kept) < count:
        source = sources.pop(0)
        place = next(source, None)
        if place is None:
            continue
        sources.append(source)
        if all(_overlap(place, other) < DUPLICATE for other in kept):
            kept.append(place)
    return kept


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


def _peaks(curve: Times) -> Places:
    """Positions of the highest local maxima, highest first. Of a plateau the last position counts."""
    before = np.concatenate([[-np.inf], curve[:-1]])
    after = np.concatenate([curve[1:], [-np.inf]])
    found = np.flatnonzero((curve >= before) & (curve > after))
    return found[np.argsort(-curve[found], kind="stable")][:PEAKS]


def _stretch(curve: Times, peak: int, nothing: float) -> Place:
    """First and last position around a peak where the curve stays above FRACTION of its height over nothing."""
    level = nothing + FRACTION * (curve[peak] - nothing)
    below = curve <= level
    left, right = below[:peak][::-1], below[peak + 1 :]
    first = peak - (int(left.argmax()) if left.any() else len(left))
    last = peak + (int(right.argmax()) if right.any() else len(right))
    return first, last


def _standing_out(curve: Times) -> Iterator[Place]:
    """Stretches of any width, by how far their mean lies above that of the rest, in standard errors.

    With white noise of one strength the difference of the two means has variance 1/w + 1/(n - w).
    """
    first, width = _windows(len(curve))
    if not len(first):
        return
    summed = np.concatenate([[0.0], np.cumsum(curve)])
    inside = summed[first + width] - summed[first]
    rest = len(curve) - width
    value = (inside / width - (summed[-1] - inside) / rest) * np.sqrt(width * (rest / len(curve)))
    best = np.argpartition(-value, CANDIDATES)[:CANDIDATES] if len(value) > CANDIDATES else np.arange(len(value))
    best = best[np.argsort(-value[best], kind="stable")]
    starts, ends = first[best], first[best] + width[best]
    alive = np.ones(len(best), bool)
    while alive.any():
        i = int(alive.argmax())
        yield int(starts[i]), int(ends[i]) - 1
        common = np.maximum(np.minimum(ends, ends[i]) - np.maximum(starts, starts[i]), 0)
        alive &= common < DUPLICATE * (ends - starts + ends[i] - starts[i] - common)


@lru_cache(maxsize=256)
def _windows(count: int) -> tuple[Places, Places]:
    """First clips and widths of all windows that are tried in a video of so many clips."""
    widths = np.unique(np.round(np.geomspace(1, 0.95 * count, WIDTHS)).astype(np.intp)) if count > 1 else np.array([])
    pairs = [(np.arange(count - width + 1), np.full(count - width + 1, width)) for width in widths if width < count]
    if not pairs:
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    first, width = (np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
    return first, width


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
