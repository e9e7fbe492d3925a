import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfmr.moments.rejection import best_threshold
from cfmr.search.calibrate import cross_checked, separation

SCORES = st.lists(st.floats(-5, 5, allow_nan=False), min_size=1, max_size=30).map(np.array)


def test_scores_apart_are_told_apart() -> None:
    matching, other = np.array([3.0, 4, 5, 6]), np.array([0.0, 1, 2, 1])
    score, right = cross_checked(matching, other)
    assert 2 < score < 3
    assert right == 1
    assert separation(matching, other) == 1


def test_a_threshold_is_not_judged_on_the_sentences_it_was_chosen_on() -> None:
    rng = np.random.default_rng(0)
    chosen, judged = [], []
    for _ in range(300):
        matching, other = rng.normal(size=(2, 20))
        chosen.append(best_threshold(matching, other)[1])
        judged.append(cross_checked(matching, other)[1])
    assert np.mean(chosen) > 0.56, "chance looks like knowledge"
    assert np.mean(judged) == pytest.approx(0.5, abs=0.02)


@given(SCORES, SCORES)
def test_the_area_counts_pairs(matching: np.ndarray, other: np.ndarray) -> None:
    pairs = [1.0 if yes > no else 0.5 if yes == no else 0.0 for yes in matching for no in other]
    assert separation(matching, other) == pytest.approx(np.mean(pairs))
    assert separation(matching, other) == pytest.approx(1 - separation(other, matching))


@given(SCORES, SCORES)
def test_a_judgement_is_a_share(matching: np.ndarray, other: np.ndarray) -> None:
    assert 0 <= cross_checked(matching, other)[1] <= 1
