from dataclasses import replace

import numpy as np
import pytest

from cfmr.models.dense.selection import (
    WIDTHS,
    HeldOut,
    answer_likelihoods,
    believed_curves,
    best_reader,
    curve_weight,
    first_reader,
    glance_densities,
    glance_density,
    log_likelihoods,
)
from cfmr.moments.span_reader import NUM_KNOTS, SpanReader, read_moments


def made_up(width: float, rows: int = 400, clips: int = 64, seed: int = 0, height: float = 2.0) -> HeldOut:
    """Noisy curves with a plateau of so wide moments, and a glance anywhere in each."""
    rng = np.random.default_rng(seed)
    curves, glances = [], []
    for _ in range(rows):
        wide = width * np.exp(0.2 * rng.standard_normal())
        start = rng.uniform(0, 1 - wide)
        middles = (np.arange(clips) + 0.5) / clips
        inside = (middles >= start) & (middles <= start + wide)
        curves.append(height * inside + 1.0 * rng.standard_normal(clips))
        glances.append(rng.uniform(start, start + wide))
    return HeldOut(curves, np.full(rows, 30.0), np.array(glances))


@pytest.mark.parametrize("width", [0.1, 0.25, 0.5])
def test_the_usual_width_is_found_from_glances_alone(width: float) -> None:
    held = made_up(width)
    reader, _ = best_reader(held, first_reader(held.glances, held.seconds), frozenset())
    assert width / 1.6 < reader.width < width * 1.6


def test_the_more_glances_the_further_they_move_the_width_of_curves_that_say_little() -> None:
    """From what is believed beforehand, about a quarter of the video, to 0.45."""
    found = []
    for rows in (80, 300):
        held = made_up(0.45, rows=rows, height=0.5, seed=1)
        best, _ = best_reader(held, first_reader(held.glances, held.seconds), frozenset())
        likeliest = max(WIDTHS, key=lambda width: glance_likelihood(held, replace(best, width=width)))
        assert best.overlap == 0
        assert best.width < likeliest
        found.append(best.width)
    assert 0.2 < found[0] < 0.3 < found[1]


def glance_likelihood(held: HeldOut, reader: SpanReader) -> float:
    return float(log_likelihoods(glance_densities(held, reader)).mean())


def test_smooth_curves_that_say_little_are_not_read_as_narrow_moments() -> None:
    """Narrow spans follow every bump of such a curve, and side by side hold the glance as well as the wide moment."""
    rng = np.random.default_rng(0)
    kernel, middles = np.exp(-0.5 * (np.arange(-10, 11) / 3) ** 2), (np.arange(60) + 0.5) / 60
    curves, glances = [], []
    for _ in range(1000):
        wide = min(0.25 * np.exp(0.8 * rng.standard_normal()), 0.95)
        start = rng.uniform(-wide / 2, 1 - wide / 2)
        bumps = np.convolve(rng.standard_normal(80), kernel, "valid")
        curves.append(0.3 * ((middles >= start) & (middles <= start + wide)) + 0.5 * bumps / bumps.std())
        glances.append(rng.uniform(max(start, 0), min(start + wide, 1)))
    held = HeldOut(curves, np.full(1000, 60.0), np.array(glances))
    assert 0.12 < best_reader(held, first_reader(held.glances, held.seconds), frozenset())[0].width < 0.5


def test_curves_are_believed_more_where_that_makes_the_first_answers_likelier() -> None:
    for height, more in ((2.0, True), (0.2, False)):
        held = made_up(0.02, rows=150, clips=300, height=height)
        start = first_reader(held.glances, held.seconds)
        best = best_reader(held, start, frozenset())[0]
        assert (believed_curves(held, best, frozenset()).curve_weight > start.curve_weight) == more
        assert believed_curves(held, best, frozenset({"curve_weight"})).curve_weight == start.curve_weight


def test_a_glance_is_likelier_in_the_first_answer_only_as_far_as_answers_are_right() -> None:
    right, chance = made_up(0.25, height=5.0), made_up(0.25, height=0.0)
    reader = SpanReader(width=0.25)
    assert answer_likelihoods(chance, reader).mean() == pytest.approx(0, abs=0.02)
    assert 0.8 < answer_likelihoods(right, reader).mean() <= np.log(4) + 0.1


