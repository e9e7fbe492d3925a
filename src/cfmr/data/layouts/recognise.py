"""Which of the field's layouts a file has, told by what is in it and not by its name."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cfmr.errors import InputError
from cfmr.files.atomic import read_json
from cfmr.files.reading import decode_text, reading, require_regular

#: Keys that an object of each layout of one object a line has at least; the first layout that fits is taken.
LINES = {
    "predictions": ({"qid", "pred_relevant_windows"}, {"qid", "pred_saliency_scores"}),
    "qvhighlights": ({"qid", "query", "vid"},),
    "tvr": ({"vid_name", "desc", "desc_id"},),
    "tvr-ranking": ({"query_id", "query", "video_name"},),
}
TITLES = {
    "rows": "a list of [video, duration, [start, end], sentence, glance]",
    "by-video": "an object with the videos' names as keys (timestamps, sentences)",
    "qvhighlights": "QVHighlights jsonl (qid, query, vid, duration, relevant_windows)",
    "predictions": "predictions (qid, pred_relevant_windows)",
    "tvr": "TVR jsonl (desc_id, desc, vid_name, duration, ts)",
    "tvr-ranking": "TVR-Ranking (query_id, query, video_name, timestamp, relevance)",
    "tvr-submission": "a TVR submission (video2idx, VCMR, SVMR, VR)",
    "charades": "Charades-STA text (VIDEO start end##sentence)",
    "prvr": "PRVR captions (VIDEO#enc#0 sentence)",
}
MAGIC = {b"\x89HDF\r\n\x1a\n": "an HDF5 file", b"PK\x03\x04": "a zip or npz file", b"\x93NUMPY": "a .npy file"}
_CHARADES = re.compile(r"\S+ \S+ [^\s#]+##.*")
_CAPTION = re.compile(r"[^\s#]+#\S+ \S.*")


class Content(NamedTuple):
    """A file, recognised.

    Attributes:
        layout: a key of TITLES.
        value: text, or what was in the JSON.
        objects: of layouts that are a list of objects, where each stands ("line 3") and what it is.
    """

    layout: str
    value: Any
    objects: Sequence[tuple[str, dict[str, Any]]] = ()


def read_text(path: str | Path) -> str:
    """A UTF-8 text file. Raises InputError that names the file, and what it is where it is none."""
    path = Path(path)
    with reading(path, "a text file"):
        require_regular(path)
        raw = path.read_bytes()
    kind = next((kind for magic, kind in MAGIC.items() if raw.startswith(magic)), None)
    if kind is not None:
        raise InputError(f"{path}: is {kind} with numbers in it, where text is expected; name the annotations")
    return decode_text(raw, path)


def open_layout(path: str | Path) -> Content:
    """Read a file of any layout.

    Raises:
        InputError: it cannot be read, is cut off (with the line), or has no layout that is known.
    """
    text = read_text(path)
    start = text.lstrip()[:1]
    if not start:
        raise InputError(f"{path}: is empty")
    if start == "[":
        return _of_list(path, read_json(path))
    if start == "{":
        first = _object(text.lstrip().split("\n", 1)[0])
        if first is not None and _layout_of(first) is not None:
            objects = [(f"line {number}", value) for number, value in json_lines(path, text)]
            return Content(str(_layout_of(first)), None, objects)
        if first is not None and "\n" in text.strip():
            raise InputError(f"{path}: line 1 has the keys {_keys(first)}; {_known(first)}")
        return _of_object(path, read_json(path) if first is None else first)
    return Content(_text_layout(path, text), text)


def json_lines(path: str | Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and object of every line that is not empty. Raises InputError for half a line."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        value = _object(line)
        if value is None:
            raise InputError(f"{path}: line {number} is no whole JSON object; is the file complete?")
        yield number, value


def take(value: dict[str, Any], key: str, where: str) -> Any:
    """An object's key. Raises ValueError that says where it is missing."""
    if key not in value:
        raise ValueError(f"{where} has no '{key}' (it has {', '.join(map(str, list(value)[:8])) or 'nothing'})")
    return value[key]


def identifier(value: Any, key: str, where: str) -> str | int:
    """A sentence's identifier. Raises ValueError if it is no text and no whole number."""
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise ValueError(f"{where} has {value!r} for '{key}'; a text or a whole number is expected")
    return value


def _object(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):  # of numbers with thousands of digits too
        return None
    return value if isinstance(value, dict) else None


def _layout_of(value: dict[str, Any]) -> str | None:
    return next((name for name, wanted in LINES.items() if any(keys <= value.keys() for keys in wanted)), None)


def _of_list(path: str | Path, value: Any) -> Content:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        layout = _layout_of(value[0])
        if layout is None:
            raise InputError(f"{path}: row 1 has the keys {_keys(value[0])}; {_known(value[0])}")
        objects = [(f"row {number}", item) for number, item in enumerate(value, 1)]
        wrong = next((where for where, item in objects if not isinstance(item, dict)), None)
        if wrong is not None:
            raise InputError(f"{path}: {wrong} is no object, the rows before are")
        return Content(layout, None, objects)
    return Content("rows", value)


def _of_object(path: str | Path, value: Any) -> Content:
    if "video2idx" in value:
        return Content("tvr-submission", value)
    layout = _layout_of(value)
    if layout is not None:  # one object over several lines
        return Content(layout, None, [("row 1", value)])
    first = next(iter(value.values()), None)
    if not value or (isinstance(first, dict) and "timestamps" in first):
        return Content("by-video", value)
    raise InputError(f"{path}: has the keys {_keys(value)}; {_known(value)}")


def _text_layout(path: str | Path, text: str) -> str:
    first = next(line.strip() for line in text.splitlines() if line.strip())
    for layout, pattern in (("charades", _CHARADES), ("prvr", _CAPTION)):
        if pattern.fullmatch(first):
            return layout
    shown = first if len(first) <= 40 else first[:37] + "..."
    raise InputError(f"{path}: begins with {shown!r}; {_known()}")


def _keys(value: dict[str, Any]) -> str:
    return ", ".join(map(str, list(value)[:8])) + (", ..." if len(value) > 8 else "")


def _known(value: dict[str, Any] | None = None) -> str:
    """That no layout is known, or which one it would be but for a key."""
    for name, wanted in LINES.items():
        lacking = [keys - value.keys() for keys in wanted if value is not None and len(keys) > 2]
        if any(len(keys) == 1 for keys in lacking):
            return f"it would be {TITLES[name]}, but has no '{lacking[0].pop()}'"
    return "no layout of annotations that is known (docs/formats.md shows them)"
