"""Sheets of small pictures."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cfmr.errors import InputError
from cfmr.video import decode
from cfmr.video.decode import Video
from cfmr.video.sheet import COLUMNS, HEIGHT, WIDTH, sheet
from tests.support.footage import LEVELS, write_film, write_video


def grays(jpeg: bytes) -> list[int]:
    """The gray in the middle of each picture of a sheet."""
    board = np.asarray(Image.open(io.BytesIO(jpeg)).convert("L"))
    assert board.shape == (5 * HEIGHT, 5 * WIDTH)
    return [
        int(board[number // COLUMNS * HEIGHT + HEIGHT // 2, number % COLUMNS * WIDTH + WIDTH // 2])
        for number in range(25)
    ]


def test_a_picture_shows_what_is_on_the_screen_in_the_middle_of_its_interval(tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.mp4", [float(second) for second in range(20)], last=1.0)
    found = grays(sheet(film, 0.0, 1.0))
    assert found[:20] == pytest.approx(list(LEVELS)[:20], abs=4)
    assert found[20:] == [0] * 5
    assert grays(sheet(film, 4.0, 0.2))[::5] == pytest.approx(list(LEVELS)[4:9], abs=4)


@pytest.mark.parametrize("group", ["4", "1000"])
def test_far_apart_the_pictures_are_right_to_half_an_interval(tmp_path: Path, group: str) -> None:
    times = [second / 2 for second in range(400)]
    levels = [20 + number // 2 for number in range(400)]  # one more each second
    film = write_video(tmp_path / "film.mp4", times, levels, last=0.5, g=group, preset="ultrafast")
    found = grays(sheet(film, 0.0, 10.0))
    assert found[20:] == [0] * 5
    for number, level in enumerate(found[:20]):
        assert number * 10 - 3 <= level - 20 <= number * 10 + 5 + 3


def test_a_key_frame_that_is_near_enough_is_taken_without_decoding_more(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", frames=2000, rate=10, g="40", preset="ultrafast")
    with Video(film) as video:
        frames = [frame.time for frame in video.glimpses([5.0, 25.0, 45.0], 10.0)]
        assert frames == pytest.approx([4.0 if frames[0] else 0.0, 24.0, 44.0])
        assert video._count <= 12  # of the pictures since the last seek


def test_any_shape_is_fitted_into_its_place_upright(tmp_path: Path, shared: Path) -> None:
    for name in ("rotated_90.mov", "rotated_270.mov"):
        board = np.asarray(Image.open(io.BytesIO(sheet(shared / "video" / name, 0.0, 0.2))))
        width, height = decode.probe(shared / "video" / name).width, decode.probe(shared / "video" / name).height
        first = board[:HEIGHT, :WIDTH].max((2,)) > 24
        columns = np.flatnonzero(first.any(0))
        assert columns[-1] - columns[0] + 1 <= round(HEIGHT * width / height) + 8  # JPEG blurs the edge
        assert abs((columns[0] + columns[-1]) / 2 - WIDTH / 2) < 8


def test_a_file_without_an_index_is_read_on(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.ts", frames=200, rate=10, g="10", level=120)
    assert grays(sheet(film, 0.0, 5.0))[:4] == pytest.approx([grays(sheet(film, 0.0, 1.0))[0]] * 4, abs=2)


def test_real_footage_fills_the_sheet(shared: Path) -> None:
    board = np.asarray(Image.open(io.BytesIO(sheet(shared / "video" / "cockatoo.mp4", 0.0, 0.5))), float)
    for number in range(25):
        part = board[number // 5 * HEIGHT :, number % 5 * WIDTH :][:HEIGHT, :WIDTH]
        assert part.std() > 10


def test_what_ends_before_or_is_no_video_is_said(tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.mp4", [0.0, 0.5], last=0.5)
    with pytest.raises(InputError, match=r"ends before 25\.0 s"):
        sheet(film, 25.0, 1.0)
    (tmp_path / "x.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match="cannot be read as a video"):
        sheet(tmp_path / "x.mp4", 0.0, 1.0)
