"""Labels as their tools write them; each file here has the keys and the order that the tool's own exports have."""

import json
from fractions import Fraction

import pytest

from cfmr.errors import InputError
from cfmr.handover.labels.rows import Names
from tests.handover.films import NTSC
from tests.handover.labels.site import Site, read

Found = tuple[str, str, float | None, tuple[float, float] | None]


def found(content: str, name: str = "labels", **more: object) -> list[Found]:
    annotations, refused = read(content, name, **more)  # type: ignore[arg-type]
    assert not refused, refused
    return [(a.video, a.sentence, a.glance, a.span) for a in annotations]


EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2026-01-13T13:07:31+01:00" FORMAT="3.0" VERSION="3.0"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:noNamespaceSchemaLocation="http://x/EAFv3.0.xsd">
 <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">
  <MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/films/garden/dog%20%3Cb%3E.mp4" MIME_TYPE="video/mp4" {origin}
   RELATIVE_MEDIA_URL="./dog%20%3Cb%3E.mp4"/>
  <PROPERTY NAME="lastUsedAnnotationId">3</PROPERTY>
 </HEADER>
 <TIME_ORDER>
  <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="1000"/><TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="3000"/>
  <TIME_SLOT TIME_SLOT_ID="ts3"/><TIME_SLOT TIME_SLOT_ID="ts4" TIME_VALUE="5000"/>
 </TIME_ORDER>
 <TIER LINGUISTIC_TYPE_REF="default-lt" TIER_ID="actions">
  <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
   <ANNOTATION_VALUE>a dog &amp; a cat</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
  {unaligned}
 </TIER>
 <TIER LINGUISTIC_TYPE_REF="ref" PARENT_REF="actions" TIER_ID="translation">
  <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a3" ANNOTATION_REF="a1">
   <ANNOTATION_VALUE>ein Hund</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
 </TIER>
