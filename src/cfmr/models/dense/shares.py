"""How much one part of a score counts beside another, by glances that neither has seen (Method, CFMR-Dense).

Fits that leave out a third of the videos each give the curves of the sentences left out, over the clips of their own
video and over those of all videos left out. With f and g the curves of two parts, a mixture a (p f + q g) is believed
as much as the glances are likely under its softmax; a, how far curves of so few glances are to be believed at all, is
free. So the regression gets its share of a score, and what is known before any click its weight.

Shapes: R sentences, C clips of all videos left out, A values of a, G mixtures.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.models.dense.fit import DenseFit, LeftOut
from cfmr.models.dense.model import SHARPNESS, Projections, unit
from cfmr.moments.span_reader import running_mean

Doubles = NDArray[np.float64]
Indices = NDArray[np.intp]

BELIEFS = np.array([0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0])  # values of a
# shares of a regression: with more, the right video becomes likelier still, but the moment's place in it less so
SHARES = np.linspace(0.0, 0.5, 6)
USUAL_SHARE = 0.3  # beforehand shares are believed in by exp(-share / 0.3): few glances give it little
MAX_ROWS = 300  # held-out rows that are looked at


def leave_out(fit: DenseFit, fold: Indices, first: int, progress: Callable[[int, int], None]) -> list[LeftOut]:
    """Fits and regressions without the rows of each fold.

    Args:
        fold: (N,) number of each row's.
        first: number of the first fit.
    """
    found: list[LeftOut] = []
    for number in range(int(fold.max()) + 1):
        seen, unseen = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        seen = seen if len(seen) else unseen
        maps, _ = fit.run(seen, first + number, progress=progress)
        found.append((maps, fit.regression(seen), unseen))
    return found


def choose_share(fit: DenseFit) -> float:
    """The share of a score that a regression has beside fits to these rows: the mean by `fit.left_out`."""
    draw = np.random.default_rng([fit.seed, 7])
    mixtures = np.stack([1 - SHARES, SHARES])
    likelihood = np.zeros((len(BELIEFS), len(SHARES)))
    for maps, regression, rows in fit.left_out:
        looked_at = draw.permutation(rows)[: MAX_ROWS // len(fit.left_out)]
        curves = [learned_curves(fit, part, looked_at) for part in (maps, regression)]
        likelihood += mixture_likelihood(fit, looked_at, curves[0], curves[1], mixtures)
    belief = likelihood.max(axis=0) - SHARES / USUAL_SHARE
    weights = np.exp(belief - belief.max())
    return round(float(weights @ SHARES / weights.sum()), 2)


def mixture_likelihood(fit: DenseFit, rows: Indices, some: Doubles, others: Doubles, mixtures: Doubles) -> Doubles:
    """Log-likelihood (A, G) of the glances of rows under mixtures (2, G) of curves (R, C)."""
    video_of_clip = np.concatenate([np.full(len(fit.inputs[v]), v) for v in np.unique(fit.rows.videos[rows])])
    found = np.zeros((len(BELIEFS), mixtures.shape[1]))
    for row, curve, other in zip(rows, some, others, strict=True):
        own = video_of_clip == fit.rows.videos[row]
        mixed = curve[:, None] * mixtures[0] + other[:, None] * mixtures[1]
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


def learned_curves(fit: DenseFit, maps: Projections, rows: Indices) -> Doubles:
    """Curves (R, C) of rows over the videos of all of them, by a fit or a regression."""
    asked = unit(fit.sentences(maps, rows)).T
    return over_videos(fit, rows, lambda video: maps.clips(fit.inputs[video]), asked)


def over_videos(
    fit: DenseFit, rows: Indices, clips: Callable[[int], NDArray[np.float32]], asked: NDArray[Any]
) -> Doubles:
    """Curves (R, C) of sentences (d, R) over the videos of rows, of which `clips` gives vectors (n, d) by number."""
    found = []
    for video in np.unique(fit.rows.videos[rows]).tolist():
        shown = clips(video)
        window = fit.reader.window_in(len(shown), float(fit.rows.seconds[video]))
        found.append(running_mean(shown, window) @ asked)
    return np.asarray(SHARPNESS * np.concatenate(found).T, np.float64)
