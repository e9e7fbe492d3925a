"""Each format is read back by a program of others where there is one, and held to its own rules."""

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
import zipfile
from fractions import Fraction
from pathlib import Path

import opentimelineio as otio
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cfmr.errors import InputError
from cfmr.handover.clips import Clip
from cfmr.handover.export import BY_NAME, FORMATS, Wish, export, file_names, format_of, safe_name, zipped
from cfmr.handover.subtitles import Cue, read_cues, write_srt, write_vtt
from cfmr.handover.tables import plain_cell
from cfmr.handover.timecode import can_drop
from cfmr.video.timing import Timing
from tests.handover.films import FAST_NTSC, NTSC, RATES, Films, clip

lines = st.text(st.characters(codec="utf-8"), max_size=40).map(lambda text: " ".join(text.split()))
times = st.floats(0, 590).map(lambda value: round(value, 3))


def written(name: str, clips: list[Clip], **wish: object) -> str:
    files, _ = export(clips, BY_NAME[name], Wish(**{"read": Films(), "title": "hits"} | wish))  # type: ignore[arg-type]
    (text,) = files.values()
    return text


def films_of(fps: Fraction, **more: object) -> Films:
    return Films(kitchen=Timing(600.0, fps, width=640, height=360, channels=2, **more))  # type: ignore[arg-type]


MANY = [clip(start=n * 7.0, end=n * 7.0 + 1.5 + n / 10, text=f"moment {n}") for n in range(8)]


# --- edit lists -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fps", "drop"), [*((fps, False) for fps in RATES), (NTSC, True), (FAST_NTSC, True)])
def test_an_edl_is_read_by_opentimelineio_with_the_frames_that_were_meant(fps: Fraction, drop: bool) -> None:
    text = written("edl", MANY, read=films_of(fps), drop=drop)
    timeline = otio.adapters.read_from_string(text, "cmx_3600", rate=float(fps))
    track = timeline.video_tracks()[0]
    begin = 0
    for meant, read in zip(MANY, track.find_clips(), strict=True):
        used = read.source_range
        assert used.start_time.value == int(meant.start * fps + Fraction(1, 1000))
        assert abs(used.duration.to_seconds() - (meant.end - meant.start)) < 2 / fps
        at = read.transformed_time_range(used, track)
        assert at.start_time.value == begin
        begin += used.duration.value
        assert read.name == "kitchen.mp4"
        if not drop:  # the reader knows no markers at drop-frame times
            assert [marker.name for marker in read.markers] == [meant.text]
    assert ("FCM: DROP FRAME" in text) == drop


@pytest.mark.parametrize("fps", [NTSC, FAST_NTSC])
def test_drop_frame_events_have_semicolons(fps: Fraction) -> None:
    events = re.findall(r"^\d{3} .*", written("edl", MANY, read=films_of(fps)), re.M)
    assert len(events) == len(MANY)
    assert all(event.count(";") == 4 for event in events)


def test_events_are_numbered_and_reels_are_eight_capitals_no_two_alike() -> None:
    clips = [clip(f"a very long name, no. {n}", n, n + 1) for n in range(30)] + [clip("ax"), clip("été"), clip("日本")]
    events = [line.split() for line in re.findall(r"^\d{3} .*", written("edl", clips), re.M)]
    assert [event[0] for event in events] == [f"{n:03d}" for n in range(1, 34)]
    reels = [event[1] for event in events]
    assert len(set(reels)) == 33
    assert all(re.fullmatch(r"[A-Z0-9]{1,8}", reel) for reel in reels)
    assert "AX" not in reels


def test_an_edl_holds_999_events_and_says_so() -> None:
    assert "\n999 " in written("edl", [clip(start=n / 10, end=n / 10 + 1) for n in range(999)])
    with pytest.raises(InputError, match="999 events, and these are 1000"):
        written("edl", [clip()] * 1000)


