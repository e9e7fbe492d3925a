"""Moments read off a relevance curve: of all spans, the one most likely to be right (Method, Reading moments off).

A span's posterior probability is its prior, how usual its width and its place are, times how far the curve inside it
stands out from the rest and from its neighbourhood. An answer counts as right at an IoU of 0.5, so the first answer is
the span with the greatest posterior mass within that distance: minimum Bayes risk. Where curves are informative, it is
the one with the greatest expected IoU instead. Each later answer is chosen the same way, given that all earlier ones
are wrong.

Shapes: n clips of a video, R curves of videos of one length, W widths, S spans (every start of every width).
"""

import itertools
import math
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cfmr.errors import InputError

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]
Indices = NDArray[np.intp]

RIGHT_IOU = 0.5  # from which an answer counts as right: what the field reports first
MAX_DEVIATION = 3.0  # widths considered, in standard deviations of the logarithm: at 1.75 R@5 at IoU 0.7 falls
WIDTH_RATIO = 1.12  # from one width to the next, where single clips are finer
STARTS_PER_WIDTH = 12  # a span starts every twelfth of its width, where single clips are finer
WIDTH_ROUNDING = 0.02  # usual widths whose logarithms differ by less share a table
MIN_WEIGHT = 1e-6  # of a width, relative to the usual one
NEAR_SHARE = 0.4  # weight of the contrast with what is next to a span, beside that with all of the rest
SHORTLIST = 128  # likeliest spans among which the greatest expected IoU is looked for
NUM_KNOTS = 32  # at which the density of glances over the video is kept
MAX_MOMENTS = 10
MIN_CHANCE = 1e-9  # an answer less likely than that is none
ROUNDING = 1e-12  # of probabilities that are added up
MAX_WEIGHTS = 4  # of one table of spans: as many readers and lengths of long videos
COMPARED = 4  # videos whose spans are compared with each other at once
SURE = 1e-5  # by so much an expected IoU in 32 bits leads that is the greatest in 64
CACHED_CLIPS = 2048  # of longer videos only the last tables are kept: that of ten hours takes 200 MB


@dataclass(frozen=True)
class SpanReader:
    """Parameters of the reader: where moments lie and how wide they are, estimated from glances.

    Attributes:
        width: of the usual moment, as a fraction of a video of `duration` seconds.
        width_spread: standard deviation of the logarithm of the width.
        width_exponent: 0: widths are fractions of the video; 1: they are seconds; between: in between.
        curve_weight: weight of the curve; 0 ignores it.
        place_weight: weight of the density of glances.
        overlap: 0: maximise the probability of an IoU of at least RIGHT_IOU; 1: maximise the expected IoU.
        place_density: (NUM_KNOTS,) density of glances over the video, mean 1.
        duration: of the usual training video, seconds.
        longest: of the longest training video, seconds; in a longer one, moments are as wide as in that.
    """

    width: float = 0.25
    width_spread: float = 0.4
    width_exponent: float = 0.0
    curve_weight: float = 4.0
    place_weight: float = 0.0
    overlap: float = 0.0
    place_density: tuple[float, ...] = (1.0,) * NUM_KNOTS
    duration: float = 30.0
    longest: float = 30.0

    def width_in(self, duration: float) -> float:
        """The usual width in a video of this duration, as a fraction of it."""
        trained = min(max(duration, 1e-3), max(self.longest, 1e-3))
        width = self.width * (self.duration / trained) ** self.width_exponent * trained / max(duration, 1e-3)
        return float(min(max(width, 1e-4), 1.0))

    def window_in(self, clips: int, duration: float) -> int:
        """Clips, an odd number, over which features and curves of such a video are averaged: a third of the usual
        moment."""
        return 1 + 2 * round((self.width_in(duration) / 3 * clips - 1) / 2) if clips > 1 else 1

    def to_json(self) -> dict[str, Any]:
        """The form in a checkpoint's state and an index's card."""
        return asdict(self) | {"place_density": [round(value, 4) for value in self.place_density]}

    @classmethod
    def from_json(cls, value: Any, source: str) -> "SpanReader":
        """Undo `to_json`. Raises InputError naming the key that is missing or no number."""
        names = set(cls.__dataclass_fields__)
        if not isinstance(value, dict) or {"overlap", *value} != names:
            raise InputError(f"{source}: it does not say how moments are read ({', '.join(sorted(names))})")
        value = {"overlap": 0.0, **value}  # optional
        density = value["place_density"]
        numbers = [value[name] for name in names - {"place_density"}]
        if not isinstance(density, list) or len(density) != NUM_KNOTS:
            raise InputError(f"{source}: key 'place_density' is not a list of {NUM_KNOTS} numbers")
        if not all(isinstance(number, int | float) and np.isfinite(number) for number in [*numbers, *density]):
            raise InputError(f"{source}: how moments are read is not told in numbers")
        return cls(**{**value, "place_density": tuple(float(number) for number in density)})