def test_answers_aim_at_the_greatest_iou_where_curves_say_much_only() -> None:
    for height, aim in ((2.0, 1.0), (0.2, 0.0)):
        held = made_up(0.25, height=height)
        assert best_reader(held, first_reader(held.glances, held.seconds), frozenset())[0].overlap == aim


def test_an_aim_that_is_given_is_not_chosen() -> None:
    held = made_up(0.25, rows=60)
    assert best_reader(held, SpanReader(overlap=0.0), frozenset({"overlap"}))[0].overlap == 0


def test_what_few_glances_imply_is_as_good_as_a_constant_answer_can_be() -> None:
    """Moments of which many begin before the video, ten glances: what is read where curves say nothing."""
    rng, hits, possible = np.random.default_rng(0), [], []
    for _ in range(8):
        spans = np.clip(rng.normal(0.2, 0.25, (300, 1)) + np.array([-0.13, 0.13]), 0, 1)
        spans = spans[spans[:, 1] - spans[:, 0] > 0.05]
        reader = first_reader(rng.uniform(spans[:10, 0], spans[:10, 1]), np.full(10, 30.0))
        found, _ = read_moments(rng.normal(0, 1, 64), 30.0, reader, 1)
        hits.append((iou_of(found[:1], spans) >= 0.5).mean())
        constants = np.array([(a, b) for a in np.arange(0, 1, 0.05) for b in np.arange(a + 0.1, 1.01, 0.05)])
        possible.append((iou_of(constants[:, None], spans[None]) >= 0.5).mean(1).max())
    assert np.mean(hits) > 0.8 * np.mean(possible)


def iou_of(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Of spans (..., 2)."""
    common = np.minimum(some[..., 1], others[..., 1]) - np.maximum(some[..., 0], others[..., 0])
    return common / (np.maximum(some[..., 1], others[..., 1]) - np.minimum(some[..., 0], others[..., 0]))


def test_a_width_that_is_given_is_not_chosen() -> None:
    held = made_up(0.25, rows=60)
    start = SpanReader(width=0.6)
    assert best_reader(held, start, frozenset({"width"}))[0].width == 0.6


def test_glances_of_videos_of_many_lengths_are_in_the_order_of_the_rows() -> None:
    held = made_up(0.3, rows=30)
    mixed = HeldOut(held.curves, np.linspace(10, 90, 30), held.glances)
    reader = SpanReader(width=0.3, width_exponent=1.0, longest=100.0)
    found = glance_densities(mixed, reader)
    alone = [
        glance_densities(HeldOut([held.curves[i]], mixed.seconds[[i]], held.glances[[i]]), reader)[0] for i in range(30)
    ]
    np.testing.assert_allclose(found, alone)


def test_glances_in_likely_spans_are_likely() -> None:
    curve = np.zeros(60)
    curve[20:32] = 5.0
    reader = SpanReader(width=0.2)
    inside, outside = (
        glance_densities(HeldOut([curve], np.array([30.0]), np.array([glance])), reader)[0] for glance in (0.43, 0.9)
    )
    assert inside > 3
    assert outside < 0.1


def test_curves_that_say_nothing_cost_no_more_than_anywhere() -> None:
    assert log_likelihoods(np.full(50, 1e-9)).mean() == pytest.approx(0, abs=0.05)
    assert log_likelihoods(np.full(50, 4.0)).mean() == pytest.approx(np.log(4), abs=0.05)


def test_curves_fitted_to_few_glances_are_hardly_believed() -> None:
    assert curve_weight(1) == curve_weight(10) < curve_weight(100) < curve_weight(3000) < 6


def test_the_density_of_glances_has_a_mean_of_one_and_lies_where_they_do() -> None:
    density = np.array(glance_density(np.full(50, 0.9)))
    assert len(density) == NUM_KNOTS
    assert density.mean() == pytest.approx(1, abs=1e-3)
    assert density[-4:].mean() > 5 * density[:16].mean()


def test_without_glances_anywhere_is_as_likely() -> None:
    assert set(glance_density(np.array([]))) == {1.0}
