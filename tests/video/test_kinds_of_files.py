"""Files of every kind that cameras, recorders and programs write: their pictures, in order, at their times."""

import json
import shutil
import subprocess
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from cfmr.errors import InputError
from cfmr.video.clip import cut, thumbnail
from cfmr.video.decode import LONGEST, Video, probe
from cfmr.video.files import SUFFIXES
from tests.support.footage import LEVELS, join, write_film, write_video

X264 = {"bf": "3", "g": "12", "x264-params": "b-adapt=0"}
OPEN = {"x264-params": "open-gop=1:bframes=3:keyint=12:b-adapt=0"}
MPEG2 = {"bf": "2", "g": "12", "qmin": "1", "qmax": "1"}

#: name of a file -> encoder, options, sound
KINDS = {
    "x264.mp4": ("libx264", X264, "aac"),
    "open.mp4": ("libx264", OPEN, None),
    "x264.mov": ("libx264", X264, "aac"),
    "x264.mkv": ("libx264", X264, "aac"),
    "x264.ts": ("libx264", X264, "aac"),
    "open.ts": ("libx264", OPEN, "aac"),
    "x264.avi": ("libx264", X264, None),
    "x264.flv": ("libx264", X264, "aac"),
    "bare.h264": ("libx264", X264, None),
    "x265.mp4": ("libx265", {"x265-params": "log-level=error:bframes=3:keyint=12"}, None),
    "mpeg2.mpg": ("mpeg2video", MPEG2, "mp2"),
    "mpeg2.vob": ("mpeg2video", MPEG2, "mp2"),
    "mpeg2.ts": ("mpeg2video", MPEG2, "mp2"),
    "mpeg2.mkv": ("mpeg2video", MPEG2, None),
    "mpeg4.avi": ("mpeg4", MPEG2, None),
    "mjpeg.avi": ("mjpeg", {}, None),
    "vp8.webm": ("libvpx", {"g": "12", "deadline": "realtime"}, None),
    "vp9.webm": ("libvpx-vp9", {"g": "12", "deadline": "realtime"}, None),
    "wmv.wmv": ("wmv2", {}, None),
}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for name, (codec, options, sound) in KINDS.items():
        pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        write_film(folder / name, codec, pixels=pixels, sound=sound, **options)
    return folder


def seen(path: Path, start: float = 0.0, most: int | None = None) -> list[tuple[float, int]]:
    """Times, and which of the grays is on the screen."""
    with Video(path) as video:
        frames = islice(video.frames(start=start), most)
        return [(frame.time, int(np.abs(np.array(LEVELS) - frame.rgb().mean()).argmin())) for frame in frames]


def in_turn(first: int, count: int) -> list[int]:
    return [number % len(LEVELS) for number in range(first, first + count)]


@pytest.mark.parametrize("name", KINDS)
def test_pictures_come_as_they_were_filmed(films: Path, name: str) -> None:
    frames = seen(films / name)
    assert [which for _, which in frames] == in_turn(0, 50)
    assert [b - a for (a, _), (b, _) in pairwise(frames)] == pytest.approx([0.04] * 49, abs=0.003)
    with Video(films / name) as video:
        assert video.info().duration == pytest.approx(2.0, abs=0.15)
        assert sum(1 for _ in video.frames()) == 50
        assert video.damage is None


@pytest.mark.parametrize("name", KINDS)
def test_any_number_of_threads_reads_the_same(films: Path, name: str) -> None:
    def read(threads: int) -> list[tuple[float, bytes]]:
        with Video(films / name, threads) as video:
            return [(frame.time, frame.picture.to_ndarray().tobytes()) for frame in video.frames()]

    assert read(1) == read(3)


@pytest.mark.parametrize("name", KINDS)
def test_what_is_sought_is_what_reading_on_shows(films: Path, name: str) -> None:
    whole = seen(films / name)
    for start in (0.3, 0.97, 1.13, 1.9):
        first = max(number for number, (time, _) in enumerate(whole) if time <= start)
        expected = whole[first : first + 5]
        assert seen(films / name, start, most=5) == [(pytest.approx(time), which) for time, which in expected]


