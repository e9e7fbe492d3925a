"""Labels as CSV."""

import csv
import io
from collections.abc import Sequence

from cfmr.data.annotations import Annotation
from cfmr.errors import InputError
from cfmr.files.reading import brief
from cfmr.handover.labels.rows import Read, Row, Videos
from cfmr.handover.tables import csv_of, plain_cell
from cfmr.handover.text import parse_time

COLUMNS = ("video", "start", "end", "glance", "sentence", "duration", "fingerprint", "absent")
_NAMES = {
    "video": ("video", "file", "filename", "file_name", "path", "video_name", "video_id", "vid", "clip", "media"),
    "start": ("start", "begin", "from", "start_time", "begin_time", "start_s", "start (s)", "in", "t_start"),
    "end": ("end", "stop", "to", "end_time", "stop_time", "end_s", "end (s)", "out", "t_end"),
    "glance": ("glance", "time", "timestamp", "at", "second", "seconds", "point"),
    "sentence": ("sentence", "text", "label", "caption", "description", "query", "annotation", "name", "comment"),
    "fingerprint": ("fingerprint",),
    "absent": ("absent", "negative"),
}
_TRUE, _FALSE = ("true", "yes", "1", "x"), ("false", "no", "0", "")


def write(annotations: Sequence[Annotation], videos: Videos) -> str:
    """A row for each label. The fingerprint finds the video again whatever it is called by then."""
    prints = {video: videos.fingerprint(video) for video in dict.fromkeys(a.video for a in annotations)}
    rows = (
        {
            "video": a.video,
            "start": None if a.span is None else round(a.span[0], 4),
            "end": None if a.span is None else round(a.span[1], 4),
            "glance": None if a.glance is None else round(a.glance, 4),
            "sentence": a.sentence,
            "duration": a.duration,
            "fingerprint": prints[a.video],
            "absent": "true" if a.absent else None,
        }
        for a in annotations
    )
    return csv_of(COLUMNS, rows)


def read(text: str, name: str) -> Read:
    """Rows of a table whose first line names its columns; separated by comma, semicolon or tab.

    Raises:
        InputError: no columns are named, or it is no table.
    """
    head = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = _columns(next(reader, []), name)
        for row in reader:
            if any(cell.strip() for cell in row):
                yield reader.line_num, _row(row, columns)
    except csv.Error as error:
        raise InputError(f"{name}: not a CSV file (line {reader.line_num}: {brief(error)})") from error


def _columns(head: list[str], name: str) -> dict[str, int]:
    there = [cell.strip().lower() for cell in head]
    columns = {
        meaning: there.index(found)
        for meaning, names in _NAMES.items()
        if (found := next((n for n in names if n in there), None)) is not None
    }
    if "sentence" not in columns or not {"start", "glance"} & columns.keys():
        raise InputError(
            f"{name}: line 1 has to name the columns: sentence, and start and end or glance (it has "
            f"{', '.join(there)[:100] or 'none'})"
        )
    return columns


def _row(cells: list[str], columns: dict[str, int]) -> Row | str:
    def cell(meaning: str) -> str:
        at = columns.get(meaning)
        return "" if at is None or at >= len(cells) else plain_cell(cells[at].strip())

    try:
        start, end, glance = (parse_time(text) if (text := cell(key)) else None for key in ("start", "end", "glance"))
    except ValueError as error:
        return f"has {error}"
    references = (cell("video"),) if cell("video") else ()
    absent = cell("absent").lower()
    if absent not in _TRUE + _FALSE:
        return f"has {absent[:40]!r} for absent; true or false is expected"
    return Row(cell("sentence"), start, end, glance, references, cell("fingerprint") or None, absent=absent in _TRUE)
