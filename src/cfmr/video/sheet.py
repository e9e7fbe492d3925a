"""Sheets of small pictures: what a time line shows under the pointer."""

import io
import os

import numpy as np

from cfmr.errors import InputError
from cfmr.video.decode import Frame, Image, Video

COLUMNS, ROWS = 5, 5
WIDTH, HEIGHT = 160, 90  # pixels of one picture; other shapes stand in the middle of it
PICTURES = COLUMNS * ROWS


def sheet(path: str | os.PathLike[str], start: float, interval: float) -> bytes:
    """JPEG of the pictures in the middle of `PICTURES` intervals from `start` on, in rows; black after the end.

    Each is right to half an interval.

    Raises:
        InputError: not a video, nothing in it can be read, or it ends before `start`.
    """
    from PIL import Image as Picture

    board = np.zeros((ROWS * HEIGHT, COLUMNS * WIDTH, 3), np.uint8)
    with Video(path) as video:
        end = video.info().duration
        times = [start + (number + 0.5) * interval for number in range(PICTURES)]
        times = [min(time, end) for time in times if time - interval / 2 < end]
        if not times:
            raise InputError(f"{path}: ends before {start:.1f} s")
        number = -1
        for number, frame in enumerate(video.glimpses(times, interval / 2)):
            row, column = divmod(number, COLUMNS)
            image = _fitted(frame)
            top = row * HEIGHT + (HEIGHT - image.shape[0]) // 2
            left = column * WIDTH + (WIDTH - image.shape[1]) // 2
            board[top : top + image.shape[0], left : left + image.shape[1]] = image
        if number < 0:
            raise InputError(f"{path}: holds no frame that can be read")
    target = io.BytesIO()
    Picture.fromarray(board).save(target, "JPEG", quality=75)
    return target.getvalue()


def _fitted(frame: Frame) -> Image:
    """A frame as large as fits."""
    width, height = frame.size
    scale = min(WIDTH / width, HEIGHT / height)
    return frame.rgb(max(round(width * scale), 1), max(round(height * scale), 1))
