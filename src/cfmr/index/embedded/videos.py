"""The videos of a segment, read where they lie: of hundreds of thousands, only those that are asked for are made.

    videos.npy      (3, n + 1) int64: a video's first row, where its line begins, a hash of its name; then the ends
    videos.jsonl    a line each: name, duration, path, metadata, fingerprint

So a search needs a bisection and one line of JSON for a video, and opening an index reads neither.
"""

import hashlib
import json
import math
import mmap
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.files.atomic import parse_json
from cfmr.index.base import Video
from cfmr.index.files import FileRecord, damaged, map_array, part_file, write_array, write_chunks

Integers = NDArray[np.int64]

COLUMNS, LINES = "videos.npy", "videos.jsonl"
OLD = "videos.json"  # one list of all of them, as indices were written before


def name_hash(name: str) -> int:
    """A 64-bit number for a name; equal names are found by it, and compared then."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little", signed=True)


def write_videos(folder: Path, videos: Sequence[Video]) -> dict[str, FileRecord]:
    """Write the videos of a segment, whose rows follow each other; returns the files."""
    lines = [
        json.dumps([v.id, v.duration, v.path, dict(v.metadata), v.fingerprint], ensure_ascii=False).encode() + b"\n"
        for v in videos
    ]
    columns = np.zeros((3, len(videos) + 1), np.int64)
    columns[0, 1:] = np.cumsum([v.rows for v in videos])
    columns[1, 1:] = np.cumsum([len(line) for line in lines])
    columns[2, :-1] = [name_hash(v.id) for v in videos]
    return {
        COLUMNS: write_array(folder / COLUMNS, [columns], len(columns)),
        LINES: write_chunks(folder / LINES, [b"".join(lines)]),
    }


class VideoTable(Sequence[Video]):
    """The videos of a segment, made when they are asked for, and kept.

    Attributes:
        hashes: of their names, (n,).
    """

    def __init__(self, path: Path, columns: Integers, lines: "bytes | mmap.mmap", made: list[Video | None]) -> None:
        self._path, self._lines, self._made = path, lines, made
        firsts, places, hashes = (np.ascontiguousarray(column) for column in columns)
        self.firsts: Integers = firsts
        self.hashes: Integers = hashes[:-1]
        self._firsts = memoryview(firsts)  # type: ignore[arg-type]  # bisected in half the time of an array
        self._places = places

    @classmethod
    def open(cls, folder: Path, rows: int) -> "VideoTable":
        """The videos of a segment of so many rows, mapped.

        Raises:
            InputError: the files do not describe as many rows.
            FileNotFoundError: they are gone.
        """
        path = folder / LINES
        columns: Integers = map_array(folder / COLUMNS).view(np.ndarray)
        with part_file(path), open(path, "rb") as file:
            lines = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if columns.dtype != np.int64 or columns.ndim != 2 or len(columns) != 3 or columns.shape[1] < 2:
            raise damaged(folder / COLUMNS, f"{columns.dtype} {columns.shape} instead of int64 (3, videos + 1)")
        for column, end, what in ((columns[0], rows, "rows"), (columns[1], len(lines), "bytes of lines")):
            if column[0] != 0 or column[-1] != end or not (np.diff(column) > 0).all():
                raise damaged(folder / COLUMNS, f"its videos do not share {end} {what} among them")
        return cls(path, columns, lines, [None] * (columns.shape[1] - 1))

    @classmethod
    def open_old(cls, path: Path, rows: int) -> "VideoTable":
        """The same of one list of all videos."""
        with part_file(path):
            videos = [_video(item[:2] + item[4:], *item[2:4]) for item in parse_json(path.read_bytes(), path)]
            at = 0
            for video in videos:
                if video.first != at or video.rows <= 0:
                    raise ValueError(f"the rows of {video.id!r} are not those after the video before")
                at += video.rows
            if at != rows:
                raise ValueError(f"its videos have {at} rows, it has {rows}")
        columns = np.zeros((3, len(videos) + 1), np.int64)
        columns[0, 1:] = np.cumsum([v.rows for v in videos])
        columns[2, :-1] = [name_hash(v.id) for v in videos]
        return cls(path, columns, b"", [*videos])

    def __len__(self) -> int:
        return len(self._made)

    def __getitem__(self, number: Any) -> Any:
        if (video := self._made[number]) is None:
            video = self._made[number] = self._read(number)
        return video

    def __iter__(self) -> Iterator[Video]:
        if None in self._made:
            with part_file(self._path):
                # all lines as one list: no string of JSON has a line break in it
                content = b"[" + self._lines[: len(self._lines) - 1].replace(b"\n", b",") + b"]"
                for number, described in enumerate(_as_many(parse_json(content, self._path), len(self))):
                    self._made[number] = self._made[number] or self._checked(described, number)
        return (self[number] for number in range(len(self)))

    def _read(self, number: int) -> Video:
        low, high = self._places[number : number + 2].tolist()
        with part_file(self._path):
            return self._checked(parse_json(self._lines[low:high], self._path), number)

    def _checked(self, described: Any, number: int) -> Video:
        first, end = self.firsts[number : number + 2].tolist()
        video = _video(described, first, end - first)
        if name_hash(video.id) != self.hashes[number]:
            raise ValueError(f"{video.id!r} is not the video that belongs here")
        return video

    def number_of(self, row: int) -> int:
        """The position of the video that a row belongs to."""
        return bisect_right(self._firsts, row) - 1

    def of_rows(self, rows: NDArray[np.intp]) -> list[Video]:
        """The video that each of some rows belongs to."""
        made, numbers = self._made, (np.searchsorted(self.firsts, rows, side="right") - 1).tolist()
        return [made[number] or self[number] for number in numbers]

    def rows_of(self, numbers: Collection[int]) -> int:
        """Rows of some of its videos."""
        return sum(int(self.firsts[i + 1] - self.firsts[i]) for i in numbers)


def _as_many(items: list[Any], count: int) -> list[Any]:
    if len(items) != count:
        raise ValueError(f"{len(items)} videos instead of {count}")
    return items


def _video(described: Any, first: int, rows: int) -> Video:
    """A video of what a file says of it. Raises ValueError or TypeError if that is not the description of one."""
    name, duration, path, metadata, fingerprint = described
    video = Video(name, float(duration), int(rows), int(first), path, dict(metadata), fingerprint)
    texts = (video.id, video.fingerprint, video.path or "", *video.metadata)
    if not all(isinstance(text, str) for text in texts) or not math.isfinite(video.duration):
        raise ValueError("a video is not described as one")
    if not all(isinstance(value, str | int | float | bool) for value in video.metadata.values()):
        raise ValueError(f"the metadata of {video.id!r} are no texts, numbers or booleans")
    return video


class Directory:
    """The videos of several segments by name; `dead` are the positions, in each, of those that count no longer."""

    def __init__(self, tables: Sequence[VideoTable], dead: Sequence[Collection[int]]) -> None:
        self._tables, self._dead = tables, dead
        self._sorted: tuple[Integers, Integers] | None = None
        self._found: dict[str, tuple[int, Video]] = {}

    def __iter__(self) -> Iterator[tuple[int, Video]]:
        """Segment and video, in the order in which they were added."""
        for at, (table, dead) in enumerate(zip(self._tables, self._dead, strict=True)):
            yield from ((at, video) for number, video in enumerate(table) if number not in dead)

    def find(self, name: str) -> tuple[int, Video] | None:
        """Segment and video; None if there is none of that name."""
        if (known := self._found.get(name)) is not None:
            return known
        hashes, order = self._by_hash()
        wanted = name_hash(name)
        ends = np.cumsum([len(table) for table in self._tables])
        for place in order[np.searchsorted(hashes, wanted) : np.searchsorted(hashes, wanted, side="right")].tolist():
            at = int(np.searchsorted(ends, place, side="right"))
            number = place - int(ends[at]) + len(self._tables[at])
            video: Video = self._tables[at][number]
            if number not in self._dead[at] and video.id == name:
                self._found[name] = at, video
                return at, video
        return None

    def _by_hash(self) -> tuple[Integers, Integers]:
        if self._sorted is None:
            hashes = np.concatenate([np.zeros(0, np.int64), *(table.hashes for table in self._tables)])
            order = np.argsort(hashes, kind="stable")
            self._sorted = hashes[order], order
        return self._sorted
