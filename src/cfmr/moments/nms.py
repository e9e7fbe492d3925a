"""Temporal non-maximum suppression: of answers that overlap, the best."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item")
Times = NDArray[np.float64]


def iou(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Intersection over union of two spans; for arrays of them see `cfmr.moments.metrics`."""
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
    return list(itertools.islice(iterate_nms(ranked, key, max_iou), count))


def iterate_nms(
    ranked: Iterable[Item], key: Callable[[Item], tuple[str, float, float]], max_iou: float
) -> Iterator[Item]:
    """What `nms` keeps; of `ranked` no more is taken than is needed for the next one."""
    spans: dict[str, list[tuple[float, float]]] = {}
    for item in ranked:
        video, start, end = key(item)
        others = spans.setdefault(video, [])
        if all(iou((start, end), other) < max_iou for other in others):
            others.append((start, end))
            yield item
