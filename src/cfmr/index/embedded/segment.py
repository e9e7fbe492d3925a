"""A segment: the rows of some videos, written together and read through memory mapping."""

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.index.base import Video, VideoRows
from cfmr.index.codec import Codec, Floats
from cfmr.index.embedded.disk import Part, sync_directory
from cfmr.index.embedded.manifest import SegmentPart
from cfmr.index.embedded.outline import OUTLINE, Outline
from cfmr.index.embedded.videos import COLUMNS, OLD, VideoTable, write_videos
from cfmr.index.files import damaged, map_array, write_array

ROWS, SCALES, SPANS = "rows.npy", "scales.npy", "spans.npy"


class Segment:
    """An opened segment. Arrays are mapped, not read; `rows`, `scales` and `spans` share the first axis."""

    def __init__(self, root: Path, entry: SegmentPart) -> None:
        self.entry = entry
        self.first_row = entry.first_row
        self.path = root / entry.part.directory
        mapped = map_array(self.path / ROWS)
        self._mapped: list[mmap.mmap] = [mapped._mmap]
        self.rows: Floats = mapped.view(np.ndarray)
        self.rows_offset = int(mapped.offset)  # of the first row in the file
        self.scales: Floats | None = None
        self.scales_offset = 0
        if SCALES in entry.part.files:
            mapped = map_array(self.path / SCALES)
            self._mapped.append(mapped._mmap)
            self.scales, self.scales_offset = mapped.view(np.ndarray), int(mapped.offset)
        self.spans: NDArray[np.float64] = map_array(self.path / SPANS).view(np.ndarray)
        self.videos = (
            VideoTable.open(self.path, entry.rows)
            if COLUMNS in entry.part.files
            else VideoTable.open_old(self.path / OLD, entry.rows)
        )
        self.dead = frozenset(entry.dead)
        self.outline = Outline.open(self.path) if OUTLINE in entry.part.files else None

    def check(self, codec: Codec) -> None:
        """Raise InputError if an array is not of the shape that the index's card and manifest tell."""
        count = self.entry.rows
        concepts = 0 if codec.weight is None else len(codec.weight)
        _check_array(self.path / ROWS, self.rows, (count, codec.width), np.float32)
        _check_array(self.path / SPANS, self.spans, (count, 2), np.float64)
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
        return self.videos.number_of(row)

    def dead_rows(self) -> int:
        """Rows of removed videos."""
        return self.videos.rows_of(self.dead)

    def release(self) -> None:
        """Give back the memory of the rows that were read; whoever needs them again reads them again."""
        for mapped in self._mapped:
            mapped.madvise(mmap.MADV_DONTNEED)

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
    total = sum(len(item.rows) for item in videos)
    files = {
        ROWS: write_array(path / ROWS, (v.rows for v in videos), total),
        SPANS: write_array(path / SPANS, (v.spans for v in videos), total),
        **write_videos(path, [replace(item.video, rows=len(item.rows)) for item in videos]),
    }
    if scales is not None:
        files[SCALES] = write_array(path / SCALES, [scales], total)
    if outline is not None:
        files |= outline.write(path)
    sync_directory(path)
    return SegmentPart(Part(name, files), first_row, total)
