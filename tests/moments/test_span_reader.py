import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfmr.errors import InputError
from cfmr.moments.nms import iou
from cfmr.moments.span_reader import (
    NUM_KNOTS,
    SpanReader,
    candidate_spans,
    iterate_moments,
    moment_scores,
    posterior,
    read_moments,
    readout_from_json,
    readout_to_json,
    running_mean,
)

READER = SpanReader(width=0.2, width_spread=0.4, duration=30.0, longest=60.0)
curves = st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=150).map(np.array)
readers = st.builds(
    SpanReader,
    width=st.floats(0.01, 0.9),
    width_spread=st.floats(0.05, 1.0),
    width_exponent=st.floats(0, 1),
    curve_weight=st.floats(0, 16),
    place_weight=st.floats(0, 1),
    place_density=st.lists(st.floats(0.1, 3), min_size=NUM_KNOTS, max_size=NUM_KNOTS).map(tuple),
    duration=st.floats(1, 500),
    longest=st.floats(1, 500),
    overlap=st.sampled_from([0.0, 0.5, 1.0]),
)


def plateau(clips: int, first: int, last: int) -> np.ndarray:
    curve = np.zeros(clips)
    curve[first:last] = 4.0
    return curve


def test_a_plateau_as_wide_as_moments_usually_are_is_the_moment() -> None:
    spans, chances = read_moments(plateau(60, 20, 32), 30.0, READER)
    assert iou(tuple(spans[0]), (20 / 60, 32 / 60)) > 0.9
    assert chances[0] > 0.9


@pytest.mark.parametrize(("first", "last"), [(3, 5), (10, 40), (0, 58)])
def test_moments_of_any_width_come_out_where_widths_vary(first: int, last: int) -> None:
    spans, _ = read_moments(plateau(60, first, last), 30.0, SpanReader(width_spread=1.2, curve_weight=16.0))
    assert iou(tuple(spans[0]), (first / 60, last / 60)) >= 0.5 - 1e-9


@given(curves, st.floats(0.1, 5000), readers)
def test_moments_lie_in_the_video_and_their_chances_fall(
    curve: np.ndarray, duration: float, reader: SpanReader
) -> None:
    spans, chances = read_moments(curve, duration, reader)
    assert 1 <= len(spans) == len(chances) <= 10
    assert (spans[:, 0] >= 0).all()
    assert (spans[:, 1] <= 1 + 1e-9).all()
    assert (spans[:, 0] < spans[:, 1]).all()
    assert (np.diff(chances) <= 1e-9).all()
    assert ((chances > 0) & (chances <= 1 + 1e-9)).all()


@given(curves, st.floats(0.1, 5000), readers)
def test_no_later_moment_has_a_greater_chance_than_an_earlier_one_leaves(
    curve: np.ndarray, duration: float, reader: SpanReader
) -> None:
    moments = list(itertools.islice(iterate_moments(curve, duration, reader), 10))
    for before, after in itertools.pairwise(moments):
        assert after.chance <= before.rest <= before.chance


@given(curves, st.floats(1, 100), readers)
def test_no_two_moments_of_a_video_are_one(curve: np.ndarray, duration: float, reader: SpanReader) -> None:
    spans, _ = read_moments(curve, duration, reader)
    found = [tuple(span) for span in spans.tolist()]
    assert len(set(found)) == len(found)


@given(curves, st.floats(1, 100), readers)
def test_all_spans_together_are_certain(curve: np.ndarray, duration: float, reader: SpanReader) -> None:
    spans = candidate_spans(len(curve), duration, reader)
    assert posterior(curve[None], spans, reader, duration).sum() == pytest.approx(1)


@given(curves, st.floats(1, 100), readers, st.floats(-5, 5))
def test_how_high_a_curve_lies_changes_no_moment(
    curve: np.ndarray, duration: float, reader: SpanReader, height: float
) -> None:
    spans = candidate_spans(len(curve), duration, reader)
    before, after = (posterior(shown[None], spans, reader, duration) for shown in (curve, curve + height))
    np.testing.assert_allclose(before, after, atol=1e-6)


