"""Null-set rejection (GMR): whether a system knows that nothing in a video fits a sentence."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.moments.metrics import iou
from cfmr.moments.several import DEPTHS, matched_overlaps

Floats = NDArray[np.float64]

THRESHOLDS = (0.4, 0.5, 0.6)  # GMR's evaluation has the outer two; 0.5 is where `Existence` tells apart best
MAX_WINDOWS = 10


def auroc(matches: NDArray[np.bool_], scores: Floats) -> float | None:
    """Area under the ROC curve: how often a sentence that something fits has the higher score. Equal scores count half.

    Returns:
        0 to 1; None where all sentences are of one kind.
    """
    positive, negative = scores[matches], scores[~matches]
    if not len(positive) or not len(negative):
        return None
    ordered = np.sort(negative)
    below, upto = np.searchsorted(ordered, positive, "left"), np.searchsorted(ordered, positive, "right")
    return float((below + upto).sum() / 2 / (len(positive) * len(negative)))


def rejection(matches: NDArray[np.bool_], scores: Floats, threshold: float) -> tuple[float, float]:
    """F1 of rejecting what nothing fits, and the share of right decisions; a score up to the threshold rejects.

    Returns:
        Rej-F1 and accuracy, 0 to 1.
    """
    rejected = scores <= threshold
    right = int((rejected & ~matches).sum())
    precision = right / int(rejected.sum()) if rejected.any() else 0.0
    recall = right / int((~matches).sum()) if (~matches).any() else 0.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return float(f1), float((rejected != matches).mean())


def set_iou(predicted: Floats, truth: Floats) -> float:
    """IoU of two sets of windows: 1 if both are empty, 0 if one is.

    Each predicted window, best first, is matched to the true one left that it overlaps most, even by nothing; the sum
    of their IoU is over the number of windows of both sets, matched ones counted once.

    Args:
        predicted: (k, 2).
        truth: (g, 2).
    """
    if not len(predicted) or not len(truth):
        return 1.0 if len(predicted) == len(truth) else 0.0
    overlap = iou(predicted[:, None], truth[None])
    return float(sum(matched_overlaps(overlap)) / max(overlap.shape))


def set_measures(predicted: Sequence[Floats], truth: Sequence[Floats], rejected: Sequence[bool]) -> dict[str, float]:
    """G-mIoU@n in percent over all sentences.

    Args:
        predicted: (k, >= 2) windows of each sentence, best first; those without a length are left out.
        truth: (g, 2), g = 0 where nothing fits.
        rejected: of each sentence, whether its windows are taken back.
    """
    kept = [
        np.zeros((0, 2)) if none else windows[windows[:, 1] > windows[:, 0], :2][:MAX_WINDOWS]
        for windows, none in zip(predicted, rejected, strict=True)
    ]
    measures = {}
    for depth in DEPTHS:
        overlaps = [set_iou(windows[:depth], true) for windows, true in zip(kept, truth, strict=True)]
        measures[f"G-mIoU@{depth}"] = 100 * (sum(overlaps) / len(overlaps))  # summed in order: rounds as GMR's script
    return measures


def best_threshold(matching: Floats, other: Floats) -> tuple[float, float]:
    """The score that tells apart best, and how well: the mean of both kinds' shares on their side of it.

    Args:
        matching: best scores where there is something to find.
        other: best scores where there is nothing.
    """
    edges = np.unique(np.concatenate([matching, other]))
    between = np.concatenate([edges[:1] - 1e-6, (edges[1:] + edges[:-1]) / 2])
    right = (matching[None] >= between[:, None]).mean(1) / 2 + (other[None] < between[:, None]).mean(1) / 2
    best = int(right.argmax())
    return float(between[best]), float(right[best])


@dataclass(frozen=True)
class Existence:
    """How sure to be that anything fits, 0 to 1, by the best score: 0.5 at the threshold that tells apart best.

    Attributes:
        threshold: that score.
        width: the spread of scores of one kind, by which sureness rises.
    """

    threshold: float
    width: float

    @classmethod
    def between(cls, matching: Floats, other: Floats) -> "Existence":
        """Learnt from best scores where there is something to find, and where there is nothing."""
        spread = float(np.sqrt((matching.var() + other.var()) / 2))
        return cls(best_threshold(matching, other)[0], max(spread, 1e-6))

    def __call__(self, best: float | np.floating[Any]) -> Floats:
        return np.asarray(1 / (1 + np.exp(-np.clip((float(best) - self.threshold) / self.width, -50, 50))))
