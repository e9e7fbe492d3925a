"""How curves are read, chosen by the likelihood of glances that the curves were not fitted to (Method, Widths).

No annotated span is looked at. An answer is read as a distribution: the glance lies in it, anywhere alike, with
probability h, and outside of it with 1 - h. A wide answer holds more glances and makes each less likely, so the
likelihood is greatest where answers are as wide as moments are.

Shapes: N rows, n clips of a video.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.models.dense.fit import DenseFit
from cfmr.moments.span_reader import NUM_KNOTS, SpanReader, best_spans

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]

NUM_FOLDS = 3
MIN_HELD_OUT = 12  # glances; with fewer, a held-out part says nothing
ROUNDS = 2  # of fits: bell and smoothing follow the width that the first found
OTHER_WIDTH = 0.35  # change of the logarithm of the usual width that is worth another round
BATCH = 128  # curves read at a time
FIRST_FIT = 100  # number of the first of the fits that are only used here

WIDTHS = tuple(np.geomspace(0.01, 0.9, 24).round(4).tolist())
CANDIDATES: tuple[tuple[str, tuple[float, ...]], ...] = (
    ("curve_weight", (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)),
    ("width", WIDTHS),
    ("width_spread", (0.1, 0.25, 0.45, 0.7, 1.0)),
    ("width_exponent", (0.0, 0.5, 1.0)),
    ("place_weight", (0.0, 0.5, 1.0)),
)

# what is believed before any glance is looked at: it decides where glances are few
USUAL_WIDTH, WIDTH_DOUBT = 0.25, 0.8
USUAL_SPREAD, SPREAD_DOUBT = 0.4, 0.8
FULL_WEIGHT, HALF_WEIGHT_ROWS = 4.0, 60  # weight of a curve fitted to many glances; half of it after so many

KERNEL = 0.08  # standard deviation, in videos, of the kernel of the density of glances
UNIFORM_ROWS = 10.0  # glances' worth of "anywhere" in it


@dataclass(frozen=True)
class HeldOut:
    """Curves of rows whose videos the fit did not see.

    Attributes:
        curves: (n,) each.
        seconds: (N,) lengths of their videos.
        glances: (N,) as fractions.
    """

    curves: list[NDArray[Any]]
    seconds: Doubles
    glances: Doubles


def glance_density(glances: Doubles) -> tuple[float, ...]:
    """Density (NUM_KNOTS,) of glances (N,) over the video: a kernel, reflected at both ends, and some uniform mass."""
    at = (np.arange(NUM_KNOTS) + 0.5) / NUM_KNOTS
    mirrored = np.concatenate([glances, -glances, 2 - glances])
    kernel = np.exp(-((at[:, None] - mirrored) ** 2) / (2 * KERNEL**2)).sum(1) / (KERNEL * np.sqrt(2 * np.pi))
    mixed = (kernel + UNIFORM_ROWS) / (len(glances) + UNIFORM_ROWS)
    return tuple((mixed / mixed.mean()).round(4).tolist())


def expected_weight(rows: int) -> float:
    """How much a curve fitted to so many glances tends to deserve."""
    return FULL_WEIGHT * rows / (rows + HALF_WEIGHT_ROWS)


def first_reader(glances: Doubles, seconds: Doubles) -> SpanReader:
    """The reader before any fit, of glances (N,) in videos of so many seconds (N,)."""
    return SpanReader(
        width=USUAL_WIDTH,
        width_spread=USUAL_SPREAD,
        curve_weight=expected_weight(len(glances)),
        place_weight=1.0,
        place_density=glance_density(glances),
        duration=float(np.median(seconds)),
        longest=float(seconds.max()),
    )


def held_out(fit: DenseFit, progress: Callable[[int, int], None]) -> HeldOut:
    """Every row's curve by a fit that did not see its video; folds are drawn by video."""
    rows, draw = fit.rows, np.random.default_rng([fit.seed, 4])
    if len(rows.names) >= NUM_FOLDS:
        fold = (draw.permutation(len(rows.names)) % NUM_FOLDS)[rows.videos]
    else:
        fold = draw.permutation(len(rows)) % NUM_FOLDS
    curves: list[NDArray[Any]] = [np.zeros(1)] * len(rows)
    for number in range(NUM_FOLDS):
        seen, unseen = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        maps, _ = fit.run(seen, FIRST_FIT + number, progress=progress)
        for row, curve in zip(unseen, fit.curves(maps, unseen), strict=True):
            curves[row] = curve
    return HeldOut(curves, rows.seconds[rows.videos], rows.glances)


