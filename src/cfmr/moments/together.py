"""The first moments of several curves at once: most of reading a short video is calling, not computing.

A search reads a dozen videos, each of some fifty clips. Here their spans lie one after the other in one array, so that
each step is one call for all of them. The answers are those of reading each alone.

Shapes: R curves, N spans of all of their videos, K = SHORTLIST likeliest spans of each.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from cfmr.moments.span_reader import (
    COMPARED,
    SHORTLIST,
    Doubles,
    Floats,
    Indices,
    ReadMoment,
    SpanReader,
    Spans,
    belief,
    candidate_spans,
    greatest_overlap,
    iterate_moments,
    later_moments,
    read_moment,
)

AT_ONCE = 16  # curves; more would not stay in the cache


def first_moments(
    curves: Sequence[Floats], durations: Sequence[float], reader: SpanReader
) -> list[tuple[ReadMoment, Iterator[ReadMoment]]]:
    """The first moment of each of several videos, and the later ones, which are worked out when they are asked for."""
    found: list[tuple[ReadMoment, Iterator[ReadMoment]]] = []
    for at in range(0, len(curves), AT_ONCE):
        part = curves[at : at + AT_ONCE], durations[at : at + AT_ONCE]
        spans = [candidate_spans(len(curve), duration, reader) for curve, duration in zip(*part, strict=True)]
        if reader.overlap < 1 or len(spans) < 2 or not all(_fits(one) for one in spans):
            alone = [iterate_moments(curve, duration, reader) for curve, duration in zip(*part, strict=True)]
            found += [(next(moments), moments) for moments in alone]
        else:
            found += _begun(*part, spans, reader)
    return found


def _fits(spans: Spans) -> bool:
    return spans.narrow is not None and len(spans.first) >= SHORTLIST


def _begun(
    curves: Sequence[Floats], durations: Sequence[float], spans: Sequence[Spans], reader: SpanReader
) -> list[tuple[ReadMoment, Iterator[ReadMoment]]]:
    sizes = [len(one.first) for one in spans]
    begins = np.cumsum([0, *sizes[:-1]])
    left = _posteriors(curves, durations, spans, sizes, begins, reader)
    best = _most_overlap(left, spans, sizes, begins).tolist()
    chances = _chances(left, spans, best, begins)
    found = []
    for one, number, chance, begin, size in zip(spans, best, chances, begins.tolist(), sizes, strict=True):
        first = read_moment(one, number, chance, 1.0, 1.0)
        found.append((first, later_moments(one, left[begin : begin + size], reader, number, first)))
    return found


def _posteriors(
    curves: Sequence[Floats],
    durations: Sequence[float],
    spans: Sequence[Spans],
    sizes: Sequence[int],
    begins: Indices,
    reader: SpanReader,
) -> Doubles:
    """(N,) probability that each span is the moment of its video."""
    summed = np.zeros((len(curves), 1 + max(map(len, curves))))
    for row, curve in zip(summed, curves, strict=True):
        row[1 : len(curve) + 1] = curve
    np.cumsum(summed, axis=1, out=summed)  # behind a curve's end all its sum stays
    edges = np.concatenate([one.edges for one in spans], axis=1)
    edges += np.repeat(np.arange(len(curves)) * summed.shape[1], sizes)
    inside, before, around, far = summed.ravel().take(edges)
    inside -= before
    around -= far
    weights = np.concatenate(
        [one.weights(reader, duration) for one, duration in zip(spans, durations, strict=True)], axis=1
    )
    believed = belief(inside, around, np.repeat(summed[:, -1], sizes), weights)
    believed -= np.repeat(np.maximum.reduceat(believed, begins), sizes)
    np.exp(believed, out=believed)
    believed /= np.repeat(np.add.reduceat(believed, begins), sizes)
    return believed


def _most_overlap(left: Doubles, spans: Sequence[Spans], sizes: Sequence[int], begins: Indices) -> Indices:
    """(R,) which span of each video has the greatest expected IoU, among its likeliest."""
    likely = np.empty((len(spans), SHORTLIST), np.intp)
    for row, begin, size in zip(likely, begins.tolist(), sizes, strict=True):
        row[:] = left[begin : begin + size].argpartition(-SHORTLIST)[-SHORTLIST:]
    among = likely + begins[:, None]
    shape = np.concatenate([one.narrow for one in spans if one.narrow is not None], axis=1).take(among, axis=1)
    chosen = np.empty(len(spans), np.intp)
    for at in range(0, len(spans), COMPARED):
        rows = slice(at, at + COMPARED)
        chosen[rows] = greatest_overlap(shape[:, rows], left.take(among[rows]))
    return likely[np.arange(len(spans)), chosen]


def _chances(left: Doubles, spans: Sequence[Spans], best: Sequence[int], begins: Indices) -> list[float]:
    """The probability that one span of each video is right."""
    summed = np.concatenate([np.zeros(1), np.cumsum(left)])
    rights = [one.right[number] + begin for one, number, begin in zip(spans, best, begins.tolist(), strict=True)]
    counts = np.cumsum([0, *(right.shape[1] for right in rights[:-1])])
    low, high = np.add.reduceat(summed.take(np.concatenate(rights, axis=1)), counts, axis=1)
    chances: list[float] = (high - low).tolist()
    return chances
