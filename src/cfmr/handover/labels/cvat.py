"""Labels of CVAT: the tracks of "CVAT for video" (annotations.xml), each for as long as it is on the screen."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator

from cfmr.errors import InputError
from cfmr.files.reading import natural
from cfmr.handover.labels.rows import Read, Row
from cfmr.handover.text import one_line

_TEXTS = ("sentence", "description", "caption", "text")  # attributes that say more than a track's label


def read(root: ET.Element, name: str) -> Read:
    """Stretches of tracks, in frames of the video.

    Raises:
        InputError: it has images and no tracks.
    """
    if root.find("track") is None and root.find("image") is not None:
        raise InputError(f"{name}: CVAT for images has no times; export the task as “CVAT for video”")
    first = natural(root.findtext(".//meta//start_frame")) or 0
    step = max(natural((root.findtext(".//meta//frame_filter") or "").removeprefix("step=")) or 1, 1)
    sources = {element.text.strip() for element in root.iterfind(".//meta//source") if element.text}
    number = 0
    for track in root.iterfind("track"):
        # tracks of a project name their task, and each task has its source
        own = root.findtext(f".//meta//task[id='{track.get('task_id', '')}']/source") if _is_id(track) else None
        references = (own,) if own else tuple(sources)
        for start, end in _spans(track):
            number += 1
            if start is None or end is None:
                yield number, "has a frame that is no whole number"
            else:
                frames = (first + start * step, first + end * step)
                yield number, Row(_text(track), *frames, references=references, frames=True)


def _is_id(track: ET.Element) -> bool:
    return natural(track.get("task_id")) is not None


def _text(track: ET.Element) -> str:
    for attribute in track.iter("attribute"):
        if attribute.get("name", "").lower() in _TEXTS and attribute.text and attribute.text.strip():
            return one_line(attribute.text)
    return one_line(track.get("label", ""))


def _spans(track: ET.Element) -> Iterator[tuple[int | None, int | None]]:
    """First frame on the screen and the first one off it, of each stretch."""
    begun: int | None = None
    last: int | None = None
    for shape in track:
        if shape.get("frame") is None:
            continue
        frame = natural(shape.get("frame"))
        if frame is None:
            yield None, None
        elif shape.get("outside") == "1":
            if begun is not None:
                yield begun, frame
            begun = None
        else:
            begun, last = frame if begun is None else begun, frame
    if begun is not None and last is not None:
        yield begun, last + 1
