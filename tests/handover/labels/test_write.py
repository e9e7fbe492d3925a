"""Labels go out and come back in every format."""

import json
import re
import xml.etree.ElementTree as ET
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfmr.data.annotations import Annotation
from cfmr.handover.labels.write import LABEL_FORMATS, LABELS_BY_NAME, LabelFormat, write_labels
from cfmr.handover.timecode import can_drop
from tests.handover.films import FAST_NTSC, NTSC, RATES
from tests.handover.labels.site import SITE, Site, read

formats = pytest.mark.parametrize("form", LABEL_FORMATS, ids=lambda form: form.name)
words = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8)
texts = st.lists(st.sampled_from(["a", "dog", "=1+1", "it's", "“so”", "über", "日本", "a;b", "c,d", "#", "'x"]) | words)
sentences = texts.map(" ".join).map(lambda text: f"x{text}".strip() if not text.strip() else text.strip())


@st.composite
def labels(draw: st.DrawFn) -> Annotation:
    start = round(draw(st.floats(0, 55)), 2)
    length = round(draw(st.floats(0.2, 4)), 2)
    point = draw(st.booleans())
    span = None if point else (start, round(start + length, 2))
    glance = start if span is None else (span[0] + span[1]) / 2
    video = draw(st.sampled_from(["kitchen", "garden/dog <b>", "street"]))
    return Annotation(video, 60.0, draw(sentences), round(glance, 4), span)


def back(annotations: list[Annotation], form: LabelFormat, site: Site = SITE) -> list[Annotation]:
    found: list[Annotation] = []
    for video, text in write_labels(annotations, form, site).items():
        some, refused = read(text, f"{video or 'labels'}{form.suffix}", video=video or None, site=site)
        assert not refused, refused
        found += some
    return found


def order(annotation: Annotation) -> tuple[str, str, float]:
    return annotation.video, annotation.sentence, annotation.glance or 0.0


def assert_same(found: list[Annotation], meant: list[Annotation], within: float) -> None:
    """The same labels, with times that may differ by so many seconds."""
    assert len(found) == len(meant)
    for one, other in zip(sorted(found, key=order), sorted(meant, key=order), strict=True):
        assert (one.video, one.sentence) == (other.video, other.sentence)
        assert one.glance == pytest.approx(other.glance, abs=within)
        assert (one.span is None) == (other.span is None)
        assert one.span is None or one.span == pytest.approx(other.span, abs=within)


@formats
@given(st.data())
def test_labels_come_back_as_they_went(form: LabelFormat, data: st.DataObject) -> None:
    meant = data.draw(st.lists(labels(), min_size=1, max_size=6, unique_by=lambda a: (a.video, a.sentence)))
    frames = form.name in ("markers", "label-studio")
    assert_same(back(meant, form), meant, 0.0401 if frames else 0.0011)


@pytest.mark.parametrize("name", ["markers", "label-studio"])
@pytest.mark.parametrize("fps", RATES, ids=lambda fps: f"{float(fps):.2f}")
def test_frames_are_right_at_every_rate(name: str, fps: Fraction) -> None:
    for drop in {False, can_drop(fps)}:
        site = Site("kitchen", fps=fps, drop=drop, seconds=4000.0)
        meant = [
            Annotation("kitchen", 4000.0, "early", 1.5, (1.0, 2.0)),
            Annotation("kitchen", 4000.0, "late", 3600.5, (3600.0, 3601.0)),
            Annotation("kitchen", 4000.0, "point", 61.0, None),
        ]
        assert_same(back(meant, LABELS_BY_NAME[name], site), meant, float(1 / fps) + 1e-6)


@formats
def test_what_went_out_and_in_and_out_again_is_the_same(form: LabelFormat) -> None:
    meant = [Annotation("kitchen", 60.0, "a dog", 2.04, (1.0, 3.08)), Annotation("kitchen", 60.0, "it goes", 4.0, None)]
    once = write_labels(meant, form, SITE)
    assert write_labels(back(meant, form), form, SITE) == once


def test_elan_documents_have_their_slots_in_order() -> None:
    meant = [Annotation("kitchen", 60.0, t, s + 1, (s, s + 2)) for t, s in (("b <&>", 5.0), ("a", 1.0), ("c", 1.5))]
    (text,) = write_labels(meant, LABELS_BY_NAME["elan"], SITE).values()
    root = ET.fromstring(text)
    times = [int(slot.get("TIME_VALUE", "")) for slot in root.iter("TIME_SLOT")]
    assert times == sorted(times)
    assert [child.tag for child in root] == ["HEADER", "TIME_ORDER", "TIER", "LINGUISTIC_TYPE"]
    assert [value.text for value in root.iter("ANNOTATION_VALUE")] == ["a", "c", "b <&>"]
    ids = [element.get("ANNOTATION_ID") for element in root.iter("ALIGNABLE_ANNOTATION")]
    assert len(set(ids)) == 3


def test_label_studio_tasks_say_the_frame_rate_they_count_in() -> None:
    meant = [Annotation("kitchen", 60.0, "a", 2.0, (1.0, 3.0))]
    (task,) = json.loads(write_labels(meant, LABELS_BY_NAME["label-studio"], Site("kitchen", fps=NTSC))[""])
    assert task["data"] == {"video": "kitchen.mp4", "name": "kitchen", "fps": 29.97003}
    value = task["annotations"][0]["result"][0]["value"]
    assert value["ranges"] == [{"start": 30, "end": 90}]


def test_via_views_are_one_for_each_video() -> None:
    meant = [Annotation(video, 60.0, "a", 1.0, None) for video in ("kitchen", "street", "kitchen")]
    project = json.loads(write_labels(meant, LABELS_BY_NAME["via"], SITE)[""])
    assert project["project"]["vid_list"] == ["1", "2"]
    assert set(project["view"]) == set(project["file"]) == {"1", "2"}
    assert [entry["vid"] for entry in project["metadata"].values()] == ["1", "2", "1"]


def test_markers_of_resolve_are_drop_frame_where_the_video_is() -> None:
    meant = [Annotation("kitchen", 60.0, "a | b", 2.0, (1.0, 3.0))]
    site = Site("kitchen", fps=FAST_NTSC, drop=True)
    (text,) = write_labels(meant, LABELS_BY_NAME["markers"], site).values()
    assert "FCM: DROP FRAME" in text
    assert re.search(r"^001  001      V     C        (01:00:00;59 01:00:01;00) \1$", text, re.M)
    assert "|M:a / b |D:121" in text
