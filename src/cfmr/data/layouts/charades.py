"""Charades-STA's text (`VIDEO start end##sentence`, ViGA's with a glance), with lengths from the CSV files beside."""

import csv
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from cfmr.data.layouts.recognise import read_text
from cfmr.data.layouts.row import Row
from cfmr.errors import InputError

_LINE = re.compile(r"(?P<video>\S+) (?P<start>\S+) (?P<end>[^\s#]+)##(?:(?P<glance>[\d.]+)##)?(?P<sentence>.*)")


def rows(path: Path, text: str, counts: Counter[str] | None = None) -> Iterator[Row]:
    """A row a line.

    Args:
        path: the file; Charades_v1_train.csv and Charades_v1_test.csv are read beside it.
        text: what is in it.
        counts: where the rows are counted ("unfinished") that the field's glance files leave out. Without it all rows
            are there.

    Raises:
        InputError: a line, or the length of a video, cannot be used.
    """
    lengths = _lengths(path.parent)
    videos: dict[str, list[float]] = {}
    moments = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        try:
            assert match
            start, end = float(match["start"]), float(match["end"])
            glance = float(match["glance"]) if match["glance"] else None
        except (AssertionError, ValueError):
            raise InputError(f"{path}: line {number} is not 'VIDEO start end##sentence'") from None
        videos.setdefault(match["video"], []).append(end)
        moments.append((f"line {number}", match["video"], start, end, match["sentence"], glance))
    _check_lengths(path, videos, lengths)
    unfinished = {video for video, ends in videos.items() if _all_unfinished(ends, lengths[video])}
    for where, video, start, end, sentence, glance in moments:
        if counts is not None and video in unfinished and start < lengths[video]:
            counts["unfinished"] += 1
        else:
            yield Row(where, [video, _counted_length(lengths[video]), [start, end], sentence, glance])


def _check_lengths(path: Path, videos: dict[str, list[float]], lengths: dict[str, float]) -> None:
    missing = [video for video in videos if video not in lengths]
    if missing:
        listed = ", ".join(missing[:10])
        raise InputError(
            f"{path}: the CSV files beside it have no length for {len(missing)} videos ({listed}"
            f"{', ...' if len(missing) > 10 else ''}); Charades_v1_train.csv and Charades_v1_test.csv are both needed"
        )


def _counted_length(length: float) -> float:
    """A video's length as the field's glance files have it, by way of a frame count at 24 frames a second.

    It differs from the published length by rounding only, by which those files came to leave out 59 moments.
    """
    frames = round(24 * length) + 1
    return frames / (frames / length)


def _all_unfinished(ends: list[float], length: float) -> bool:
    return all(min(end, length) > _counted_length(length) for end in ends)


def _lengths(folder: Path) -> dict[str, float]:
    files = sorted(path for path in folder.glob("Charades_v1_*.csv") if "classes" not in path.name)
    if not files:
        raise InputError(
            f"{folder}: Charades_v1_train.csv and Charades_v1_test.csv, which have the lengths, are not there"
        )
    lengths: dict[str, float] = {}
    for path in files:
        reader = csv.DictReader(read_text(path).splitlines(keepends=True))
        columns = reader.fieldnames or []
        for column in ("id", "length"):
            if column not in columns:
                raise InputError(f"{path}: no column '{column}' (there are {', '.join(columns) or 'none'})")
        for row in reader:
            try:
                lengths[row["id"]] = float(row["length"])
            except (TypeError, ValueError):
                raise InputError(f"{path}: line {reader.line_num} has no number in column 'length'") from None
            if not lengths[row["id"]] > 0:
                raise InputError(f"{path}: line {reader.line_num} has a video of {row['length']} s")
    return lengths
