"""Measures of moment retrieval, in percent: in one video and over a whole collection (Method, Measures)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Spans = NDArray[np.floating[Any]]

THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)
DEPTHS = (1, 5)
CORPUS_THRESHOLDS = (0.5, 0.7)
CORPUS_DEPTHS = (1, 5, 10, 100)
CONSTANT_STEPS = 40  # the best constant answer is sought among spans whose ends are multiples of 1 / 40


def iou(a: Spans, b: Spans) -> NDArray[np.float64]:
    """Intersection over union of spans (..., 2) and (..., 2), broadcast against each other -> (...).

    A span of no length overlaps nothing.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    intersection = np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0])
    union = (a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0]) - np.maximum(intersection, 0)
    overlap = np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)
    return np.asarray(np.clip(overlap, 0, 1))


def moment_measures(ranked: Sequence[Spans], truth: Spans | Sequence[Spans]) -> dict[str, float]:
    """R@n,IoU=m and mIoU of answers within one video each.

    Args:
        ranked: for each of N queries the answers (k, 2), best first.
        truth: annotated moments, (N, 2) or N times (g, 2), in the same unit; of several the best match counts.

    Returns:
        percent by name: "R@1,IoU=0.5", "R@5,mIoU", ...
    """
    _same_number(len(ranked), len(truth))
    overlaps = [best_overlap(answers, true) for answers, true in zip(ranked, truth, strict=True)]
    measures: dict[str, float] = {}
    for depth in DEPTHS:
        best = np.array([overlap[:depth].max(initial=0.0) for overlap in overlaps])
        measures |= {f"R@{depth},IoU={m}": _percent(best >= m) for m in THRESHOLDS}
        measures[f"R@{depth},mIoU"] = _percent(best)
    return measures


def best_overlap(answers: Spans, true: Spans) -> NDArray[np.float64]:
    """IoU of each answer (k, 2) with that of the true moments, (2,) or (g, 2), which it overlaps most."""
    answers, true = np.asarray(answers).reshape(-1, 2), np.asarray(true).reshape(-1, 2)
    return np.asarray(iou(answers[:, None], true[None]).max(1, initial=0.0))


def best_constant(truth: Spans | Sequence[Spans]) -> dict[str, float]:
    """Measures of the best constant answer: one span for all queries, the best for each measure, chosen on the truth.

    Args:
        truth: annotated moments, (N, 2) or N times (g, 2), as fractions of their videos.
    """
    moments = [np.asarray(true).reshape(-1, 2) for true in truth]
    firsts = np.cumsum([0, *map(len, moments)])[:-1]
    ends = np.arange(CONSTANT_STEPS + 1) / CONSTANT_STEPS
    first, last = np.triu_indices(len(ends), 1)
    answers = np.stack([ends[first], ends[last]], axis=-1)  # C, 2
    overlap = np.maximum.reduceat(iou(answers[:, None], np.concatenate(moments)[None]), firsts, axis=1)  # C, N
    measures = {f"R@1,IoU={m}": 100 * float((overlap >= m).mean(1).max()) for m in THRESHOLDS}
    return measures | {"R@1,mIoU": 100 * float(overlap.mean(1).max())}


def glance_hits(
    ranked: Sequence[Spans], glances: NDArray[np.floating[Any]] | Sequence[NDArray[np.floating[Any]]]
) -> float:
    """Percentage of queries whose best answer contains a glance; needs no annotated moments.

    Args:
        ranked: for each of N queries the answers (k, 2), best first.
        glances: (N,), or N times (g,).
    """
    _same_number(len(ranked), len(glances))
    return _percent(
        [
            len(a) > 0 and bool(((a[0, 0] <= np.asarray(glance)) & (np.asarray(glance) <= a[0, 1])).any())
            for a, glance in zip(ranked, glances, strict=True)
        ]
    )


def corpus_measures(
    ranked: Sequence[Sequence[tuple[str, float, float]]],
    truth: Sequence[tuple[str, Spans]],
    videos: Sequence[Sequence[str]],
) -> dict[str, float]:
    """R@n,IoU=m over all videos together, and the share of queries with the right video among the first n.

    Args:
        ranked: for each of N queries (video, start, end), best first.
        truth: video and annotated moments, (2,) or (g, 2), of each query.
        videos: for each query the videos, best first.
    """
    _same_number(len(ranked), len(truth))
    measures: dict[str, float] = {}
    overlaps = [_overlaps(answers, true) for answers, true in zip(ranked, truth, strict=True)]
    for depth in CORPUS_DEPTHS:
        best = np.array([overlap[:depth].max(initial=0.0) for overlap in overlaps])
        measures |= {f"R@{depth},IoU={m}": _percent(best >= m) for m in CORPUS_THRESHOLDS}
        measures[f"video R@{depth}"] = _percent(
            [true[0] in order[:depth] for order, true in zip(videos, truth, strict=True)]
        )
    return measures


def _overlaps(answers: Sequence[tuple[str, float, float]], true: tuple[str, Spans]) -> NDArray[np.float64]:
    spans = np.array([answer[1:] for answer in answers], np.float64).reshape(-1, 2)
    same = np.array([answer[0] == true[0] for answer in answers], bool)
    return np.where(same, best_overlap(spans, true[1]), 0.0)


def rounded(measures: Mapping[str, float]) -> dict[str, float]:
    """Measures to two decimals, as they are written to files."""
    return {name: round(value, 2) for name, value in measures.items()}


def _percent(values: Any) -> float:
    return 100 * float(np.mean(values)) if len(values) else 0.0


def _same_number(answers: int, truth: int) -> None:
    if answers != truth:
        raise ValueError(f"{answers} lists of answers for {truth} annotated moments")
