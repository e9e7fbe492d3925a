from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentimelineio.opentime import RationalTime

from cfmr.handover.timecode import STANDARD, Rate, can_drop, parse_fps, standard, timeline_fps
from tests.handover.films import FAST_NTSC, FILM, NTSC, RATES

kinds = st.sampled_from([Rate(fps) for fps in STANDARD] + [Rate(NTSC, True), Rate(FAST_NTSC, True)])


@given(kinds, st.integers(0, 24 * 3600 * 23))
def test_a_timecode_names_one_frame(rate: Rate, frame: int) -> None:
    assert rate.frame(rate.timecode(frame)) == frame


@given(kinds, st.integers(0, 24 * 3600 * 23))
def test_timecodes_are_those_of_opentimelineio(rate: Rate, frame: int) -> None:
    assert rate.timecode(frame) == RationalTime(frame, float(rate.fps)).to_timecode(float(rate.fps), rate.drop)


@pytest.mark.parametrize(
    ("fps", "frame", "timecode"),
    [
        (NTSC, 1799, "00:00:59;29"),
        (NTSC, 1800, "00:01:00;02"),
        (NTSC, 17982, "00:10:00;00"),
        (NTSC, 107892, "01:00:00;00"),
        (FAST_NTSC, 3599, "00:00:59;59"),
        (FAST_NTSC, 3600, "00:01:00;04"),
        (FAST_NTSC, 35964, "00:10:00;00"),
    ],
)
def test_two_numbers_of_a_minute_are_dropped_at_2997_and_four_at_5994(fps: Fraction, frame: int, timecode: str) -> None:
    assert Rate(fps, drop=True).timecode(frame) == timecode


@pytest.mark.parametrize("fps", [NTSC, FAST_NTSC])
def test_drop_frame_keeps_up_with_the_clock_and_non_drop_does_not(fps: Fraction) -> None:
    hour = round(3600 * fps)
    assert Rate(fps, drop=True).timecode(hour) == "01:00:00;00"
    assert Rate(fps).timecode(hour) < "00:59:57"


def test_a_day_has_24_hours() -> None:
    assert Rate(Fraction(25)).timecode(24 * 3600 * 25) == "00:00:00:00"
    assert Rate(NTSC, True).timecode(144 * 17982 - 1) == "23:59:59;29"
    assert Rate(NTSC, True).timecode(144 * 17982) == "00:00:00;00"


@pytest.mark.parametrize("fps", [f for f in RATES if not can_drop(f)])
def test_other_rates_have_no_drop_frame(fps: Fraction) -> None:
    with pytest.raises(ValueError, match=r"29.97 and 59.94"):
        Rate(fps, drop=True)


@pytest.mark.parametrize(
    ("timecode", "said"),
    [
        ("00:01:00;00", "left out"),
        ("00:00:00:30", "no timecode at"),
        ("00:60:00:00", "no timecode at"),
        ("1 s", "no timecode"),
        ("00:00:00", "no timecode"),
        ("٠٠:00:00:00", "no timecode"),
    ],
)
def test_what_is_no_timecode_is_refused(timecode: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Rate(NTSC, True).frame(timecode)


@given(st.sampled_from(RATES), st.integers(0, 1_000_000), st.integers(1, 10_000))
def test_the_times_of_frames_lead_back_to_them(fps: Fraction, first: int, length: int) -> None:
    rate = Rate(fps)
    start, end = round(float(rate.seconds(first)), 6), round(float(rate.seconds(first + length)), 6)
    assert rate.span(start, end) == (first, first + length)


@given(st.sampled_from(RATES), st.floats(0, 40_000), st.floats(0, 100))
def test_a_span_covers_its_times_and_is_never_empty(fps: Fraction, start: float, length: float) -> None:
    first, after = Rate(fps).span(start, start + length)
    assert after > first
    assert float(first / fps) <= start + 1e-3
    assert float(after / fps) >= start + length - 1e-3
    assert after - first <= length * fps + 2


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        (Fraction(19001, 317), FAST_NTSC),
        (23.976, FILM),
        (23.98, FILM),
        (Fraction(2997, 100), NTSC),
        (24.0, Fraction(24)),
        (Fraction(45000, 1499), None),
        (Fraction(12), None),
    ],
)
def test_measured_rates_are_standard_ones_or_none(measured: Fraction, expected: Fraction | None) -> None:
    assert standard(measured) == expected


@pytest.mark.parametrize(
    ("fps", "timeline"),
    [(12, 24), (15, 30), (10, 30), (12.5, 25), (20, 60), (8, 24), (120, 60), (240, 60), (33, 48), (100, 50)],
)
def test_other_rates_get_a_time_line_on_which_their_frames_begin(fps: float, timeline: int) -> None:
    assert timeline_fps(Fraction(fps)) == timeline


def test_fast_ntsc_material_gets_5994() -> None:
    assert timeline_fps(Fraction(120000, 1001)) == FAST_NTSC


@pytest.mark.parametrize(
    ("text", "fps"), [("25", 25), ("29.97", NTSC), ("30000/1001", NTSC), ("12.5", Fraction(25, 2))]
)
def test_rates_are_written_as_people_do(text: str, fps: Fraction | float) -> None:
    assert parse_fps(text) == fps


@pytest.mark.parametrize("text", ["", "fast", "1/0", "0", "-25", "nan", "1e9", "5000"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no frame rate"):
        parse_fps(text)