def test_sources_begin_at_the_timecode_of_the_camera() -> None:
    text = written("edl", [clip(start=2.0, end=3.0)], read=films_of(Fraction(25), timecode="10:00:00:00"))
    assert "10:00:02:00 10:00:03:00 01:00:00:00 01:00:01:00" in text


def test_in_and_out_are_as_far_apart_as_on_the_programme_at_mixed_rates() -> None:
    films = Films(a=Timing(60.0, Fraction(25)), b=Timing(60.0, NTSC), c=Timing(60.0, Fraction(50)))
    clips = [clip("b", 1, 4), clip("b", 6, 7), clip("a", 2, 3.33), clip("c", 58.5, 61)]
    timeline = otio.adapters.read_from_string(written("edl", clips, read=films), "cmx_3600", rate=float(NTSC))
    assert len(timeline.video_tracks()[0].find_clips()) == 4


def test_a_line_break_in_a_name_cannot_make_an_event() -> None:
    evil = clip("x\n002  AX       V     C        00:00:00:00", text="y\n* FROM CLIP NAME: other\n003  AX V C")
    text = written("edl", [evil])
    assert len(re.findall(r"^\d{3} ", text, re.M)) == 1
    assert len(re.findall(r"^\* FROM CLIP NAME", text, re.M)) == 1


@given(st.sampled_from(RATES), st.lists(st.tuples(times, st.floats(0.05, 9), lines), min_size=1, max_size=6))
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_fcpxml_times_are_whole_frames_inside_their_files(fps: Fraction, spans: list[tuple[float, float, str]]) -> None:
    clips = [clip(start=start, end=start + length, text=text) for start, length, text in spans]
    root = ET.fromstring(written("fcpxml", clips, read=films_of(fps)))
    formats = {f.get("id"): f for f in root.iter("format")}
    assets = {a.get("id"): a for a in root.iter("asset")}
    sequence = root.find(".//sequence")
    assert sequence is not None
    frame = seconds_of(formats[sequence.get("format")].get("frameDuration"))
    assert frame == 1 / fps
    at = seconds_of(sequence.get("tcStart"))
    for one in root.iter("asset-clip"):
        asset = assets[one.get("ref")]
        own = seconds_of(formats[asset.get("format")].get("frameDuration"))
        offset, start, duration = (seconds_of(one.get(key)) for key in ("offset", "start", "duration"))
        assert offset == at
        assert (offset / frame).denominator == (duration / frame).denominator == (start / own).denominator == 1
        assert start >= seconds_of(asset.get("start"))
        assert start + duration <= seconds_of(asset.get("start")) + seconds_of(asset.get("duration"))
        at += duration
    assert at - seconds_of(sequence.get("tcStart")) == seconds_of(sequence.get("duration"))


def seconds_of(text: str | None) -> Fraction:
    assert text is not None
    assert re.fullmatch(r"\d+(/\d+)?s", text)
    return Fraction(text[:-1])


@pytest.mark.parametrize("fps", [fps for fps in RATES if fps.denominator == 1], ids=str)
def test_fcpxml_is_read_by_opentimelineio(fps: Fraction) -> None:  # its reader takes 29.97 for 29
    text = written("fcpxml", MANY, read=films_of(fps))
    found = otio.adapters.read_from_string(text, "fcpx_xml")
    clips = list(found.find_children(descended_from_type=otio.schema.Clip))
    assert [c.name for c in clips] == [c.text for c in MANY]
    for meant, read in zip(MANY, clips, strict=True):
        assert abs(read.source_range.start_time.to_seconds() - meant.start) < 1.01 / fps


def test_fcpxml_names_the_files_and_their_numbering() -> None:
    root = ET.fromstring(written("fcpxml", [clip("a & b <c>")], read=Films(**{"a & b <c>": Timing(9.0, NTSC)})))
    assert root.get("version") == "1.9"
    media = root.find(".//media-rep")
    assert media is not None
    assert media.get("src") == "file:///films/a%20%26%20b%20%3Cc%3E.mp4"
    assert [e.get("tcFormat") for e in root.iter() if e.get("tcFormat")] == ["DF", "DF"]
    assert not list(root.iter("conform-rate"))


