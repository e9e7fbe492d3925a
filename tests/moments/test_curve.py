import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cfmr.moments import curve as curves_module
from cfmr.moments.curve import (
    FLOOR_QUANTILE,
    MAX_MOMENTS,
    NMS_IOU,
    curve_readout,
    floor_of,
    moments_of_curve,
    stretch_around,
)
from cfmr.moments.metrics import iou

curves = arrays(np.float64, st.integers(1, 80), elements=st.floats(-50, 50))


def clips(n: int, duration: float = 1.0) -> np.ndarray:
    edges = np.arange(n + 1) / n * duration
    return np.stack([edges[:-1], edges[1:]], axis=1)


def bump(n: int, centre: float, std: float, height: float = 1.0) -> np.ndarray:
    return height * np.exp(-(((np.arange(n) + 0.5) / n - centre) ** 2) / (2 * std**2))


@given(curves)
def test_every_curve_has_a_moment_and_all_lie_within_the_video(curve: np.ndarray) -> None:
    spans, scores = moments_of_curve(curve, clips(len(curve)))
    assert 1 <= len(spans) == len(scores) <= MAX_MOMENTS
    assert (spans[:, 0] >= 0).all()
    assert (spans[:, 1] <= 1).all()
    assert (spans[:, 0] < spans[:, 1]).all()


@given(curves)
def test_answers_come_best_first_and_are_no_duplicates(curve: np.ndarray) -> None:
    spans, scores = moments_of_curve(curve, clips(len(curve)))
    assert (np.diff(scores) <= 0).all()
    for i in range(1, len(spans)):
        assert (iou(spans[:i], spans[i]) < NMS_IOU + 1e-9).all()


@given(curves)
def test_the_first_moment_contains_the_highest_clip(curve: np.ndarray) -> None:
    spans, scores = moments_of_curve(curve, clips(len(curve), len(curve)))
    assert scores[0] == curve.max()
    highest = np.flatnonzero(curve == curve.max()) + 0.5
    assert ((spans[0, 0] <= highest) & (highest <= spans[0, 1])).any()


@given(curves, st.sampled_from([0.25, 2.0, 64.0]))  # powers of two, so that no rounding decides what overlaps
def test_spans_follow_the_unit_of_time(curve: np.ndarray, duration: float) -> None:
    short, _ = moments_of_curve(curve, clips(len(curve)))
    long, _ = moments_of_curve(curve, clips(len(curve), duration))
    np.testing.assert_allclose(long, short * duration, rtol=1e-9)


def test_a_bump_is_cut_where_it_has_fallen_by_half() -> None:
    spans, _ = moments_of_curve(bump(400, 0.5, 0.05), clips(400))
    half = 0.05 * np.sqrt(2 * np.log(2))
    assert spans[0] == pytest.approx([0.5 - half, 0.5 + half], abs=0.005)


def test_the_higher_of_two_bumps_comes_first_and_both_are_found() -> None:
    curve = bump(200, 0.2, 0.04, 1.0) + bump(200, 0.7, 0.04, 3.0)
    spans, _ = moments_of_curve(curve, clips(200))
    assert spans[0].mean() == pytest.approx(0.7, abs=0.01)
    assert any(abs(span.mean() - 0.2) < 0.02 for span in spans[1:])


def test_a_plateau_under_noise_is_among_the_answers_though_its_peak_is_narrow() -> None:
    curve = np.random.default_rng(2).normal(0, 0.4, 200)
    curve[60:100] += 1
    curve[20] = 4
    spans, _ = moments_of_curve(curve, clips(200))
    assert max(float(iou(span, np.array([0.3, 0.5]))) for span in spans[:3]) > 0.8


@given(curves, st.integers(1, MAX_MOMENTS))
def test_fewer_moments_are_the_first_of_all(curve: np.ndarray, count: int) -> None:
    everything, _ = moments_of_curve(curve, clips(len(curve)))
    some, _ = moments_of_curve(curve, clips(len(curve)), count=count)
    np.testing.assert_array_equal(some, everything[:count])


@given(arrays(np.float64, st.integers(1, 150), elements=st.integers(-5, 5)))  # whole numbers: many are equal
def test_long_videos_are_read_as_short_ones_are(curve: np.ndarray) -> None:
    spans, scores = moments_of_curve(curve, clips(len(curve)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves_module, "LONG", 2)
        long_spans, long_scores = moments_of_curve(curve, clips(len(curve)))
    np.testing.assert_array_equal(long_spans, spans)
    np.testing.assert_array_equal(long_scores, scores)


def standing_out_most(curve: np.ndarray) -> float:
    """By how many standard errors the mean of any stretch, of all there are, lies above that of the rest."""
    n = len(curve)
    return max(
        (curve[i:j].mean() - np.r_[curve[:i], curve[j:]].mean()) / np.sqrt(1 / (j - i) + 1 / (n - j + i))
        for i in range(n)
        for j in range(i + 1, n + 1)
        if j - i < n
    )


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(8, 25))
def test_the_second_answer_stands_out_from_the_rest(seed: int, n: int) -> None:
    curve = np.random.default_rng(seed).normal(size=n)
    first, last = next(curves_module._matched_filter(curve))
    inside, rest = curve[first : last + 1], np.r_[curve[:first], curve[last + 1 :]]
    value = (inside.mean() - rest.mean()) / np.sqrt(1 / len(inside) + 1 / len(rest))
    assert value >= 0.8 * standing_out_most(curve), "only some widths are tried"


@given(curves, st.floats(-50, 50))
def test_moments_above_a_score_are_the_first_of_all(curve: np.ndarray, above: float) -> None:
    everything, scores = moments_of_curve(curve, clips(len(curve)))
    some, found = moments_of_curve(curve, clips(len(curve)), above=above)
    count = max(int((scores > above).sum()), 1)
    np.testing.assert_array_equal(some, everything[:count])
    np.testing.assert_array_equal(found, scores[:count])


def test_a_higher_floor_cuts_closer() -> None:
    curve = bump(300, 0.5, 0.2) + np.linspace(0, 0.3, 300)
    wide, narrow = (moments_of_curve(curve, clips(300), floor)[0][0] for floor in (0.0, 0.8))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@given(curves, st.floats(0, 1))
def test_the_stretch_around_a_place_contains_it(curve: np.ndarray, place: float) -> None:
    first, last = stretch_around(curve, place, 0.05)
    assert 0 <= first <= min(int(place * len(curve)), len(curve) - 1) <= last < len(curve)


@given(st.floats(0, 1))
def test_a_readout_names_its_floor(floor: float) -> None:
    assert floor_of(curve_readout(floor)) == pytest.approx(floor, rel=1e-5)


def test_other_readouts_have_no_floor() -> None:
    assert floor_of("anchors") is None
    assert floor_of("curve") == FLOOR_QUANTILE


def test_clips_of_overlapping_windows_become_one_timeline() -> None:
    first, second = clips(60, 60), clips(60, 60) + 30.4
    curve = np.exp(-((np.concatenate([first, second]).mean(1) - 50) ** 2) / 18)
    spans, _ = moments_of_curve(curve, np.concatenate([first, second]))
    assert spans[0].mean() == pytest.approx(50, abs=1)
    assert np.diff(spans[0])[0] == pytest.approx(2 * 3 * np.sqrt(2 * np.log(2)), abs=2)
