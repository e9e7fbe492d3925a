import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfmr.moments.anchors import anchor_relevance
from cfmr.moments.nms import iou, iterate_nms, nms

spans = st.tuples(st.floats(0, 100), st.floats(0.1, 50)).map(lambda p: (p[0], p[0] + p[1]))


@given(spans, spans)
def test_overlap_is_symmetric_and_a_share(a: tuple[float, float], b: tuple[float, float]) -> None:
    assert iou(a, b) == iou(b, a)
    assert 0 <= iou(a, b) <= 1 + 1e-9
    assert iou(a, a) == pytest.approx(1)


@given(st.lists(st.tuples(st.sampled_from("ab"), spans), max_size=30), st.floats(0.1, 1))
def test_nms_keeps_the_best_and_no_two_that_overlap_more(ranked, most: float) -> None:
    kept = nms(ranked, lambda item: (item[0], *item[1]), most, 100)
    assert kept[:1] == ranked[:1]
    for i, (video, span) in enumerate(kept):
        assert all(iou(span, other) < most for v, other in kept[:i] if v == video)
    for video, span in ranked:
        assert any(v == video and (s == span or iou(span, s) >= most) for v, s in kept)


def test_nms_stops_at_the_number_asked_for() -> None:
    ranked = [("a", i, i + 1) for i in range(10)]
    assert nms(ranked, lambda item: item, 0.5, 3) == ranked[:3]


def test_no_more_is_looked_at_than_the_next_one_needs() -> None:
    looked_at = []
    ranked = (looked_at.append(i) or ("a", i, i + 1) for i in (0, 0.1, 5, 9))
    kept = iterate_nms(ranked, lambda item: item, 0.5)
    assert [next(kept), next(kept)] == [("a", 0, 1), ("a", 5, 6)]
    assert looked_at == [0, 0.1, 5]


def test_relevance_is_highest_inside_the_best_anchor() -> None:
    anchors = np.array([[0.0, 10.0], [10.0, 20.0], [20.0, 30.0], [0.0, 30.0]])
    times = np.arange(0.5, 30)
    relevance = anchor_relevance(anchors, np.array([0.1, 0.9, 0.2, 0.4]), times)
    assert 10 <= times[relevance.argmax()] <= 20
    assert relevance.min() >= 0.1
    assert relevance.max() <= 0.9


def test_points_that_no_anchor_covers_still_have_a_value() -> None:
    relevance = anchor_relevance(np.array([[4.0, 6.0]]), np.array([0.5]), np.arange(10.0))
    assert relevance.tolist() == [0.5] * 10
    assert np.isfinite(anchor_relevance(np.array([[4.2, 4.3]]), np.array([0.5]), np.arange(10.0))).all()