</ANNOTATION_DOCUMENT>"""
UNALIGNED = """<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts2" TIME_SLOT_REF2="ts3">
 <ANNOTATION_VALUE>it goes</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>"""


def test_elan_annotations_have_their_slots_times() -> None:
    assert found(EAF.format(origin="", unaligned="")) == [("garden/dog <b>", "a dog & a cat", 2.0, (1.0, 3.0))]
    shifted = EAF.format(origin='TIME_ORIGIN="2500"', unaligned="")
    assert found(shifted) == [("garden/dog <b>", "a dog & a cat", 4.5, (3.5, 5.5))]


def test_an_elan_slot_without_a_time_is_listed() -> None:
    annotations, refused = read(EAF.format(origin="", unaligned=UNALIGNED))
    assert len(annotations) == 1
    assert [(one.row, one.reason) for one in refused] == [(2, "has a time slot without a time, between two others")]


def task(value: dict[str, object], kind: str = "timelinelabels", **data: object) -> str:
    result = {"id": "x1", "type": kind, "from_name": "l", "to_name": "video", "origin": "manual", "value": value}
    video = {"video": "/data/upload/3/0a1b2c3d-kitchen.mp4"}
    made = {"id": 7, "annotations": [{"id": 1, "was_cancelled": False, "result": [result]}], "data": video | data}
    return json.dumps([made])


def test_label_studio_frames_count_from_one() -> None:
    value = {"ranges": [{"start": 26, "end": 75}], "timelinelabels": ["a door opens"]}
    assert found(task(value)) == [("kitchen", "a door opens", 2.0, (1.0, 3.0))]
    assert found(task(value, fps=50)) == [("kitchen", "a door opens", 1.0, (0.5, 1.5))]
    assert found(task(value), fps=Fraction(24))[0][3] == pytest.approx((25 / 24, 75 / 24))


def test_a_label_studio_frame_alone_is_a_point() -> None:
    value = {"ranges": [{"start": 26, "end": 26}], "timelinelabels": ["a door opens"]}
    assert found(task(value)) == [("kitchen", "a door opens", 1.0, None)]


def test_label_studio_boxes_are_labels_while_they_are_on() -> None:
    keys = [{"frame": 1, "enabled": True}, {"frame": 50, "enabled": False}, {"frame": 101, "enabled": True}]
    value = {"sequence": keys, "labels": ["a cup"], "framesCount": 600, "duration": 60.0}
    assert found(task(value, "videorectangle")) == [
        ("kitchen", "a cup", 2.5, (0.0, 5.0)),
        ("kitchen", "a cup", 35.0, (10.0, 60.0)),
    ]


def test_label_studio_text_about_a_region_says_more_than_its_label() -> None:
    value = json.loads(task({"ranges": [{"start": 1, "end": 50}], "timelinelabels": ["event"]}))
    written = {"id": "x1", "type": "textarea", "value": {"text": ["a man opens a door"]}}
    value[0]["annotations"][0]["result"].append(written)
    assert found(json.dumps(value)) == [("kitchen", "a man opens a door", 1.0, (0.0, 2.0))]


def test_label_studio_min_exports_are_read_and_cancelled_tasks_are_not() -> None:
    one = {"video": "/data/local-files/?d=films/street.mp4", "id": 1}
    labels = [{"ranges": [{"start": 1, "end": 25}], "timelinelabels": ["it rains"]}]
    assert found(json.dumps([one | {"label": labels}])) == [("street", "it rains", 0.5, (0.0, 1.0))]
    cancelled = json.loads(task({"ranges": [{"start": 1, "end": 2}], "timelinelabels": ["x"]}))
    cancelled[0]["annotations"][0]["was_cancelled"] = True
    assert found(json.dumps(cancelled)) == []


VIA = {
    "project": {"pid": "__VIA_PROJECT_ID__", "data_format_version": "3.1.1", "vid_list": ["1", "2"]},
    "config": {"file": {"loc_prefix": {"1": "", "2": "", "3": "", "4": ""}}},
    "attribute": {
        "1": {"aname": "Activity", "anchor_id": "FILE1_Z2_XY0", "type": 1, "options": {}, "default_option_id": ""},
        "2": {"aname": "Phase", "anchor_id": "FILE1_Z2_XY0", "type": 4, "options": {"0": "begins", "1": "ends"}},
    },
    "file": {
        "1": {"fid": 1, "fname": "kitchen.mp4", "type": 4, "loc": 1, "src": ""},
        "2": {
            "fid": 2,
            "fname": "https://x.org/a/street.webm",
            "type": 4,
            "loc": 2,
            "src": "https://x.org/a/street.webm",
        },
    },
    "view": {"1": {"fid_list": [1]}, "2": {"fid_list": [2]}},
    "metadata": {
        "1_a": {"vid": "1", "flg": 0, "z": [2, 6.5], "xy": [], "av": {"1": "break an egg", "2": "1"}},
        "2_b": {"vid": "2", "flg": 0, "z": [0.917], "xy": [4, 1, 2, 3, 4], "av": {"1": "a bus"}},
    },
}


def test_via_segments_are_spans_and_points() -> None:
    assert found(json.dumps(VIA)) == [
        ("kitchen", "break an egg ends", 4.25, (2.0, 6.5)),
        ("street", "a bus", 0.917, None),
    ]


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version>
 <meta><job><id>1</id><start_frame>{start}</start_frame><frame_filter>{step}</frame_filter></job>
 <source>kitchen.mp4</source></meta>
 <track id="0" label="person" source="manual">
  <box frame="0" keyframe="1" outside="0" occluded="0" xtl="1" ytl="2" xbr="3" ybr="4" z_order="0">
   <attribute name="description">a man walks</attribute></box>
  <box frame="25" keyframe="1" outside="0" xtl="1" ytl="2" xbr="3" ybr="4"/>
  <box frame="50" keyframe="1" outside="1" xtl="1" ytl="2" xbr="3" ybr="4"/>
  <box frame="100" keyframe="1" outside="0" xtl="1" ytl="2" xbr="3" ybr="4"/>
  <box frame="149" keyframe="1" outside="0" xtl="1" ytl="2" xbr="3" ybr="4"/>
 </track>
 <track id="1" label="a cup"><points frame="10" outside="0" points="1,2"/></track>
</annotations>"""


def test_cvat_tracks_are_labels_while_they_are_on_the_screen() -> None:
    assert found(CVAT.format(start=0, step="")) == [
        ("kitchen", "a man walks", 1.0, (0.0, 2.0)),
        ("kitchen", "a man walks", 5.0, (4.0, 6.0)),
        ("kitchen", "a cup", 0.4, None),
    ]
    assert found(CVAT.format(start=50, step="step=2"))[0][3] == (2.0, 6.0)


def test_cvat_images_have_no_times() -> None:
    with pytest.raises(InputError, match="CVAT for video"):
        read('<annotations><image id="0" name="a.jpg"/></annotations>')


RESOLVE = """TITLE: Timeline 1
FCM: NON-DROP FRAME

001  001      V     C        01:00:01:00 01:00:01:01 01:00:01:00 01:00:01:01  
a note of two
lines |C:ResolveColorYellow |M:Marker 1 |D:50

002  001      V     C        01:00:04:00 01:00:04:01 01:00:04:00 01:00:04:01  
 |C:ResolveColorBlue |M:a door opens |D:1

003  001      V     C        01:00:05:25 01:00:05:26 01:00:05:25 01:00:05:26  
 |C:ResolveColorBlue |M:bad |D:1

004  001      V     C        01:00:06:00 01:00:06:01 01:00:06:00 01:00:06:01  
* nothing
"""


