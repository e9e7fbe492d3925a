"""Highlight measures of QVHighlights: which clips of two seconds are worth seeing, by several annotators' ratings."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CLIP_SECONDS = 2.0
LEVELS = {"Fair": 2, "Good": 3, "VeryGood": 4}  # rating from which a clip counts


def clip_ratings(duration: float, clip_ids: Sequence[int], saliency: Sequence[Sequence[float]]) -> Floats:
    """Ratings of every clip of a video, (clips, annotators); 0 for clips that were not rated.

    Raises:
        ValueError: a rated clip lies outside the video.
    """
    ratings = np.zeros((int(duration / CLIP_SECONDS), len(saliency[0])))
    if max(clip_ids) >= len(ratings):
        raise ValueError(f"clip {max(clip_ids)} is rated in a video of {len(ratings)} clips ({duration:g} s)")
    ratings[list(clip_ids)] = np.asarray(saliency, np.float64)
    return ratings


def hit(scores: Floats, good: NDArray[np.bool_]) -> bool:
    """HIT@1: whether any annotator finds the clip of the highest score good.

    Args:
        scores: (n,) predicted, a clip each.
        good: (clips, annotators).
    """
    best = int(scores.argmax())
    return best < len(good) and bool(good[best].any())


def highlight_precision(scores: Floats, good: NDArray[np.bool_]) -> Floats:
    """Average precision of a ranking of clips for each annotator, (annotators,).

    Clips without a score have the score 0. Where all clips are good it is 1, where none is 0. Clips of equal score
    come at once; the mean is over the scores at which recall rises.
    """
    padded = np.zeros(len(good))
    padded[: len(scores)] = scores[: len(good)]
    return np.array([_precision(padded, column) for column in good.T])


def _precision(scores: Floats, good: NDArray[np.bool_]) -> float:
    if good.all() or not good.any():
        return float(good.any())
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # the last clip of each score
    found = good[order].cumsum()[ends]
    precision = found / (ends + 1)
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    return float(highest[np.diff(found, prepend=0) > 0].mean())