def ffprobe(path: Path, index: int) -> list[float | None]:
    """Times of a stream's pictures in the order in which ffprobe has them; the last ones may have none."""
    command = ["ffprobe", "-v", "error", "-select_streams", str(index), "-of", "json"]
    asked = ["-show_entries", "frame=best_effort_timestamp_time", path]
    found = json.loads(subprocess.run([*command, *asked], capture_output=True, check=True).stdout)
    times = [frame.get("best_effort_timestamp_time") for frame in found["frames"]]
    return [None if time is None else float(time) for time in times]


def compare_with_ffprobe(path: Path) -> None:
    with Video(path) as video:
        ours = [frame.time for frame in video.frames()]
        theirs = ffprobe(path, video._index)
    assert len(ours) == len(theirs)
    # where a file begins is told differently by versions of FFmpeg
    told = [(our - ours[0], their - theirs[0]) for our, their in zip(ours, theirs, strict=True) if their is not None]
    assert len(told) > len(ours) - 5
    assert [our for our, _ in told] == pytest.approx([their for _, their in told], abs=0.002)


needs_ffprobe = pytest.mark.skipif(shutil.which("ffprobe") is None, reason="needs ffprobe")


@needs_ffprobe
@pytest.mark.parametrize("name", [name for name in KINDS if name != "bare.h264"])  # which has no times
def test_order_and_times_are_those_of_ffprobe(films: Path, name: str) -> None:
    compare_with_ffprobe(films / name)


@needs_ffprobe
def test_order_and_times_of_real_footage_are_those_of_ffprobe(shared: Path) -> None:
    folders = [shared / "video", shared / "cases" / "files"]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in SUFFIXES]
    # in one that is damaged ffprobe shows what cannot be right; of one that was joined it tells two times the same
    files = [path for path in files if path.name not in ("corrupted.mp4", "joined.ts")]
    assert len(files) >= 20
    for path in files:
        compare_with_ffprobe(path)


JOINED = ["mpeg2.ts", "x264.ts", "mpeg2.mpg", "mpeg2.vob", "mpeg2.mkv", "x264.mkv", "mpeg4.avi"]


@pytest.mark.parametrize("name", JOINED)
def test_recordings_put_one_after_the_other_are_all_read(films: Path, tmp_path: Path, name: str) -> None:
    path = join(tmp_path / name, films / name, films / name)
    assert probe(path).duration == pytest.approx(4.0, abs=0.2)
    frames = seen(path)
    assert [which for _, which in frames] == in_turn(0, 50) * 2
    assert [b - a for (a, _), (b, _) in pairwise(frames)] == pytest.approx([0.04] * 99, abs=0.05)
    assert frames[50][0] == pytest.approx(2.0, abs=0.15)
    assert seen(path, 3.0, most=3) == frames[-len([t for t, _ in frames if t > 3.0]) - 1 :][:3]
    cut(path, 2.5, 3.5, tmp_path / "cut.mp4")
    assert probe(tmp_path / "cut.mp4").duration == pytest.approx(1.0, abs=0.01)
    if KINDS[name][2] is None:
        return
    with av.open(str(tmp_path / "cut.mp4")) as clip:
        sound = sum(frame.samples for frame in clip.decode(audio=0)) / clip.streams.audio[0].rate
    assert sound == pytest.approx(1.0, abs=0.1)


def test_a_clock_that_leaps_ahead_leaves_no_gap(tmp_path: Path) -> None:
    parts = [write_film(tmp_path / f"{s}.ts", "mpeg2video", shift=s) for s in (0.0, 5000.0)]
    assert [b - a for (a, _), (b, _) in pairwise(seen(join(tmp_path / "joined.ts", *parts)))] == pytest.approx(
        [0.04] * 99, abs=0.05
    )


LATER = (25, 750)  # from the 26th picture on, 30 s


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.ts", "v.flv"])
def test_a_still_of_half_a_minute_stays_with_its_sound(tmp_path: Path, name: str) -> None:
    path = write_film(tmp_path / name, sound="aac", gap=LATER, **X264)
    with Video(path) as video:
        frames = list(video.frames())
        assert video.end == pytest.approx(32.0, abs=0.1)
        assert video.damage is None
    assert len(frames) == 50
    assert frames[30].time - frames[20].time == pytest.approx(30.4, abs=0.05)
    assert probe(path).duration == pytest.approx(32.0, abs=0.1)


