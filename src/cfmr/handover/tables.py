"""Tables: CSV for spreadsheets, JSON for programs."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cfmr.handover.clips import Clip
from cfmr.handover.text import one_line
from cfmr.video.files import stored_path

COLUMNS = ("video", "start", "end", "text", "score", "duration", "path")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # with which a cell is taken for a formula


def write_csv(clips: Sequence[Clip]) -> str:
    """A row for each clip, times in seconds."""
    return csv_of(COLUMNS, map(_row, clips))


def csv_of(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A table as RFC 4180 has it. Texts that a spreadsheet would take for a formula get an apostrophe before them."""
    target = io.StringIO()
    writer = csv.writer(target)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(column)) for column in columns])
    return target.getvalue()


def plain_cell(cell: str) -> str:
    """A cell without the apostrophe that `csv_of` put before it."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith((*FORMULA, "'")) else cell


def write_json(clips: Sequence[Clip]) -> str:
    """A list of objects, one for each clip."""
    return json.dumps([_row(clip) for clip in clips], indent=1, ensure_ascii=False) + "\n"


def _row(clip: Clip) -> dict[str, Any]:
    return {
        "video": clip.video,
        "start": round(clip.start, 3),
        "end": round(clip.end, 3),
        "text": clip.text,
        "score": None if clip.score is None else round(clip.score, 6),
        "duration": round(clip.duration, 3),
        "path": None if clip.path is None else stored_path(clip.path),
    }


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        return str(value)
    text = one_line(value)
    return f"'{text}" if text.startswith((*FORMULA, "'")) else text
