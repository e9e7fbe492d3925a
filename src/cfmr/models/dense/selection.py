"""How curves are read, chosen by the likelihood of glances that the curves were not fitted to (Method, Widths).

No annotated span is looked at. A reader gives every span a posterior probability, and a glance is anywhere in its
moment, so the density of a glance is the mean of uniform densities over spans, weighted by their posterior. Of answers
too wide it makes each glance unlikely, of answers too narrow it misses many, and it is greatest where spans are as wide
as moments are. A share of the curves says nothing at all; there a glance is anywhere in the video.

Shapes: N rows, n clips of a video.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.models.dense.fit import DenseFit
from cfmr.models.dense.shares import choose_share, leave_out
from cfmr.moments.span_reader import NUM_KNOTS, SpanReader, candidate_spans, posterior, read_moments

Doubles = NDArray[np.float64]

NUM_FOLDS = 3
MIN_HELD_OUT = 60  # glances; of fewer, what likelihood prefers is chance
MAX_READ = 3000  # held-out curves that readers are compared on: of half as many, chance chooses now and then
ROUNDS = 2  # of fits: bell and smoothing follow the width that the first found
OTHER_WIDTH = 0.7  # change of the logarithm of the usual width that is worth another round: a factor of two
BATCH = 128  # curves read at a time
SHARE_ROUNDS = 20  # of expectation maximisation for the share of curves that say something
FIRST_FIT = 100  # number of the first of the fits that are only used here

WIDTHS = tuple(np.geomspace(0.01, 0.9, 28).round(4).tolist())
NEIGHBOURS = 0.45  # of a width, by the logarithm: those that it is compared with once more
CANDIDATES: tuple[tuple[str, tuple[float, ...]], ...] = (
    ("width", WIDTHS[::2]),
    ("place_weight", (0.0, 1.0)),
    ("width_exponent", (0.0, 1.0)),
    ("width_spread", (0.25, 0.5, 1.0)),
)

# mean log-likelihood of a glance that another value than the first has to gain: the units of widths differ by less than
# that from fold to fold, and answers with an IoU of 0.5 are best read with one narrow range of widths
MIN_GAIN = {"width_exponent": 0.01, "width_spread": 0.05}
LEAST_GAIN = 3.0  # of all glances together: of few, a smaller one is chance

# what is believed before any glance is looked at: it decides where glances are few
USUAL_WIDTH, WIDTH_DOUBT = 0.25, 0.3
# it counts as much as so many glances, however many there are: a glance is as likely under narrow spans side by side as
# under the wide one that they fill, so that likelihood alone says little against widths that are too small
PRIOR_ROWS = 300.0
USUAL_SPREAD = 0.25
# how much a curve deserves that was fitted to so many glances; fitted to few, it says less than where glances lie
FULL_WEIGHT, MIN_WEIGHT, FEW_ROWS, HALF_WEIGHT_ROWS = 5.0, 0.1, 10, 150

# how much more a curve is believed than `curve_weight` says, chosen by the first answers: among many narrow spans the
# right one has to stand out more than among few wide ones
WEIGHT_FACTORS = (1.5, 2.0, 3.0, 4.0)
MIN_ANSWER_GAIN = 0.01  # of the mean log-likelihood of a glance
SURE_GAIN = 2.0  # and of so many of its standard errors: believing too much makes all answers but the first worse
ODDS = np.geomspace(1.0, 400.0, 49)  # of a glance inside an answer over one outside, for the same length

# mean log-likelihood of a glance from which curves say so much that answers aim at the greatest IoU: with less, spans
# near the best one are about as likely, and the one that overlaps most of them is too wide to have an IoU of 0.5
SAYS_MUCH, DOUBTED_ROWS = 1 / 3, 100
OVERLAP_SPREADS = (0.25, 0.35, 0.5, 0.7, 1.0)  # the likeliest is taken there: a greater IoU needs the width itself

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


def curve_weight(rows: int) -> float:
    """How much a curve fitted to so many glances is believed."""
    return max(MIN_WEIGHT, FULL_WEIGHT * (rows - FEW_ROWS) / (rows + HALF_WEIGHT_ROWS))


def first_reader(glances: Doubles, seconds: Doubles) -> SpanReader:
    """The reader before any fit, of glances (N,) in videos of so many seconds (N,)."""
    return SpanReader(
        width=USUAL_WIDTH,
        width_spread=USUAL_SPREAD,
        curve_weight=curve_weight(len(glances)),
        place_weight=1.0,
        place_density=glance_density(glances),
        duration=float(np.median(seconds)),
        longest=float(seconds.max()),
    )


def held_out(fit: DenseFit, progress: Callable[[int, int], None]) -> HeldOut:
    """Curves of rows by a fit that did not see their videos; folds are drawn by video."""
    rows, draw = fit.rows, np.random.default_rng([fit.seed, 4])
    if rows.num_shown >= NUM_FOLDS:
        fold = (draw.permutation(rows.num_shown) % NUM_FOLDS)[rows.videos]
    else:
        fold = draw.permutation(len(rows)) % NUM_FOLDS
    fit.left_out = leave_out(fit, fold, FIRST_FIT, progress)  # the prior's weight is chosen with the same fits
    fit.regression_share = choose_share(fit)
    curves: list[NDArray[Any]] = [np.zeros(1)] * len(rows)
    for maps, regression, unseen in fit.left_out:
        for row, curve in zip(unseen, fit.scores(maps, regression, unseen), strict=True):
            curves[row] = curve
    read = np.sort(draw.permutation(len(rows))[:MAX_READ])
    return HeldOut([curves[row] for row in read], rows.seconds[rows.videos[read]], rows.glances[read])


def glance_densities(held: HeldOut, reader: SpanReader) -> Doubles:
    """Density of each glance (N,) under the spans that its curve makes likely."""
    alike: dict[tuple[int, float], list[int]] = {}
    for row, (curve, seconds) in enumerate(zip(held.curves, held.seconds.tolist(), strict=True)):
        # unless widths are seconds, videos of any length have the same candidates
        key = (len(curve), seconds if reader.width_exponent or seconds > reader.longest else reader.duration)
        alike.setdefault(key, []).append(row)
    found = np.zeros(len(held.curves))
    for (clips, seconds), rows in alike.items():
        spans = candidate_spans(clips, seconds, reader)
        for first in range(0, len(rows), BATCH):
            part = rows[first : first + BATCH]
            belief = posterior(np.stack([held.curves[row] for row in part]), spans, reader, seconds)
            clip = np.minimum((held.glances[part] * clips).astype(np.intp), clips - 1)[:, None]
            inside = (spans.first <= clip) & (clip < spans.end)
            found[part] = (belief * inside / spans.width).sum(axis=1) * clips
    return found


def log_likelihoods(densities: Doubles) -> Doubles:
    """Logarithms of the densities of glances, of which an unknown share comes from curves that say nothing."""
    share = 0.5
    for _ in range(SHARE_ROUNDS):
        informed = share * densities
        share = float((informed / (informed + 1 - share)).mean())
    return np.asarray(np.log(share * densities + 1 - share))


def answer_likelihoods(held: HeldOut, reader: SpanReader) -> Doubles:
    """Log-likelihood of each glance (N,), of which the first answer is known: some odds make it likelier inside."""
    read = zip(held.curves, held.seconds.tolist(), strict=True)
    answers = np.array([read_moments(curve, seconds, reader, 1)[0][0] for curve, seconds in read])
    inside = (answers[:, 0] <= held.glances) & (held.glances <= answers[:, 1])
    widths = (answers[:, 1] - answers[:, 0])[:, None]
    found = np.log(ODDS) * inside[:, None] - np.log(ODDS * widths + 1 - widths)
    likeliest: Doubles = found[:, found.mean(axis=0).argmax()]
    return likeliest


def believed_curves(held: HeldOut, reader: SpanReader, fixed: frozenset[str]) -> SpanReader:
    """The reader that believes curves more if that surely makes its first answers likelier, and no more than is needed.

    Args:
        fixed: as of `best_reader`.
    """
    if "curve_weight" in fixed:
        return reader
    best, likelihoods = reader, answer_likelihoods(held, reader)
    for factor in WEIGHT_FACTORS:
        other = replace(reader, curve_weight=round(factor * reader.curve_weight, 4))
        found = answer_likelihoods(held, other)
        gains = found - likelihoods
        if gains.mean() >= max(MIN_ANSWER_GAIN, SURE_GAIN * float(gains.std()) / len(gains) ** 0.5):
            best, likelihoods = other, found
    return best


def log_prior(reader: SpanReader) -> float:
    """Logarithm of how likely a reader is before glances are looked at, up to a constant."""
    width = np.log(reader.width / USUAL_WIDTH) / WIDTH_DOUBT
    return -0.5 * float(width**2)


def _changed(reader: SpanReader, name: str, value: Any) -> SpanReader:
    changes: dict[str, Any] = {name: value}
    return replace(reader, **changes)


def best_reader(held: HeldOut, start: SpanReader, fixed: frozenset[str]) -> tuple[SpanReader, float]:
    """The likeliest reader: one value after the other, and at last the usual width once more.

    Where curves say much, it is the mean of widths by their likelihood. Where they say little, it is the width nearest
    to what is believed beforehand among those that the glances do not tell from the likeliest: within a standard error.

    Args:
        fixed: names of values that stay as they are in `start`.

    Returns:
        the reader, and the mean log-likelihood of a glance.
    """
    count, best = len(held.curves), start
    weight = max(1.0, count / PRIOR_ROWS)

    @cache
    def likelihoods(reader: SpanReader) -> Doubles:
        return log_likelihoods(glance_densities(held, reader))

    def worth(reader: SpanReader) -> float:
        return float(likelihoods(reader).sum()) + weight * log_prior(reader)

    for name, values in CANDIDATES:
        if name not in fixed:
            found = max((_changed(best, name, value) for value in values), key=worth)
            if worth(found) - worth(best) >= (max(count * MIN_GAIN[name], LEAST_GAIN) if name in MIN_GAIN else 0):
                best = found
    says_much = float(likelihoods(best).mean()) * count / (count + DOUBTED_ROWS) >= SAYS_MUCH
    if says_much and "overlap" not in fixed:
        best = replace(best, overlap=1.0)
        if "width_spread" not in fixed:
            best = max((replace(best, width_spread=value) for value in OVERLAP_SPREADS), key=worth)
    if "width" not in fixed:
        near = [replace(best, width=width) for width in WIDTHS if abs(np.log(width / best.width)) < NEIGHBOURS]
        worths = np.array([worth(reader) for reader in near])
        if says_much:
            best = replace(best, width=_mean_width(near, worths))
        else:
            best = _nearest_to_prior(near, worths, [likelihoods(reader) for reader in near])
    return best, float(likelihoods(best).mean())


def _mean_width(readers: Sequence[SpanReader], worths: Doubles) -> float:
    """By how likely each is."""
    shares = np.exp(worths - worths.max())
    return round(float(np.exp(shares @ np.log([reader.width for reader in readers]) / shares.sum())), 4)


def _nearest_to_prior(readers: Sequence[SpanReader], worths: Doubles, likelihoods: Sequence[Doubles]) -> SpanReader:
    """Of the readers that are within a standard error of the most likely one, that which is believed beforehand."""
    most = likelihoods[int(worths.argmax())]
    errors = np.array([float((most - found).std()) for found in likelihoods]) * len(most) ** 0.5
    untold: list[int] = np.flatnonzero(worths >= worths.max() - errors).tolist()
    return max((readers[i] for i in untold), key=log_prior)


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
    reader: SpanReader = replace(first_reader(rows.glances, rows.seconds[rows.videos]), **settings)
    if len(rows) < MIN_HELD_OUT:
        fit.use_reader(reader)
        return {"chosen_by": f"priors: {len(rows)} glances are too few to hold some out", "given": settings}
    for _ in range(ROUNDS):
        fit.use_reader(reader)
        before, held = reader, held_out(fit, progress)
        reader, likelihood = best_reader(held, before, frozenset(settings))
        if abs(float(np.log(reader.width / before.width))) < OTHER_WIDTH:
            break
    fit.use_reader(believed_curves(held, reader, frozenset(settings)))
    return {
        "chosen_by": f"likelihood of {len(rows)} held-out glances, {NUM_FOLDS} folds by video",
        "log_likelihood": round(likelihood, 4),
        "regression_share": fit.regression_share,
        "given": settings,
    }
