"""How much the prior counts beside what is learned, by glances that were held out (Method, CFMR-Dense, What is known).

Fits leave out a third of the videos each. With s the learned curves of the sentences left out and r those of the prior,
a (s + w r) is believed as much as the glances are likely under its softmax, over the clips of their own video and over
those of all videos left out; a, how far curves of so few glances are to be believed at all, is free. The weight is the
mean of w by that likelihood and by what is believed beforehand, so that few glances leave it near USUAL and many can
bring it down to 0.

Shapes: R sentences, C clips of all videos left out, A values of a, G weights.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.models.dense.fit import DenseFit
from cfmr.models.dense.model import SHARPNESS, Projections, unit
from cfmr.models.dense.word_prior import WordPrior
from cfmr.moments.span_reader import running_mean

Doubles = NDArray[np.float64]
Indices = NDArray[np.intp]

WEIGHTS = np.array([0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0])
BELIEFS = np.array([0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0])  # values of a
USUAL, DOUBT = 6.0, 1.0  # believed beforehand: the logarithm of w is normal around that of USUAL
NOTHING = 0.1  # likelihood beforehand that the prior is worth nothing, relative to that of USUAL
NUM_FOLDS = 3
ENOUGH = (60, 200)  # rows from which two folds say enough, and one
MAX_ROWS = 150  # held-out rows that are looked at
LEAST = 0.5  # a smaller weight costs more than it gives: R@1 fell by 1.5 points at 925 rows with 0.7
FIRST_FIT = 200  # number of the first of the fits that are only used here


def choose_weight(
    fit: DenseFit, prior: WordPrior, progress: Callable[[int, int], None] = lambda done, total: None
) -> float:
    """The weight of a prior beside fits to these rows; USUAL where there are too few videos to hold some out."""
    videos = len(fit.rows.names)
    if videos < NUM_FOLDS:
        return USUAL
    draw = np.random.default_rng([fit.seed, 6])
    fold = (draw.permutation(videos) % NUM_FOLDS)[fit.rows.videos]
    folds = NUM_FOLDS - int(np.searchsorted(ENOUGH, len(fit.rows), "right"))
    known = [prior.clips(clips) for clips in fit.rows.clips()]
    likelihood = np.zeros((len(BELIEFS), len(WEIGHTS)))
    for number in range(folds):
        seen, unseen = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        maps, _ = fit.run(seen, FIRST_FIT + number, progress=progress)
        likelihood += _likelihood(fit, prior, known, maps, draw.permutation(unseen)[: MAX_ROWS // folds])
    weight = _mean_weight(likelihood.max(axis=0))
    return weight if folds > 1 else _discounted(weight)


def _discounted(weight: float) -> float:
    """The weight beside three fits to all rows, which know more than the one to two thirds that it was chosen for."""
    halved = weight / 2
    return round(halved, 4) if halved >= LEAST else 0.0


def _mean_weight(likelihood: Doubles) -> float:
    """The mean of WEIGHTS by their log-likelihoods (G,), of logarithms where they are above 0."""
    logs = np.log(WEIGHTS[1:])
    belief = likelihood + np.append(np.log(NOTHING), -0.5 * ((logs - np.log(USUAL)) / DOUBT) ** 2)
    share = np.exp(belief - belief.max())
    share /= share.sum()
    some = share[1:].sum()
    return round(float(some * np.exp(share[1:] @ logs / max(some, 1e-12))), 4)


def _likelihood(
    fit: DenseFit, prior: WordPrior, known: list[NDArray[np.float32]], maps: Projections, rows: Indices
) -> Doubles:
    """Log-likelihood (A, G) of the glances of rows that `maps` was not fitted to.

    Args:
        known: the prior's vectors of each video's clips.
    """
    learned, looked, video_of_clip = _curves(fit, prior, known, maps, rows)
    found = np.zeros((len(BELIEFS), len(WEIGHTS)))
    for row, line, look in zip(rows, learned, looked, strict=True):
        own = video_of_clip == fit.rows.videos[row]
        mixed = line[:, None] + look[:, None] * WEIGHTS
        target = fit.target(int(row))
        for i, belief in enumerate(BELIEFS):
            scores = belief * mixed
            inside = scores[own]
            found[i] += target @ (2 * inside) - _log_sum(inside) - _log_sum(scores)
    return found


def _log_sum(scores: Doubles) -> Doubles:
    """Logarithm of the sum of exponentials over the first axis."""
    most = scores.max(axis=0)
    return np.asarray(most + np.log(np.exp(scores - most).sum(axis=0)))


def _curves(
    fit: DenseFit, prior: WordPrior, known: list[NDArray[np.float32]], maps: Projections, rows: Indices
) -> tuple[Doubles, Doubles, Indices]:
    """Learned and prior curves (R, C) of rows over the videos of all of them, and each clip's video (C,)."""
    asked = unit(fit.sentences(maps, rows)).T
    summed = np.stack([prior.looks[fit.rows.word_ids[row]].sum(axis=0) for row in rows])
    meant = (summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1.0)).T
    learned, looked, numbers = list[NDArray[Any]](), list[NDArray[Any]](), list[int]()
    for video in np.unique(fit.rows.videos[rows]).tolist():
        window = fit.reader.window_in(len(known[video]), float(fit.rows.seconds[video]))
        learned.append(running_mean(maps.clips(fit.inputs[video]), window) @ asked)
        looked.append(running_mean(known[video], window) @ meant)
        numbers += [video] * len(known[video])
    return _sharp(learned), _sharp(looked), np.array(numbers, np.intp)


def _sharp(cosines: list[NDArray[Any]]) -> Doubles:
    return np.asarray(SHARPNESS * np.concatenate(cosines).T, np.float64)
