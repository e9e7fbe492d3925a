"""Reading labels of any tool: what a file is, is told by what is in it."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from cfmr.data.annotations import Annotation, parse_row
from cfmr.errors import InputError
from cfmr.files.atomic import parse_json
from cfmr.files.reading import reading
from cfmr.handover.edl import ReadMarker, read_markers
from cfmr.handover.labels import cvat, elan, label_studio, tables, via
from cfmr.handover.labels.rows import Given, Read, Row
from cfmr.handover.subtitles import read_cues
from cfmr.handover.timecode import Rate, can_drop

KNOWN = (
    "JSON rows [video, duration, [start, end], sentence, second], CSV, SRT, WebVTT, ELAN (.eaf), Label Studio JSON, "
    "VIA 3 JSON, CVAT for video (XML), or a marker list of DaVinci Resolve (.edl)"
)
MOST_ROWS = 100_000
_CUES = re.compile(r"\AWEBVTT|^[ \t]*[\d:.,]+[ \t]+-->[ \t]", re.M)
_MARKERS = re.compile(r"^\d{1,6}\s.*\d\s*\n[^|]*\|C:\w*\s*\|M:", re.M)
_DROP = re.compile(r"^\d{1,6}\s.*\d;\d", re.M)


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that was left out.

    Attributes:
        row: counted from 1, or the line it ends at.
        reason: the end of a sentence that begins with its number.
    """

    row: int
    reason: str


def read_labels(
    content: bytes, given: Given, check: Callable[[Annotation], None] = lambda _: None
) -> tuple[list[Annotation], list[Refused]]:
    """Labels of a file of any known format, and the rows that are none.

    A stretch is kept as its span, and its middle becomes the glance; a point is a glance alone.

    Args:
        content: of the file.
        given: its name and what else is said of it.
        check: raises ValueError for a label that is not wanted.

    Raises:
        InputError: the format is not known, the file is damaged, or has too many rows.
    """
    annotations: list[Annotation] = []
    refused: list[Refused] = []
    for number, row in islice(_entries(content, given), MOST_ROWS + 1):
        if len(annotations) + len(refused) == MOST_ROWS:
            raise InputError(f"{given.name}: has more than {MOST_ROWS:,} rows; split it")
        try:
            if isinstance(row, str):
                raise ValueError(row)
            annotation = row if isinstance(row, Annotation) else given.annotation(row)
            check(annotation)
            annotations.append(annotation)
        except (ValueError, OverflowError) as error:
            refused.append(Refused(number, str(error)))
    return annotations, refused


def _entries(content: bytes, given: Given) -> Iterator[tuple[int, Row | Annotation | str]]:
    text = _decoded(content, given.name)
    start = text.lstrip()[:1]
    if start in ("[", "{"):
        yield from _of_json(parse_json(text.encode(), given.name), given)
    elif start == "<":
        yield from _of_xml(text, given.name)
    elif _CUES.search(text):
        for number, cue in read_cues(text):
            yield number, cue if isinstance(cue, str) else Row(cue.text, cue.start, cue.end)
    elif _MARKERS.search(text):
        yield from _of_markers(text, given)
    elif given.name.lower().endswith(".edl"):
        raise InputError(f"{given.name}: has no markers of DaVinci Resolve; read are {KNOWN}")
    elif any(mark in text.split("\n", 1)[0] for mark in ",;\t"):
        yield from tables.read(text, given.name)
    else:
        raise InputError(f"{given.name}: no labels of a format that is known; read are {KNOWN}")


def _decoded(content: bytes, name: str) -> str:
    if content[:4] == b"PK\x03\x04":
        raise InputError(f"{name}: is an archive; unpack it and import what is in it")
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    with reading(name, "text in UTF-8", "save it again as UTF-8"):
        return content.decode(encoding)


def _of_json(value: Any, given: Given) -> Iterator[tuple[int, Row | Annotation | str]]:
    if via.is_project(value):
        yield from via.read(value)
    elif label_studio.is_tasks(value):
        yield from label_studio.read(value)
    elif isinstance(value, list) and (not value or not isinstance(value[0], dict)):
        for number, row in enumerate(value, 1):
            yield number, _annotation(row, given)
    elif isinstance(value, list):
        yield from _of_objects(value)
    elif isinstance(value, dict) and "_via_img_metadata" in value:
        raise InputError(f"{given.name}: a VIA 2 project has images without times; VIA 3 has videos")
    else:
        raise InputError(f"{given.name}: no labels of a format that is known; read are {KNOWN}")


def _annotation(row: Any, given: Given) -> Annotation | str:
    """A row of an annotation file; its video may be called by another name."""
    try:
        annotation, _ = parse_row(row)
        if annotation.glance is None and annotation.span is None:
            raise ValueError("has no timestamp, the one second that training needs")
        video = given.find([annotation.video])
        glance = annotation.glance
        if glance is None and annotation.span is not None:
            glance = sum(annotation.span) / 2
        return replace(annotation, video=video, glance=glance, qid=None)
    except (ValueError, OverflowError) as error:
        return str(error)


def _of_objects(value: list[Any]) -> Read:
    """Objects as `cfmr search --export FILE.json` writes them."""
    for number, one in enumerate(value, 1):
        if not isinstance(one, dict):
            yield number, "is no object, as the rows before are"
            continue
        text = next((one[key] for key in ("sentence", "text", "label") if isinstance(one.get(key), str)), "")
        times = [one.get(key) for key in ("start", "end", "glance")]
        if any(time is not None and (isinstance(time, bool) or not isinstance(time, int | float)) for time in times):
            yield number, "has a time that is no number of seconds"
            continue
        references = tuple(one[key] for key in ("video", "path") if isinstance(one.get(key), str) and one[key])
        yield number, Row(text, times[0], times[1], times[2], references)


def _of_xml(text: str, name: str) -> Read:
    from defusedxml.ElementTree import fromstring

    with reading(name, "XML without entities", "export it again"):
        root = fromstring(text, forbid_dtd=True)
    if root.tag == "ANNOTATION_DOCUMENT":
        return elan.read(root)
    if root.tag == "annotations":
        return cvat.read(root, name)
    raise InputError(f"{name}: no labels of a format that is known; read are {KNOWN}")


def _of_markers(text: str, given: Given) -> Read:
    """Markers of one video's time line; it begins at 01:00:00:00 unless a marker comes before, or lies past its end."""
    try:
        video = given.find()
        fps, duration = given.fps or given.videos.rate(video).fps, given.videos.duration(video)
    except ValueError as error:
        raise InputError(f"{given.name}: {error}; an EDL does not name its video, so name the video") from None
    rate = Rate(fps, _DROP.search(text) is not None and can_drop(fps))
    found = [(number, _in_frames(marker, rate, video)) for number, marker in read_markers(text)]
    starts = [row.start for _, row in found if isinstance(row, Row) and row.start is not None]
    hour = rate.frame("01:00:00:00")
    shift = hour if starts and min(starts) >= hour and min(starts) - hour <= duration * fps + 1 else 0
    for number, row in found:
        if isinstance(row, Row) and row.start is not None and row.end is not None:
            row = replace(row, start=row.start - shift, end=row.end - shift)
        yield number, row


def _in_frames(marker: ReadMarker | str, rate: Rate, video: str) -> Row | str:
    if isinstance(marker, str):
        return marker
    try:
        first = rate.frame(marker.timecode)
    except ValueError as error:
        return f"has {error}"
    text = marker.note or marker.name
    return Row(text, first, first + marker.length, references=(video,), frames=True, fps=rate.fps)
