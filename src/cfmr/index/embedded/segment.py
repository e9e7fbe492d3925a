"""A segment: the rows of some videos, written together and read through memory mapping."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.files.atomic import parse_json
from cfmr.index.base import Video, VideoRows
from cfmr.index.codec import Codec, Floats
from cfmr.index.embedded.disk import Part, sync_directory
from cfmr.index.embedded.manifest import SegmentPart
from cfmr.index.embedded.outline import OUTLINE, Outline
from cfmr.index.files import damaged, map_array, part_file, write_array, write_json

ROWS, SCALES = "rows.npy", "scales.npy"


def _video_to_json(video: Video) -> list[Any]:
    return [video.id, video.duration, video.first, video.rows, video.path, dict(video.metadata), video.fingerprint]


def _videos_from_json(table: Any, rows: int) -> list[Video]:
    """The videos of a segment of so many rows. Raises ValueError or TypeError if the table does not describe them."""
    videos = [
        Video(name, float(duration), int(count), int(first), path, dict(metadata), fingerprint)
        for name, duration, first, count, path, metadata, fingerprint in table
    ]
    at = 0
    for video in videos:
        texts = (video.id, video.fingerprint, video.path or "", *video.metadata)
        if not all(isinstance(text, str) for text in texts) or not math.isfinite(video.duration):
            raise ValueError("a video is not described as one")
        if not all(isinstance(value, str | int | float | bool) for value in video.metadata.values()):
            raise ValueError(f"the metadata of {video.id!r} are no texts, numbers or booleans")
        if video.first != at or video.rows <= 0:
            raise ValueError(f"the rows of {video.id!r} are not those after the video before")
        at += video.rows
    if at != rows:
        raise ValueError(f"its videos have {at} rows, it has {rows}")
    return videos


class Segment:
    """An opened segment. Arrays are mapped, not read; `rows`, `scales` and `spans` share the first axis."""

    def __init__(self, root: Path, entry: SegmentPart) -> None:
        self.entry = entry
        self.first_row = entry.first_row
        self.path = root / entry.part.directory
        mapped = map_array(self.path / ROWS)
        self.rows: Floats = mapped.view(np.ndarray)
        self.rows_offset = int(mapped.offset)  # of the first row in the file
        self.scales: Floats | None = None
        self.scales_offset = 0
        if SCALES in entry.part.files:
            mapped = map_array(self.path / SCALES)
            self.scales, self.scales_offset = mapped.view(np.ndarray), int(mapped.offset)
        self.spans: NDArray[np.float64] = map_array(self.path / "spans.npy").view(np.ndarray)
        with part_file(self.path / "videos.json"):
            content = (self.path / "videos.json").read_bytes()
            self.videos = _videos_from_json(parse_json(content, self.path / "videos.json"), entry.rows)
        self._starts = np.array([v.first for v in self.videos])
        self.dead = frozenset(entry.dead)
        self.outline = Outline.open(self.path) if OUTLINE in entry.part.files else None

    def check(self, codec: Codec) -> None:
        """Raise InputError if an array is not of the shape that the index's card and manifest tell."""
        count = self.entry.rows
        concepts = 0 if codec.weight is None else len(codec.weight)
        _check_array(self.path / ROWS, self.rows, (count, codec.width), np.float32)
        _check_array(self.path / "spans.npy", self.spans, (count, 2), np.float64)
        if (self.scales is None) != (concepts == 0):
            raise damaged(self.path, "scales.npy does not belong to the model")
        if self.scales is not None:
            _check_array(self.path / SCALES, self.scales, (count, concepts), np.float32)
        if self.outline is not None:
            self.outline.check(self.path, count, codec.dim)
        if not all(0 <= number < len(self.videos) for number in self.dead):
            raise damaged(self.path, "a video is removed that it does not have")

    def live(self) -> Iterator[Video]:
        """The videos that are still part of the index."""
        return (v for i, v in enumerate(self.videos) if i not in self.dead)

    def video_number(self, row: int) -> int:
        """The position, in `videos`, of the video that a row of this segment belongs to."""
        return int(np.searchsorted(self._starts, row, side="right")) - 1

    def video_of(self, row: int) -> Video:
        """The video that a row of this segment belongs to."""
        return self.videos[self.video_number(row)]

    def videos_of(self, rows: NDArray[np.intp]) -> list[Video]:
        """`video_of` for each of many rows."""
        return [self.videos[number] for number in (np.searchsorted(self._starts, rows, side="right") - 1).tolist()]

    def dead_rows(self) -> int:
        """Rows of removed videos."""
        return sum(self.videos[i].rows for i in self.dead)

    def video_rows(self, video: Video) -> VideoRows:
        """The rows of one of its videos."""
        at = slice(video.first, video.first + video.rows)
        return VideoRows(video, self.rows[at], self.spans[at])


def _check_array(path: Path, array: NDArray[Any], shape: tuple[int, ...], kind: type) -> None:
    if array.shape != shape or array.dtype != kind:
        raise damaged(path, f"{array.dtype} {array.shape} instead of {np.dtype(kind)} {shape}")


def write_segment(
    root: Path,
    name: str,
    first_row: int,
    videos: Sequence[VideoRows],
    scales: Floats | None,
    outline: Outline | None = None,
) -> SegmentPart:
    """Write videos as a new segment. Nothing refers to it until a manifest does."""
    path = root / name
    path.mkdir()
    total, table = 0, []
    for item in videos:
        v = item.video
        table.append(_video_to_json(Video(v.id, v.duration, len(item.rows), total, v.path, v.metadata, v.fingerprint)))
        total += len(item.rows)
    files = {
        ROWS: write_array(path / ROWS, (v.rows for v in videos), total),
        "spans.npy": write_array(path / "spans.npy", (v.spans for v in videos), total),
        "videos.json": write_json(path / "videos.json", table),
    }
    if scales is not None:
        files[SCALES] = write_array(path / SCALES, [scales], total)
    if outline is not None:
        files |= outline.write(path)
    sync_directory(path)
    return SegmentPart(Part(name, files), first_row, total)
