"""Writing labels for other tools."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cfmr.data.annotations import Annotation, as_row
from cfmr.handover.edl import Marker, write_markers
from cfmr.handover.labels import elan, label_studio, tables, via
from cfmr.handover.labels.rows import POINT, Videos
from cfmr.handover.subtitles import Cue, write_srt, write_vtt

_SHOWN = 0.04  # seconds of a point in formats that know none


@dataclass(frozen=True, slots=True)
class LabelFormat:
    """A format of labels.

    Attributes:
        name: by which it is asked for.
        suffix: of its files.
        title: for people.
        media_type: for browsers.
        write: makes a file's text.
        of_one_video: each video has a file of its own.
        negatives: it can say that a label is negative; others leave such labels out.
    """

    name: str
    suffix: str
    title: str
    media_type: str
    write: Callable[[Sequence[Annotation], Videos], str]
    of_one_video: bool = False
    negatives: bool = False


def _rows(annotations: Sequence[Annotation], _: Videos) -> str:
    return "[\n" + ",\n".join(json.dumps(as_row(a), ensure_ascii=False) for a in annotations) + "\n]\n"


def _cues(annotations: Sequence[Annotation]) -> list[Cue]:
    cues = []
    for annotation in annotations:
        start, end = annotation.span or (annotation.glance or 0.0,) * 2
        cues.append(Cue(start, end if end - start > POINT else start + _SHOWN, annotation.sentence))
    return sorted(cues)


def _markers(annotations: Sequence[Annotation], videos: Videos) -> str:
    video = annotations[0].video
    rate = videos.rate(video)
    markers = []
    for annotation in annotations:
        start, end = annotation.span or (annotation.glance or 0.0,) * 2
        first, after = rate.span(start, end)
        markers.append(Marker(first, 1 if end - start <= POINT else after - first, annotation.sentence))
    return write_markers(markers, rate, video)


LABEL_FORMATS = (
    LabelFormat("json", ".json", "JSON", "application/json", _rows, negatives=True),
    LabelFormat("csv", ".csv", "CSV", "text/csv", tables.write, negatives=True),
    LabelFormat("srt", ".srt", "SubRip subtitles", "application/x-subrip", lambda a, _: write_srt(_cues(a)), True),
    LabelFormat("vtt", ".vtt", "WebVTT subtitles", "text/vtt", lambda a, _: write_vtt(_cues(a)), True),
    LabelFormat("elan", ".eaf", "ELAN", "application/xml", elan.write, True),
    LabelFormat("label-studio", ".label-studio.json", "Label Studio", "application/json", label_studio.write),
    LabelFormat("via", ".via.json", "VIA", "application/json", via.write),
    LabelFormat("markers", ".markers.edl", "DaVinci Resolve markers", "text/plain", _markers, True),
)
LABELS_BY_NAME = {form.name: form for form in LABEL_FORMATS}


def write_labels(annotations: Sequence[Annotation], form: LabelFormat, videos: Videos) -> dict[str, str]:
    """The files of an export: text by the video's name, or by "" where one file has all.

    Raises:
        ValueError: the frame rate of a video is needed and its file cannot be read.
    """
    if not form.negatives:
        annotations = [a for a in annotations if not a.absent]
    if not form.of_one_video:
        return {"": form.write(annotations, videos)}
    names = dict.fromkeys(a.video for a in annotations)
    return {video: form.write([a for a in annotations if a.video == video], videos) for video in names}
