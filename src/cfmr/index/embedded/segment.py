"""A segment: the rows of some videos, written together and read through memory mapping."""

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.index.base import Video, VideoRows
from cfmr.index.codec import Floats
from cfmr.index.embedded.disk import Part, sync_directory
from cfmr.index.embedded.manifest import SegmentPart
from cfmr.index.files import map_array, write_array, write_json


def _video_to_json(video: Video) -> list[Any]:
    return [video.id, video.duration, video.first, video.rows, video.path, dict(video.metadata), video.fingerprint]


def _video_from_json(value: list[Any]) -> Video:
    name, duration, first, rows, path, metadata, fingerprint = value
    return Video(name, duration, rows, first, path, metadata, fingerprint)


class Segment:
    """An opened segment. Arrays are mapped, not read; `rows`, `scales` and `spans` share the first axis."""

    def __init__(self, root: Path, entry: SegmentPart) -> None:
        self.entry = entry
        self.first_row = entry.first_row
        self.path = root / entry.part.directory
        mapped = map_array(self.path / "rows.npy")
        self.rows: Floats = mapped.view(np.ndarray)
        self.rows_offset = int(mapped.offset)  # of the first row in the file
        self.scales: Floats | None = None
        if "scales.npy" in entry.part.files:
            self.scales = map_array(self.path / "scales.npy").view(np.ndarray)
        self.spans: NDArray[np.float64] = map_array(self.path / "spans.npy").view(np.ndarray)
        self.videos = [_video_from_json(v) for v in json.loads((self.path / "videos.json").read_bytes())]
        self._starts = [v.first for v in self.videos]
        self.dead = frozenset(entry.dead)

    def live(self) -> Iterator[Video]:
        """The videos that are still part of the index."""
        return (v for i, v in enumerate(self.videos) if i not in self.dead)

    def video_number(self, row: int) -> int:
        """The position, in `videos`, of the video that a row of this segment belongs to."""
        return bisect_right(self._starts, row) - 1

    def video_of(self, row: int) -> Video:
        """The video that a row of this segment belongs to."""
        return self.videos[self.video_number(row)]

    def dead_rows(self) -> int:
        """Rows of removed videos."""
        return sum(self.videos[i].rows for i in self.dead)

    def video_rows(self, video: Video) -> VideoRows:
        """The rows of one of its videos."""
        at = slice(video.first, video.first + video.rows)
        return VideoRows(video, self.rows[at], self.spans[at])


def write_segment(
    root: Path,
    name: str,
    first_row: int,
    videos: Sequence[VideoRows],
    scales: Floats | None,
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
        "rows.npy": write_array(path / "rows.npy", (v.rows for v in videos), total),
        "spans.npy": write_array(path / "spans.npy", (v.spans for v in videos), total),
        "videos.json": write_json(path / "videos.json", table),
    }
    if scales is not None:
        files["scales.npy"] = write_array(path / "scales.npy", [scales], total)
    sync_directory(path)
    return SegmentPart(Part(name, files), first_row, total)