Readout = Literal["anchors"] | SpanReader  # each row of a video stands for a moment, or all together are its curve


def readout_to_json(readout: Readout) -> Any:
    """As an index's card keeps it."""
    return readout if readout == "anchors" else readout.to_json()


def readout_from_json(value: Any, source: str) -> Readout:
    """Undo `readout_to_json`. Raises InputError for anything else."""
    if isinstance(value, str) and value != "anchors":
        raise InputError(f"{source}: made with an earlier version of the model; make the index anew with --rebuild")
    return "anchors" if value == "anchors" else SpanReader.from_json(value, source)


@dataclass(frozen=True, eq=False)
class Spans:
    """All spans that are considered in a video, by width and then by start.

    What follows from them alone is worked out once: videos of one shape share them, and a search reads a dozen.

    Attributes:
        clips: of the video, n.
        first: (S,) first clip of each.
        width: (S,) clips of each.
        log_prior: (S,) of its width, and of its place among all. A moment may begin before the video and end after it:
            where a span touches an end of the video, it stands for all that are cut there.
        low: (W, S), and
        high: (W, S): for each span and each width, the range of spans of that width with which it has RIGHT_IOU.
    """

    clips: int
    first: Indices
    width: Indices
    log_prior: Doubles
    low: Indices
    high: Indices
    _weights: dict[tuple[float, bool], tuple[SpanReader, Doubles]] = field(default_factory=dict, repr=False)

    @cached_property
    def end(self) -> Indices:
        """(S,) the clip behind each."""
        return self.first + self.width

    @cached_property
    def edges(self) -> Indices:
        """(4, S) ends and starts of each, and of each with as many clips next to it: where a curve's sums are read."""
        half = (self.width + 1) // 2
        return np.stack(
            [self.end, self.first, np.minimum(self.end + half, self.clips), np.maximum(self.first - half, 0)]
        )

    @cached_property
    def narrow(self) -> NDArray[np.int16] | None:
        """(3, S) starts, ends and widths in 16 bits, in which most videos fit; None if this one does not."""
        if self.clips > np.iinfo(np.int16).max // 2:
            return None
        return np.stack([self.first, self.end, self.width]).astype(np.int16)

    @cached_property
    def right(self) -> Indices:
        """(S, 2, W) `low` and `high` of each, side by side for whoever asks for one."""
        return np.ascontiguousarray(np.stack([self.low, self.high]).transpose(2, 0, 1))

    def weights(self, reader: SpanReader, duration: float) -> Doubles:
        """(4, S) what the posterior of each is made of, in a video of so many seconds, for every curve the same.

        The weights of the sums over its clips, over them and those next to it, and over all clips; and what is believed
        of it before any curve.
        """
        # in a video longer than any trained on, a span is weighed as if cut out of one of that length
        context = max(self.clips * min(1.0, reader.longest / max(duration, 1e-3)), 1.0)
        placed = bool(reader.place_weight) and duration <= reader.longest
        known = self._weights.get((context, placed))
        if known is None or (known[0] is not reader and known[0] != reader):
            if len(self._weights) >= MAX_WEIGHTS:
                self._weights.clear()
            known = self._weights[context, placed] = reader, self._weighed(reader, context, placed)
        return known[1]

    def _weighed(self, reader: SpanReader, context: float, placed: bool) -> Doubles:
        """A span stands out by its contrast, how far the mean inside lies above that of all the rest, and is near if it
        lies above that of as many clips next to it. Both are written out by the sums that they are made of."""
        inside, outside = self.width.astype(np.float64), np.maximum(self.clips - self.width, 1).astype(np.float64)
        beside = np.maximum(self.edges[2] - self.edges[3] - self.width, 1).astype(np.float64)
        contrast = reader.curve_weight * _share_weights(self.width, context)
        near = np.where(self.width == self.clips, 0.0, reader.curve_weight * NEAR_SHARE)  # next to all is nothing
        base = self.log_prior
        if placed:
            glances = _glances_before(self.clips, reader.place_density)
            base = base + reader.place_weight * np.log((glances[self.end] - glances[self.first]) / self.width)
        of_inside = contrast * (1 / inside + 1 / outside) + near * (1 / inside + 1 / beside)
        return np.stack([of_inside, near / beside, contrast / outside, base])