def answers(held: HeldOut, reader: SpanReader) -> Doubles:
    """The first answer to every row, (N, 2) as fractions."""
    alike: dict[tuple[int, float], list[int]] = {}
    for row, (curve, seconds) in enumerate(zip(held.curves, held.seconds.tolist(), strict=True)):
        # videos of like length have the same candidates
        key = (len(curve), seconds if reader.width_exponent or seconds > reader.longest else reader.duration)
        alike.setdefault(key, []).append(row)
    found = np.zeros((len(held.curves), 2))
    for (_, seconds), rows in alike.items():
        for first in range(0, len(rows), BATCH):
            part = rows[first : first + BATCH]
            found[part] = best_spans(np.stack([held.curves[row] for row in part]), seconds, reader)
    return found


def log_likelihood(found: Doubles, glances: Doubles) -> float:
    """Mean logarithm of the density of glances (N,) given answers (N, 2)."""
    width = np.clip(found[:, 1] - found[:, 0], 1e-3, 0.98)
    inside = (found[:, 0] <= glances) & (glances <= found[:, 1])
    hit = (inside.sum() + 0.5) / (len(glances) + 1)
    return float(np.where(inside, np.log(hit / width), np.log((1 - hit) / (1 - width))).mean())


def log_prior(reader: SpanReader, rows: int) -> float:
    """Logarithm of how likely a reader is before glances are looked at, up to a constant."""
    expected = expected_weight(rows) + 0.1
    width = np.log(reader.width / USUAL_WIDTH) / WIDTH_DOUBT
    spread = np.log(reader.width_spread / USUAL_SPREAD) / SPREAD_DOUBT
    weight = np.log((reader.curve_weight + 0.1) / expected)
    return -0.5 * float(width**2 + spread**2 + weight**2)


def best_reader(held: HeldOut, start: SpanReader, fixed: frozenset[str]) -> tuple[SpanReader, float]:
    """The likeliest reader: one value after the other, twice round.

    Args:
        fixed: names of values that stay as they are in `start`.

    Returns:
        the reader, and the mean log-likelihood of a glance.
    """
    count, best = len(held.curves), start
    known: dict[SpanReader, float] = {}

    def worth(reader: SpanReader) -> float:
        if reader not in known:
            known[reader] = count * log_likelihood(answers(held, reader), held.glances) + log_prior(reader, count)
        return known[reader]

    for name, values in (("width", WIDTHS[::2]), *CANDIDATES, *CANDIDATES):
        if name not in fixed:
            best = max((replace(best, **{name: value}) for value in values), key=worth)
    return best, log_likelihood(answers(held, best), held.glances)


def choose_reader(
    fit: DenseFit,
    settings: dict[str, Any],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Fit without a part of the glances, read that part in the likeliest way, and let `fit` use it.

    Args:
        settings: values of the reader that are given and not chosen.

    Returns:
        what was chosen by what, for the checkpoint.
    """
    rows = fit.rows
    reader = replace(first_reader(rows.glances, rows.seconds[rows.videos]), **settings)
    if len(rows) < MIN_HELD_OUT:
        fit.use_reader(reader)
        return {"chosen_by": f"priors: {len(rows)} glances are too few to hold some out", "given": settings}
    likelihood = 0.0
    for _ in range(ROUNDS):
        fit.use_reader(reader)
        before = reader
        reader, likelihood = best_reader(held_out(fit, progress), before, frozenset(settings))
        moved = abs(float(np.log(reader.width / before.width)))
        if moved < OTHER_WIDTH and reader.width_exponent == before.width_exponent:
            break
    fit.use_reader(reader)
    return {
        "chosen_by": f"likelihood of {len(rows)} held-out glances, {NUM_FOLDS} folds by video",
        "log_likelihood": round(likelihood, 4),
        "given": settings,
    }
