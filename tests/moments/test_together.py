"""Curves that are read together give what each gives alone."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfmr.moments.span_reader import SpanReader, iterate_moments
from cfmr.moments.together import AT_ONCE, first_moments

READER = SpanReader(width=0.1, width_spread=0.35, place_weight=1.0, overlap=1.0, duration=30.0, longest=40.0)


def smooth(clips: int, seed: int) -> np.ndarray:
    """A curve with a few hills."""
    noise = np.random.default_rng(seed).normal(0, 3, clips + 6)
    return np.convolve(noise, np.ones(7) / 7, "valid").astype(np.float32)


def check_as_alone(curves: list[np.ndarray], durations: list[float], reader: SpanReader) -> None:
    together = first_moments(curves, durations, reader)
    assert len(together) == len(curves)
    for curve, duration, (first, later) in zip(curves, durations, together, strict=True):
        alone = list(itertools.islice(iterate_moments(curve, duration, reader), 5))
        found = [first, *itertools.islice(later, 4)]
        assert [moment[:2] for moment in found] == [moment[:2] for moment in alone]
        np.testing.assert_allclose([m.chance for m in found], [m.chance for m in alone], rtol=1e-6)
        np.testing.assert_allclose([m.rest for m in found], [m.rest for m in alone], rtol=1e-6, atol=1e-9)


@given(st.lists(st.integers(30, 90), min_size=1, max_size=9), st.integers(0, 1000))
def test_videos_of_any_lengths_are_read_as_each_alone(lengths: list[int], seed: int) -> None:
    curves = [smooth(clips, seed + number) for number, clips in enumerate(lengths)]
    check_as_alone(curves, [clips / 2 for clips in lengths], READER)


@pytest.mark.parametrize("overlap", [0.0, 0.5, 1.0])
def test_whatever_an_answer_is_to_overlap(overlap: float) -> None:
    reader = SpanReader(width=0.1, overlap=overlap, longest=40.0)
    check_as_alone([smooth(60, seed) for seed in range(4)], [30.0] * 4, reader)


def test_videos_with_few_spans_and_videos_longer_than_16_bits_are_among_them() -> None:
    lengths = [3, 60, 17_000, 45]
    check_as_alone([smooth(clips, clips) for clips in lengths], [clips / 2 for clips in lengths], READER)


def test_more_videos_than_are_read_at_once() -> None:
    count = 2 * AT_ONCE + 1
    check_as_alone([smooth(40 + seed, seed) for seed in range(count)], [25.0] * count, READER)


def test_of_two_spans_that_differ_in_no_way_the_same_is_taken_together_and_alone() -> None:
    hill = np.exp(-0.5 * ((np.arange(61) - 30) / 3) ** 2).astype(np.float32) * 6  # the same from either end
    check_as_alone([hill, hill], [30.0, 30.0], READER)
