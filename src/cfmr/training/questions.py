"""Which question to ask next: the one whose answer leaves least in doubt (Method, CFMR-Dense, The most useful click).

What a model can learn from labels is taken for linear in what a sentence says, partly the same in all videos and partly
of one video alone. With x the mean of a sentence's word vectors less that of all, two questions have in common

    k(i, j) = x_i x_j (SHARED + (1 - SHARED) [of the same video])

before any label. What labels leave of it follows from their sentences and videos, without their answers and without a
fit; an answer to j then lowers the variance of i by k(i, j)^2 / (k(j, j) + NOISE). The next question is the one that
lowers it most, summed over all that might be asked, times the chance that the answer is yes; then the next after that
(transductive experimental design, Yu, Bi and Tresp 2006). So a sentence that is unlike all labelled ones, and like many
that are looked for, comes first, and sooner in a video that shows nothing like it yet.

Shapes: C candidates, N labels, w numbers of a word vector.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Indices = NDArray[np.intp]

NOISE = 1.0  # variance of a label, beside that of a sentence of mean length
ALIKE = 0.1  # what any two sentences have in common: where there is one alone, something is learned of it, too
SHARED = 0.5  # of what labels of a sentence say: as much is true of all videos; the rest is of one alone


def sentence_vectors(means: NDArray[np.floating]) -> Doubles:
    """Means of word vectors (n, w) less their mean, of mean squared length 1, and behind them what all sentences have
    in common: (n, w + 1)."""
    centred = np.asarray(means, np.float64) - np.mean(means, axis=0, dtype=np.float64)
    scale = np.sqrt((centred**2).sum(axis=1).mean()) if len(centred) else 0.0
    return np.column_stack([centred / max(float(scale), 1e-9), np.full(len(centred), ALIKE)])


def in_common(sentences: Doubles, videos: Indices, others: Doubles, other_videos: Indices) -> Doubles:
    """Covariance of what questions (C, w) and others (N, w) would tell, before any label: (C, N)."""
    same = videos[:, None] == other_videos
    return np.asarray((sentences @ others.T) * np.where(same, 1.0, SHARED))


def remaining_variance(
    candidates: Doubles, videos: Indices, labelled: Doubles, labelled_videos: Indices, noise: float = NOISE
) -> Doubles:
    """Covariance (C, C) of what candidates would tell, once the labels are known.

    Args:
        candidates: sentences (C, w) as `sentence_vectors` has them, together with those of the labels.
        videos: (C,) numbers of their videos.
        labelled, labelled_videos: the same of labels, (N, w) and (N,).
    """
    before = in_common(candidates, videos, candidates, videos)
    told = in_common(candidates, videos, labelled, labelled_videos)
    known = in_common(labelled, labelled_videos, labelled, labelled_videos) + noise * np.eye(len(labelled))
    return np.asarray(before - told @ np.linalg.solve(known, told.T))


def choose_questions(covariance: Doubles, chances: Doubles, count: int, noise: float = NOISE) -> list[int]:
    """The numbers of the candidates to ask about, the most useful first.

    Args:
        covariance: (C, C), see `remaining_variance`.
        chances: (C,) that the answer is yes: only then something is learned of the sentence.
        count: how many at most.
    """
    left = np.array(covariance, np.float64)
    open_still = np.asarray(chances, np.float64).copy()
    chosen: list[int] = []
    for _ in range(min(count, len(left))):
        worth = open_still * (left**2).sum(axis=0) / (np.diag(left) + noise)
        best = int(worth.argmax())
        if worth[best] <= 0:
            break
        chosen.append(best)
        column = left[:, best].copy()
        # the answer may be no, and then nothing of it is known
        left -= open_still[best] * np.outer(column, column) / (column[best] + noise)
        open_still[best] = 0.0
    return chosen


def chances_of(scores: Sequence[float]) -> Doubles:
    """Chance that a sentence happens in each of the moments that scored best for it: softmax of the scores.

    A score is the logarithm of how likely a place is to be the one that is meant, up to a constant.
    """
    values = np.asarray(scores, np.float64)
    shares = np.exp(values - values.max(initial=-np.inf)) if len(values) else values
    return np.asarray(shares / max(float(shares.sum()), 1e-12))
