import numpy as np
import pytest

from cfmr.models.dense.selection import (
    HeldOut,
    best_reader,
    curve_weight,
    first_reader,
    glance_densities,
    glance_density,
    log_likelihood,
)
from cfmr.moments.span_reader import NUM_KNOTS, SpanReader


def made_up(width: float, rows: int = 400, clips: int = 64, seed: int = 0) -> HeldOut:
    """Noisy curves with a plateau of so wide moments, and a glance anywhere in each."""
    rng = np.random.default_rng(seed)
    curves, glances = [], []
    for _ in range(rows):
        wide = width * np.exp(0.2 * rng.standard_normal())
        start = rng.uniform(0, 1 - wide)
        middles = (np.arange(clips) + 0.5) / clips
        inside = (middles >= start) & (middles <= start + wide)
        curves.append(2.0 * inside + 1.0 * rng.standard_normal(clips))
        glances.append(rng.uniform(start, start + wide))
    return HeldOut(curves, np.full(rows, 30.0), np.array(glances))


@pytest.mark.parametrize("width", [0.1, 0.25, 0.5])
def test_the_usual_width_is_found_from_glances_alone(width: float) -> None:
    held = made_up(width)
    reader, _ = best_reader(held, first_reader(held.glances, held.seconds), frozenset())
    assert width / 1.6 < reader.width < width * 1.6


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
    assert log_likelihood(np.full(50, 1e-9)) == pytest.approx(0, abs=0.05)
    assert log_likelihood(np.full(50, 4.0)) == pytest.approx(np.log(4), abs=0.05)


def test_curves_fitted_to_few_glances_are_hardly_believed() -> None:
    assert curve_weight(1) == curve_weight(10) < curve_weight(100) < curve_weight(3000) < 6


def test_the_density_of_glances_has_a_mean_of_one_and_lies_where_they_do() -> None:
    density = np.array(glance_density(np.full(50, 0.9)))
    assert len(density) == NUM_KNOTS
    assert density.mean() == pytest.approx(1, abs=1e-3)
    assert density[-4:].mean() > 5 * density[:16].mean()


def test_without_glances_anywhere_is_as_likely() -> None:
    assert set(glance_density(np.array([]))) == {1.0}