@pytest.mark.parametrize(("name", "end"), [("v.mp4", 32), ("v.mov", 32), ("v.mkv", 32), ("v.ts", 2), ("v.flv", 2)])
def test_a_film_with_a_gap_ends_with_its_last_picture(tmp_path: Path, name: str, end: float) -> None:
    path = write_film(tmp_path / name, gap=LATER, **X264)
    with Video(path) as video:
        assert len(list(video.frames())) == 50
        assert video.end == pytest.approx(end, abs=0.1)
        assert video.damage is None
    assert probe(path).duration == pytest.approx(end, abs=0.1)


def test_a_picture_of_two_fields_can_be_made_as_small_as_any(tmp_path: Path) -> None:
    path = write_film(tmp_path / "v.mpg", "mpeg2video", flags="+ildct+ilme")
    with Video(path) as video:
        frame = next(video.frames())
        assert frame.picture.interlaced_frame
        assert frame.rgb(8, 1).shape == (1, 8, 3)


@pytest.mark.parametrize(("name", "codec"), [("v.mxf", "mpeg2video"), ("v.flv", "flv"), ("v.mkv", "mpeg4")])
def test_half_a_file_is_said_to_break_off(tmp_path: Path, name: str, codec: str) -> None:
    path = write_film(tmp_path / name, codec, size=(320, 240), g="1")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with Video(path) as video:
        assert 20 < sum(1 for _ in video.frames()) < 50
        assert "breaks off at" in str(video.damage)


