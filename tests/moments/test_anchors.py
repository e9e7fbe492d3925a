import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfmr.config import CFMRSizes
from cfmr.moments.anchors import (
    anchor_weights,
    bells,
    kept_clips,
    negative_weights,
    retrieval_anchors,
    spans,
    training_widths,
)

SIZES = {
    "frames_input_size": 6,
    "words_input_size": 5,
    "hidden_size": 8,
    "sigma": 9,
    "gamma": 0.5,
    "dropout": 0.0,
    "Transformers": {"d_model": 8, "num_heads": 2, "num_decoder_layers1": 3, "num_decoder_layers2": 3, "dropout": 0.0},
    "num_concept": 3,
    "guass_width_num_training": 3,
    "width_thresh_training": 0.6,
    "guass_center_num": 5,
    "guass_width_num": 2,
    "width_thresh": 0.4,
}
fractions = st.floats(0, 1, width=32)


def sizes(**changes: float) -> CFMRSizes:
    return CFMRSizes(**(SIZES | changes))


def test_retrieval_anchors_list_all_centres_of_the_first_width_first() -> None:
    centres, widths = retrieval_anchors(sizes())
    assert centres.tolist() == pytest.approx([0, 0.25, 0.5, 0.75, 1] * 2)
    assert widths.tolist() == pytest.approx([0.2] * 5 + [0.4] * 5)


def test_training_widths_are_multiples_of_the_smallest() -> None:
    assert training_widths(sizes()).tolist() == pytest.approx([0.2, 0.4, 0.6])


@given(fractions, st.floats(0.0078125, 1, width=32))
def test_a_span_lies_within_the_video_and_is_no_wider_than_its_anchor(centre: float, width: float) -> None:
    start, end = spans(np.float32([centre]), np.float32([width]))[0]
    assert 0 <= start <= end <= 1
    assert end - start <= width + 1e-6


@given(fractions, st.floats(0.015625, 1, width=32), st.integers(2, 60))
def test_a_bell_is_one_at_the_position_nearest_to_its_centre(centre: float, std: float, positions: int) -> None:
    weights = bells(np.float32([centre]), np.float32([std]), positions)[0]
    nearest = np.abs(np.linspace(0, 1, positions) - centre).argmin()
    assert weights.max() == 1
    assert weights[nearest] == pytest.approx(1, abs=1e-3)
    assert (weights >= 0).all()


@given(fractions, st.floats(0.0078125, 1, width=32))
def test_an_anchor_gives_the_last_slot_no_weight(centre: float, width: float) -> None:
    assert anchor_weights(np.float32([centre]), np.float32([width]), 9, 20)[0, -1] == 0


@given(fractions, st.floats(0.0078125, 1, width=32), st.floats(0, 1))
def test_negatives_lie_left_and_right_of_the_anchor(centre: float, width: float, progress: float) -> None:
    left, right = negative_weights(np.float32([centre]), np.float32([width]), sizes(), 200, progress)
    time = np.linspace(0, 1, 201)
    assert time[left[0].argmax()] <= max(centre - width / 2, 0) / 2 + 0.006
    assert time[right[0].argmax()] >= 1 - max(1 - centre - width / 2, 0) / 2 - 0.006


def test_negatives_come_nearer_as_training_goes_on() -> None:
    early, _ = negative_weights(np.float32([0.8]), np.float32([0.2]), sizes(), 100, 0.1)
    late, _ = negative_weights(np.float32([0.8]), np.float32([0.2]), sizes(), 100, 1.0)
    assert early[0].argmax() < late[0].argmax()


@pytest.mark.parametrize("clips", [8, 96, 200, 512])
def test_the_last_slot_repeats_the_last_clip(clips: int) -> None:
    kept = kept_clips(clips)
    assert len(kept) == clips // 4 + 1
    assert kept[0] == 0
    assert kept[-1] == kept[-2] == clips - 1
    assert (np.diff(kept[:-1]) > 0).all()
