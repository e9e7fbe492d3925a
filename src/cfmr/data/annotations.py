"""Annotations: which moment of which video a sentence describes, in seconds. One format in, one format out.

A file is a JSON list with a row per sentence, `[video, duration, [start, end], sentence, glance]`. `[start, end]` may
be null where a row only trains, the glance may be null where a row only tests.
"""

import json
import logging
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cfmr.errors import InputError
from cfmr.files.atomic import read_json, replacing

log = logging.getLogger(__name__)

LONGEST = 31 * 24 * 3600.0  # seconds; no video is longer than a month


@dataclass(frozen=True, slots=True)
class Annotation:
    """A sentence and the moment of a video that it describes; every time in seconds from the video's start.

    Attributes:
        video: name of the video, the same as in the feature file.
        duration: length of the video.
        sentence: what happens.
        glance: one time somewhere inside the moment, the only label that training reads; None where there is none.
        span: start and end of the moment, for measuring; None where they are unknown.
    """

    video: str
    duration: float
    sentence: str
    glance: float | None
    span: tuple[float, float] | None


def load_annotations(path: str | os.PathLike[str], *, glances: bool = False, spans: bool = False) -> list[Annotation]:
    """Read an annotation file, in the order of its rows.

    The data sets round their times, so that one moment in seven of Charades-STA ends up to 1.5 s after its video. What
    lies beyond the end is cut off and the number of such rows logged.

    Args:
        path: JSON list of `[video, duration, [start, end] | null, sentence, glance | null]`.
        glances: every row has to have a glance (training needs them).
        spans: every row has to have a moment (measuring needs them).

    Raises:
        InputError: naming the file and the first row (counted from 1) that cannot be used.
    """
    rows = read_json(path)
    if not isinstance(rows, list):
        raise InputError(f"{path}: a JSON list of [video, duration, [start, end], sentence, glance] is expected")
    if not rows:
        raise InputError(f"{path}: there is no annotation in it")
    annotations, late = [], 0
    for number, row in enumerate(rows, 1):
        try:
            annotation, cut = parse_row(row)
            if glances and annotation.glance is None:
                raise ValueError("has no glance, which training needs; `cfmr prepare` draws glances for moments")
            if spans and annotation.span is None:
                raise ValueError("has no [start, end], which measuring needs")
        except ValueError as error:
            raise InputError(f"{path}: row {number} {error}") from None
        annotations.append(annotation)
        late += cut
    if late:
        log.info("%s: %d of %d moments ended after their video and were cut at its end", path, late, len(rows))
    return annotations


def save_annotations(path: str | os.PathLike[str], rows: Iterable[Annotation]) -> None:
    """Write an annotation file (beside, then renamed)."""
    write_rows(path, [as_row(row) for row in rows])


def write_rows(path: str | os.PathLike[str], rows: Iterable[list[Any]]) -> None:
    """Write rows of the format as they are, one a line."""
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    with replacing(path) as temporary:
        temporary.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def as_row(annotation: Annotation) -> list[Any]:
    """An annotation as its row of the file."""
    span = None if annotation.span is None else list(annotation.span)
    return [annotation.video, annotation.duration, span, annotation.sentence, annotation.glance]


def parse_row(row: Any) -> tuple[Annotation, bool]:
    """The annotation in a row of the file, and whether its moment or glance had to be cut at the video's end.

    Raises:
        ValueError: what is wrong with the row, as the end of a sentence that begins with its number.
    """
    if not isinstance(row, list | tuple) or len(row) not in (4, 5):
        raise ValueError("is not [video, duration, [start, end] or null, sentence, glance or null]")
    video, duration, span, sentence, glance = row if len(row) == 5 else (*row, None)
    if not isinstance(video, str) or not video:
        raise ValueError(f"names no video (found {_short(video)}, a name is expected)")
    if not isinstance(sentence, str):
        raise ValueError(f"({video}) has no sentence (found {_short(sentence)}, a text is expected)")
    if not sentence.strip():
        raise ValueError(f"({video}) has an empty sentence")
    try:
        return _timed(video, duration, span, sentence, glance)
    except ValueError as error:
        raise ValueError(f"({video}) {error}") from None


def _timed(video: str, duration: Any, span: Any, sentence: str, glance: Any) -> tuple[Annotation, bool]:
    length = _seconds(duration, "its duration")
    if length <= 0:
        raise ValueError(f"has a video of {length:g} s; a video needs a length")
    if length > LONGEST:
        raise ValueError(f"has a video of {length:g} s; a video lasts a month at most")
    span, end = _span(span, length)
    if glance is not None:
        glance = _seconds(glance, "its glance")
        if not 0 <= glance <= max(length, end):
            raise ValueError(f"has its glance at {glance:g} s, outside the video of {length:g} s")
    cut = end > length and (span is not None or (glance is not None and glance > length))
    glance = None if glance is None else min(glance, length)
    return Annotation(video, length, sentence, glance, span), cut


def _span(span: Any, length: float) -> tuple[tuple[float, float] | None, float]:
    """The moment inside the video, and the time up to which a glance may lie."""
    if span is None:
        return None, length + rounding_slack(length)
    if not isinstance(span, list | tuple) or len(span) != 2:
        raise ValueError(f"has {_short(span)} for [start, end]")
    start, end = _seconds(span[0], "the start of its moment"), _seconds(span[1], "the end of its moment")
    if end < start:
        raise ValueError(f"has a moment that ends at {end:g} s, before it starts at {start:g} s")
    if start < 0 or start >= length:
        raise ValueError(f"has a moment from {start:g} to {end:g} s, outside the video of {length:g} s")
    return (start, min(end, length)), end


def rounding_slack(length: float) -> float:
    """How far after the end of a video of `length` seconds a time may lie by the data sets' rounding, in seconds."""
    return min(2.0, 0.15 * length)


def _seconds(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"has {_short(value)} for {what}; a number of seconds is expected")
    if not math.isfinite(value):
        raise ValueError(f"has {value} for {what}; a number of seconds is expected")
    return float(value)


def _short(value: Any) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