def test_resolve_markers_are_of_the_video_whose_name_the_file_has() -> None:
    annotations, refused = read(RESOLVE, "kitchen.edl")
    assert [(a.video, a.sentence, a.glance, a.span) for a in annotations] == [
        ("kitchen", "a note of two lines", 2.0, (1.0, 3.0)),
        ("kitchen", "a door opens", 4.0, None),
    ]
    assert [one.row for one in refused] == [3, 4]
    assert "no timecode at 25 frames a second" in refused[0].reason
    assert "no marker of DaVinci Resolve" in refused[1].reason
    assert read(RESOLVE, "x.edl", video="street")[0][0].video == "street"


def test_resolve_markers_before_one_hour_count_from_zero() -> None:
    assert found(RESOLVE[: RESOLVE.index("003")].replace("01:00:0", "00:00:0"), "kitchen.edl")[1][2] == 4.0


def test_resolve_markers_at_2997_drop_frame_keep_to_the_clock() -> None:
    line = (
        "001  001      V     C        01:01:00;02 01:01:00;03 01:01:00;02 01:01:00;03\n |C:ResolveColorRed |M:x |D:1\n"
    )
    site = Site("kitchen", fps=NTSC, drop=True, seconds=100.0)
    assert found(line, "kitchen.edl", site=site)[0][2] == pytest.approx(1800 * 1001 / 30000)
    assert found(line.replace(";", ":"), "kitchen.edl", site=site)[0][2] == pytest.approx(1802 * 1001 / 30000)


def test_an_edl_that_names_no_video_here_asks_for_one() -> None:
    with pytest.raises(InputError, match="an EDL does not name its video, so name the video"):
        read(RESOLVE, "Timeline 1.edl")
    with pytest.raises(InputError, match=r"a.edl: has no markers"):
        read("TITLE: x\n\n001  AX V C 00:00:00:00 00:00:01:00 01:00:00:00 01:00:01:00\n", "a.edl")


def test_subtitles_are_of_the_video_whose_name_the_file_has() -> None:
    srt = "1\n00:00:01,000 --> 00:00:03,000\n<i>a door</i>\nopens\n\n2\n00:00:04,000 --> 00:00:04,040\na cat\n"
    expected = [("kitchen", "a door opens", 2.0, (1.0, 3.0)), ("kitchen", "a cat", 4.0, None)]
    assert found(srt, "kitchen.en.srt") == expected
    assert found(srt.replace("\n", "\r\n"), "x.srt", video="kitchen") == expected
    cue = "id\n00:01.000 --> 00:03.000 align:start\n<v Bob>a &lt;door&gt;\n"
    vtt = f"WEBVTT - a title\n\nNOTE a --> b\n\nSTYLE\n::cue {{}}\n\n{cue}"
    assert found(vtt, "films/kitchen.vtt") == [("kitchen", "a <door>", 2.0, (1.0, 3.0))]


@pytest.mark.parametrize(
    "table",
    [
        "video,start,end,sentence\nkitchen,1,3,a door opens\n",
        "File;Begin;End;Caption\nkitchen.mp4;0:01;0:03;a door opens\n",
        "path\tstart_time\tend_time\tdescription\nC:\\films\\kitchen.mp4\t00:00:01.000\t00:00:03,000\ta door opens\n",
        '\ufeff"video","start","end","text"\r\n"kitchen","1.0","3.0","a door\r\nopens"\r\n',
    ],
)
def test_tables_name_their_columns_as_they_like(table: str) -> None:
    assert found(table) == [("kitchen", "a door opens", 2.0, (1.0, 3.0))]


def test_a_table_may_have_glances_and_fingerprints() -> None:
    table = "video,glance,sentence,fingerprint\nrenamed,1.5,a cat,1-0123456789abcdef-0123456789abcdef\n"
    assert found(table) == [("kitchen", "a cat", 1.5, None)]


def test_good_rows_are_taken_and_bad_ones_are_listed() -> None:
    table = (
        "video,start,end,sentence\nkitchen,1,3,a\nnowhere,1,3,b\nkitchen,5,2,c\nkitchen,soon,2,d\nkitchen,1,2,\n"
        "kitchen,,,e\nkitchen,90,95,f\nkitchen,4,6,g\n"
    )
    annotations, refused = read(table)
    assert [a.sentence for a in annotations] == ["a", "g"]
    assert [one.row for one in refused] == [3, 4, 5, 6, 7, 8]
    reasons = [one.reason for one in refused]
    expected = ["unknown video 'nowhere'", "before it starts", "no time", "empty sentence", "has no time", "outside"]
    for reason, said in zip(reasons, expected, strict=True):
        assert said in reason


