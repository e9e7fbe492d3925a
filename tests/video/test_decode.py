import contextlib
import gc
import io
import random
from fractions import Fraction
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cfmr.errors import InputError
from cfmr.video.clip import cut, thumbnail
from cfmr.video.decode import Frame, Orientation, Video, probe
from tests.support.footage import LEVELS, write_video


def level(frame: Frame) -> int:
    return LEVELS[int(np.abs(np.array(LEVELS) - frame.rgb().mean()).argmin())]


def seen(path: Path, fps: float | None = None, start: float = 0.0, end: float | None = None) -> list[tuple[float, int]]:
    with Video(path) as video:
        return [(round(frame.time, 4), level(frame)) for frame in video.frames(fps, start, end)]


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(
        tmp_path_factory.mktemp("steady") / "steady.mp4", [number / 10 for number in range(20)], sound=True
    )


def test_every_frame_is_read_at_its_time(steady: Path) -> None:
    assert seen(steady) == [(number / 10, LEVELS[number]) for number in range(20)]


def test_a_lower_rate_takes_what_is_on_the_screen(steady: Path) -> None:
    assert seen(steady, fps=4) == [(number / 4, LEVELS[int(number * 2.5)]) for number in range(8)]


def test_a_higher_rate_repeats_frames(steady: Path) -> None:
    assert seen(steady, fps=20) == [(number / 20, LEVELS[number // 2]) for number in range(40)]


def test_a_variable_frame_rate_is_sampled_by_time_and_not_by_count(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", [0, 0.1, 0.2, 2.0, 2.05], last=0.95)
    assert seen(path, fps=2) == [(0.0, 20), (0.5, 40), (1.0, 40), (1.5, 40), (2.0, 50), (2.5, 60)]
    assert probe(path).duration == pytest.approx(3.0, abs=0.01)


def test_a_late_first_frame_stands_for_what_is_before_it(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mkv", [1.0, 1.5], sound=True)
    assert seen(path, fps=2)[:4] == [(0.0, 20), (0.5, 20), (1.0, 20), (1.5, 30)]


@pytest.mark.parametrize(("start", "end"), [(0.45, 0.9), (1.2, None), (0.0, 0.3)])
def test_a_stretch_begins_with_the_frame_on_the_screen(steady: Path, start: float, end: float | None) -> None:
    last = 2.0 if end is None else end
    expected = [(n / 10, LEVELS[n]) for n in range(20) if (n + 1) / 10 > start + 1e-6 and n / 10 < last]
    assert seen(steady, start=start, end=end) == expected


def test_seeking_finds_the_same_frames_as_reading_on(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", [number / 10 for number in range(22)], g="7", bf="2")
    for start in (0.31, 0.75, 1.99):
        assert seen(path, fps=10, start=start)[0][1] == LEVELS[int(start * 10)]


@pytest.mark.parametrize("name", ["cockatoo.mp4", "flipping_a_pancake.mkv", "bottle-detection.mp4"])
def test_seeking_shows_the_pictures_that_reading_on_shows(shared: Path, name: str) -> None:
    with Video(shared / "video" / name) as video:
        whole = [frame.gray(32, 24).astype(int) for frame in video.frames(fps=1)]
        for second in (len(whole) // 2, len(whole) - 1):
            sought = next(video.frames(fps=1, start=second)).gray(32, 24)
            assert np.abs(whole[second] - sought).mean() < 1


def test_what_probing_tells_of_a_video(steady: Path) -> None:
    info = probe(steady)
    assert (info.width, info.height, info.rotation) == (64, 48, 0)
    assert info.fps == pytest.approx(10)
    assert info.duration == pytest.approx(2.0, abs=0.03)


@given(
    st.integers(1, 5),
    st.integers(1, 5),
    st.sampled_from([m for m in product((-1, 0, 1), repeat=4) if m.count(0) == 2 and m[0] * m[3] != m[1] * m[2]]),
)
def test_a_picture_is_turned_as_its_display_matrix_maps_points(
    height: int, width: int, matrix: tuple[int, ...]
) -> None:
    a, b, c, d = matrix
    data = np.array([a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30], "<i4").tobytes()
    orientation = Orientation.of(SimpleNamespace(side_data={"DISPLAYMATRIX": data}))
    image = np.arange(height * width, dtype=np.uint8).reshape(height, width)
    turned = orientation.turn(image)
    points = {(x, y): (a * x + c * y, b * x + d * y) for x in range(width) for y in range(height)}
    left, top = min(p[0] for p in points.values()), min(p[1] for p in points.values())
    for (x, y), (to_x, to_y) in points.items():
        assert turned[to_y - top, to_x - left] == image[y, x]
    assert orientation.size(width, height) == turned.shape[::-1]


@pytest.mark.parametrize(("name", "size", "rotation"), [
    ("rotated_0.mov", (568, 320), 0),
    ("rotated_90.mov", (320, 568), 90),
    ("rotated_180.mov", (568, 320), 180),
    ("rotated_270.mov", (320, 568), 270),
])  # fmt: skip
def test_sideways_recordings_are_upright(shared: Path, name: str, size: tuple[int, int], rotation: int) -> None:
    info = probe(shared / "video" / name)
    assert (info.width, info.height) == size
    assert info.rotation == rotation
    with Video(shared / "video" / name) as video:
        frame = next(video.frames())
        stored = frame.picture.to_ndarray(format="rgb24")
        np.testing.assert_array_equal(frame.rgb(), np.rot90(stored, -rotation // 90))
        assert frame.rgb(width=40, height=30).shape == (30, 40, 3)
        assert frame.gray(width=40).shape == (round(40 * size[1] / size[0]), 40)


def test_frames_stored_out_of_order_come_in_order(shared: Path) -> None:
    with Video(shared / "video" / "unordered.mov") as video:
        assert [frame.time for frame in video.frames()] == [0, 0.03125, 0.0625, 0.09375]
        assert video.damage is None


def test_a_damaged_file_is_read_on_after_the_damage_and_named(shared: Path) -> None:
    with Video(shared / "video" / "corrupted.mp4") as video:
        times = [frame.time for frame in video.frames()]
        assert len(times) == 49
        assert times[-1] == pytest.approx(4.9)
        assert video.damage is not None
        assert "corrupted.mp4: damaged at 2.8 s" in video.damage
        assert "49 frames could be read, 1 lost" in video.damage


def test_a_video_that_breaks_off_is_named_and_what_there_is_is_read(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mkv", [number / 10 for number in range(200)], g="10", sound=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with Video(path) as video:
        frames = sum(1 for _ in video.frames())
        assert 20 < frames < 180
        assert video.damage is not None
        assert "v.mkv: " in video.damage


def test_a_whole_video_is_not_called_damaged(steady: Path, shared: Path) -> None:
    for path in [steady, shared / "video" / "realshort.mp4", shared / "video" / "flipping_a_pancake.mkv"]:
        with Video(path) as video:
            assert sum(1 for _ in video.frames()) > 0
            assert video.damage is None


@pytest.mark.parametrize("content", [b"", b"no video " * 100, bytes(5000), b"\x89PNG\r\n\x1a\n" + bytes(100)])
def test_a_file_that_is_no_video_is_named(tmp_path: Path, content: bytes) -> None:
    for name in ("v.mp4", "v.txt"):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InputError, match=name.replace(".", r"\.")):
            probe(path)


def test_pictures_and_sounds_are_no_videos(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "picture.png")
    with av.open(str(tmp_path / "sound.m4a"), "w") as target:
        stream = target.add_stream("aac", rate=48_000, layout="mono")
        piece = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), format="fltp", layout="mono")
        piece.sample_rate, piece.pts, piece.time_base = 48_000, 0, Fraction(1, 48_000)
        target.mux(stream.encode(piece))
        target.mux(stream.encode(None))
    for name in ("picture.png", "sound.m4a"):
        with pytest.raises(InputError, match="is not a video"):
            probe(tmp_path / name)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.mp4: no such file"):
        probe(tmp_path / "none.mp4")
    with pytest.raises(InputError, match="cannot be read as a video"):
        probe(tmp_path)


@pytest.mark.parametrize("seed", range(12))
def test_random_damage_never_ends_in_another_error(steady: Path, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    content = bytearray(steady.read_bytes())
    for _ in range(rng.choice([1, 20, 300])):
        content[rng.randrange(len(content))] = rng.randrange(256)
    path = tmp_path / "v.mp4"
    path.write_bytes(bytes(content[: rng.randrange(len(content) // 2, len(content) + 1)]))
    with contextlib.suppress(InputError), Video(path) as video:
        for frame in video.frames(fps=5):
            frame.rgb(16, 16)


def test_pictures_that_were_let_go_are_freed_at_once(steady: Path) -> None:
    gc.disable()
    try:
        with Video(steady) as video:
            for frame in video.frames():
                assert frame.orientation == Orientation()
                assert sum(type(o) is av.VideoFrame and o.width == 64 for o in gc.get_objects()) < 10
    finally:
        gc.enable()


def test_a_thumbnail_is_an_upright_jpeg(shared: Path) -> None:
    picture = Image.open(io.BytesIO(thumbnail(shared / "video" / "rotated_90.mov", 0.05, width=90)))
    assert picture.format == "JPEG"
    assert picture.size == (90, 160)


@pytest.mark.parametrize(("time", "expected"), [(-1.0, 20), (0.0, 20), (0.55, 70), (1.99, 210), (99.0, 210)])
def test_a_thumbnail_shows_the_frame_at_its_time(steady: Path, time: float, expected: int) -> None:
    shown = np.asarray(Image.open(io.BytesIO(thumbnail(steady, time, width=64)))).mean()
    assert shown == pytest.approx(expected, abs=4)


@pytest.mark.parametrize(("start", "end"), [(0.45, 1.33), (0.0, 0.05), (1.5, 2.0)])
def test_a_cut_is_exact_and_keeps_the_sound(steady: Path, tmp_path: Path, start: float, end: float) -> None:
    out = tmp_path / "cut.mp4"
    cut(steady, start, end, out)
    assert probe(out).duration == pytest.approx(end - start, abs=0.002)
    frames = seen(out)
    expected = [number for number in range(20) if (number + 1) / 10 > start + 1e-6 and number / 10 < end]
    assert frames == [(round(max(n / 10 - start, 0), 4), LEVELS[n]) for n in expected]
    with av.open(str(out)) as written:
        assert written.streams.video[0].codec_context.name == "h264"
        assert written.streams.video[0].codec_context.pix_fmt == "yuv420p"
        samples = sum(frame.samples for frame in written.decode(written.streams.audio[0]))
        assert samples / 48_000 == pytest.approx(end - start, abs=0.05)


def test_a_cut_of_a_sideways_recording_is_upright(shared: Path, tmp_path: Path) -> None:
    cut(shared / "video" / "rotated_90.mov", 0.0, 0.1, tmp_path / "cut.mp4")
    info = probe(tmp_path / "cut.mp4")
    assert (info.width, info.height, info.rotation) == (320, 568, 0)


@pytest.mark.parametrize("sound", [True, False])
def test_odd_sizes_and_silent_videos_are_cut(tmp_path: Path, sound: bool) -> None:
    path = write_video(tmp_path / "v.mkv", [0, 0.1, 0.2], size=(50, 36), sound=sound)
    cut(path, 0.0, 0.2, tmp_path / "cut.mp4")
    with av.open(str(tmp_path / "cut.mp4")) as written:
        assert len(written.streams.audio) == int(sound)


def test_a_cut_of_a_damaged_video_is_written(shared: Path, tmp_path: Path) -> None:
    cut(shared / "video" / "corrupted.mp4", 2.0, 4.0, tmp_path / "cut.mp4")
    assert probe(tmp_path / "cut.mp4").duration == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize(("start", "end"), [(1.0, 1.0), (1.5, 0.5), (-1.0, 1.0), (5.0, 6.0), (0.0, float("nan"))])
def test_a_cut_that_is_not_there_is_refused_and_nothing_written(
    steady: Path, tmp_path: Path, start: float, end: float
) -> None:
    with pytest.raises(InputError, match=r"steady\.mp4"):
        cut(steady, start, end, tmp_path / "cut.mp4")
    assert list(tmp_path.iterdir()) == []


def test_a_cut_to_a_place_that_cannot_be_written_is_named(steady: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        cut(steady, 0.0, 1.0, tmp_path / "file" / "cut.mp4")


def test_pictures_that_follow_each_other_are_converted_as_each_alone() -> None:
    rng = np.random.default_rng(0)
    for kind, width, height in [("yuv420p", 64, 48), ("yuv422p", 64, 48), ("yuv420p", 80, 48), ("yuvj420p", 64, 48)]:
        noise = av.VideoFrame.from_ndarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8), format="rgb24")
        picture = noise.reformat(format=kind)
        for size in ((32, 24), (100, 90)):
            how = "AREA" if size[0] <= width else "BICUBIC"
            alone = picture.reformat(*size, format="rgb24", interpolation=how, threads=1).to_ndarray()
            np.testing.assert_array_equal(Frame(0.0, picture).rgb(*size), alone)
