"""Labels as files have them, before it is known which video they are of and what its frame rate is."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from cfmr.data.annotations import Annotation, parse_row
from cfmr.handover.text import one_line
from cfmr.handover.timecode import Rate
from cfmr.video.files import SUFFIXES, shown

POINT = 0.05  # seconds; what is no longer marks a point, as one frame does


class Videos(Protocol):
    """The videos that labels may be of."""

    def find(self, references: Sequence[str], fingerprint: str | None = None) -> str:
        """The name of the video that is meant. Raises ValueError that says why there is none."""

    def duration(self, video: str) -> float:
        """Seconds. Raises ValueError if it cannot be read."""

    def rate(self, video: str) -> Rate:
        """Frames a second of its time line. Raises ValueError if its file cannot be read."""

    def file_name(self, video: str) -> str:
        """Of its file, or its name where that is gone."""

    def fingerprint(self, video: str) -> str | None:
        """Of its content, see `cfmr.video.files`; None where its file is gone."""


@dataclass(frozen=True, slots=True)
class Row:
    """A label.

    Attributes:
        text: what happens.
        start, end: in seconds, or in frames; None where there is but a glance.
        glance: one second inside.
        references: what the file calls its video, the best first: names, paths, addresses.
        fingerprint: of the video's content.
        frames: whether start and end are frames.
        fps: of these frames; None: those of the video.
        absent: it does not happen at the glance.
    """

    text: str
    start: float | None = None
    end: float | None = None
    glance: float | None = None
    references: tuple[str, ...] = ()
    fingerprint: str | None = None
    frames: bool = False
    fps: Fraction | None = None
    absent: bool = False


Read = Iterator[tuple[int, Row | str]]  # number, and the row or what is wrong with it


@dataclass(frozen=True, slots=True)
class Given:
    """What is said beside the file.

    Attributes:
        videos: that labels may be of.
        name: of the file.
        video: that all of it is about; None: as the file says, or is called.
        fps: in which the tool counted frames; None: as the file says, or the video has.
    """

    videos: Videos
    name: str
    video: str | None = None
    fps: Fraction | None = None

    def find(self, references: Sequence[str] = (), fingerprint: str | None = None) -> str:
        """The video that is meant. Raises ValueError."""
        if self.video is not None:
            return self.videos.find([self.video])
        return self.videos.find(references or [self.name], fingerprint)

    def annotation(self, row: Row) -> Annotation:
        """A row as an annotation. Raises ValueError that says what is wrong with it."""
        video = self.find(row.references, row.fingerprint)
        start, end = row.start, row.end
        point = end is None
        if row.frames and start is not None:
            rate = row.fps or self.fps or self.videos.rate(video).fps
            point = end is None or end - start <= 1
            start, end = float(start / rate), None if end is None else float(end / rate)
        if start is None and row.glance is None:
            raise ValueError("has no time")
        if end is not None and start is not None and end < start:
            raise ValueError(f"ends at {end:g} s, before it starts at {start:g} s")
        span = None if start is None or end is None or point or end - start <= POINT else [start, end]
        glance = row.glance
        if glance is None:
            glance = (start or 0.0) if span is None else round((span[0] + span[1]) / 2, 4)
        if row.absent and span is not None:
            raise ValueError("is a negative label and has start and end; give it one second, as glance")
        duration = self.videos.duration(video)
        return parse_row([video, duration, [] if row.absent else span, one_line(row.text), glance])[0]


class Names:
    """Finds a video by what a file calls it: its name, its path or a part of it, its address.

    Args:
        names: of all videos.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = set(names)
        self._tails: dict[str, list[str]] = {}
        self._found: dict[tuple[str, ...], str] = {}
        for name in self._names:
            self._tails.setdefault(PurePosixPath(name).name, []).append(name)

    def find(self, references: Sequence[str]) -> str:
        """The name of the video. Raises ValueError if there is none, or several might be meant."""
        key = tuple(references)
        if key not in self._found:
            self._found[key] = self._look(references)
        return self._found[key]

    def _look(self, references: Sequence[str]) -> str:
        several: list[str] = []
        for reference in references:
            for tail in _tails(reference):
                if tail in self._names:
                    return tail
            for tail in _tails(reference):
                found = self._tails.get(PurePosixPath(tail).name, [])
                if len(found) == 1:
                    return found[0]
                several = several or sorted(found)
        said = repr(references[0][:100]) if references else "none"
        if several:
            raise ValueError(f"is of {said}, which may be any of {', '.join(several[:5])[:200]}")
        raise ValueError(f"is of an unknown video {said}")


def _tails(reference: str) -> Iterator[str]:
    """The names that a video may have by a path: all of it, and its last parts, with and without an ending."""
    for text in dict.fromkeys((reference, _path_of(reference))):
        parts = [part for part in shown(text.replace("\\", "/")).split("/") if part not in ("", ".", "..")]
        for first in range(len(parts)):
            tail = "/".join(parts[first:])
            yield tail
            bare = PurePosixPath(tail)
            while bare.suffix and (bare.suffix.lower() in SUFFIXES or first + 1 == len(parts)):
                bare = PurePosixPath(str(bare).removesuffix(bare.suffix))  # kitchen.mp4, and kitchen.en.srt
                yield str(bare)


def _path_of(reference: str) -> str:
    """The path in an address: of a file, a web page, or Label Studio's `?d=`."""
    try:
        address = urlsplit(reference)
        query = parse_qs(address.query)
    except ValueError:
        return reference
    if not address.scheme and not query:
        return reference
    return query["d"][0] if "d" in query else unquote(address.path)


def as_text(value: Any) -> str:
    """A text of JSON, or the texts of a list of them joined."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(part for part in value if isinstance(part, str))
    return ""


def as_mapping(value: Any) -> Mapping[str, Any]:
    """An object of JSON; an empty one where there is something else."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """A list of JSON; an empty one where there is something else."""
    return value if isinstance(value, list) else []
