"""Where windows and packed sentences lie."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cfmr.models.cfmr.layout import (
    Packing,
    causal_bias,
    sinusoids,
    ungrouped,
    weight_bias,
    window_slots,
    windows,
)
from cfmr.moments.anchors import NO_WEIGHT, WEIGHT_FLOOR, anchor_weights

anchors = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20)
lengths = st.lists(st.integers(1, 9), min_size=1, max_size=8).map(lambda values: np.array(values, np.int64))


@given(anchors, st.integers(2, 60), st.integers(1, 30))
def test_every_slot_that_counts_lies_in_the_window_of_its_bell(
    bells: list[tuple[float, float]], positions: int, step: int
) -> None:
    centres, widths = np.array(bells, np.float32).T
    weights = anchor_weights(centres, widths, 9.0, positions)
    groups = windows(weights, step)
    assert sorted(np.concatenate([group.rows for group in groups]).tolist()) == list(range(len(bells)))
    for group in groups:
        slots = window_slots(group, positions + 1)
        assert slots.min() >= 0
        assert (slots[:, -1] == positions).all()
        for row, there in zip(group.rows, slots, strict=True):
            assert set(np.flatnonzero(weights[row, :-1] > NO_WEIGHT)) <= set(there[:-1])


@given(anchors, st.integers(2, 60), st.integers(1, 30))
def test_results_of_groups_go_back_to_their_bells(bells: list[tuple[float, float]], positions: int, step: int) -> None:
    centres, widths = np.array(bells, np.float32).T
    groups = windows(anchor_weights(centres, widths, 9.0, positions), step)
    computed = np.concatenate([group.rows for group in groups])
    np.testing.assert_array_equal(computed[ungrouped(groups)], np.arange(len(bells)))


def test_a_bias_multiplies_the_softmax_by_the_weight_of_a_slot() -> None:
    weights = np.array([[0.5, 1.0, 0.25, 0.0]], np.float32)
    bias = weight_bias(weights, np.array([[1, 2, 3]]))
    np.testing.assert_allclose(np.exp(bias[0, 0, 0]), [1.0, 0.25, WEIGHT_FLOOR], rtol=1e-5)


@given(lengths)
def test_packing_and_padding_undo_each_other(lengths: np.ndarray) -> None:
    packing = Packing(lengths)
    values = np.arange(lengths.sum())
    padded = values[packing.padded]
    assert padded.shape == packing.valid.shape == (len(lengths), lengths.max())
    np.testing.assert_array_equal(padded.ravel()[packing.rows], values)
    np.testing.assert_array_equal(padded[np.arange(len(lengths)), lengths - 1], values[packing.last])
    np.testing.assert_array_equal(padded[:, 0], values[packing.first])


@given(lengths)
def test_means_are_those_of_each_sequence(lengths: np.ndarray) -> None:
    packing = Packing(lengths)
    values = np.sin(np.arange(lengths.sum()))
    expected = [part.mean() for part in np.split(values, np.cumsum(lengths)[:-1])]
    np.testing.assert_allclose(values @ packing.means(), expected, atol=1e-6)


@given(lengths)
def test_nothing_behind_the_end_of_a_sequence_is_read(lengths: np.ndarray) -> None:
    packing = Packing(lengths)
    np.testing.assert_array_equal(packing.padding_bias()[:, 0, 0] == 0, packing.valid)
    np.testing.assert_array_equal(packing.padding_bias(-1e30)[:, 0, 0] == np.float32(-1e30), ~packing.valid)


def test_a_position_sees_itself_and_those_before_it() -> None:
    np.testing.assert_array_equal(causal_bias(4) == 0, np.tril(np.ones((4, 4), bool)))


def test_sinusoids_begin_with_zeros_and_turn_at_their_own_pace() -> None:
    table = sinusoids(5, 8)
    assert table.dtype == np.float32
    assert not table[0].any()
    np.testing.assert_allclose(table[1:, 0], np.sin(np.arange(1, 5)), rtol=1e-6)
    np.testing.assert_allclose(table[1:, 7], np.cos(np.arange(1, 5) / 10000), rtol=1e-6)