def _share_weights(width: Indices, context: float) -> Doubles:
    share = np.minimum(width / context, 1.0)
    return np.asarray(2 * np.sqrt(share * (1 - share)), np.float64)


def candidate_spans(clips: int, duration: float, reader: SpanReader) -> Spans:
    """The spans considered in a video of so many clips and seconds."""
    rounded = round(math.log(reader.width_in(duration)) / WIDTH_ROUNDING)
    make = _cached_spans if clips <= CACHED_CLIPS else _long_spans
    return make(clips, rounded, reader.width_spread)


def _spans_around(clips: int, rounded: int, spread: float) -> Spans:
    """Spans around a usual width, whose logarithm is so many WIDTH_ROUNDINGs."""
    usual = float(np.exp(rounded * WIDTH_ROUNDING)) * clips
    reach = float(np.exp(MAX_DEVIATION * spread))
    sizes = _widths(min(max(int(usual / reach), 1), clips), min(int(np.ceil(usual * reach)), clips))
    stands_for = np.gradient(np.array(sizes, float)) if len(sizes) > 1 else np.ones(1)
    weights = stands_for * np.exp(-0.5 * (np.log(np.array(sizes) / usual) / spread) ** 2)
    weights = np.maximum(weights / max(float(weights.max()), 1e-300), MIN_WEIGHT)
    return _spans(clips, sizes, (weights / weights.sum()).round(9))


def _widths(least: int, most: int) -> tuple[int, ...]:
    """Widths in clips from least to most: all small ones, and of the larger ones some."""
    sizes = [least]
    while sizes[-1] < most:
        sizes.append(min(max(sizes[-1] + 1, round(sizes[-1] * WIDTH_RATIO)), most))
    return tuple(sizes)


