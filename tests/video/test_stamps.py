import math
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfmr.video.stamps import BestEffort, Clock, Ending, in_line

TICK = 0.001


def packets(times: list[float | None], stream: int = 0, length: float = 0.1) -> list[SimpleNamespace]:
    ticks = [None if time is None else round(time / TICK) for time in times]
    return [SimpleNamespace(stream_index=stream, pts=t, dts=t, duration=round(length / TICK)) for t in ticks]


def adjusted(clock: Clock, given: list[SimpleNamespace]) -> list[float | None]:
    for packet in given:
        clock.adjust(packet)
    return [None if packet.dts is None else round(packet.dts * TICK, 3) for packet in given]


def clock(kind: str = "mpegts", zero: float | None = 0.0) -> Clock:
    return Clock(kind, {0: TICK, 1: TICK}, zero, rate=10.0)


@pytest.mark.parametrize("kind", ["mpegts", "matroska,webm"])
def test_a_clock_that_starts_anew_runs_on(kind: str) -> None:
    assert adjusted(clock(kind), packets([0, 0.1, 0.2, 0.0, 0.1])) == [0, 0.1, 0.2, 0.0, 0.1]  # too little to tell
    assert adjusted(clock(kind), packets([3, 3.1, 3.2, 0.0, 0.1])) == [3, 3.1, 3.2, 3.3, 3.4]


def test_streams_that_leap_together_keep_their_distance() -> None:
    pictures, sounds = packets([4.0, 4.1, 0.5, 0.6]), packets([3.8, 3.9, 0.3, 0.4], stream=1)
    one = clock()
    for pair in zip(pictures, sounds, strict=True):
        for packet in pair:
            one.adjust(packet)
    assert [p.dts - s.dts for p, s in zip(pictures, sounds, strict=True)] == [200] * 4
    assert [p.dts for p in pictures] == [4000, 4100, 4200, 4300]


@pytest.mark.parametrize(("kind", "expected"), [("mpegts", 0.3), ("matroska,webm", 50.0)])
def test_a_long_leap_ahead_is_a_new_clock_only_where_clocks_leap(kind: str, expected: float) -> None:
    assert adjusted(clock(kind), packets([0, 0.1, 0.2, 50.0]))[-1] == expected


def test_a_stamp_years_ahead_is_none() -> None:
    for kind in ("mpegts", "matroska,webm"):
        assert adjusted(clock(kind), packets([0, 0.1, 1e6, 1e6 + 0.1])) == [0, 0.1, 0.2, 0.3]
        assert adjusted(clock(kind), packets([1e6, 1e6 + 0.1])) == [0, 0.1]


def test_after_seeking_any_time_may_come_first() -> None:
    assert adjusted(clock(zero=None), packets([7000.0, 7000.1])) == [7000.0, 7000.1]


def test_presentation_times_that_are_reordered_are_no_new_clock() -> None:
    given = packets([0, 0.4, 0.1, 0.2, 0.3, 0.8, 0.5])
    for packet in given:
        packet.dts = None
    one = clock("matroska,webm")
    for packet in given:
        one.adjust(packet)
    assert [packet.pts for packet in given] == [0, 400, 100, 200, 300, 800, 500]


def chosen(pairs: list[tuple[int | None, int | None]]) -> list[int | None]:
    effort = BestEffort()
    return [effort.choose(pts, dts) for pts, dts in pairs]


def test_presentation_times_hold_and_decoding_times_stand_in() -> None:
    assert chosen([(0, -2), (1, -1), (None, 2), (3, 1), (None, None)]) == [0, 1, 2, 3, None]


def test_presentation_times_that_fall_give_way_to_decoding_times() -> None:
    assert chosen([(0, 2), (8, 3), (6, 4), (10, 5), (4, 6)]) == [0, 8, 4, 5, 6]


rising = st.lists(st.floats(0, 100), min_size=1, max_size=30).map(sorted)


@given(rising)
def test_times_that_rise_stay_as_they_are(times: list[float]) -> None:
    distinct = sorted(set(times))
    assert [time for time, _ in in_line(iter([(t, None) for t in distinct]), 0.1)] == distinct


@given(st.lists(st.floats(-10, 100), max_size=30))
def test_pictures_keep_their_order_and_times_never_fall(times: list[float]) -> None:
    got = list(in_line(iter(list(zip(times, range(len(times)), strict=True))), 0.1))
    assert [number for _, number in got] == list(range(len(times)))
    assert all(a <= b for (a, _), (b, _) in pairwise(got))


def test_a_time_that_is_ahead_is_put_between_its_neighbours() -> None:
    got = in_line(iter([(t, None) for t in (0.0, 8.0, 4.0, 5.0)]), 0.1)
    assert [time for time, _ in got] == [0.0, 2.0, 4.0, 5.0]


def test_few_pictures_are_held() -> None:
    taken = 0

    def pictures() -> object:
        nonlocal taken
        while True:
            taken += 1
            yield math.floor(taken), None

    next(in_line(pictures(), 0.1))  # type: ignore[arg-type]
    assert taken < 10


def test_a_picture_that_was_reordered_across_a_gap_is_no_new_clock() -> None:
    shown = [0.0, 0.1, 60.3, 60.1, 0.2, 60.2, 60.4]  # without decoding times, as Matroska stores them
    assert adjusted(clock("matroska,webm"), packets(shown)) == shown


def test_a_stream_that_catches_up_with_another_has_a_gap_and_no_new_clock() -> None:
    one = clock("mpegts")
    adjusted(one, packets([0.0]))
    adjusted(one, packets([number / 10 for number in range(300)], stream=1))
    assert adjusted(one, packets([30.0, 30.1])) == [30.0, 30.1]
    assert one.left_out == 0.0


def test_what_a_clock_leaps_ahead_is_left_out() -> None:
    one = clock("mpegts")
    adjusted(one, packets([0.0, 30.1]))
    assert one.left_out == pytest.approx(30.0)


def test_stamps_that_stand_still_are_none() -> None:
    effort = BestEffort()
    assert [effort.choose(stamp, stamp) for stamp in (1, 2, 2, 2, 2, 3)] == [1, 2, 2, None, None, 3]


def test_the_last_picture_by_its_time_is_the_last() -> None:
    ending = Ending(remembered=3)
    assert ending.time == 0.0
    assert ending.after(1.0, 30.0) == 31.0
    assert ending.after(1.1, 0.1) == pytest.approx(1.2)  # the one before was not shown for half a minute
    assert ending.after(9.0, 0.1) == pytest.approx(9.1)
    assert [round(ending.after(time, 0.1), 1) for time in (1.2, 1.3, 1.4)] == [9.1, 9.1, 1.5]  # a stamp far ahead
