from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfmr.index.base import Hit, Video
from cfmr.index.projection import PROJECTED, project, projection
from cfmr.index.tuning import MAX_LISTS, MAX_NPROBE_FACTOR, nprobe_factor, num_candidates, num_lists, tune

VIDEO = Video("v", 1.0, 1)


@given(st.integers(0, 10**9))
def test_there_are_about_four_roots_of_lists_and_never_more_than_rows(rows: int) -> None:
    lists = num_lists(rows)
    assert 1 <= lists <= min(max(rows, 1), MAX_LISTS)
    if 16 <= rows <= 10**6:
        assert 4 * rows**0.5 / 1.5 <= lists <= 4 * rows**0.5 * 1.5


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_fewer_rows_count_the_more_lists_are_looked_at(one: float, other: float) -> None:
    assert 1 <= nprobe_factor(one) <= MAX_NPROBE_FACTOR
    if one <= other:
        assert nprobe_factor(one) >= nprobe_factor(other)


def test_more_is_scored_again_than_is_answered() -> None:
    assert (num_candidates(64, 10), num_candidates(64, 100)) == (64, 200)


def test_the_projection_keeps_inner_products_of_what_it_was_made_from() -> None:
    rng = np.random.default_rng(0)
    sample = (rng.standard_normal((500, 40)) @ rng.standard_normal((40, PROJECTED + 50))).astype(np.float32)
    directions = projection(sample)
    assert directions is not None
    assert directions.shape == (64, PROJECTED + 50)  # 40 would do; they come in multiples of 32
    near = project(sample[:20], directions) @ project(sample[20:40], directions).T
    np.testing.assert_allclose(near, sample[:20] @ sample[20:40].T, rtol=1e-3, atol=1e-1)


def test_vectors_without_strong_directions_keep_as_many_numbers_as_are_allowed() -> None:
    directions = projection(np.random.default_rng(0).standard_normal((2000, 2 * PROJECTED)).astype(np.float32))
    assert directions is not None
    assert directions.shape == (PROJECTED, 2 * PROJECTED)


def test_equal_vectors_keep_the_fewest_numbers() -> None:
    directions = projection(np.ones((5, 2 * PROJECTED), np.float32))
    assert directions is not None
    assert directions.shape == (32, 2 * PROJECTED)


def test_short_vectors_are_compared_as_they_are() -> None:
    sample = np.ones((3, PROJECTED), np.float32)
    assert projection(sample) is None
    assert project(sample, None) is sample


@dataclass
class Lists:
    """An approximate search that finds the n-th best only with so many lists and so many finds scored again."""

    needed: int
    scored: int
    nprobe: int = 1
    rerank: int = 1
    lists: int = 64
    ann: "Lists" = field(init=False)

    def __post_init__(self) -> None:
        self.ann = self

    def __len__(self) -> int:
        return 1000

    def best_scores(self, vectors: np.ndarray, count: int) -> list[float]:
        return [101.0 - count] * len(vectors)

    def top(self, vector: np.ndarray, count: int, *, exact: bool = False) -> list[Hit]:
        found = exact or (self.nprobe >= self.needed and self.rerank >= self.scored)
        scores = range(100, 100 - count, -1) if found else range(50, 50 - count, -1)
        return [Hit(VIDEO, 0.0, 1.0, float(score)) for score in scores]


@pytest.mark.parametrize(
    ("needed", "scored", "nprobe", "rerank"), [(1, 1, 4, 16), (20, 100, 32, 128), (64, 20, 64, 32)]
)
def test_as_little_is_looked_at_as_keeps_the_recall(needed: int, scored: int, nprobe: int, rerank: int) -> None:
    index = Lists(needed, scored)
    assert tune(index, np.zeros((5, 2), np.float32)) == (nprobe, rerank, 1.0)
    assert (index.nprobe, index.rerank) == (nprobe, rerank)
