import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfmr.index.base import (
    CACHED_SELECTIONS,
    PendingVideos,
    Selection,
    SelectionCache,
    Video,
    matches,
    top_k,
)
from tests.support.collections_of_rows import made_video


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40), st.integers(1, 45))
def test_the_top_k_are_a_stable_sort_cut_off(values: list[int], count: int) -> None:
    scores = np.array(values, np.float32)
    assert top_k(scores, count).tolist() == np.argsort(-scores, kind="stable")[:count].tolist()


def test_the_same_filter_is_worked_out_once() -> None:
    asked: list[object] = []

    def choose(videos: object, where: object) -> Selection:
        asked.append((videos, where))
        return Selection(len(asked), False)

    everything = Selection(99, True)
    cache = SelectionCache(everything, choose)
    assert cache.get(None, None) is cache.get(None, {}) is everything
    one = cache.get(["a"], {"camera": 1})
    assert cache.get(["a"], {"camera": 1}) is one
    assert cache.get(["a"], {"camera": 2}) is not one
    assert len(asked) == 2
    for number in range(3 * CACHED_SELECTIONS):
        cache.get([str(number)], None)
    assert len(cache._kept) <= CACHED_SELECTIONS


@pytest.mark.parametrize(("where", "expected"), [({"camera": "3"}, True), ({"camera": 3, "day": 1}, False), ({}, True)])
def test_metadata_is_compared_as_text(where: dict[str, object], expected: bool) -> None:
    assert matches(Video("a", 1.0, 1, metadata={"camera": 3}), where) is expected  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 4)), max_size=30))
def test_pending_videos_are_counted_however_often_they_are_replaced(changes: list[tuple[str, int]]) -> None:
    pending, table = PendingVideos(), dict[str, int]()
    for name, rows in changes:
        if rows:
            pending.add(made_video(name, rows))
            table.pop(name, None)
            table[name] = rows
        else:
            assert pending.discard(name) == (table.pop(name, None) is not None)
        assert pending.rows == sum(table.values())
        assert list(pending.videos()) == list(table)
        assert ("a" in pending) == ("a" in table)
    assert [(item.video.id, len(item.rows)) for item in pending.take()] == list(table.items())
    assert (pending.rows, pending.take()) == (0, [])