def _spans(clips: int, sizes: tuple[int, ...], weights: Doubles) -> Spans:
    size = np.array(sizes)
    step = np.maximum(size // STARTS_PER_WIDTH, 1)[:, None]  # clips from one start to the next
    starts = [np.arange(0, clips - width + 1, max(width // STARTS_PER_WIDTH, 1)) for width in sizes]
    shares = [_place_shares(places, width, clips) for places, width in zip(starts, sizes, strict=True)]
    number = np.array([len(places) for places in starts])
    begins = np.cumsum(number) - number  # of each width's spans among all
    first, width = np.concatenate(starts), np.repeat(size, number)
    log_prior = np.repeat(np.log(weights), number) + np.log(np.concatenate(shares))
    # IoU >= RIGHT_IOU says how many clips two spans have at least in common
    common = RIGHT_IOU / (1 + RIGHT_IOU) * (size[:, None] + width)
    low = np.ceil((first + common - size[:, None] - 1e-9) / step).astype(np.intp)
    high = np.floor((first + width - common + 1e-9) / step).astype(np.intp) + 1
    low, high = np.clip(low, 0, number[:, None]), np.clip(high, 0, number[:, None])
    possible = (common <= np.minimum(size[:, None], width) + 1e-9) & (high > low)
    low, high = np.where(possible, low, 0), np.where(possible, high, 0)
    return Spans(clips, first, width, log_prior, low + begins[:, None], high + begins[:, None])


def _place_shares(starts: Indices, width: int, clips: int) -> Doubles:
    """Share of each of the starts (s,) of one width: as many spans are cut by either end as fit into one width."""
    cut = width / max(width // STARTS_PER_WIDTH, 1)
    shares = 1 + cut * (starts == 0) + cut * (starts + width == clips)
    return np.asarray(shares / shares.sum(), np.float64)


_cached_spans = lru_cache(maxsize=256)(_spans_around)
_long_spans = lru_cache(maxsize=2)(_spans_around)


@lru_cache(maxsize=256)
def _glances_before(clips: int, density: tuple[float, ...]) -> Doubles:
    """Cumulative density of glances (n + 1,) over clips, mean 1."""
    knots = (np.arange(NUM_KNOTS) + 0.5) / NUM_KNOTS
    at = np.interp((np.arange(clips) + 0.5) / clips, knots, density)
    return np.concatenate([[0.0], np.cumsum(at / at.mean())])


def posterior(curves: Floats, spans: Spans, reader: SpanReader, duration: float) -> Doubles:
    """Probability that each span is the moment: curves (R, n) -> (R, S); rows sum to 1."""
    summed = np.zeros((len(curves), spans.clips + 1))
    np.cumsum(curves, axis=1, out=summed[:, 1:])
    inside = summed.take(spans.edges[0], axis=1)
    inside -= summed.take(spans.edges[1], axis=1)
    around = summed.take(spans.edges[2], axis=1)
    around -= summed.take(spans.edges[3], axis=1)
    believed = belief(inside, around, summed[:, -1:], spans.weights(reader, duration))
    believed -= believed.max(axis=1, keepdims=True)
    np.exp(believed, out=believed)
    believed /= believed.sum(axis=1, keepdims=True)
    return believed


def belief(inside: Doubles, around: Doubles, total: Doubles, weights: Doubles) -> Doubles:
    """Logarithm of the posterior, up to a constant: `inside` and `around`, of which neither is kept.

    Args:
        inside: sums of curves over the clips of spans.
        around: the same with as many clips next to them.
        total: the same over all clips.
        weights: `Spans.weights`, in the order of the sums.
    """
    inside *= weights[0]
    around *= weights[1]
    inside -= around
    inside -= total * weights[2]
    inside += weights[3]
    return inside


class ReadMoment(NamedTuple):
    """A moment of one video.

    Attributes:
        first: its first clip.
        end: the clip behind its last.
        chance: to be right where those before it are wrong.
        rest: no later one has a greater chance: so much is left for all of them, or this one had no more.
    """

    first: int
    end: int
    chance: float
    rest: float


def iterate_moments(curve: Floats, duration: float, reader: SpanReader) -> Iterator[ReadMoment]:
    """Moments of one video, best first, each worked out when it is asked for.

    Args:
        curve: (n,) relevance of each clip, evenly spread over the video.
        duration: seconds.
    """
    spans = candidate_spans(len(curve), duration, reader)
    left = posterior(np.asarray(curve, np.float64)[None], spans, reader, duration)[0]
    chances = _Chances(spans)
    summed = _summed(left)
    best, chance = chances.best(left, summed, reader.overlap)
    first = read_moment(spans, best, chance, float(summed[-1]), 1.0)
    yield first
    yield from later_moments(spans, left, reader, best, first, chances)


def read_moment(spans: Spans, best: int, chance: float, mass: float, least: float) -> ReadMoment:
    """A span as an answer.

    Args:
        chance: that it is right.
        mass: the probability of all spans that are left.
        least: the chance of the answer before, above which no later one is said to be.
    """
    least = min(least, max(chance, MIN_CHANCE))
    rest = min(least, max(mass - chance + ROUNDING, MIN_CHANCE))
    return ReadMoment(int(spans.first[best]), int(spans.end[best]), least, rest)


def later_moments(
    spans: Spans, left: Doubles, reader: SpanReader, best: int, before: ReadMoment, chances: "_Chances | None" = None
) -> Iterator[ReadMoment]:
    """The moments of a video after its first, each worked out when it is asked for.

    Args:
        left: (S,) the posterior, which is written into.
        best: which span the first moment is.
        before: the first moment.
        chances: what it was chosen by, if that is kept.
    """
    chances = chances or _Chances(spans)
    while True:
        for low, high in zip(spans.low[:, best].tolist(), spans.high[:, best].tolist(), strict=True):
            left[low:high] = 0.0
        summed = _summed(left)
        chances.without(before.first, before.end)
        best, chance = chances.best(left, summed, reader.overlap)
        if chance < MIN_CHANCE:
            return
        before = read_moment(spans, best, chance, float(summed[-1]), before.chance)
        yield before


def _summed(left: Doubles) -> Doubles:
    summed = np.zeros(len(left) + 1)
    np.cumsum(left, out=summed[1:])
    return summed


class _Chances:
    """The chances of the spans of a video, as more and more of them are known to be wrong."""

    def __init__(self, spans: Spans) -> None:
        self._spans = spans
        self._chance: Doubles | None = None  # not known yet
        self._changed: Indices | slice = slice(None)

    def best(self, left: Doubles, summed: Doubles, overlap: float) -> tuple[int, float]:
        """Which span to answer, and its chance.

        Args:
            left: (S,) probability that each is the moment.
            summed: (S + 1,) the same, added up.
            overlap: as `SpanReader.overlap`.
        """
        if overlap >= 1:  # chances are not compared: one is enough
            best = _most_overlap(left, None, self._spans, overlap)
            return best, self._one(summed, best)
        low, high = self._spans.low, self._spans.high
        if self._chance is None or isinstance(self._changed, slice):
            self._chance = (summed[high] - summed[low]).sum(axis=0)
        else:
            self._chance[self._changed] = (summed[high[:, self._changed]] - summed[low[:, self._changed]]).sum(axis=0)
        most = overlap <= 0
        best = int(self._chance.argmax()) if most else _most_overlap(left, self._chance, self._spans, overlap)
        return best, float(self._chance[best])

    def _one(self, summed: Doubles, best: int) -> float:
        return float(sum((summed[self._spans.high[:, best]] - summed[self._spans.low[:, best]]).tolist()))

    def without(self, first: int, end: int) -> None:
        """What is from one clip to another was answered, and counts as wrong.

        What was right with it lies within a width of it, and nothing further away counted on that.
        """
        if self._chance is None:
            return
        reach = 2 * int(self._spans.width.max())
        changed = np.flatnonzero((self._spans.end > first - reach) & (self._spans.first < end + reach))
        self._changed = slice(None) if len(changed) == len(self._chance) else changed


def _most_overlap(left: Doubles, chance: Doubles | None, spans: Spans, share: float) -> int:
    """Which span has the greatest expected IoU, among the likeliest; `share` as `SpanReader.overlap`."""
    likely = np.argpartition(left, -SHORTLIST)[-SHORTLIST:] if len(left) > SHORTLIST else np.arange(len(left))
    shape = np.stack([spans.first, spans.end, spans.width]) if spans.narrow is None else spans.narrow
    worth = None if chance is None else chance[likely][None]
    best = greatest_overlap(shape.take(likely, axis=1)[:, None], left[likely][None], worth, share)
    return int(likely[best[0]])


def greatest_overlap(
    shape: Indices | NDArray[np.int16], left: Doubles, chance: Doubles | None = None, share: float = 1.0
) -> Indices:
    """(R,) which of K spans has the greatest expected IoU with the others of its row.

    Args:
        shape: (3, R, K) starts, ends and widths; R at most COMPARED, K at most SHORTLIST.
        left: (R, K) probability that each is the moment.
        chance: (R, K) that each has RIGHT_IOU; what counts is a mixture of the two, where that is given.
        share: of the expected IoU in it.
    """
    first, end, width = shape
    (common, other, none), about = _room.cut(first.shape[0], first.shape[1], first.dtype)
    np.minimum(end[:, :, None], end[:, None], out=common)
    common -= np.maximum(first[:, :, None], first[:, None], out=other)
    np.maximum(common, none, out=common)
    both = np.add(width[:, :, None], width[:, None], out=other)
    both -= common
    np.divide(common, both, out=about, dtype=np.float32)  # half the work of 64 bits, which neighbours in doubt get
    expected: Floats = np.matmul(about, left.astype(np.float32)[:, :, None])[:, :, 0]
    if chance is not None:
        expected = (1 - share) * chance + share * expected
    leading = expected >= expected.max(axis=1, keepdims=True) - SURE
    best: Indices = leading.argmax(axis=1)
    for row in np.flatnonzero(leading.sum(axis=1) > 1).tolist():
        some = np.flatnonzero(leading[row])
        exact: Doubles = np.divide(common[row, some], both[row, some], dtype=np.float64) @ left[row]
        best[row] = some[(exact if chance is None else (1 - share) * chance[row, some] + share * exact).argmax()]
    return best


class _Room(threading.local):
    """Tables that each thread writes into again and again: fresh memory is in no cache, which takes as long."""

    def __init__(self) -> None:
        shape = COMPARED, SHORTLIST, SHORTLIST
        self._whole, self._about = np.zeros((3, *shape), np.int16), np.zeros(shape, np.float32)

    def cut(self, rows: int, size: int, kind: np.dtype[Any]) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Tables for so many rows of spans: of whole numbers, two to write into and one of zeros (a maximum is found
        faster beside it than beside a single zero), (3, rows, size, size); and one of fractions."""
        whole = self._whole if kind == self._whole.dtype else np.zeros((3, rows, size, size), kind)
        return whole[:, :rows, :size, :size], self._about[:rows, :size, :size]


_room = _Room()


def read_moments(
    curve: Floats, duration: float, reader: SpanReader, count: int = MAX_MOMENTS
) -> tuple[Doubles, Doubles]:
    """The first of `iterate_moments`.

    Args:
        count: at most so many.

    Returns:
        spans (k, 2) as fractions of the video, and their chances (k,).
    """
    found = np.array(list(itertools.islice(iterate_moments(curve, duration, reader), count)))
    return found[:, :2] / len(curve), found[:, 2]


def moment_score(peak: float, chance: float, likeliest: float) -> float:
    """`moment_scores` of one moment; `likeliest` is the chance of the first one."""
    return peak + math.log(chance / likeliest)


def moment_scores(peak: float, chances: Doubles) -> Doubles:
    """Scores of a video's moments among those of other videos: the curve's peak, and for each later moment the
    logarithm of how much less likely it is than the first."""
    return np.asarray(peak + np.log(chances / chances[0]))


def running_mean(values: Floats, clips: int) -> Floats:
    """Mean of (n, ...) over an odd number of neighbours, the ends repeated."""
    half = min(clips // 2, len(values) - 1)
    if half < 1:
        return values
    padded = np.concatenate([np.repeat(values[:1], half + 1, 0), values, np.repeat(values[-1:], half, 0)])
    summed = np.cumsum(padded, axis=0, dtype=np.float64)
    return np.asarray((summed[2 * half + 1 :] - summed[: -2 * half - 1]) / (2 * half + 1), values.dtype)
