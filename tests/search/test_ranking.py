"""Ranking over a collection reads no more curves than it must, and gives what reading all of them would give."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfmr.index.base import Hit, Selection, Video
from cfmr.moments import together
from cfmr.moments.nms import iou
from cfmr.moments.span_reader import ReadMoment, SpanReader, iterate_moments
from cfmr.search.ranking import CURVE_NMS_IOU, rank

CLIPS = 16
READER = SpanReader(width=0.25)


class Curves:
    """An index in memory whose row i of video v scores `curves[v][i]`, whatever the query."""

    def __init__(self, curves: Sequence[Sequence[float]]) -> None:
        self.curves = np.asarray(curves, np.float32)
        self.read: list[str] = []
        self.known = [Video(f"v{number}", float(CLIPS), CLIPS) for number in range(len(curves))]

    def video(self, name: str) -> Video:
        return self.known[int(name[1:])]

    def top(self, vector: object, count: int, selection: Selection) -> list[Hit]:
        best = np.argsort(-self.curves, axis=None, kind="stable")[:count]
        return [
            Hit(self.known[v], float(clip), clip + 1.0, float(self.curves[v, clip]))
            for v, clip in (divmod(int(row), CLIPS) for row in best)
        ]

    def curve(self, vector: object, name: str) -> tuple[np.ndarray, np.ndarray]:
        self.read.append(name)
        starts = np.arange(CLIPS, dtype=np.float32)
        return np.stack([starts, starts + 1], axis=1), self.curves[int(name[1:])]


def ranked(index: Curves, top: int) -> list[Hit]:
    selection = Selection(index.curves.size, everything=True)
    return rank(index, READER, np.zeros(1, np.float32), top, selection, None, None)  # type: ignore[arg-type]


def all_read(index: Curves, top: int) -> list[Hit]:
    """The same the long way: every video read alone, to the end."""
    hits: list[Hit] = []
    for video in index.known:
        alone = Selection(CLIPS, everything=False)
        hits += rank(index, READER, np.zeros(1, np.float32), top, alone, video.id, None)  # type: ignore[arg-type]
    return sorted(hits, key=lambda hit: -hit.score)[:top]


curves = st.lists(
    st.lists(st.integers(-40, 40).map(lambda n: n / 8), min_size=CLIPS, max_size=CLIPS), min_size=1, max_size=6
)


@settings(max_examples=60, deadline=None)
@given(curves, st.integers(1, 8))
def test_the_best_moments_are_those_of_reading_every_video(values: list[list[float]], top: int) -> None:
    scores = [hit.score for hit in ranked(Curves(values), top)]
    assert scores == pytest.approx([hit.score for hit in all_read(Curves(values), top)])


def test_a_video_whose_best_row_is_worse_than_what_is_found_is_not_read() -> None:
    flat = [0.0] * CLIPS
    good = [*flat[:4], 9.0, 9.0, *flat[6:]]
    index = Curves([[-8.0] * CLIPS, good, [-9.0] * CLIPS])
    (best,) = ranked(index, 1)
    assert best.video.id == "v1"
    assert best.start <= 4
    assert best.end >= 6
    assert index.read == ["v1"]


def test_no_more_moments_are_read_than_may_be_among_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def noted(curve: np.ndarray, duration: float, reader: SpanReader) -> Iterator[ReadMoment]:
        for moment in iterate_moments(curve, duration, reader):
            read.append(moment.first)
            yield moment

    monkeypatch.setattr(together, "iterate_moments", noted)
    index = Curves([[0.0] * at + [height] * 4 + [0.0] * (CLIPS - 4 - at) for at, height in ((2, 9.0), (8, 8.9))])
    assert [hit.video.id for hit in ranked(index, 1)] == ["v0"]
    assert len(read) == 1
    assert [hit.video.id for hit in ranked(index, 2)] == ["v0", "v1"]
    assert len(read) == 1 + 2  # after one moment too little is left in either for another to be better


def test_moments_of_one_video_do_not_show_the_same_stretch() -> None:
    rng = np.random.default_rng(0)
    hits = ranked(Curves(rng.normal(size=(2, CLIPS)).tolist()), 8)
    for video in ("v0", "v1"):
        spans = [(hit.start, hit.end) for hit in hits if hit.video.id == video]
        pairs = [(a, b) for i, a in enumerate(spans) for b in spans[i + 1 :]]
        assert all(iou(a, b) <= CURVE_NMS_IOU for a, b in pairs)


def test_a_video_that_is_read_with_others_counts_by_the_row_that_was_found() -> None:
    """Approximate search may miss the best row of a video; then the answer must not hang on what else was read."""
    flat = [0.0] * CLIPS
    hidden = [*flat[:6], 9.0, 2.0, *flat[8:]]
    index = Curves([[*flat[:4], height, height, *flat[6:]] for height in (8.0, 7.0, 6.0)] + [hidden])

    class Missing(Curves):
        def top(self, vector: object, count: int, selection: Selection) -> list[Hit]:
            return [hit for hit in super().top(vector, count, selection) if hit.score < 9]

    missing = Missing(index.curves.tolist())
    assert [hit.video.id for hit in ranked(missing, 1)] == ["v0"]
    assert [hit.video.id for hit in ranked(missing, 3)] == ["v0", "v1", "v2"]
    assert "v3" in [hit.video.id for hit in ranked(missing, 6)]
