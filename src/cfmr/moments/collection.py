"""Measures over a collection of videos: VCMR, SVMR and VR of TVR, PRVR, and NDCG with graded relevance."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.moments.metrics import CORPUS_DEPTHS, CORPUS_THRESHOLDS, iou

Floats = NDArray[np.float64]

MAX_ANSWERS = 100
AGREEING = 2  # of four or more annotators' spans (DiDeMo) so many have to be met
NDCG_DEPTHS = (10, 20, 40)
NDCG_THRESHOLDS = (0.3, 0.5, 0.7)
GAIN_BASE = 2.0


def right_moments(answers: Floats, video: int, spans: Floats) -> NDArray[np.bool_]:
    """Which answers name the right video and a span close enough, for each IoU of CORPUS_THRESHOLDS.

    Args:
        answers: (n, >= 3) number of the video, start, end; best first.
        video: number of the right one.
        spans: (g, 2) true spans; one of them has to be met, of four or more annotators' two.

    Returns:
        (n, thresholds). Computed in single precision, as TVR's evaluation does.
    """
    with np.errstate(over="ignore"):  # what is too great for it is no video and meets no span
        predicted = np.asarray(answers[:MAX_ANSWERS, :3], np.float32)
    true = np.asarray(spans, np.float32)
    overlap = _single_precision_iou(predicted[:, None, 1:], true[None])  # n, g
    overlap = np.where((predicted[:, 0] == np.float32(video))[:, None], overlap, np.float32(0))
    needed = AGREEING if len(true) >= 4 else 1
    met = [(overlap >= np.float32(threshold)).sum(1) >= needed for threshold in CORPUS_THRESHOLDS]
    return np.stack(met, axis=1)


def _single_precision_iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    common = np.maximum(np.float32(0), np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0]))
    whole = np.maximum(a[..., 1], b[..., 1]) - np.minimum(a[..., 0], b[..., 0])
    return np.asarray(np.divide(common, whole, out=np.zeros_like(common), where=whole != 0), np.float32)


def moment_recalls(right: Sequence[NDArray[np.bool_]], prefix: str) -> dict[str, float]:
    """R@n,IoU=m in percent from `right_moments` of each sentence."""
    measures = {}
    for column, threshold in enumerate(CORPUS_THRESHOLDS):
        for depth in CORPUS_DEPTHS:
            share = np.mean([found[:depth, column].any() for found in right])
            measures[f"{prefix} R@{depth},IoU={threshold}"] = 100 * float(share)
    return measures


def video_recalls(ranks: Sequence[int | None]) -> dict[str, float]:
    """R@n of the right video in percent, and PRVR's SumR.

    Args:
        ranks: for each sentence the place of its video, from 1; None where it is not among the answers.
    """
    measures = {
        f"video R@{depth}": 100 * float(np.mean([rank is not None and rank <= depth for rank in ranks]))
        for depth in CORPUS_DEPTHS
    }
    return {**measures, "SumR": sum(measures.values())}


def ndcg(
    answers: Sequence[tuple[str, float, float]],
    graded: Sequence[tuple[str, float, float, float]],
    depth: int,
    threshold: float,
) -> float:
    """Normalised discounted cumulative gain of one sentence (TVR-Ranking), 0 to 1.

    An answer takes the relevance of the moment of its video that it overlaps most, if by more than `threshold`, and
    each moment is given once.

    Args:
        answers: (video, start, end), best first.
        graded: (video, start, end, relevance) of all that was judged.
    """
    left = sorted(graded, key=lambda moment: -moment[3])
    ideal = _gain([moment[3] for moment in left[:depth]])
    gains = []
    for video, start, end in answers[:depth]:
        candidates = [place for place, moment in enumerate(left) if moment[0] == video]
        overlaps = iou(np.array([start, end]), np.array([left[place][1:3] for place in candidates]).reshape(-1, 2))
        best = int(overlaps.argmax()) if candidates else -1
        if best < 0 or not overlaps[best] > threshold:
            gains.append(0.0)
            continue
        gains.append(left.pop(candidates[best])[3])
    return _gain(gains) / ideal if ideal > 0 else 0.0


def _gain(relevances: Sequence[float]) -> float:
    return float(sum((GAIN_BASE**value - 1) / np.log2(place + 2) for place, value in enumerate(relevances)))


def ndcg_measures(
    answers: Mapping[Any, Sequence[tuple[str, float, float]]],
    graded: Mapping[Any, Sequence[tuple[str, float, float, float]]],
) -> dict[str, float]:
    """NDCG@n,IoU>m, mean over the sentences, 0 to 1 as the field gives it."""
    return {
        f"NDCG@{depth},IoU>{threshold}": float(
            np.mean([ndcg(answers.get(qid, ()), moments, depth, threshold) for qid, moments in graded.items()])
        )
        for depth in NDCG_DEPTHS
        for threshold in NDCG_THRESHOLDS
    }
