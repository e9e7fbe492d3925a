"""A segment: the rows of some videos, written together and read through memory mapping."""

import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.errors import InputError
from cfmr.index import disk
from cfmr.index.codec import Floats
from cfmr.index.disk import Part
from cfmr.index.manifest import SegmentPart

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Video:
    """What is known of an indexed video.

    Args:
        id: its name in the feature file.
        duration: seconds.
        rows: how many rows it has; `first` is the first one's place in its segment.
        path: where the video file was when it was indexed, if known.
        metadata: free values to filter by.
        fingerprint: of the features it was made from, so that unchanged videos are not encoded again.
    """

    id: str
    duration: float
    rows: int
    first: int = 0
    path: str | None = None
    metadata: Mapping[str, Value] = field(default_factory=dict)
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class VideoRows:
    """A video to add: its rows (n, width) and what each row spans, (n, 2) in seconds."""

    video: Video
    rows: Floats
    spans: NDArray[np.float64]


def check_rows(item: VideoRows, width: int) -> None:
    """Raises InputError for a video whose rows an index of some width cannot take."""
    name = item.video.id
    if item.rows.ndim != 2 or item.rows.shape[1] != width or not len(item.rows):
        raise InputError(f"video {name!r}: rows {item.rows.shape}, the index takes (n, {width})")
    if item.spans.shape != (len(item.rows), 2):
        raise InputError(f"video {name!r}: {len(item.rows)} rows but spans {item.spans.shape}")
    if not np.isfinite(item.rows).all() or not np.isfinite(item.spans).all():
        raise InputError(f"video {name!r}: its rows have values that are not finite; are its features damaged?")


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
        mapped = disk.map_array(self.path / "rows.npy")
        self.rows: Floats = mapped.view(np.ndarray)
        self.rows_offset = int(mapped.offset)  # of the first row in the file
        self.scales: Floats | None = None
        if "scales.npy" in entry.part.files:
            self.scales = disk.map_array(self.path / "scales.npy").view(np.ndarray)
        self.spans: NDArray[np.float64] = disk.map_array(self.path / "spans.npy").view(np.ndarray)
        self.videos = [_video_from_json(v) for v in json.loads((self.path / "videos.json").read_bytes())]
        self._starts = [v.first for v in self.videos]
        self.dead = frozenset(entry.dead)

    def live(self) -> Iterator[Video]:
        """The videos that are still part of the index."""
        return (v for i, v in enumerate(self.videos) if i not in self.dead)

    def place_of(self, row: int) -> int:
        """The place, in `videos`, of the video that a row of this segment belongs to."""
        return bisect_right(self._starts, row) - 1

    def video_of(self, row: int) -> Video:
        """The video that a row of this segment belongs to."""
        return self.videos[self.place_of(row)]

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
        "rows.npy": disk.write_array(path / "rows.npy", (v.rows for v in videos), total),
        "spans.npy": disk.write_array(path / "spans.npy", (v.spans for v in videos), total),
        "videos.json": disk.write_json(path / "videos.json", table),
    }
    if scales is not None:
        files["scales.npy"] = disk.write_array(path / "scales.npy", [scales], total)
    disk.sync_directory(path)
    return SegmentPart(Part(name, files), first_row, total)
