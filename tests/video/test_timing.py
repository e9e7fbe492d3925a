from fractions import Fraction
from pathlib import Path

import av
import pytest

from cfmr.errors import InputError
from cfmr.video.timing import read_timing
from tests.support.footage import write_film, write_video


def film(path: Path, rate: Fraction, timecode: str = "", frames: int = 40) -> Path:
    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        if timecode:
            stream.metadata["timecode"] = timecode
        for number in range(frames):
            picture = av.VideoFrame(64, 48, "yuv420p")
            picture.pts, picture.time_base = number, 1 / rate
            target.mux(stream.encode(picture))
        target.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("rate", [(24000, 1001), (24, 1), (25, 1), (30000, 1001), (50, 1), (60000, 1001), (12, 1)])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".ts"])
def test_the_rate_is_that_of_the_file(tmp_path: Path, rate: tuple[int, int], suffix: str) -> None:
    timing = read_timing(film(tmp_path / f"a{suffix}", Fraction(*rate)))
    assert timing.fps == Fraction(*rate)
    assert not timing.variable
    assert timing.duration == pytest.approx(40 * rate[1] / rate[0], abs=0.01)


def test_matroska_counts_milliseconds_and_has_a_steady_rate_all_the_same(tmp_path: Path) -> None:
    timing = read_timing(film(tmp_path / "a.mkv", Fraction(60000, 1001)))
    assert not timing.variable
    assert float(timing.fps) == pytest.approx(59.94, abs=0.01)


def test_the_timecode_of_the_camera_is_read(tmp_path: Path) -> None:
    assert read_timing(film(tmp_path / "a.mov", Fraction(30000, 1001), "01:00:00;00")).timecode == "01:00:00;00"
    assert read_timing(film(tmp_path / "b.mp4", Fraction(25), "10:00:00:00")).timecode == "10:00:00:00"
    assert read_timing(film(tmp_path / "c.mp4", Fraction(25))).timecode is None


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_variable_rate_is_told_from_a_steady_one(tmp_path: Path, suffix: str) -> None:
    times = [0, 0.1, 0.3, 0.35, 0.9, 1.4, 1.5]
    timing = read_timing(write_video(tmp_path / f"a{suffix}", times))
    assert timing.variable
    assert 3 < timing.fps < 6


def test_sound_and_size_are_told(tmp_path: Path) -> None:
    timing = read_timing(write_film(tmp_path / "a.mp4", sound="aac"))
    assert (timing.width, timing.height, timing.channels) == (64, 48, 1)
    assert read_timing(write_film(tmp_path / "b.mp4")).channels == 0


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("no film")
    with pytest.raises(InputError, match=r"a\.mp4"):
        read_timing(tmp_path / "a.mp4")