@given(st.integers(1, 120), st.floats(1, 100), readers)
def test_spans_that_make_an_answer_right_are_those_that_overlap_it_by_half(
    clips: int, duration: float, reader: SpanReader
) -> None:
    spans = candidate_spans(clips, duration, reader)
    chosen = np.random.default_rng(clips).integers(len(spans.first), size=3)
    for answer in chosen.tolist():
        right = np.zeros(len(spans.first), bool)
        for low, high in zip(spans.low[:, answer], spans.high[:, answer], strict=True):
            right[low:high] = True
        here = (float(spans.first[answer]), float(spans.end[answer]))
        for other in range(0, len(spans.first), max(1, len(spans.first) // 50)):
            shared = iou(here, (float(spans.first[other]), float(spans.end[other])))
            assert right[other] == (shared >= 0.5) or math.isclose(shared, 0.5, abs_tol=1e-6)


@pytest.mark.parametrize("clips", [1, 7, 64, 200])
def test_many_curves_are_read_as_each_alone(clips: int) -> None:
    shown = np.random.default_rng(clips).normal(0, 2, (9, clips))
    spans = candidate_spans(clips, 20.0, READER)
    together = posterior(shown, spans, READER, 20.0)
    alone = [posterior(curve[None], spans, READER, 20.0)[0] for curve in shown]
    np.testing.assert_allclose(together, alone, atol=1e-9)


def test_without_a_believed_curve_the_answer_lies_where_glances_do() -> None:
    density = np.full(NUM_KNOTS, 0.1)
    density[24:] = 4.0
    reader = SpanReader(width=0.25, curve_weight=0.0, place_weight=1.0, place_density=tuple(density))
    spans, _ = read_moments(plateau(64, 0, 8), 30.0, reader)
    assert spans[0, 0] > 0.5


def test_where_nothing_is_known_a_moment_is_often_cut_by_an_end_of_the_video() -> None:
    """Of moments of width w whose middles are anywhere, w begin before the video and w end after it."""
    reader = replace(READER, width_spread=0.01)
    spans = candidate_spans(100, 30.0, reader)
    shares = posterior(np.zeros((1, 100)), spans, reader, 30.0)[0]
    cut = shares[(spans.first == 0) | (spans.end == 100)].sum()
    assert cut == pytest.approx(2 * reader.width / (1 + reader.width), abs=0.04)


def test_what_is_next_to_a_moment_says_where_it_ends() -> None:
    curve = plateau(60, 20, 32)
    curve[50:] = 4.0  # the same again, elsewhere
    spans = candidate_spans(60, 30.0, READER)
    belief = posterior(curve[None], spans, READER, 30.0)[0]
    inside = (spans.first >= 19) & (spans.end <= 33)
    likeliest = int(np.where(inside, belief, 0).argmax())
    assert (spans.first[likeliest], spans.end[likeliest]) == (20, 32)


@pytest.mark.parametrize(("first", "last"), [(30, 36), (24, 50)])
def test_answers_that_aim_at_the_greatest_iou_take_the_width_from_the_curve(first: int, last: int) -> None:
    aiming = SpanReader(width=0.25, width_spread=0.5, curve_weight=6.0, overlap=1.0)
    found, _ = read_moments(plateau(60, first, last), 30.0, aiming)
    surely, _ = read_moments(plateau(60, first, last), 30.0, replace(aiming, overlap=0.0))
    true = (first / 60, last / 60)
    assert iou(tuple(found[0]), true) > 0.85
    assert iou(tuple(found[0]), true) >= iou(tuple(surely[0]), true)


def test_widths_in_seconds_are_the_same_in_any_video() -> None:
    reader = SpanReader(width=0.25, width_exponent=1.0, duration=20.0, longest=100.0)
    assert [reader.width_in(duration) * duration for duration in (10.0, 20.0, 100.0)] == pytest.approx([5.0] * 3)


def test_in_a_video_longer_than_any_trained_on_moments_are_as_wide_as_in_the_longest() -> None:
    reader = SpanReader(width=0.25, duration=30.0, longest=60.0)
    assert reader.width_in(7200.0) * 7200.0 == pytest.approx(reader.width_in(60.0) * 60.0)


def test_a_moment_of_a_film_is_found_as_it_is_in_a_clip() -> None:
    rng = np.random.default_rng(0)
    curve = rng.normal(0, 0.5, 14400)  # two hours, two clips a second
    curve[9000:9024] += 5.0
    spans, _ = read_moments(curve, 7200.0, READER)
    assert iou((spans[0, 0] * 7200, spans[0, 1] * 7200), (4500.0, 4512.0)) >= 0.5


def test_scores_start_at_the_peak_and_fall_with_the_chances() -> None:
    assert moment_scores(3.0, np.array([0.8, 0.4])).tolist() == pytest.approx([3.0, 3.0 - math.log(2)])


@given(st.integers(1, 60), st.integers(0, 20).map(lambda half: 2 * half + 1))
def test_a_running_mean_keeps_a_constant(clips: int, window: int) -> None:
    np.testing.assert_allclose(running_mean(np.full((clips, 2), 3.0), window), 3.0)


def test_a_running_mean_is_the_mean_of_neighbours() -> None:
    assert running_mean(np.array([0.0, 3.0, 6.0, 0.0]), 3).tolist() == pytest.approx([1.0, 3.0, 3.0, 2.0])


@given(readers)
def test_a_reader_survives_json(reader: SpanReader) -> None:
    again = SpanReader.from_json(json.loads(json.dumps(reader.to_json())), "card.json")
    assert again.width == reader.width
    np.testing.assert_allclose(again.place_density, reader.place_density, atol=1e-4)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "does not say how moments are read"),
        ({"width": 0.2}, "does not say how moments are read"),
        (READER.to_json() | {"place_density": [1.0]}, "'place_density' is not a list of 32 numbers"),
        (READER.to_json() | {"width": "wide"}, "not told in numbers"),
        (READER.to_json() | {"width": math.nan}, "not told in numbers"),
        ("curve@0.2", "--rebuild"),
    ],
)
def test_a_readout_that_is_none_is_refused_in_one_line(value: object, said: str) -> None:
    with pytest.raises(InputError, match=f"card.json: .*{said}"):
        readout_from_json(value, "card.json")


def test_anchors_are_a_readout_too() -> None:
    assert readout_from_json(readout_to_json("anchors"), "card.json") == "anchors"


def test_a_reader_from_before_overlap_was_chosen_is_read_as_it_was() -> None:
    kept = SpanReader(width=0.4).to_json()
    del kept["overlap"]
    assert SpanReader.from_json(kept, "card.json") == SpanReader(width=0.4)
