"""What labels have brought so far, and which of them are likely wrong (Method, CFMR-Dense, Label check).

Both are told by fits that have not seen the labels in question: three, each without a third of the videos, to all of
the other labels and to a half and a quarter of them. Start and end of moments are not read.

Shapes: N labels, n clips of a video.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.models.dense.fit import DenseFit
from cfmr.models.dense.selection import (
    NUM_FOLDS,
    HeldOut,
    choose_reader,
    curve_weight,
    glance_densities,
)
from cfmr.moments.span_reader import SpanReader, read_moments
from cfmr.progress import TrainingProgress, silent

Doubles = NDArray[np.float64]
Indices = NDArray[np.intp]

SHARES = (0.25, 0.5, 1.0)  # of the labels that a fit may see
FIRST_FIT = 300  # number of the first of the fits that are only used here
FEWEST = 20  # labels; of fewer, nothing can be said
UNLIKELY = 0.25  # density of a glance, that of anywhere in the video being 1, from which down a label is doubtful
LIKELY = 2.0  # density from which up a negative label is, if it is also above that of a quarter of the other labels
SURE_ROWS = 60  # labels from which on fits know enough to doubt one
LEAST_ERROR = 0.02  # share of labels that no number of others finds: people do not always agree


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """How many labels were found by fits to so many others."""

    labels: int
    found: int
    of: int


@dataclass(frozen=True, slots=True)
class DoubtfulLabel:
    """A label that fits which have not seen it find unlikely.

    Attributes:
        row: its number: labels of what happens come first, negative ones behind them.
        density: of its glance by those fits; 1 is anywhere in the video.
        second: where they would put it; None of a negative label.
    """

    row: int
    density: float
    second: float | None


@dataclass(frozen=True)
class LabelCheck:
    """What a look at all labels found; the most doubtful first."""

    points: list[CurvePoint]
    doubtful: list[DoubtfulLabel]


def check_labels(fit: DenseFit, told: TrainingProgress = silent) -> LabelCheck:
    """Look at all labels with fits that have not seen them."""
    if len(fit.rows) < FEWEST or fit.rows.num_shown < NUM_FOLDS:
        return LabelCheck([], [])
    choose_reader(fit, {}, partial(told, "choosing how moments are read"))
    points, doubtful = [], list[DoubtfulLabel]()
    for number, share in enumerate(SHARES):
        label = f"{share:.0%} of the labels"
        found, seen, doubted = _one_share(fit, share, FIRST_FIT + NUM_FOLDS * number, partial(told, label))
        points.append(CurvePoint(seen, found, len(fit.rows)))
        doubtful = doubted
    return LabelCheck(points, sorted(doubtful, key=_how_sure) if len(fit.rows) >= SURE_ROWS else [])


def _how_sure(one: DoubtfulLabel) -> float:
    return one.density if one.second is not None else 1 / one.density


def _one_share(
    fit: DenseFit, share: float, first_fit: int, progress: Callable[[int, int], None]
) -> tuple[int, int, list[DoubtfulLabel]]:
    """How many labels are found by fits to a share of the others, the mean number of those, and which are doubtful."""
    draw = np.random.default_rng([fit.seed, 7])
    fold = draw.permutation(fit.rows.num_shown) % NUM_FOLDS
    denied_in = np.append(fold, -1)[np.minimum(fit.rows.negative_videos, len(fold))]  # -1: every fit has seen them
    order = draw.permutation(len(fit.rows))  # a smaller share is a part of a larger one
    found, seen, doubtful = 0, 0, list[DoubtfulLabel]()
    for number in range(NUM_FOLDS):
        others = order[fold[fit.rows.videos[order]] != number]
        rows = np.sort(others[: max(1, round(share * len(others)))])
        asked = np.flatnonzero(fold[fit.rows.videos] == number)
        denied = len(fit.rows) + np.flatnonzero(denied_in == number)
        maps, _ = fit.run(rows, first_fit + number, progress=progress)
        curves = fit.scores(maps, fit.regression(rows), np.concatenate([asked, denied]))
        reader = replace(fit.reader, curve_weight=curve_weight(len(rows)))
        held, negative = (
            _held(fit, part, some) for part, some in ((asked, curves[: len(asked)]), (denied, curves[len(asked) :]))
        )
        best = [
            _best(curve, seconds, reader) for curve, seconds in zip(held.curves, held.seconds.tolist(), strict=True)
        ]
        found += sum(start <= at <= end for (start, end), at in zip(best, held.glances.tolist(), strict=True))
        seen += len(rows)
        densities = glance_densities(held, reader)
        doubtful += _unlikely(asked, held, densities, best)
        doubtful += _denied(
            denied, glance_densities(negative, reader), max(LIKELY, float(np.quantile(densities, 0.25)))
        )
    return found, round(seen / NUM_FOLDS), doubtful


def _held(fit: DenseFit, rows: Indices, curves: Sequence[NDArray[Any]]) -> HeldOut:
    videos, glances = fit.places(rows)
    return HeldOut(list(curves), fit.rows.seconds[videos], glances)


def _best(curve: NDArray[Any], seconds: float, reader: SpanReader) -> tuple[float, float]:
    spans, _ = read_moments(curve, seconds, reader, 1)
    return float(spans[0, 0]), float(spans[0, 1])


def _unlikely(
    rows: Indices, held: HeldOut, densities: Doubles, best: Sequence[tuple[float, float]]
) -> list[DoubtfulLabel]:
    return [
        DoubtfulLabel(row, density, length * (start + end) / 2)
        for row, density, length, (start, end) in zip(
            rows.tolist(), densities.tolist(), held.seconds.tolist(), best, strict=True
        )
        if density <= UNLIKELY
    ]


def _denied(rows: Indices, densities: Doubles, least: float) -> list[DoubtfulLabel]:
    return [
        DoubtfulLabel(row, density, None)
        for row, density in zip(rows.tolist(), densities.tolist(), strict=True)
        if density >= least
    ]


def expected_gain(points: Sequence[CurvePoint], labels: int, more: int) -> tuple[float, float] | None:
    """The share of unseen labels that is found now, and what further ones are expected to add to it.

    The share not found is taken for a power of the number of labels, as learning curves are; its exponent is that of
    the line through the points' logarithms, each weighted by how sure it is. More labels never cost anything.

    Args:
        points: see `LabelCheck`.
        labels: how many there are to learn from now.
        more: how many are to come.

    Returns:
        None where there is no curve.
    """
    if len({point.labels for point in points}) < 2 or labels < 1:
        return None
    at = np.log([point.labels for point in points])
    of = np.array([point.of for point in points], np.float64)
    missed = 1 - np.array([point.found for point in points]) / of
    errors = np.log(missed.clip(LEAST_ERROR, 1 - 0.5 / of))
    weights = of * missed.clip(LEAST_ERROR, 1) / (1 - missed).clip(LEAST_ERROR, 1)  # inverse variance of the logarithm
    centre = np.average(at, weights=weights)
    level = np.average(errors, weights=weights)
    slope = np.average((at - centre) * (errors - level), weights=weights) / np.average(
        (at - centre) ** 2, weights=weights
    )
    slope = min(float(slope), 0.0)

    def found(count: int) -> float:
        return 1 - min(float(np.exp(level + slope * (np.log(count) - centre))), 1.0)

    return found(labels), found(labels + more) - found(labels)
