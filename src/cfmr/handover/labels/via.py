"""Labels of the VGG Image Annotator, version 3: projects with temporal segments, in seconds."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cfmr.data.annotations import Annotation
from cfmr.data.layouts.row import is_number
from cfmr.handover.labels.rows import Read, Row, Videos, as_list, as_mapping, as_text
from cfmr.handover.text import one_line

VERSION = "3.1.1"
_SEGMENT = "FILE1_Z2_XY0"  # one file, two times, no region
_TEXT, _VIDEO, _LOCAL = 1, 4, 1  # kinds of attributes, of files, and where they lie


def write(annotations: Sequence[Annotation], videos: Videos) -> str:
    """A project with a view for each video."""
    names = list(dict.fromkeys(a.video for a in annotations))
    views = {name: str(number) for number, name in enumerate(names, 1)}
    project = {
        "project": {
            "pid": "__VIA_PROJECT_ID__",
            "rev": "__VIA_PROJECT_REV_ID__",
            "rev_timestamp": "__VIA_PROJECT_REV_TIMESTAMP__",
            "pname": "cfmr",
            "creator": "cfmr",
            "created": 0,
            "data_format_version": VERSION,
            "vid_list": list(views.values()),
        },
        "config": {
            "file": {"loc_prefix": {"1": "", "2": "", "3": "", "4": ""}},
            "ui": {
                "file_content_align": "center",
                "file_metadata_editor_visible": True,
                "spatial_metadata_editor_visible": False,
                "temporal_segment_metadata_editor_visible": True,
                "spatial_region_label_attribute_id": "",
                "gtimeline_visible_row_count": "4",
            },
        },
        "attribute": {
            "1": {
                "aname": "sentence",
                "anchor_id": _SEGMENT,
                "type": _TEXT,
                "desc": "what happens",
                "options": {},
                "default_option_id": "",
            }
        },
        "file": {
            view: {"fid": view, "fname": videos.file_name(name), "type": _VIDEO, "loc": _LOCAL, "src": ""}
            for name, view in views.items()
        },
        "view": {view: {"fid_list": [view]} for view in views.values()},
        "metadata": {
            f"{views[a.video]}_{number:06d}": {
                "vid": views[a.video],
                "flg": 0,
                "z": [round(time, 3) for time in a.span or (a.glance or 0.0,)],
                "xy": [],
                "av": {"1": one_line(a.sentence)},
            }
            for number, a in enumerate(annotations, 1)
        },
    }
    return json.dumps(project, indent=1, ensure_ascii=False) + "\n"


def is_project(value: Any) -> bool:
    """Whether an object of JSON is a project of version 3."""
    return isinstance(value, dict) and {"metadata", "view", "file"} <= value.keys()


def read(project: Mapping[str, Any]) -> Read:
    """Segments of two times, and points of one."""
    attributes, files, views = (as_mapping(project.get(key)) for key in ("attribute", "file", "view"))
    for number, entry in enumerate(as_mapping(project.get("metadata")).values(), 1):
        segment = as_mapping(entry)
        times = as_list(segment.get("z"))
        if not 1 <= len(times) <= 2 or not all(map(is_number, times)):
            yield number, "has no time, or more than a start and an end"
            continue
        values = as_mapping(segment.get("av"))
        text = " ".join(filter(None, (_value(as_mapping(attributes.get(key)), value) for key, value in values.items())))
        ids = as_list(as_mapping(views.get(str(segment.get("vid")))).get("fid_list"))
        references = tuple(
            name
            for fid in ids
            for key in ("fname", "src")
            if isinstance(name := as_mapping(files.get(str(fid))).get(key), str) and name
        )
        yield number, Row(text, float(times[0]), float(times[1]) if len(times) == 2 else None, references=references)


def _value(attribute: Mapping[str, Any], value: Any) -> str:
    """What was written, or what stands for the options that were chosen."""
    options = as_mapping(attribute.get("options"))
    if isinstance(value, str) and options:
        return ", ".join(as_text(options.get(key, key)) for key in value.split(","))
    return as_text(value)
