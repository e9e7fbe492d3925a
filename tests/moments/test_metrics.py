import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfmr.moments.metrics import best_constant, corpus_measures, glance_hits, iou, moment_measures

time = st.floats(0, 100, allow_nan=False)
span = st.tuples(time, time).map(sorted)


@given(span, span)
def test_iou_is_symmetric_and_between_nought_and_one(a: list[float], b: list[float]) -> None:
    forth, back = iou(np.array(a), np.array(b)), iou(np.array(b), np.array(a))
    assert forth == back
    assert 0 <= forth <= 1


@given(span.filter(lambda s: s[1] - s[0] > 1e-6))
def test_a_span_overlaps_itself_wholly(a: list[float]) -> None:
    assert iou(np.array(a), np.array(a)) == pytest.approx(1)


@given(span, span, st.floats(0.1, 10))
def test_iou_does_not_depend_on_the_unit_of_time(a: list[float], b: list[float], unit: float) -> None:
    assert iou(np.array(a) * unit, np.array(b) * unit) == pytest.approx(float(iou(np.array(a), np.array(b))), abs=1e-6)


def test_iou_of_known_spans() -> None:
    assert iou(np.array([0, 4]), np.array([2, 6])) == pytest.approx(2 / 6)
    assert iou(np.array([0, 1]), np.array([2, 3])) == 0
    assert iou(np.array([1, 1]), np.array([1, 1])) == 0


def test_recall_counts_queries_whose_first_n_answers_hold_one_that_overlaps_enough() -> None:
    truth = np.array([[0, 10], [20, 30]])
    ranked = [np.array([[0, 10], [50, 60]]), np.array([[50, 60], [20, 26]])]
    measures = moment_measures(ranked, truth)
    assert measures["R@1,IoU=0.5"] == 50
    assert measures["R@5,IoU=0.5"] == 100
    assert measures["R@5,IoU=0.7"] == 50
    assert measures["R@1,mIoU"] == pytest.approx(50)
    assert measures["R@5,mIoU"] == pytest.approx(80)


def test_of_several_moments_the_nearest_counts() -> None:
    truth = [np.array([[0, 10], [40, 60]]), np.array([[20, 30]])]
    ranked = [np.array([[40, 60], [0, 10]]), np.array([[20, 30]])]
    assert moment_measures(ranked, truth)["R@1,IoU=0.9"] == 100
    assert glance_hits(ranked, [np.array([5, 50]), np.array([31])]) == 50
    assert best_constant([spans / 60 for spans in truth])["R@1,IoU=0.9"] == 50


def test_no_answer_counts_as_a_wrong_one() -> None:
    assert moment_measures([np.zeros((0, 2))], np.array([[0, 1]]))["R@5,mIoU"] == 0


@given(st.lists(span.filter(lambda s: s[1] - s[0] > 1), min_size=1, max_size=20))
def test_deeper_lists_and_laxer_thresholds_never_score_less(truth: list[list[float]]) -> None:
    rng = np.random.default_rng(0)
    ranked = [np.sort(rng.uniform(0, 100, (5, 2)), axis=1) for _ in truth]
    measures = moment_measures(ranked, np.array(truth))
    for m in (0.1, 0.3, 0.5, 0.7, 0.9):
        assert measures[f"R@5,IoU={m}"] >= measures[f"R@1,IoU={m}"]
    assert measures["R@1,IoU=0.3"] >= measures["R@1,IoU=0.5"] >= measures["R@1,IoU=0.7"]


def test_the_best_constant_answer_finds_a_moment_that_all_share() -> None:
    truth = np.array([[0.25, 0.5]] * 3 + [[0.9, 1.0]])
    assert best_constant(truth)["R@1,IoU=0.9"] == 75


def test_a_glance_is_hit_when_the_first_answer_contains_it() -> None:
    ranked = [np.array([[0.0, 0.5]]), np.array([[0.0, 0.1], [0.5, 0.9]]), np.zeros((0, 2))]
    assert glance_hits(ranked, np.array([0.4, 0.6, 0.5])) == pytest.approx(100 / 3)


def test_over_a_collection_the_video_has_to_be_right_too() -> None:
    truth = [("a", np.array([0.0, 10.0])), ("b", np.array([[50.0, 60.0], [0.0, 10.0]]))]
    ranked = [[("b", 0.0, 10.0), ("a", 0.0, 9.0)], [("b", 5.0, 10.0)]]
    measures = corpus_measures(ranked, truth, [["b", "a"], ["b", "a"]])
    assert measures["R@1,IoU=0.5"] == 50
    assert measures["R@5,IoU=0.5"] == 100
    assert measures["R@5,IoU=0.7"] == 50
    assert measures["video R@1"] == 50
    assert measures["video R@5"] == 100
