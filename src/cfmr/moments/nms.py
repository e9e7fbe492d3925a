"""From scored rows to moments: duplicates, relevance over time."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item")
Times = NDArray[np.float64]


def overlap(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Intersection over union of two spans."""
    common = min(a[1], b[1]) - max(a[0], b[0])
    return max(common, 0.0) / max(max(a[1], b[1]) - min(a[0], b[0]), 1e-9)


def nms(
    ranked: Iterable[Item], key: Callable[[Item], tuple[str, float, float]], max_iou: float, count: int
) -> list[Item]:
    """Temporal non-maximum suppression: the first `count` items that overlap no better one of their video.

    Args:
        ranked: best first.
        key: video, start and end of an item.
        max_iou: greatest intersection over union with a better item; 1 keeps all but exact copies.
    """
    kept: list[Item] = []
    spans: dict[str, list[tuple[float, float]]] = {}
    for item in ranked:
        video, start, end = key(item)
        others = spans.setdefault(video, [])
        if all(overlap((start, end), other) < max_iou for other in others):
            others.append((start, end))
            kept.append(item)
            if len(kept) == count:
                break
    return kept


def anchor_relevance(spans: Times, scores: NDArray[np.floating[Any]], times: Times) -> Times:
    """What anchors say of points in time: the mean score of those that cover a point, narrow and central ones first.

    Args:
        spans: (n, 2) seconds.
        scores: (n,).
        times: (m,) seconds, increasing; points that no anchor covers take the nearest one's score.
    """
    centre, half = spans.mean(1), np.maximum((spans[:, 1] - spans[:, 0]) / 2, 1e-6)
    total, weight = np.zeros(len(times)), np.zeros(len(times))
    low, high = np.searchsorted(times, spans[:, 0]), np.searchsorted(times, spans[:, 1], side="right")
    for i in range(len(spans)):  # long videos have thousands of anchors, each covering few points
        points = slice(low[i], high[i])
        near = np.maximum(1 - np.abs(times[points] - centre[i]) / half[i], 1e-3) / half[i]
        total[points] += near * scores[i]
        weight[points] += near
    covered = weight > 0
    if not covered.any():
        return np.full(len(times), float(np.mean(scores)))
    return np.interp(times, times[covered], total[covered] / weight[covered])
