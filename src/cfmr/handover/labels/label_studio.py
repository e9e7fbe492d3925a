"""Labels of Label Studio: JSON and JSON-MIN exports of video projects.

Frames of its time line count from 1, at the rate that the project's `Video` tag names (24 where it names none). The
file does not say which, unless the task's data has it.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from cfmr.data.annotations import Annotation
from cfmr.handover.labels.rows import POINT, Read, Row, Videos, as_list, as_mapping, as_text
from cfmr.handover.text import one_line
from cfmr.handover.timecode import Rate, parse_fps

_UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")  # put before the name of an uploaded file
_RATES = ("fps", "framerate", "frameRate", "frame_rate")
_LABELS = ("timelinelabels", "labels", "rectanglelabels", "videolabels")
_VIDEO, _LABEL = "video", "label"


def write(annotations: Sequence[Annotation], videos: Videos) -> str:
    """A task for each video, to be imported into a project of video time lines (`framerate="$fps"`)."""
    tasks = []
    for number, video in enumerate(dict.fromkeys(a.video for a in annotations), 1):
        rate = videos.rate(video)
        regions = [_region(a, rate, at) for at, a in enumerate((a for a in annotations if a.video == video), 1)]
        data = {_VIDEO: videos.file_name(video), "name": video, "fps": round(float(rate.fps), 6)}
        tasks.append({"id": number, "data": data, "annotations": [{"result": regions}]})
    return json.dumps(tasks, indent=1, ensure_ascii=False) + "\n"


def _region(annotation: Annotation, rate: Rate, number: int) -> dict[str, Any]:
    start, end = annotation.span or (annotation.glance or 0.0,) * 2
    first, after = rate.span(start, end)
    if end - start <= POINT:
        after = first + 1
    return {
        "id": f"r{number}",
        "type": "timelinelabels",
        "from_name": _LABEL,
        "to_name": _VIDEO,
        "value": {"ranges": [{"start": first + 1, "end": after}], "timelinelabels": [one_line(annotation.sentence)]},
    }


def read(tasks: Sequence[Any]) -> Read:
    """Every range of every region, and the stretches in which boxes are on."""
    number = 0
    for task in tasks:
        references, fps = _about(as_mapping(task))
        for result in _results(as_mapping(task)):
            for row in _rows(result, references, fps):
                number += 1
                yield number, row


def is_tasks(value: Any) -> bool:
    """Whether a list of JSON is an export of Label Studio."""
    return isinstance(value, list) and any(
        isinstance(task, dict) and (isinstance(task.get("annotations"), list) or any(map(_is_min, task.values())))
        for task in value[:100]
    )


def _is_min(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(one, dict) and "ranges" in one for one in value)


def _about(task: Mapping[str, Any]) -> tuple[tuple[str, ...], Fraction | None]:
    """What the task calls its video, and in which frames it counts."""
    data = as_mapping(task.get("data")) or task
    texts = [data.get(key) for key in ("name", _VIDEO, "video_url", "url")]
    texts += [value for value in data.values() if isinstance(value, str) and "." in value]
    texts.append(task.get("file_upload"))
    found = [text for text in texts if isinstance(text, str) and text]
    bare = [_UPLOADED.sub("", text.rsplit("/", 1)[-1]) for text in found]
    rate = next((data[key] for key in _RATES if key in data), None)
    try:
        fps = None if rate is None else parse_fps(str(rate))
    except ValueError:
        fps = None
    return tuple(dict.fromkeys([*found, *bare])), fps


def _results(task: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for annotation in as_list(task.get("annotations")):
        if not as_mapping(annotation).get("was_cancelled"):
            yield from _joined(as_list(as_mapping(annotation).get("result")))
    for value in task.values():
        if _is_min(value):
            yield from ({"value": one} for one in value if isinstance(one, dict))


def _joined(results: list[Any]) -> Iterator[Mapping[str, Any]]:
    """Regions; what was written about one has its identifier."""
    texts: dict[Any, str] = {}
    for result in results:
        value = as_mapping(as_mapping(result).get("value"))
        if "text" in value and "ranges" not in value and "sequence" not in value:
            texts[as_mapping(result).get("id")] = as_text(value["text"])
    for result in results:
        region = as_mapping(result)
        value = as_mapping(region.get("value"))
        if "ranges" in value or "sequence" in value:
            written = texts.get(region.get("id")) or as_text(as_mapping(region.get("meta")).get("text"))
            yield {**region, "written": written}


def _rows(region: Mapping[str, Any], references: tuple[str, ...], fps: Fraction | None) -> Iterator[Row | str]:
    value = as_mapping(region.get("value"))
    text = str(region.get("written") or "") or next(
        (
            said
            for key in ("timelinelabels", "labels", "rectanglelabels", "videolabels")
            if (said := as_text(value.get(key)))
        ),
        "",
    )
    count, seconds = value.get("framesCount"), value.get("duration")
    if isinstance(count, int) and isinstance(seconds, int | float) and seconds > 0 and 0 < count < 1e9:
        fps = fps or Fraction(count / seconds).limit_denominator(1001)
    for span in _spans(value):
        if span is None:
            yield "has frames that are no whole numbers from 1 on"
        else:
            yield Row(text, span[0] - 1, span[1], references=references, frames=True, fps=fps)


def _spans(value: Mapping[str, Any]) -> Iterator[tuple[int, int] | None]:
    """First and last frame of each stretch; None for one that is none."""
    for one in as_list(value.get("ranges")):
        yield _whole(as_mapping(one).get("start"), as_mapping(one).get("end"))
    begun: Any = None
    last: Any = None
    for key in as_list(value.get("sequence")):
        frame, on = as_mapping(key).get("frame"), as_mapping(key).get("enabled", True)
        last = frame
        if begun is None:
            begun = frame
        if not on:
            yield _whole(begun, frame)
            begun = None
    if begun is not None:
        yield _whole(begun, value.get("framesCount") or last)


def _whole(start: Any, end: Any) -> tuple[int, int] | None:
    if not all(isinstance(frame, int) and not isinstance(frame, bool) and 1 <= frame < 1e9 for frame in (start, end)):
        return None
    return start, end
