from fractions import Fraction
from pathlib import Path

import pytest

from cfmr.errors import InputError
from cfmr.handover.clips import Clip, make_programme, read_source
from cfmr.handover.timecode import Rate
from cfmr.video.timing import Timing
from tests.handover.films import NTSC, Films, clip


def timing(fps: Fraction = NTSC, duration: float = 60.0, **more: object) -> Timing:
    return Timing(duration, fps, **more)  # type: ignore[arg-type]


def test_clips_lie_one_after_the_other() -> None:
    programme = make_programme([clip(start=1, end=3), clip("street", 0, 1.5)], "x", read=Films())
    assert [(edit.begin, edit.length) for edit in programme.edits] == [(0, 50), (50, 38)]
    assert programme.rate == Rate(Fraction(25))
    assert programme.length == 88


def test_ntsc_counts_drop_frame_unless_the_camera_did_not() -> None:
    films = Films(own=timing(timecode="10:00:00:00"), drop=timing(timecode="10:00:00;00"), none=timing())
    assert [read_source(name, Path(name), read=films).rate.drop for name in ("own", "drop", "none")] == [
        False,
        True,
        True,
    ]
    assert not read_source("none", Path("none"), drop=False, read=films).rate.drop
    assert read_source("own", Path("own"), drop=True, read=films).rate.drop


def test_the_timecode_of_the_camera_is_where_a_file_begins() -> None:
    source = read_source("a", Path("a"), read=Films(a=timing(timecode="01:00:00;00")))
    assert source.rate.timecode(source.first) == "01:00:00;00"
    other = read_source("a", Path("a"), drop=False, read=Films(a=timing(timecode="01:00:00;00")))
    assert other.first == source.first
    assert read_source("a", Path("a"), read=Films(a=timing(timecode="nonsense"))).first == 0


def test_the_programme_has_the_rate_that_most_clips_have() -> None:
    films = Films(a=timing(Fraction(24)), b=timing(Fraction(50)))
    programme = make_programme([clip("a"), clip("b"), clip("a", 5, 6)], "x", read=films)
    assert programme.rate.fps == 24
    assert any("another frame rate" in note for note in programme.notes)
    assert make_programme([clip("a")], "x", fps=NTSC, read=films).rate == Rate(NTSC, drop=True)


def test_no_clip_reaches_past_the_end_of_its_file() -> None:
    films = Films(a=timing(NTSC, 10.0))
    for start, end in ((9.0, 10.0), (9.99, 12.0), (30.0, 31.0)):
        (edit,) = make_programme([clip("a", start, end)], "x", read=films).edits
        assert 0 <= edit.start < edit.end <= edit.source.frames


def test_a_variable_or_unusual_frame_rate_is_said() -> None:
    films = Films(phone=timing(Fraction(297, 10), variable=True), screen=timing(Fraction(12)))
    programme = make_programme([clip("phone"), clip("screen")], "x", read=films)
    assert any("phone.mp4 has a variable frame rate (29.70 a second on average)" in n for n in programme.notes)
    assert any("screen.mp4 has 12 frames a second" in n for n in programme.notes)
    assert {edit.source.rate.fps for edit in programme.edits} == {NTSC, Fraction(24)}


def test_a_clip_without_a_file_or_no_clip_at_all_is_refused() -> None:
    with pytest.raises(InputError, match="'gone': its file is not there"):
        make_programme([Clip("gone", 0, 1, "x")], "x", read=Films())
    with pytest.raises(InputError, match="no moment"):
        make_programme([], "x", read=Films())
