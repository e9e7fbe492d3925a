"""Which question to ask next: the one whose answer leaves least in doubt (Method, CFMR-Dense, The most useful click).

What a model can learn from labels is taken for linear in what a sentence says and which video it is said of, with
phi = (x, sqrt(OF_A_VIDEO) e_v), x the mean of the sentence's word vectors less that of all and e_v one for the video.
Such a model's variance after N labels needs their sentences and videos only, no answer and no fit:

    k(i, j) = phi_i (1 + Phi^T Phi / NOISE)^-1 phi_j

and a further label on j lowers the variance of i by k(i, j)^2 / (k(j, j) + NOISE). The next question is the one that
lowers it most, summed over all that might be asked, times the chance that the answer is yes; then the next after that
(transductive experimental design, Yu, Bi and Tresp 2006). So a sentence that is unlike all labelled ones, and like many
that are looked for, comes first, and a video that has no label before one that has some.

Shapes: C candidates, N labels, w numbers of a word vector.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Indices = NDArray[np.intp]

NOISE = 1.0  # variance of a label, beside that of a sentence of mean length
OF_A_VIDEO = 1.0  # variance of what is of one video only


def sentence_vectors(means: NDArray[np.floating]) -> Doubles:
    """Means of word vectors (n, w) less their mean, of mean squared length 1."""
    centred = np.asarray(means, np.float64) - np.mean(means, axis=0, dtype=np.float64)
    scale = np.sqrt((centred**2).sum(axis=1).mean()) if len(centred) else 0.0
    return np.asarray(centred / max(float(scale), 1e-9))


def remaining_variance(
    candidates: Doubles, videos: Indices, labelled: Doubles, labelled_videos: Indices, noise: float = NOISE
) -> Doubles:
    """Covariance (C, C) of what candidates would tell, once the labels are known.

    What is of the sentence and what is of the video are looked at one by one: a label counts fully for both.

    Args:
        candidates: sentences (C, w) as `sentence_vectors` has them, together with those of the labels.
        videos: (C,) numbers of their videos.
        labelled, labelled_videos: the same of labels, (N, w) and (N,).
    """
    width = candidates.shape[1]
    precision = np.eye(width) + labelled.T @ labelled / noise
    of_sentence = candidates @ np.linalg.solve(precision, candidates.T)
    count = np.bincount(labelled_videos, minlength=int(videos.max(initial=0)) + 1)[videos]
    left = OF_A_VIDEO / (1 + OF_A_VIDEO * count / noise)
    return np.asarray(of_sentence + np.where(videos[:, None] == videos, left, 0.0))


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
