"""How much the prior counts beside what is learned, by glances that were held out (Method, CFMR-Dense, What is known).

Fits leave out a third of the videos each, the same by which the reader was chosen. With s the learned curves of the
sentences left out and r those of the prior, a (s + w r) is believed as much as the glances are likely under its
softmax, over the clips of their own video and over those of all videos left out; a, how far curves of so few glances
are to be believed at all, is free. The weight is the mean of w by that likelihood and by what is believed beforehand,
so that few glances leave it near USUAL and many can bring it down to 0.

Shapes: R sentences, C clips of all videos left out, A values of a, G weights.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.models.dense.fit import DenseFit, LeftOut
from cfmr.models.dense.model import SHARPNESS, Projections, shares_of, unit
from cfmr.models.dense.word_prior import WordPrior
from cfmr.moments.span_reader import SpanReader, running_mean

Doubles = NDArray[np.float64]
Indices = NDArray[np.intp]

WEIGHTS = np.array([0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0])
BELIEFS = np.array([0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0])  # values of a
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
    left_out = fit.left_out or _left_out(fit, draw.permutation(videos) % NUM_FOLDS, progress)
    known = [prior.clips(clips) for clips in fit.rows.clips()]
    likelihood = np.zeros((len(BELIEFS), len(WEIGHTS)))
    for maps, regression, rows in left_out:
        looked_at = draw.permutation(rows)[: MAX_ROWS // NUM_FOLDS]
        likelihood += _likelihood(fit, prior, known, _shares(maps, regression), looked_at)
    return _discounted(_mean_weight(likelihood.max(axis=0)))


def _shares(maps: Projections, regression: Projections | None) -> list[tuple[float, Projections]]:
    """What is learned, with the shares of a score that each part has."""
    parts = [maps] if regression is None else [maps, regression]
    return list(zip(shares_of(1, regressed=regression is not None), parts, strict=True))


def _left_out(fit: DenseFit, fold: Indices, progress: Callable[[int, int], None]) -> list[LeftOut]:
    """Fits without the videos of each fold, and the rows of those."""
    parts = [np.flatnonzero(fold[fit.rows.videos] == number) for number in range(NUM_FOLDS)]
    everything = np.arange(len(fit.rows))
    found: list[LeftOut] = []
    for number, rows in enumerate(parts):
        seen = np.setdiff1d(everything, rows)
        found.append((fit.run(seen, FIRST_FIT + number, progress=progress)[0], fit.regression(seen), rows))
    return found


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


def _likelihood(
    fit: DenseFit,
    prior: WordPrior,
    known: list[NDArray[np.float32]],
    learned: list[tuple[float, Projections]],
    rows: Indices,
) -> Doubles:
    """Log-likelihood (A, G) of the glances of rows.

    Args:
        known: the prior's vectors of each video's clips.
        learned: from other rows, each with its share of a score.
    """
    curves, looked, video_of_clip = _curves(fit, prior, known, learned, rows)
    found = np.zeros((len(BELIEFS), len(WEIGHTS)))
    for row, line, look in zip(rows, curves, looked, strict=True):
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
    fit: DenseFit,
    prior: WordPrior,
    known: list[NDArray[np.float32]],
    maps: list[tuple[float, Projections]],
    rows: Indices,
) -> tuple[Doubles, Doubles, Indices]:
    """Learned and prior curves (R, C) of rows over the videos of all of them, and each clip's video (C,)."""
    asked = [(share, part, unit(fit.sentences(part, rows)).T) for share, part in maps]
    summed = np.stack([prior.looks[fit.rows.word_ids[row]].sum(axis=0) for row in rows])
    meant = (summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1.0)).T
    learned, looked, numbers = list[NDArray[Any]](), list[NDArray[Any]](), list[int]()
    for video in np.unique(fit.rows.videos[rows]).tolist():
        window = fit.reader.window_in(len(known[video]), float(fit.rows.seconds[video]))
        inputs = fit.inputs[video]
        curves = [share * (running_mean(part.clips(inputs), window) @ said) for share, part, said in asked]
        learned.append(np.sum(curves, axis=0))
        looked.append(running_mean(known[video], window) @ meant)
        numbers += [video] * len(known[video])
    return _sharp(learned), _sharp(looked), np.array(numbers, np.intp)


def _sharp(cosines: list[NDArray[Any]]) -> Doubles:
    return np.asarray(SHARPNESS * np.concatenate(cosines).T, np.float64)
