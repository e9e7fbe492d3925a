"""How much the prior counts beside what is learned, by glances that were held out (Method, CFMR-Dense, What is known).

With s the learned curves of sentences that fits have left out, the same fits by which the reader was chosen, and r
those of the prior, the weight is the mean of w by the likelihood of their glances under a (s + w r) (`shares.py`) and
by what is believed beforehand, so that few glances leave it near USUAL and many can bring it down to 0.

Shapes: R sentences, G weights.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cfmr.models.dense.fit import DenseFit
from cfmr.models.dense.shares import learned_curves, leave_out, mixture_likelihood, over_videos
from cfmr.models.dense.word_prior import WordPrior
from cfmr.moments.span_reader import SpanReader

Doubles = NDArray[np.float64]
Indices = NDArray[np.intp]

WEIGHTS = np.array([0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0])
USUAL, DOUBT = 6.0, 1.0  # believed beforehand: the logarithm of w is normal around that of USUAL
NOTHING = 0.1  # likelihood beforehand that the prior is worth nothing, relative to that of USUAL
NUM_FOLDS = 3
MAX_ROWS = 150  # held-out rows that are looked at
DISCOUNT = 1 / 3  # a weight of 1, as of 300 glances, becomes 0.75, and one of 0.5, as of 925, nothing
LEAST = 0.5  # a smaller weight costs as much as it gives
PRIOR_CURVE_WEIGHT = 3.0  # how much the prior's curve is believed where moments are read off it
FIRST_FIT = 200  # number of the first of the fits that are only used here


def choose_weight(
    fit: DenseFit, prior: WordPrior, progress: Callable[[int, int], None] = lambda done, total: None
) -> float:
    """The weight of a prior beside fits to these rows; USUAL where there are too few videos to hold some out."""
    videos = fit.rows.num_shown
    if videos < NUM_FOLDS:
        return USUAL
    draw = np.random.default_rng([fit.seed, 6])
    fold = draw.permutation(videos) % NUM_FOLDS
    left_out = fit.left_out or leave_out(fit, fold[fit.rows.videos], FIRST_FIT, progress)
    known = [prior.clips(clips) for clips in fit.rows.clips()]
    mixtures = np.stack([np.ones_like(WEIGHTS), WEIGHTS])
    total = []
    for maps, regression, rows in left_out:
        looked_at = draw.permutation(rows)[: MAX_ROWS // NUM_FOLDS]
        share = fit.regression_share
        learned = (1 - share) * learned_curves(fit, maps, looked_at)
        if share:
            learned += share * learned_curves(fit, regression, looked_at)
        looked = over_videos(fit, looked_at, known.__getitem__, _meant(fit, prior, looked_at))
        total.append(mixture_likelihood(fit, looked_at, learned, looked, mixtures))
    return _discounted(_mean_weight(np.sum(total, axis=0).max(axis=0)))


def _meant(fit: DenseFit, prior: WordPrior, rows: Indices) -> NDArray[np.float32]:
    """What is known of sentences before, (p, R)."""
    summed = np.stack([prior.looks[fit.rows.word_ids[row]].sum(axis=0) for row in rows])
    return np.asarray((summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1.0)).T, np.float32)


def believed(reader: SpanReader, weight: float) -> SpanReader:
    """The reader for curves of which the prior is a part: it does not depend on how few clicks there are."""
    share = weight / (weight + 1)
    more = max(PRIOR_CURVE_WEIGHT - reader.curve_weight, 0.0)
    return replace(reader, curve_weight=round(reader.curve_weight + share * more, 4))


def _discounted(weight: float) -> float:
    """The weight beside three fits to all rows, which know more than the single ones to two thirds of them."""
    less = weight**2 / (weight + DISCOUNT)
    return round(less, 4) if less >= LEAST else 0.0


def _mean_weight(likelihood: Doubles) -> float:
    """The mean of WEIGHTS by their log-likelihoods (G,), of logarithms where they are above 0."""
    logs = np.log(WEIGHTS[1:])
    belief = likelihood + np.append(np.log(NOTHING), -0.5 * ((logs - np.log(USUAL)) / DOUBT) ** 2)
    share = np.exp(belief - belief.max())
    share /= share.sum()
    some = share[1:].sum()
    return round(float(some * np.exp(share[1:] @ logs / max(some, 1e-12))), 4)
