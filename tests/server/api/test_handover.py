"""Moments for other programs, over HTTP."""

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import av
import opentimelineio as otio
import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from cfmr.server.context import AppState

MOMENTS = [
    {"video": "kitchen", "start": 1.0, "end": 3.0, "text": "a red square", "score": 1.5},
    {"video": "garden/dog <b>", "start": 2.0, "end": 4.0, "text": "a green square"},
    {"video": "kitchen", "start": 4.0, "end": 5.0, "text": "it stops"},
]


def export(client: TestClient, form: str, moments: Any = MOMENTS, **more: object) -> Response:
    return client.post("/api/export", json={"format": form, "moments": moments, **more})


@pytest.mark.parametrize(
    ("form", "name", "begins"),
    [
        ("csv", "moments.csv", "video,start,end,text,score"),
        ("json", "moments.json", "["),
        ("m3u", "moments.m3u8", "#EXTM3U\n"),
        ("edl", "moments.edl", "TITLE: cfmr\nFCM: NON-DROP FRAME\n"),
        ("fcpxml", "moments.fcpxml", '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>'),
        ("otio", "moments.otio", "{"),
    ],
)
def test_moments_are_a_file_of_any_format(client: TestClient, form: str, name: str, begins: str) -> None:
    answer = export(client, form)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
    assert answer.text.startswith(begins)


@pytest.mark.parametrize("form", ["srt", "vtt", "chapters", "markers"])
def test_what_is_of_one_video_is_a_file_each_in_an_archive(client: TestClient, form: str) -> None:
    answer = export(client, form)
    assert answer.headers["content-type"] == "application/zip"
    names = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
    assert len(names) == 2
    alone = export(client, form, MOMENTS[:1])
    assert alone.headers["content-type"].split(";")[0] != "application/zip"


def test_an_edl_counts_in_frames_of_the_video(client: TestClient) -> None:
    text = export(client, "edl").text  # the films have 12 a second
    track = otio.adapters.read_from_string(text, "cmx_3600", rate=24).video_tracks()[0]
    spans = [(c.source_range.start_time.to_seconds(), c.source_range.duration.to_seconds()) for c in track.find_clips()]
    assert spans == [(1.0, 2.0), (2.0, 2.0), (4.0, 1.0)]
    assert "has 12 frames a second" in text
    assert "FCM: DROP FRAME" in export(client, "edl", fps="29.97").text
    assert "FCM: NON-DROP FRAME" in export(client, "edl", fps="29.97", drop=False).text


def test_all_clips_come_in_one_archive(client: TestClient, tmp_path: Path) -> None:
    answer = export(client, "clips")
    assert answer.status_code == 200
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert [name[:3] for name in names] == ["01-", "02-", "03-"]
        assert not any(re.search(r"[/<>\\]", name) for name in names)
        (tmp_path / "a.mp4").write_bytes(archive.read(names[0]))
    with av.open(str(tmp_path / "a.mp4")) as clip:
        assert float(clip.duration or 0) / av.time_base == pytest.approx(2.0, abs=0.1)


def test_a_clip_that_cannot_be_cut_is_told_and_the_others_are_there(client: TestClient, site: AppState) -> None:
    path = site.file("kitchen")
    path.unlink()
    path.write_bytes(b"no film any more")
    answer = export(client, "clips", [MOMENTS[1], MOMENTS[0] | {"end": 2.0}])
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert len(archive.namelist()) == 2
        assert archive.read("problems.txt").startswith(b"02-kitchen-1.0-2.0.mp4: ")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "doc"}, "format"),
        ({"moments": []}, "at least 1"),
        ({"moments": [MOMENTS[0]] * 1001}, "at most 1000"),
        ({"moments": [MOMENTS[0] | {"video": "nowhere"}]}, "no such video"),
        ({"moments": [MOMENTS[0] | {"start": 5.0, "end": 4.0}]}, "moment 1 is no stretch of kitchen"),
        ({"moments": [MOMENTS[0] | {"start": 50.0, "end": 60.0}]}, "moment 1 is no stretch of kitchen"),
        ({"fps": "fast"}, "no frame rate"),
        ({"format": "youtube"}, "YouTube asks for 3 chapters"),
        ({"format": "clips", "moments": [MOMENTS[0]] * 101}, "an archive holds 100 clips"),
    ],
)
def test_an_export_that_cannot_be_is_refused(client: TestClient, change: dict[str, Any], said: str) -> None:
    answer = client.post("/api/export", json={"format": "edl", "moments": MOMENTS} | change)
    assert answer.status_code in (404, 422)
    assert said in answer.json()["detail"]