def test_fcpxml_does_not_speed_up_material_of_another_rate() -> None:
    films = Films(a=Timing(60.0, NTSC), b=Timing(60.0, Fraction(25)))
    root = ET.fromstring(written("fcpxml", [clip("a"), clip("a", 4, 5), clip("b")], read=films))
    (conform,) = root.iter("conform-rate")
    assert conform.attrib == {"scaleEnabled": "0", "srcFrameRate": "25"}


@pytest.mark.parametrize("fps", RATES, ids=lambda fps: f"{float(fps):.2f}")
def test_otio_files_are_read_by_their_library(fps: Fraction) -> None:
    timeline = otio.adapters.read_from_string(written("otio", MANY, read=films_of(fps)), "otio_json")
    (track,) = timeline.video_tracks()
    assert timeline.global_start_time.to_timecode(float(fps), can_drop(fps))[:8] == "01:00:00"
    for meant, read in zip(MANY, track, strict=True):
        assert read.media_reference.target_url == "file:///films/kitchen.mp4"
        there, used = read.media_reference.available_range, read.source_range
        assert there.start_time <= used.start_time
        assert used.end_time_exclusive() <= there.end_time_exclusive()
        assert abs(read.source_range.start_time.to_seconds() - meant.start) < 1.01 / fps
        assert [marker.name for marker in read.markers] == [meant.text]


def test_markers_of_each_video_are_a_list_of_their_own() -> None:
    files, _ = export([clip("a"), clip("b"), clip("a", 9, 10)], BY_NAME["markers"], Wish(read=Films()))
    assert set(files) == {"a", "b"}
    assert re.findall(r"\|M:(.*?) \|D:(\d+)", files["a"]) == [("a door opens", "50"), ("a door opens", "25")]
    assert "01:00:09:00 01:00:09:01 01:00:09:00 01:00:09:01" in files["a"]


# --- tables, subtitles, playlists, chapters ---------------------------------------------------------------------------


@given(st.lists(st.tuples(times, lines, lines), max_size=5))
def test_a_table_holds_any_text_and_no_formula(rows: list[tuple[float, str, str]]) -> None:
    clips = [clip(video or "v", start, start + 1, text) for start, video, text in rows] or [clip()]
    for row, meant in zip(csv.DictReader(io.StringIO(written("csv", clips))), clips, strict=True):
        assert not row["text"].startswith(("=", "+", "-", "@"))
        assert plain_cell(row["text"]) == " ".join(meant.text.split()) or not meant.text.isprintable()
        assert float(row["start"]) == meant.start


def test_a_formula_is_told_from_a_number() -> None:
    text = written("csv", [Clip("v", 0, 1, "=HYPERLINK(1)", -2.5)])
    assert ",'=HYPERLINK(1),-2.5," in text


def test_json_is_a_list_of_objects() -> None:
    (found,) = json.loads(written("json", [clip()]))
    assert found["video"] == "kitchen"
    assert (found["start"], found["end"], found["text"]) == (1.0, 3.0, "a door opens")
    assert found["path"] == "/films/kitchen.mp4"


@given(st.lists(st.tuples(times, st.floats(0.001, 90), lines.filter(bool)), min_size=1, max_size=5))
def test_webvtt_brings_any_text_back(rows: list[tuple[float, float, str]]) -> None:
    cues = [Cue(start, round(start + length, 3), text) for start, length, text in rows if text.isprintable()]
    assert [cue for _, cue in read_cues(write_vtt(cues))] == cues
    assert not re.search(r"-->.*-->", write_vtt(cues))