def write_fragments(path: Path) -> Path:
    with av.open(str(path), "w", options={"movflags": "frag_keyframe+empty_moov"}) as target:
        stream = target.add_stream("libx264", rate=25, options={"g": "10"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        draw = np.random.default_rng(0)
        for _ in range(50):
            noise = draw.integers(0, 256, (48, 64, 3), np.uint8)
            target.mux(stream.encode(av.VideoFrame.from_ndarray(noise, "rgb24").reformat(format="yuv420p")))
        target.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("kept", [0.5, 0.6, 0.62, 0.7])
def test_half_a_film_in_fragments_is_said_to_break_off(tmp_path: Path, kept: float) -> None:
    path = write_fragments(tmp_path / "v.mp4")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with Video(path) as video:
        assert 20 < sum(1 for _ in video.frames()) < 50
        assert "in the middle of a fragment" in str(video.damage)


def test_films_in_fragments_one_after_the_other_are_read_or_named(tmp_path: Path) -> None:
    part = write_fragments(tmp_path / "part.mp4")
    path = join(tmp_path / "v.mp4", part, part)
    with Video(path) as video:
        frames = [frame.time for frame in video.frames()]
        assert len(frames) == 100 or "where another recording follows" in str(video.damage)
    assert probe(path).duration == pytest.approx(frames[-1] + 0.04, abs=0.1)
    assert [time for time, _ in seen(path, 1.9)] == [time for time in frames if time > 1.87]


@pytest.mark.parametrize("kept", [0.6, 0.9])
def test_an_mp4_whose_header_was_not_written_is_said_to_break_off(tmp_path: Path, kept: float) -> None:
    path = write_film(tmp_path / "v.mp4", size=(320, 240), g="1")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(InputError, match=r"v\.mp4: breaks off before the header"):
        probe(path)


def test_a_part_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    first = write_film(tmp_path / "first.ts", "mpeg2video")
    with av.open(str(tmp_path / "second.ts"), "w", options={"mpegts_start_pid": "1000"}) as target:
        stream = target.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(200):
            noise = np.random.default_rng(number).integers(0, 255, (48, 64, 3), np.uint8)
            target.mux(stream.encode(av.VideoFrame.from_ndarray(noise)))
        target.mux(stream.encode(None))
    with Video(join(tmp_path / "joined.ts", first, tmp_path / "second.ts")) as video:
        frames = sum(1 for _ in video.frames())
        assert frames == 250 or "joined.ts: goes on after" in str(video.damage)


@pytest.mark.parametrize(
    ("name", "codec"), [("v.mp4", "libx264"), ("v.mov", "mpeg4"), ("v.flv", "flv"), ("v.wmv", "wmv2")]
)
def test_a_second_recording_that_is_not_read_is_named(tmp_path: Path, name: str, codec: str) -> None:
    size = (640, 480)
    part = write_film(tmp_path / f"part-{name}", codec, size=size, g="1")
    with Video(part) as video:
        assert sum(1 for _ in video.frames()) == 50
        assert video.damage is None
    with Video(join(tmp_path / name, part, part)) as video:
        frames = sum(1 for _ in video.frames())
        assert frames == 100 or "goes on after 2.0 s with what is not read" in str(video.damage)


def test_a_film_in_fragments_with_its_header_again_is_whole(tmp_path: Path) -> None:
    fragments = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    with av.open(str(tmp_path / "v.mp4"), "w", options=fragments) as target:
        stream = target.add_stream("libx264", rate=25, options={"g": "10"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(50):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 5 * number, np.uint8), "rgb24")
            target.mux(stream.encode(picture.reformat(format="yuv420p")))
        target.mux(stream.encode(None))
    with Video(tmp_path / "v.mp4") as video:
        assert sum(1 for _ in video.frames()) == 50
        assert video.damage is None


@pytest.mark.parametrize("shift", [100.0, 108_000.0])
@pytest.mark.parametrize("name", ["v.mkv", "v.mp4", "v.ts"])
def test_a_clock_that_begins_late_makes_no_video_longer(tmp_path: Path, name: str, shift: float) -> None:
    path = write_film(tmp_path / name, shift=shift if name != "v.ts" else min(shift, 90_000.0), **X264)
    assert probe(path).duration == pytest.approx(2.0, abs=0.05)
    with Video(path) as video:
        assert len(list(video.frames())) == 50
        assert video.damage is None
    assert [which for _, which in seen(path, 1.0, most=3)] == in_turn(25, 3)


def test_decoding_times_in_the_place_of_presentation_times_shuffle_nothing(tmp_path: Path) -> None:
    def without_offsets(packet: av.Packet) -> None:
        packet.pts = packet.dts = packet.dts + 2

    path = write_film(tmp_path / "v.mp4", stamps=without_offsets, **X264)
    frames = seen(path)
    assert [which for _, which in frames] == in_turn(0, 50)
    assert all(b > a for (a, _), (b, _) in pairwise(frames))
    assert frames[-1][0] - frames[0][0] == pytest.approx(49 * 0.04, abs=0.15)
    assert [which for _, which in seen(path, 1.5, most=3)] == [which for t, which in frames if t > 1.46][:3]


def test_an_edit_list_that_leaves_out_the_beginning_is_followed(tmp_path: Path) -> None:
    path = write_film(tmp_path / "v.mp4", shift=-0.4, g="25", bf="0")
    frames = seen(path)
    assert frames[0] == (0.0, 10)
    assert len(frames) == 40
    assert seen(path, 0.8, most=1)[0][1] == (10 + 20) % len(LEVELS)


def test_the_default_stream_is_the_film_then_the_largest(tmp_path: Path) -> None:
    def write(name: str, sizes: list[tuple[int, int]], default: int | None) -> Path:
        with av.open(str(tmp_path / name), "w") as target:
            streams = []
            for number, size in enumerate(sizes):
                stream = target.add_stream("libx264", rate=10)
                stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
                if default is not None:
                    stream.disposition = av.stream.Disposition.default if number == default else 0
                streams.append(stream)
            for number in range(10):
                for stream in streams:
                    picture = av.VideoFrame(stream.width, stream.height, "yuv420p")
                    picture.pts = number
                    target.mux(stream.encode(picture))
            for stream in streams:
                target.mux(stream.encode(None))
        return tmp_path / name

    sizes = [(32, 24), (64, 48), (48, 32)]
    for name, default, width in (("default.mkv", 2, 48), ("largest.ts", None, 64)):
        with Video(write(name, sizes, default)) as video:
            assert [frame.picture.width for frame in video.frames()] == [width] * 10


def test_a_cover_picture_is_no_film(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "v.mp4"), "w") as target:
        cover, film = target.add_stream("mjpeg", rate=1), target.add_stream("libx264", rate=10)
        cover.width, cover.height, cover.pix_fmt = 640, 480, "yuvj420p"
        film.width, film.height, film.pix_fmt = 64, 48, "yuv420p"
        target.mux(cover.encode(av.VideoFrame(640, 480, "yuvj420p")))
        for number in range(10):
            picture = av.VideoFrame(64, 48, "yuv420p")
            picture.pts = number
            target.mux(film.encode(picture))
        target.mux([*film.encode(None), *cover.encode(None)])
    assert probe(tmp_path / "v.mp4").width == 64


def test_repeated_pictures_are_empty_packets_and_no_damage(tmp_path: Path) -> None:
    def ten_times(packet: av.Packet) -> None:
        packet.pts = packet.dts = packet.dts * 10  # the muxer of AVI fills what is between with empty packets

    path = write_film(tmp_path / "v.avi", "mpeg4", frames=5, bf="0", stamps=ten_times)
    with Video(path) as video:
        shown = [int(np.abs(np.array(LEVELS) - frame.rgb().mean()).argmin()) for frame in video.frames(fps=25)]
        assert shown == [number // 10 for number in range(41)]
        assert video.damage is None
    assert probe(path).duration == pytest.approx(41 / 25)


def test_a_stamp_of_years_makes_no_video_of_years(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mkv", [0.0, 0.1, 0.2, 1e6, 1e6 + 0.1])
    with Video(path) as video:
        assert sum(1 for _ in video.frames(fps=10)) < 20
        assert video.info().duration < 2


def test_a_video_is_read_for_a_week_at_most(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mkv", [number * 3500.0 for number in range(int(LONGEST // 3500) + 10)])
    with Video(path) as video:
        frames = list(video.frames())
        assert frames[-1].time < LONGEST
        assert video.end == LONGEST
        assert "longer than 168 hours, of which no more is read" in str(video.damage)
        assert video.info().duration == LONGEST


@pytest.mark.parametrize("text", [
    "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:2,\nsecret.mp4\n#EXT-X-ENDLIST\n",
    "ffconcat version 1.0\nfile secret.mp4\n",
    "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'></MPD>",
])  # fmt: skip
def test_playlists_are_not_followed(tmp_path: Path, text: str) -> None:
    write_film(tmp_path / "secret.mp4", frames=5)
    for name in ("list.mp4", "list.m3u8", "list.ts"):
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=name.replace(".", r"\.")):
            probe(tmp_path / name)


@pytest.mark.parametrize(
    "name", ["Trip-10:30.mp4", "http:x.mp4", "concat:a|b.mp4", "caf\udce9.mp4", "100%.mp4", "-i.mp4"]
)
def test_no_name_is_taken_for_anything_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    write_film(tmp_path / "v.mp4", frames=5).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(seen(Path(name))) == 5


FULL, LIMITED, BT709, BT2020 = 2, 1, 1, 9
PQ, HLG = 16, 18
MARKS = ("color_range", "colorspace", "color_trc", "color_primaries")


@pytest.mark.parametrize(("codec", "pixels", "colours"), [
    ("libx264", "yuv420p", {"color_range": FULL}),
    ("libx264", "yuvj420p", {"color_range": FULL, "colorspace": BT709}),
    ("libx264", "yuv420p", {"color_range": LIMITED, "colorspace": BT709, "color_trc": 1, "color_primaries": 1}),
    ("libx264", "yuv420p", {"colorspace": BT2020, "color_trc": PQ, "color_primaries": BT2020}),
    ("libx264", "yuv444p", {"colorspace": 6, "color_trc": HLG, "color_primaries": BT2020}),
])  # fmt: skip
def test_a_clip_has_the_numbers_and_the_marks_of_its_source(
    tmp_path: Path, codec: str, pixels: str, colours: dict[str, int]
) -> None:
    path = write_film(tmp_path / "v.mkv", codec, pixels=pixels, level=32, colours=colours, frames=10)
    cut(path, 0.0, 0.3, tmp_path / "cut.mp4")
    with av.open(str(path)) as source, av.open(str(tmp_path / "cut.mp4")) as clip:
        before, after = next(source.decode(video=0)), next(clip.decode(video=0))
        for mark in MARKS:
            assert getattr(after, mark) == getattr(before, mark)
        assert abs(int(before.to_ndarray().flat[0]) - int(after.to_ndarray().flat[0])) <= 1


@pytest.mark.parametrize(("codec", "name"), [("png", "v.mov"), ("libx264rgb", "v.mkv")])
def test_a_clip_of_rgb_looks_the_same(tmp_path: Path, codec: str, name: str) -> None:
    path = tmp_path / name
    with av.open(str(path), "w") as target:
        stream = target.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
        for _ in range(10):
            target.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), (192, 72, 48), np.uint8))))
        target.mux(stream.encode(None))
    cut(path, 0.0, 0.5, tmp_path / "cut.mp4")
    with av.open(str(tmp_path / "cut.mp4")) as clip:
        frame = next(clip.decode(video=0))
        assert (frame.color_range, frame.colorspace) == (LIMITED, BT709)
        assert frame.to_ndarray(format="rgb24")[5, 5] == pytest.approx((192, 72, 48), abs=3)


