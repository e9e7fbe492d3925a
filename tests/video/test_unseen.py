"""Leaving out pictures that no sample shows: what is sampled is the same, and fewer pictures are decoded."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfmr.video.decode import Video
from cfmr.video.unseen import AHEAD, Unseen
from tests.support.footage import write_film, write_video

X264 = {"bf": "3", "x264-params": "scenecut=0:keyint=60:b-adapt=0"}  # three pictures of four are made from others


def sampled(
    path: Path, fps: float, start: float = 0.0, end: float | None = None, **how: Any
) -> tuple[list[Any], Video]:
    """Times and pictures, and the video they were read from."""
    with Video(path, **how) as video:
        return [(frame.time, frame.gray()) for frame in video.frames(fps, start, end)], video


def assert_same(path: Path, fps: float, start: float = 0.0, end: float | None = None, threads: int = 1) -> bool:
    """That all samples are the same; whether pictures were left out."""
    expected, whole = sampled(path, fps, start, end)
    found, video = sampled(path, fps, start, end, threads=threads, sampled=True)
    assert [time for time, _ in found] == [time for time, _ in expected]
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(found, expected, strict=True))
    assert not whole.left_out
    if end is None:
        assert (video.end, video.damage) == (whole.end, whole.damage)
        assert (video._count < whole._count) == video.left_out
    return video.left_out


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("suffix", "codec", "rate", "fps"),
    [
        ("mp4", "libx264", 25, 12.0),
        ("mkv", "libx264", 30, 12.0),
        ("mov", "libx264", 60, 12.0),
        ("mp4", "libx264", 24, 2.0),
        ("mp4", "libx265", 25, 12.0),
    ],
)
def test_samples_are_the_same(tmp_path: Path, suffix: str, codec: str, rate: int, fps: float, threads: int) -> None:
    options = X264 if codec == "libx264" else {"x265-params": "bframes=3:b-adapt=0:scenecut=0:log-level=none"}
    path = write_film(tmp_path / f"v.{suffix}", codec, frames=150, rate=rate, **options)
    assert assert_same(path, fps, threads=threads)
    assert_same(path, fps, start=1.3, threads=threads)
    assert_same(path, fps, start=0.51, end=2.2, threads=threads)


def test_a_pyramid_of_pictures_keeps_those_that_others_are_made_from(tmp_path: Path) -> None:
    parameters = "scenecut=0:keyint=100:b-adapt=0:b-pyramid=normal:bframes=7"
    path = write_film(tmp_path / "v.mp4", frames=150, rate=25, **{"x264-params": parameters})
    assert assert_same(path, 3.0)


def test_a_variable_rate_is_sampled_by_time(tmp_path: Path) -> None:
    gaps = np.random.default_rng(0).choice([0.01, 0.03, 0.05, 0.3], 200)
    path = write_video(tmp_path / "v.mp4", np.round(np.cumsum(gaps), 3).tolist(), **X264)
    assert assert_same(path, 4.0)


@pytest.mark.parametrize("suffix", ["ts", "avi", "flv"])
def test_files_whose_times_are_learned_by_reading_on_are_read_whole(tmp_path: Path, suffix: str) -> None:
    options = {} if suffix == "ts" else {"bf": "0"}
    path = write_film(tmp_path / f"v.{suffix}", frames=120, rate=25, **options)
    assert not assert_same(path, 5.0)


def test_pictures_of_two_fields_are_all_read(tmp_path: Path) -> None:
    parameters = "scenecut=0:keyint=60:b-adapt=0:interlaced=1"
    path = write_film(tmp_path / "v.mp4", frames=120, rate=25, size=(64, 64), bf="3", **{"x264-params": parameters})
    assert not assert_same(path, 5.0)


def test_a_rate_about_that_of_the_video_leaves_nothing_out(tmp_path: Path) -> None:
    path = write_film(tmp_path / "v.mp4", frames=120, rate=12, **X264)
    assert not assert_same(path, 12.0)


def test_every_frame_is_read_where_no_rate_is_given(tmp_path: Path) -> None:
    path = write_film(tmp_path / "v.mp4", frames=90, rate=25, **X264)
    with Video(path, sampled=True) as video:
        assert len(list(video.frames(5.0))) == 18
        assert video.left_out
        assert len(list(video.frames())) == 90
        assert not video.left_out


@settings(max_examples=200, deadline=None)
@given(
    gaps=st.lists(st.floats(0.001, 0.4), min_size=1, max_size=120),
    fps=st.floats(0.5, 30),
    start=st.floats(0, 5),
    seed=st.integers(0, 2**16),
)
def test_whatever_is_on_the_screen_at_a_sample_is_seen(gaps: list[float], fps: float, start: float, seed: int) -> None:
    times = np.cumsum(gaps)
    order = np.argsort(np.arange(len(times)) + np.random.default_rng(seed).uniform(0, 12, len(times)))
    stream = SimpleNamespace(index=0)
    packets = [SimpleNamespace(stream=stream, size=1, time=float(times[number])) for number in order]
    told = list(Unseen(start, fps).told(iter(packets), 0, lambda packet: packet.time))
    assert [packet for packet, _ in told] == packets
    unseen = {packet.time for packet, left_out in told if left_out}
    last = math.floor((float(times[-1]) - start) * fps)
    for sample in (start + number / fps for number in range(last + 1)):
        shown = np.flatnonzero(times <= sample)
        assert not len(shown) or float(times[shown[-1]]) not in unseen
    assert len(unseen) <= max(len(packets) - AHEAD, 0)
