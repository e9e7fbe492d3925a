"""QVHighlights: a sentence a line with all its windows, as Moment-DETR, Lighthouse and their kin read it."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cfmr.data.layouts.recognise import identifier, take
from cfmr.data.layouts.row import Once, Row, is_number
from cfmr.files.atomic import replacing

CLIP_SECONDS = 2  # what `relevant_clip_ids` and saliency scores count in


def rows(objects: Sequence[tuple[str, dict[str, Any]]]) -> Iterator[Row]:
    """A row for each window; one row where there is none.

    `relevant_windows` may be missing or null (nothing is known of the sentence's moments, as in a test file without
    truth) or empty (nothing in the video fits it). `glances`, which is ours, has a time for each window.

    Raises:
        ValueError: naming the line.
    """
    once = Once()
    for where, value in objects:
        qid = identifier(take(value, "qid", where), "qid", where)
        once(qid, "qid", where)
        start = [take(value, "vid", where), take(value, "duration", where)]
        sentence = take(value, "query", where)
        windows = value.get("relevant_windows")
        extra = _extra(value, where)
        if windows is not None and not isinstance(windows, list):
            raise ValueError(f"{where} has {windows!r} for 'relevant_windows'; [[start, end], ...] is expected")
        glances = value.get("glances") or None
        if glances is not None and not isinstance(glances, list):
            raise ValueError(f"{where} has {glances!r} for 'glances'; [time, ...] is expected")
        if not windows:
            for glance in glances or [None]:
                yield Row(where, [*start, None if windows is None else [], sentence, glance, qid], extra)
            continue
        glances = glances or [None] * len(windows)
        if len(glances) != len(windows):
            raise ValueError(f"{where} has {len(windows)} windows and not as many 'glances'")
        for window, glance in zip(windows, glances, strict=True):
            yield Row(where, [*start, window, sentence, glance, qid], extra)


def _extra(value: dict[str, Any], where: str) -> dict[str, Any]:
    ids, scores = value.get("relevant_clip_ids"), value.get("saliency_scores")
    if ids is None or scores is None:
        return {}
    if not isinstance(ids, list) or not isinstance(scores, list) or len(ids) != len(scores):
        raise ValueError(f"{where} has 'relevant_clip_ids' and 'saliency_scores' of different lengths")
    if not all(type(clip) is int and clip >= 0 for clip in ids):
        raise ValueError(f"{where} has 'relevant_clip_ids' that are no whole numbers from 0 on")
    widths = {len(score) if _is_rating(score) else 0 for score in scores}
    if len(widths) > 1 or 0 in widths:
        raise ValueError(f"{where} has 'saliency_scores' that are not as many numbers for each clip")
    return {"clip_ids": ids, "saliency": scores}


def _is_rating(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_number, value))


def write(path: str | Path, objects: Iterable[dict[str, Any]]) -> None:
    """Write objects one a line (beside, then renamed)."""
    with replacing(path) as temporary:
        lines = "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in objects)
        temporary.write_text(lines, encoding="utf-8")