def test_turning_a_picture_keeps_its_numbers(shared: Path, tmp_path: Path) -> None:
    for name in ("rotated_90.mov", "rotated_180.mov", "rotated_270.mov"):
        path = shared / "video" / name
        cut(path, 0.0, 0.1, tmp_path / "cut.mp4")
        with Video(path) as video, Video(tmp_path / "cut.mp4") as clip:
            before, after = (next(one.frames()).rgb().astype(int) for one in (video, clip))
            assert np.abs(before - after).mean() < 4


def test_stills_of_all_kinds_can_be_made(films: Path) -> None:
    for name in KINDS:
        assert thumbnail(films / name, 1.0, 32)[:2] == b"\xff\xd8"


def test_a_still_of_a_tower_of_pixels_is_a_picture(tmp_path: Path) -> None:
    path = write_film(tmp_path / "v.mkv", frames=3, size=(2, 8192))
    assert thumbnail(path, 0.0, 640)[:2] == b"\xff\xd8"


def test_pixels_of_a_shape_that_cannot_be_are_square(tmp_path: Path) -> None:
    def wide(stream: av.VideoStream) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(60000, 1)

    path = write_film(tmp_path / "v.mkv", frames=5, setup=wide)
    assert (probe(path).width, probe(path).height) == (64, 48)


