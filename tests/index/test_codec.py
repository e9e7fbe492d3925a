import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfmr.index.codec import Codec


def made_codec(seed: int, concepts: int = 3, size: int = 5, width: int = 4) -> Codec:
    rng = np.random.default_rng(seed)
    return Codec(
        width,
        rng.standard_normal((concepts, size, width)).astype(np.float32),
        rng.standard_normal((concepts, size)).astype(np.float32),
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 20))
def test_a_row_scores_as_the_sum_of_its_concepts_cosines(seed: int, count: int) -> None:
    codec, rng = made_codec(seed), np.random.default_rng(seed)
    rows = rng.standard_normal((count, 4)).astype(np.float32)
    query = rng.standard_normal((3, 5)).astype(np.float32)
    query /= np.linalg.norm(query, axis=1, keepdims=True)
    assert codec.weight is not None
    assert codec.bias is not None
    concepts = np.einsum("kij,nj->nki", codec.weight, rows) + codec.bias
    cosines = np.einsum("nki,ki->nk", concepts, query) / np.linalg.norm(concepts, axis=2)
    scores = codec.score(rows, codec.scales(rows), codec.prepare(query.ravel()))
    np.testing.assert_allclose(scores, cosines.sum(1), atol=1e-4)
    np.testing.assert_allclose(codec.expand(rows, codec.scales(rows)) @ query.ravel(), cosines.sum(1), atol=1e-4)


@pytest.mark.parametrize("codec", [made_codec(1), Codec(15)], ids=["concepts", "plain"])
def test_projecting_at_once_is_projecting_what_rows_stand_for(codec: Codec) -> None:
    rng = np.random.default_rng(2)
    rows = rng.standard_normal((9, codec.width)).astype(np.float32)
    projection = rng.standard_normal((6, 15)).astype(np.float32)
    scales = codec.scales(rows)
    expected = codec.expand(rows, scales) @ projection.T
    np.testing.assert_allclose(codec.row_projection(projection)(rows, scales), expected, atol=1e-4)
    np.testing.assert_allclose(codec.row_projection(None)(rows, scales), codec.expand(rows, scales), atol=1e-6)


@given(st.integers(1, 8), st.integers(0, 7))
def test_numbers_that_a_query_leaves_out_count_for_nothing(width: int, left_out: int) -> None:
    rng = np.random.default_rng(width)
    rows = rng.standard_normal((6, width)).astype(np.float32)
    vector = rng.standard_normal(width).astype(np.float32)
    vector[max(width - left_out, 0) :] = 0
    query = Codec(width).prepare(vector)
    assert query.used == max(width - left_out, 1)
    np.testing.assert_allclose(Codec.score(rows, None, query), rows @ vector, atol=1e-5)
    np.testing.assert_array_equal(
        Codec.score(rows[:, : query.used], None, query), Codec.score(rows, None, query), strict=True
    )


def test_parameters_survive_being_written() -> None:
    codec = made_codec(3)
    again = Codec.from_array(codec.width, codec.array())
    np.testing.assert_array_equal(again.weight, codec.weight)
    np.testing.assert_array_equal(again.bias, codec.bias)
    assert Codec.from_array(7, Codec(7).array()) == Codec(7)


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_parameters_that_are_not_finite_are_refused(odd: float) -> None:
    array = made_codec(3).array()
    assert array is not None
    array[0, 0, 0] = odd
    with pytest.raises(ValueError, match="finite"):
        Codec.from_array(7, array)