# --- which video ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "video"),
    [
        ("monday", "kitchen/monday"),
        ("kitchen/monday.mp4", "kitchen/monday"),
        ("/home/ada/films/kitchen/monday.mp4", "kitchen/monday"),
        ("C:\\films\\kitchen\\monday.mp4", "kitchen/monday"),
        ("file:///films/kitchen/monday.mp4", "kitchen/monday"),
        ("https://x.org/films/a%20b.webm?v=2", "a b"),
        ("a.mp4", "a.mp4"),
        ("cafe\u0301.mkv", "caf\u00e9"),
        ("../../kitchen/monday", "kitchen/monday"),
    ],
)
def test_a_video_is_found_by_its_name_or_a_part_of_its_path(reference: str, video: str) -> None:
    assert (
        Names(["kitchen/monday", "roof/tuesday", "hall/tuesday", "a b", "a.mp4", "caf\u00e9"]).find([reference])
        == video
    )


def test_a_name_of_several_videos_is_no_name() -> None:
    names = Names(["roof/tuesday", "hall/tuesday"])
    with pytest.raises(ValueError, match="which may be any of hall/tuesday, roof/tuesday"):
        names.find(["tuesday.mp4"])
    assert names.find(["x/roof/tuesday.mp4"]) == "roof/tuesday"
    with pytest.raises(ValueError, match="unknown video 'http://"):
        names.find(["http://[broken"])


# --- hostile files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"\x00\x01\x02",
        b"\x89PNG\r\n\x1a\n",
        b"PK\x03\x04rest",
        b"{}",
        b'{"a": 1}',
        b'[{"a": 1}',
        b"[" * 100_000,
        b"<a/>",
        b"<html><body>hello, world</body></html>",
        b"<annotations",
        b'<!DOCTYPE x [<!ENTITY a "b">]><annotations>&a;</annotations>',
        b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotations>&a;</annotations>',
        b'<!DOCTYPE annotations SYSTEM "http://x.org/a.dtd"><annotations/>',
        b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]><annotations>&b;&b;</annotations>',
        b"a,b,c\n1,2,3\n",
        b'video,start,sentence\nkitchen,1,"open\n',
        b'{"_via_img_metadata": {}}',
        b"caf\xe9 --> x",
    ],
)
def test_what_holds_no_labels_is_refused_in_one_line(content: bytes) -> None:
    with pytest.raises(InputError, match=r"^labels: ") as caught:
        read(content)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_wrong_format_says_which_are_read() -> None:
    with pytest.raises(InputError, match=r"CSV, SRT, WebVTT, ELAN .*Label Studio JSON, VIA 3 .*CVAT.*DaVinci"):
        read("hello there")


@pytest.mark.parametrize(
    "value",
    [
        [{"annotations": [None, 5, {"result": [None, {"value": 5}, {"value": {"ranges": [None, {"start": "x"}]}}]}]}],
        [{"annotations": [{"result": [{"value": {"ranges": [{"start": 1e300, "end": True}]}}]}], "data": 5}],
        [{"annotations": [{"result": [{"value": {"sequence": [{"frame": None}, 5], "framesCount": "x"}}]}]}],
        [{"annotations": [], "data": {"fps": "1/0"}}],
        VIA | {"metadata": {"1": {"z": "x"}, "2": None, "3": {"z": [1, 2, 3]}, "4": {"z": [1, "2"], "av": 5}}},
        VIA | {"metadata": {"1": {"vid": [], "z": [1, 2], "av": {"1": None}}}, "view": 5, "file": []},
        [5, None, ["kitchen"], ["kitchen", 60, None, "x", None]],
        [{"video": 5, "start": "x"}, {"start": True}, 7, {"text": "x"}],
    ],
)
def test_values_that_are_none_are_listed_or_passed_over(value: object) -> None:
    annotations, _ = read(json.dumps(value))
    assert annotations == []


def test_xml_may_be_nested_deeply_and_frames_be_huge() -> None:
    read("<annotations>" + "<a>" * 50_000 + "</a>" * 50_000 + "</annotations>")
    _, refused = read(
        CVAT.format(start="9" * 30, step="step=" + "9" * 9).replace('frame="25"', 'frame="' + "9" * 30 + '"')
    )
    assert refused
    assert read(EAF.format(origin='TIME_ORIGIN="' + "9" * 99 + '"', unaligned=""))[0]


def test_too_many_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cfmr.handover.labels.read.MOST_ROWS", 100)
    assert len(read("video,start,end,sentence\n" + "kitchen,1,2,a\n" * 100)[0]) == 100
    with pytest.raises(InputError, match="more than 100 rows; split it"):
        read("video,start,end,sentence\n" + "kitchen,1,2,a\n" * 101)