def test_a_still_of_what_cannot_be_decoded_is_the_one_before(tmp_path: Path) -> None:
    path = write_film(tmp_path / "v.ts", "mpeg2video")
    noise = np.random.default_rng(0).bytes(path.stat().st_size // 3)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3] + noise)
    assert thumbnail(path, 1.5)[:2] == b"\xff\xd8"


@pytest.mark.parametrize("name", ["v.mkv", "v.mp4", "v.ts"])
def test_a_clip_that_begins_before_the_first_picture_has_all_of_its_sound(tmp_path: Path, name: str) -> None:
    path = write_film(tmp_path / name, sound="aac", gap=(0, 50), **X264)  # the first picture comes at 2 s
    cut(path, 1.5, 3.0, tmp_path / "cut.mp4")
    assert probe(tmp_path / "cut.mp4").duration == pytest.approx(1.5, abs=0.03)
    with av.open(str(tmp_path / "cut.mp4")) as clip:
        sound = sum(frame.samples for frame in clip.decode(audio=0)) / clip.streams.audio[0].rate
    assert sound == pytest.approx(1.5, abs=0.1)
    cut(path, 0.5, 1.0, tmp_path / "cut.mp4")  # nothing but what comes first
    assert seen(tmp_path / "cut.mp4") == [(0.0, 0)]
    assert probe(tmp_path / "cut.mp4").duration == pytest.approx(0.5, abs=0.03)


def test_a_header_that_was_written_to_a_pipe_promises_nothing(films: Path, tmp_path: Path) -> None:
    content = bytearray((films / "mpeg4.avi").read_bytes())
    content[4:8] = b"\xff" * 4
    length = content.index(b"strh") + 8 + 32
    content[length : length + 4] = (1 << 30).to_bytes(4, "little")
    path = tmp_path / "piped.avi"
    path.write_bytes(content)
    with Video(path) as video:
        assert video.expected is None
        assert [frame.time for frame in video.frames()] == [time for time, _ in seen(films / "mpeg4.avi")]
        assert video.damage is None
    assert probe(path).duration == probe(films / "mpeg4.avi").duration
