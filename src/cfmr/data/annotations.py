"""Annotations: which moment of which video a sentence describes, in seconds. One format in, one format out.

A file is a JSON list with a row per sentence, `[video, duration, [start, end], sentence, glance]`. `[start, end]` may
be null where a row only trains, the glance may be null where a row only tests. A sixth element names the sentence: rows
that share it are the moments of one sentence. `[]` in place of `[start, end]` says that nothing in the video fits it,
or, with a glance, that it does not happen at that time: a negative label.
"""

import json
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cfmr.data.layouts.recognise import TITLES, open_layout
from cfmr.data.layouts.row import is_number
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
        qid: names the sentence; annotations that share it are its several moments. None: the sentence has this one.
        absent: nothing in the video fits the sentence; where there is a glance, only what is there does not fit.
    """

    video: str
    duration: float
    sentence: str
    glance: float | None
    span: tuple[float, float] | None
    qid: str | int | None = None
    absent: bool = False


def load_annotations(path: str | os.PathLike[str], *, glances: bool = False, spans: bool = False) -> list[Annotation]:
    """Read an annotation file, in the order of its rows.

    The data sets round their times, so that one moment in seven of Charades-STA ends up to 1.5 s after its video. What
    lies beyond the end is cut off and the number of such rows logged. Sentences that nothing fits are left out: they
    neither train nor have a moment to be found (`cfmr.data.layouts.queries` reads them).

    Args:
        path: JSON list of `[video, duration, [start, end] | null, sentence, glance | null]`, with or without a qid.
        glances: every row has to have a glance (training needs them).
        spans: every row has to have a moment (measuring needs them).

    Raises:
        InputError: naming the file and the first row (counted from 1) that cannot be used.
    """
    rows = _read_list(path)
    annotations, late = [], 0
    for number, row in enumerate(rows, 1):
        try:
            annotation, cut = parse_row(row)
            if annotation.absent:
                continue
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
    if not annotations:
        raise InputError(f"{path}: nothing in it fits a video; every row has [] for [start, end]")
    return annotations


def load_negatives(path: str | os.PathLike[str]) -> list[Annotation]:
    """The negative labels of an annotation file, which `load_annotations` leaves out: rows with a glance and `[]`.

    Raises:
        InputError: as `load_annotations`.
    """
    found = []
    for number, row in enumerate(_read_list(path), 1):
        try:
            annotation, _ = parse_row(row)
        except ValueError as error:
            raise InputError(f"{path}: row {number} {error}") from None
        if annotation.absent and annotation.glance is not None:
            found.append(annotation)
    return found


def _read_list(path: str | os.PathLike[str]) -> list[Any]:
    try:
        rows = read_json(path)
    except InputError as error:
        raise InputError(_another_layout(path) or str(error)) from error
    if not isinstance(rows, list) or (rows and isinstance(rows[0], dict)):
        said = _another_layout(path)
        raise InputError(
            said or f"{path}: a JSON list of [video, duration, [start, end], sentence, glance] is expected"
        )
    if not rows:
        raise InputError(f"{path}: there is no annotation in it")
    return rows


def _another_layout(path: str | os.PathLike[str]) -> str | None:
    """What to say of a file of another of the field's layouts; None if it is none that is known."""
    try:
        layout, value, _ = open_layout(Path(path))
    except InputError:
        return None
    if layout == "rows" or value == {}:
        return None
    return f"{path}: is {TITLES[layout]}; `cfmr prepare NAME --raw {path} --out DIR` turns annotations into rows"


def by_sentence(annotations: Sequence[Annotation]) -> list[list[int]]:
    """Positions of the moments of each sentence: those of a video that share a qid, or one alone; in order."""
    groups: dict[Any, list[int]] = {}
    for position, annotation in enumerate(annotations):
        key = position if annotation.qid is None else (annotation.video, annotation.qid)
        groups.setdefault(key, []).append(position)
    return list(groups.values())


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
    span: list[float] | None = [] if annotation.absent else None
    if annotation.span is not None:
        span = list(annotation.span)
    row = [annotation.video, annotation.duration, span, annotation.sentence, annotation.glance]
    return row if annotation.qid is None else [*row, annotation.qid]


def parse_row(row: Any) -> tuple[Annotation, bool]:
    """The annotation in a row of the file, and whether its moment or glance had to be cut at the video's end.

    Raises:
        ValueError: what is wrong with the row, as the end of a sentence that begins with its number.
    """
    if not isinstance(row, list | tuple) or len(row) not in (4, 5, 6):
        raise ValueError("is not [video, duration, [start, end] or null, sentence, glance or null]")
    video, duration, span, sentence, glance, qid = (*row, None, None)[:6]
    if not isinstance(video, str) or not video:
        raise ValueError(f"names no video (found {_short(video)}, a name is expected)")
    if not isinstance(sentence, str):
        raise ValueError(f"({video}) has no sentence (found {_short(sentence)}, a text is expected)")
    if not sentence.strip():
        raise ValueError(f"({video}) has an empty sentence")
    if qid is not None and (isinstance(qid, bool) or not isinstance(qid, str | int) or qid == ""):
        raise ValueError(f"({video}) has {_short(qid)} for its sentence's name, a text or a whole number is expected")
    try:
        return _timed(video, duration, span, sentence, glance, qid)
    except ValueError as error:
        raise ValueError(f"({video}) {error}") from None


def _timed(
    video: str, duration: Any, span: Any, sentence: str, glance: Any, qid: str | int | None
) -> tuple[Annotation, bool]:
    length = _seconds(duration, "its duration")
    if length <= 0:
        raise ValueError(f"has a video of {length:g} s; a video needs a length")
    if length > LONGEST:
        raise ValueError(f"has a video of {length:g} s; a video lasts a month at most")
    absent = isinstance(span, list | tuple) and not span
    span, end = _span(None if absent else span, length)
    if glance is not None:
        glance = _seconds(glance, "its glance")
        if not 0 <= glance <= max(length, end):
            raise ValueError(f"has its glance at {glance:g} s, outside the video of {length:g} s")
    cut = end > length and (span is not None or (glance is not None and glance > length))
    glance = None if glance is None else min(glance, length)
    return Annotation(video, length, sentence, glance, span, qid, absent), cut


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
    if not is_number(value):
        raise ValueError(f"has {_short(value)} for {what}; a number of seconds is expected")
    return float(value)


def _short(value: Any) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
