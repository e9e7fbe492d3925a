"""A map of sentences to clips in closed form, which stands beside the fits (Method, CFMR-Dense, Regression).

The mean of a sentence's word vectors is regressed on what its glance shows and where in the video it is; how far each
sentence left out is missed says in which directions clips differ for reasons that no sentence names, and those count
for little. It knows nothing of wrong answers, so it does not learn by heart which of the training videos are which, and
finds the right video among unknown ones more often than what descent finds; descent finds the moment better.

Shapes: N rows, k components, P places, w numbers of a word vector, J words of training.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.models.dense.model import NUM_WAVES, Projections

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

PENALTIES = np.geomspace(0.25, 64, 9)  # of the squares of the map, for sentences of mean squared length 1
LEAST_VARIANCE = 0.3  # of what is missed in any direction, relative to the mean: few rows show none in many
NUM_PLACES = 2  # waves that say where in the video a clip is, begin to end and middle to ends; finer ones say no more
PLACE_SCALE = 2**0.5  # to variance 1, as components have it


def regress(sentences: Floats, shown: Floats, places: Floats, known_words: int, size: int) -> Projections:
    """The regression as projections, which are zero where it has none.

    Args:
        sentences: (N, w).
        shown: (N, k) components of what is at each glance.
        places: (N, K) waves of where it is.
        known_words: J; without any, nothing can be taken off each sentence, and the mean sentence stays in.
        size: numbers of a vector.
    """
    components = min(shown.shape[1], size - NUM_PLACES)  # the last ones vary least
    where = PLACE_SCALE * places[:, 1 : NUM_PLACES + 1]  # the first wave is 1
    asked, seen = sentences.astype(np.float64), np.hstack([shown[:, :components], where]).astype(np.float64)
    usual = asked.mean(axis=0) if known_words else np.zeros(asked.shape[1])
    mean = seen.mean(axis=0)
    maps, missed = _ridge(asked - usual, seen - mean)
    turned = _whitening(missed)
    text = maps @ turned

    def padded(values: Doubles, rows: int) -> Floats:
        missing = (0, rows - len(values)), (0, size - values.shape[1])
        return np.pad(values, missing).astype(np.float32)

    placed = np.vstack([-mean @ turned, PLACE_SCALE * turned[components:]])
    return Projections(
        clip=padded(turned[:components], shown.shape[1]),
        video=np.zeros((shown.shape[1], size), np.float32),
        place=padded(placed, NUM_WAVES),
        word=padded(text, len(text)),
        own=padded(np.repeat(-(usual @ text)[None], known_words, axis=0), known_words),
    )


def _ridge(asked: Doubles, seen: Doubles) -> tuple[Doubles, Doubles]:
    """The map (w, k) with the penalty that misses least where a row is left out, and how each is missed, (N, k)."""
    values, axes = np.linalg.eigh(asked.T @ asked)
    inside = asked @ axes
    sums = inside.T @ seen
    best: tuple[float, Any, Any] | None = None
    for penalty in PENALTIES:
        shrunk = 1 / (np.maximum(values, 0) + penalty)
        leverage = (inside**2 @ shrunk).clip(0, 1 - 1e-6)
        missed = (seen - inside @ (shrunk[:, None] * sums)) / (1 - leverage)[:, None]
        error = float((missed**2).sum())
        if best is None or error < best[0]:
            best = error, axes @ (shrunk[:, None] * sums), missed
    assert best is not None
    return best[1], best[2]


def _whitening(missed: Doubles) -> Doubles:
    """(k, k), of what is missed: to variance 1 in every direction."""
    covariance = missed.T @ missed / len(missed)
    count = len(covariance)
    covariance += (LEAST_VARIANCE * np.trace(covariance) / count + 1e-6) * np.eye(count)
    variances, axes = np.linalg.eigh(covariance)
    return np.asarray(axes / np.sqrt(variances) @ axes.T)
