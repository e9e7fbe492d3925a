"""Reading moments off a relevance curve: peaks, and the stretch around each where relevance stays high.

A curve is what a sentence's vector says of each clip of a video. Nothing here knows a model or a framework.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]
Curve = NDArray[np.floating[Any]]

FRACTION = 0.5  # a moment ends where the curve has fallen so far from its peak towards the floor
OTHER_FRACTIONS = (0.3, 0.7)  # wider and narrower readings of the same peak, offered after it
DEMOTION = 1.0  # by so much, in units of the curve
FLOOR = 0.2  # quantile of the curve that counts as "nothing there"
PEAKS = 8
MOMENTS = 10
DUPLICATE = 0.5  # intersection over union with a better moment from which one is dropped


def moments_of_curve(scores: Curve, spans: NDArray[np.floating[Any]]) -> tuple[Times, Times]:
    """Moments of one video, best first.

    Args:
        scores: (n,) relevance of each clip.
        spans: (n, 2) of the clips, any unit of time; they may overlap, as those of overlapping windows do.

    Returns:
        spans (k, 2) in the same unit and scores (k,), k at least 1 and at most MOMENTS; the score is the peak's height.
    """
    curve, spans = _one_timeline(np.asarray(scores, np.float64), np.asarray(spans, np.float64))
    floor = float(np.quantile(curve, FLOOR))
    found: list[tuple[float, int, int]] = []
    for peak in _peaks(curve):
        for fraction in (FRACTION, *OTHER_FRACTIONS):
            level = floor + fraction * (curve[peak] - floor)
            demotion = 0.0 if fraction == FRACTION else DEMOTION
            found.append((float(curve[peak]) - demotion, *_stretch(curve, peak, level)))
    found.sort(key=lambda moment: -moment[0])
    starts, ends = spans[:, 0], spans[:, 1]
    ranked = np.array([(starts[first], ends[last]) for _, first, last in found])
    kept = _distinct(ranked)
    return ranked[kept], np.array([found[i][0] for i in kept])


def _peaks(curve: Times) -> NDArray[np.intp]:
    """Positions of the highest local maxima, highest first. Of a plateau the last position counts."""
    before = np.concatenate([[-np.inf], curve[:-1]])
    after = np.concatenate([curve[1:], [-np.inf]])
    found = np.flatnonzero((curve >= before) & (curve > after))
    return found[np.argsort(-curve[found], kind="stable")][:PEAKS]


def _stretch(curve: Times, peak: int, level: float) -> tuple[int, int]:
    """First and last position around a peak where the curve stays above a level."""
    below = curve <= level
    left, right = below[:peak][::-1], below[peak + 1 :]
    first = peak - (int(left.argmax()) if left.any() else len(left))
    last = peak + (int(right.argmax()) if right.any() else len(right))
    return first, last


def _distinct(ranked: Times) -> list[int]:
    """Temporal non-maximum suppression: positions of moments that overlap no better one too much."""
    kept: list[int] = []
    for i, (start, end) in enumerate(ranked):
        others = ranked[kept]
        common = np.maximum(np.minimum(others[:, 1], end) - np.maximum(others[:, 0], start), 0)
        union = (others[:, 1] - others[:, 0]) + (end - start) - common
        if not (common >= DUPLICATE * union).any():
            kept.append(i)
            if len(kept) == MOMENTS:
                break
    return kept


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
