"""What every layout of annotations is read as: a row for each moment, in the form of our own files.

A row is `[video, duration, span, sentence, glance, qid]`, with the values as they were found: whoever takes rows
checks them. `span` is `[start, end]`, `[]` where nothing in the video fits the sentence, None where that is not known.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cfmr.data.layouts import by_video, charades, prvr, qvhighlights, tvr
from cfmr.data.layouts.recognise import TITLES, Content, open_layout
from cfmr.data.layouts.row import Row
from cfmr.errors import InputError

__all__ = ["Labelled", "Row", "read_rows"]


class Labelled(NamedTuple):
    """Rows of a file.

    Attributes:
        layout: a key of `recognise.TITLES`.
        rows: in the file's order.
    """

    layout: str
    rows: list[Row]


def read_rows(path: str | Path) -> Labelled:
    """Read annotations of any layout.

    Raises:
        InputError: the file is cut off, holds something else, or an identifier twice; the line is named.
    """
    content = open_layout(path)
    try:
        return Labelled(content.layout, list(_rows(Path(path), content)))
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def _rows(path: Path, content: Content) -> Iterator[Row]:
    match content.layout:
        case "qvhighlights":
            return qvhighlights.rows(content.objects)
        case "tvr":
            return tvr.rows(content.objects)
        case "tvr-ranking":
            return tvr.ranking_rows(content.objects)
        case "rows":
            return _own(path, content.value)
        case "by-video":
            return by_video.rows(path, content.value)
        case "charades":
            return charades.rows(path, content.value)
        case "prvr":
            return prvr.captions(content.value)
    raise InputError(f"{path}: is {TITLES[content.layout]}, where annotations are expected")


def _own(path: Path, value: Any) -> Iterator[Row]:
    if not isinstance(value, list) or not value:
        raise InputError(f"{path}: there is no annotation in it")
    for number, row in enumerate(value, 1):
        yield Row(f"row {number}", row)
