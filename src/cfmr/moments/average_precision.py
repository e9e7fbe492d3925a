"""Average precision of several predicted windows against several true ones, in one video.

The rules are those of detection (Pascal VOC) as Moment-DETR's evaluation of QVHighlights applies them: the first ten
windows by score, each true window found once, precision made monotone, ten IoU thresholds from 0.5 to 0.95.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cfmr.moments.metrics import iou

Floats = NDArray[np.float64]

THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
MAX_WINDOWS = 10


def average_precision(predicted: Floats, truth: Floats, thresholds: Sequence[float] = THRESHOLDS) -> Floats:
    """Average precision for one sentence at each IoU.

    Args:
        predicted: (k, 3) start, end, score; of them the first MAX_WINDOWS count, in the order of their scores.
        truth: (g, 2) true windows, at least one.

    Returns:
        (len(thresholds),) between 0 and 1.
    """
    predicted = predicted[:MAX_WINDOWS]
    if not len(predicted):
        return np.zeros(len(thresholds))
    order = np.argsort(-predicted[:, 2], kind="stable")
    overlap = iou(predicted[order, None, :2], truth[None])  # k, g
    hits = np.stack([_hits(overlap, threshold) for threshold in thresholds])  # t, k
    found = hits.cumsum(1)
    precision = found / np.arange(1, len(order) + 1)
    return _area(precision, found / len(truth))


def _hits(overlap: Floats, threshold: float) -> NDArray[np.bool_]:
    """Which windows find a true one that none before has found; each takes the one that it overlaps most."""
    hits = np.zeros(len(overlap), bool)
    free = np.ones(overlap.shape[1], bool)
    for number, row in enumerate(overlap):
        # of true windows that are overlapped alike the last is taken
        for candidate in np.argsort(row, kind="stable")[::-1]:
            if row[candidate] < threshold:
                break
            if free[candidate]:
                hits[number], free[candidate] = True, False
                break
    return hits


def _area(precision: Floats, recall: Floats) -> Floats:
    """Area under precision over recall (t, k), precision raised to the highest at any higher recall."""
    highest = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    steps = np.diff(recall, axis=1, prepend=0.0)
    return np.asarray((steps * highest).sum(1))