@given(
    st.lists(st.tuples(times, st.floats(0.001, 90), lines.filter(bool)), min_size=1, max_size=5),
)
@example([(0.0, 8.681386659857768, "0")])
def test_subrip_brings_back_what_it_can_hold(rows: list[tuple[float, float, str]]) -> None:
    cues = [Cue(s, round(s + n, 3), t) for s, n, t in rows if t.isprintable() and not re.search(r"[<>{}]", t)]
    assert [cue for _, cue in read_cues(write_srt(cues))] == cues


def test_a_playlist_has_two_options_and_one_line_for_each_clip() -> None:
    evil = [clip("a\nb", 1.25, 3.5, "x\n/etc/passwd"), clip("#c", 0, 1)]
    found = written("m3u", evil).splitlines()
    assert found[0] == "#EXTM3U"
    assert len(found) == 1 + 4 * 2
    assert found[1:5] == [
        "#EXTINF:2,x /etc/passwd",
        "#EXTVLCOPT:start-time=1.250",
        "#EXTVLCOPT:stop-time=3.500",
        "file:///films/a%0Ab.mp4",
    ]
    assert found[-1] == "/films/#c.mp4"


def test_chapters_follow_each_other_and_are_escaped() -> None:
    clips = [clip(start=5, end=20, text="b=c; #\\"), clip(start=0, end=9, text="a")]
    text = written("chapters", clips)
    assert text.startswith(";FFMETADATA1\n")
    assert re.findall(r"START=(\d+)\nEND=(\d+)\ntitle=(.*)", text) == [
        ("0", "5000", "a"),
        ("5000", "20000", "b\\=c\\; \\#\\\\"),
    ]


def test_youtube_chapters_begin_at_zero_and_last_ten_seconds() -> None:
    clips = [clip(start=s, end=s + 2, text=t) for s, t in ((12, "a"), (15, "b"), (25, "c"), (3700, "d"))]
    assert written("youtube", clips).splitlines() == ["0:00:00 Start", "0:00:12 a", "0:00:25 c", "1:01:40 d"]
    with pytest.raises(InputError, match="asks for 3 chapters"):
        written("youtube", clips[:1])


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_the_name_of_a_file_tells_its_format(form: object) -> None:
    assert format_of(f"some/hits{form.suffix.upper()}") is form  # type: ignore[attr-defined]


def test_an_unknown_ending_lists_those_that_are_known() -> None:
    with pytest.raises(InputError, match=r"hits.doc: .*\.csv \(CSV table\).*\.otio"):
        format_of("hits.doc")
    assert format_of("a.m3u").name == "m3u"


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_no_moment_makes_no_file(form: object) -> None:
    with pytest.raises(InputError, match="no moment"):
        export([], form, Wish(read=Films()))  # type: ignore[arg-type]


def test_each_video_has_a_file_name_of_its_own() -> None:
    assert file_names(["a/b"], "hits", ".srt") == {"a/b": "hits.srt"}
    names = file_names(["a/b", "a_b", "..", "x" * 400], "hits", ".srt")
    assert len(set(names.values())) == 4
    assert all("/" not in name and len(name.encode()) < 200 for name in names.values())
    assert safe_name("..") == "video"


def test_an_archive_is_the_same_each_time() -> None:
    packed = zipped({"a.srt": "x", "b.srt": "y"})
    assert packed == zipped({"a.srt": "x", "b.srt": "y"})
    assert zipfile.ZipFile(io.BytesIO(packed)).read("b.srt") == b"y"


def test_opentimelineio_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentimelineio", None)
    with pytest.raises(InputError, match=r"pip install cfmr\[export\]"):
        written("otio", [clip()])


def test_paths_with_other_bytes_are_addresses(tmp_path: Path) -> None:
    strange = Path(b"/films/caf\xe9.mp4".decode("utf-8", "surrogateescape"))
    one = Clip("caf\\xe9", 0, 1, "x", path=strange)
    for name in ("m3u", "edl", "fcpxml", "csv", "json", "otio"):
        written(name, [one]).encode("utf-8")
