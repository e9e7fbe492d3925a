"""Labels as ELAN keeps them (.eaf): annotations of tiers, whose times are slots in milliseconds."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence

from cfmr.data.annotations import Annotation
from cfmr.files.reading import natural
from cfmr.handover.labels.rows import POINT, Read, Row, Videos
from cfmr.handover.text import one_line

TIER = "cfmr"
_SHORTEST = 40  # milliseconds of what marks a point
_TYPE = "default-lt"


def write(annotations: Sequence[Annotation], videos: Videos) -> str:
    """The labels of one video as one tier of a document."""
    root = ET.Element("ANNOTATION_DOCUMENT", AUTHOR="", DATE="1970-01-01T00:00:00Z", FORMAT="3.0", VERSION="3.0")
    header = ET.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    file = videos.file_name(annotations[0].video)
    ET.SubElement(
        header, "MEDIA_DESCRIPTOR", MEDIA_URL=f"file:./{file}", MIME_TYPE="video/mp4", RELATIVE_MEDIA_URL=file
    )
    order = ET.SubElement(root, "TIME_ORDER")
    tier = ET.SubElement(root, "TIER", LINGUISTIC_TYPE_REF=_TYPE, TIER_ID=TIER)
    spans = sorted((*_span(a), one_line(a.sentence)) for a in annotations)
    times = sorted((time, number, which) for number, span in enumerate(spans) for which, time in enumerate(span[:2]))
    slots = {(number, which): f"ts{at}" for at, (_, number, which) in enumerate(times, 1)}
    for time, number, which in times:
        ET.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=slots[number, which], TIME_VALUE=str(time))
    for number, (_, _, text) in enumerate(spans):
        aligned = ET.SubElement(
            ET.SubElement(tier, "ANNOTATION"),
            "ALIGNABLE_ANNOTATION",
            ANNOTATION_ID=f"a{number + 1}",
            TIME_SLOT_REF1=slots[number, 0],
            TIME_SLOT_REF2=slots[number, 1],
        )
        ET.SubElement(aligned, "ANNOTATION_VALUE").text = text
    ET.SubElement(root, "LINGUISTIC_TYPE", GRAPHIC_REFERENCES="false", LINGUISTIC_TYPE_ID=_TYPE, TIME_ALIGNABLE="true")
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _span(annotation: Annotation) -> tuple[int, int]:
    start, end = annotation.span or (annotation.glance or 0.0,) * 2
    if end - start <= POINT:
        return round(start * 1000), round(start * 1000) + _SHORTEST
    return round(start * 1000), round(end * 1000)


def read(root: ET.Element) -> Read:
    """Every annotation that has times of its own; those that refer to others repeat theirs."""
    origin = 0
    references: list[str] = []
    for media in root.iterfind("HEADER/MEDIA_DESCRIPTOR"):
        origin = origin or _offset(media.get("TIME_ORIGIN"))
        references += [value for key in ("RELATIVE_MEDIA_URL", "MEDIA_URL") if (value := media.get(key))]
    slots = {slot.get("TIME_SLOT_ID"): natural(slot.get("TIME_VALUE")) for slot in root.iter("TIME_SLOT")}
    for number, aligned in enumerate(root.iter("ALIGNABLE_ANNOTATION"), 1):
        start, end = (slots.get(aligned.get(f"TIME_SLOT_REF{which}")) for which in (1, 2))
        text = one_line(aligned.findtext("ANNOTATION_VALUE") or "")
        if start is None or end is None:
            yield number, "has a time slot without a time, between two others"
        else:
            yield number, Row(text, (start + origin) / 1000, (end + origin) / 1000, references=tuple(references))


def _offset(text: str | None) -> int:
    """Milliseconds, which may be negative; none are 0."""
    value = natural((text or "").removeprefix("-")) or 0
    return -value if text and text.startswith("-") else value
