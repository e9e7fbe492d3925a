"""PRVR (MS-SL and its successors): captions without times, and features of all frames in one file."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.data.layouts.recognise import read_text
from cfmr.data.layouts.row import Once, Row
from cfmr.errors import InputError
from cfmr.files.reading import natural

FILES = ("feature.bin", "id.txt", "shape.txt", "video2frames.txt")


def captions(text: str) -> Iterator[Row]:
    """A row a line, `VIDEO#enc#0 sentence`; neither moment nor length of the video is known.

    Raises:
        ValueError: naming the line.
    """
    once = Once()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        caption, _, sentence = line.strip().partition(" ")
        video, mark, _ = caption.partition("#")
        if not mark or not video or not sentence.strip():
            raise ValueError(f"line {number} is not 'VIDEO#enc#0 sentence'")
        once(caption, "caption", f"line {number}")
        yield Row(f"line {number}", [video, None, None, sentence.strip(), None, caption])


def is_features(folder: Path) -> bool:
    """Whether a folder holds such features."""
    return (folder / "feature.bin").is_file()


class FrameFeatures:
    """Features of PRVR's layout: rows of `feature.bin`, named by `id.txt`, gathered to videos by `video2frames.txt`.

    `video2frames.txt` is a Python dict; it is parsed as a literal and never run.

    Raises:
        InputError: a file is missing, cut off, or does not fit the others.
    """

    def __init__(self, folder: Path) -> None:
        missing = [name for name in FILES if not (folder / name).is_file()]
        if missing:
            raise InputError(f"{folder}: {', '.join(missing)} is not there; {', '.join(FILES)} belong together")
        self.folder = folder
        count, dim = _shape(folder / "shape.txt")
        names = read_text(folder / "id.txt").split()
        if len(names) != count:
            raise InputError(f"{folder / 'id.txt'}: has {len(names)} names, shape.txt says {count}")
        size = (folder / "feature.bin").stat().st_size
        if size != 4 * count * dim:
            raise InputError(
                f"{folder / 'feature.bin'}: has {size} bytes, {count} rows of {dim} numbers are {4 * count * dim}; "
                "is the file complete?"
            )
        self._rows = np.memmap(folder / "feature.bin", np.dtype("<f4"), "r", shape=(count, dim))
        self._number = {name: number for number, name in enumerate(names)}
        self._frames = _video_frames(folder / "video2frames.txt")

    @property
    def videos(self) -> list[str]:
        """Names of the videos, sorted."""
        return sorted(self._frames)

    def read(self, video: str) -> NDArray[np.float32]:
        """(clips, dim) of one video. Raises InputError if a frame of it has no row."""
        frames = self._frames[video]
        lost = [frame for frame in frames if frame not in self._number]
        if lost:
            raise InputError(
                f"{self.folder / 'id.txt'}: has no row for frame {lost[0]} of {video} ({len(lost)} in all)"
            )
        return np.asarray(self._rows[[self._number[frame] for frame in frames]])


def _shape(path: Path) -> tuple[int, int]:
    parts = read_text(path).split()
    sizes = [natural(part) or 0 for part in parts]
    if len(sizes) != 2 or min(sizes) == 0:
        raise InputError(f"{path}: holds {' '.join(parts)[:40]!r}; number of rows and width are expected")
    return sizes[0], sizes[1]


def _video_frames(path: Path) -> dict[str, list[str]]:
    try:
        value: Any = ast.literal_eval(read_text(path).strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise InputError(
            f"{path}: is no plain dict of names; it is not run as a program. Is the file complete?"
        ) from None
    if not isinstance(value, dict) or not value:
        raise InputError(f"{path}: {{video: [frame, ...]}} is expected")
    for video, frames in value.items():
        plain = isinstance(frames, list | tuple) and frames and all(isinstance(frame, str) for frame in frames)
        if not isinstance(video, str) or not plain:
            raise InputError(f"{path}: video {video!r} has no list of frames")
    return {video: list(frames) for video, frames in value.items()}
