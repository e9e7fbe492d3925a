import errno
import os
import shutil
import sys
import time
import zipfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from cfmr.errors import DiskFullError
from cfmr.server.api.videos import _receive
from cfmr.server.context import AppState
from cfmr.server.problems import Problem
from cfmr.server.settings import Settings
from cfmr.server.stores import jobs as jobs_module
from cfmr.server.stores.videos import arriving, clean_name
from tests.server.sites import opened, render


@pytest.fixture(autouse=True)
def _no_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Path(__file__).parents[1] / "fake_cfmr.py"
    monkeypatch.setattr(jobs_module, "COMMAND", (sys.executable, str(fake)))


@pytest.fixture
def clip(rendered: Path) -> bytes:
    return (rendered / "videos" / "kitchen.mp4").read_bytes()


def upload(client: TestClient, name: str, body: bytes) -> tuple[int, dict[str, object]]:
    answer = client.post("/api/videos", params={"name": name}, content=body)
    return answer.status_code, answer.json()


def ended(site: AppState) -> None:
    while any(not job.over for job in site.jobs.all()):
        time.sleep(0.02)


def imported(site: AppState, client: TestClient, folder: Path) -> dict[str, object]:
    """What came of importing a folder."""
    job = client.post("/api/videos/folder", json={"folder": str(folder)}).json()["id"]
    ended(site)
    result: dict[str, object] = client.get(f"/api/jobs/{job}").json()["result"]
    return result


@pytest.fixture
def another(tmp_path: Path) -> bytes:
    """A video that is not there yet."""
    return render(tmp_path / "another.mp4", (90, 20, 160), 1.0).read_bytes()


def test_an_uploaded_video_is_there_and_is_made_searchable(client: TestClient, site: AppState, another: bytes) -> None:
    status, answer = upload(client, "Holiday é.mp4", another)
    assert (status, answer["video"]) == (201, "Holiday é")
    assert client.get("/api/stream", params={"video": "Holiday é"}).content == another
    ended(site)
    text = client.get(f"/api/jobs/{site.jobs.all()[0].id}/log").json()["text"]
    assert "$ cfmr extract" in text
    assert list((site.settings.workspace / "arriving").iterdir()) == []


def test_a_second_video_of_a_name_does_not_replace_the_first(
    client: TestClient, site: AppState, another: bytes
) -> None:
    before = site.file("kitchen").read_bytes()
    assert upload(client, "Kitchen.mov", another)[1]["video"] == "Kitchen-2"
    assert site.file("kitchen").read_bytes() == before


def test_the_same_content_is_taken_in_once_whatever_its_name(settings: Settings, tmp_path: Path, clip: bytes) -> None:
    camera = tmp_path / "camera"
    render(camera / "one.mp4", (90, 20, 160), 1.0)
    (camera / "copy of kitchen.mp4").write_bytes(clip)
    with opened(replace(settings, folders=(tmp_path,))) as (site, client):
        before = set(site.library.files())
        answer = upload(client, "holiday.mp4", clip)[1]
        assert (answer["video"], answer["already"]) == ("kitchen", True)
        first = imported(site, client, camera)
        assert (first["added"], first["already"]) == (1, 1)
        again = imported(site, client, camera)
        assert (again["added"], again["already"]) == (0, 2)
        assert set(site.library.files()) == before | {"one"}
        ended(site)


def zip_bomb(path: Path) -> bytes:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros", b"\0" * (64 << 20))
    return path.read_bytes()


def test_what_is_no_video_is_refused_by_name_and_not_kept(client: TestClient, site: AppState, tmp_path: Path) -> None:
    secret = site.file("kitchen")
    hostile = {
        "setup.mp4": Path(sys.executable).resolve().read_bytes()[: 1 << 20],
        "bomb.mp4": zip_bomb(tmp_path / "bomb.zip"),
        "playlist.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{secret}\n#EXT-X-ENDLIST\n".encode(),
        "list.mkv": f"ffconcat version 1.0\nfile '{secret}'\n".encode(),
        "empty.mp4": b"",
        "page.webm": b"<html><script>alert(1)</script></html>",
        "picture.mp4": b"\x89PNG\r\n\x1a\n" + b"\0" * 100,
    }
    before = site.library.files()
    for name, body in hostile.items():
        status, answer = upload(client, name, body)
        assert (status, str(answer["detail"]).startswith(f"{name}: ")) == (415, True), answer
    site.library.refresh()
    assert site.library.files() == before
    assert list((site.settings.workspace / "arriving").iterdir()) == []
    assert site.jobs.all() == []


@pytest.mark.parametrize("name", ["script.sh", "video.mp4.exe", ".mp4", "", "noending", "../../.mp4"])
def test_a_name_that_is_no_videos_is_refused_before_anything_is_read(client: TestClient, name: str) -> None:
    status, _ = upload(client, name, b"x" * 100)
    assert status in (415, 422)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/cron.mp4", ("cron", ".mp4")),
        ("C:\\Users\\me\\clip.MOV", ("clip", ".mov")),
        ("..hidden.mp4", ("hidden", ".mp4")),
        ("a\x00b\nc.mp4", ("abc", ".mp4")),
        ("x" * 500 + ".mp4", ("x" * 120, ".mp4")),
        ("é" * 300 + ".mp4", ("é" * 60, ".mp4")),
        ("<img src=x onerror=alert(1)>.mp4", ("<img src=x onerror=alert(1)>", ".mp4")),
        ("\u202egpm.mp4", ("gpm", ".mp4")),
    ],
)
def test_a_name_from_outside_is_one_harmless_component(name: str, kept: tuple[str, str]) -> None:
    assert clean_name(name) == kept


def test_a_name_of_nothing_is_refused() -> None:
    with pytest.raises(Problem):
        clean_name("\x00\x01.mp4")


def test_an_upload_beyond_the_limit_is_refused_while_it_comes(settings: Settings, clip: bytes) -> None:
    with opened(replace(settings, max_upload=1000)) as (site, client):
        assert upload(client, "a.mp4", clip)[0] == 413
        pieces = (clip[at : at + 500] for at in range(0, len(clip), 500))
        assert client.post("/api/videos", params={"name": "a.mp4"}, content=pieces).status_code == 413
        assert list((site.settings.workspace / "arriving").iterdir()) == []


def test_a_folder_is_taken_in_without_what_is_no_video(settings: Settings, tmp_path: Path) -> None:
    camera = tmp_path / "camera"
    render(camera / "day" / "one.mp4", seconds=1.0)
    (camera / "two.mp4").write_bytes(b"no video")
    (camera / "note.txt").write_text("x")
    with opened(replace(settings, folders=(tmp_path,))) as (site, client):
        assert client.post("/api/videos/folder", json={"folder": str(camera)}).status_code == 202
        ended(site)
        (job,) = [job for job in site.jobs.all() if job.kind == "import"]
        assert job.result == {"added": 1, "already": 0, "refused": {"two.mp4": "two.mp4: it is not a video"}}
        assert job.message == "1 video imported, 1 refused"
        assert site.path("one") is not None
        ended(site)


@pytest.mark.parametrize("folder", ["/etc", "/", "..", "\x00", "/no/such/folder", "~nobody", "camera/../.."])
def test_a_folder_elsewhere_is_refused(settings: Settings, tmp_path: Path, folder: str) -> None:
    (tmp_path / "camera").mkdir()
    with opened(replace(settings, folders=(tmp_path / "camera",))) as (_, client):
        answer = client.post("/api/videos/folder", json={"folder": folder})
        assert answer.status_code == 403


def test_a_link_in_a_folder_that_leads_out_of_it_is_left(settings: Settings, tmp_path: Path) -> None:
    camera = tmp_path / "camera"
    camera.mkdir()
    outside = render(tmp_path / "outside.mp4", seconds=1.0)
    (camera / "link.mp4").symlink_to(outside)
    with opened(replace(settings, folders=(camera,))) as (_, client):
        answer = client.post("/api/videos/folder", json={"folder": str(camera)})
        assert answer.status_code == 422
        assert "no video files" in answer.json()["detail"]


def test_folders_can_be_switched_off(settings: Settings) -> None:
    with opened(replace(settings, folders=())) as (_, client):
        assert client.post("/api/videos/folder", json={"folder": "/tmp"}).status_code == 403


class Body:
    """A request that brings 20 MB in pieces."""

    async def stream(self) -> AsyncIterator[bytes]:
        for _ in range(20):
            yield bytes(1 << 20)


def test_uploads_side_by_side_leave_the_reserve(
    site: AppState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = iter([200 << 20, 90 << 20, 65 << 20])  # another upload fills it meanwhile
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=next(free)))
    with pytest.raises(Problem, match="the disk is full") as caught:
        anyio.run(_receive, Body(), tmp_path, site)
    assert caught.value.status_code == 507
    assert not [path for path in tmp_path.iterdir() if "upload-" in path.name]


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 507, "the server's disk is full"),
        (DiskFullError("x.json: cannot be written"), 507, "x.json: cannot be written"),
        (PermissionError(errno.EACCES, "Permission denied"), 500, "cannot read or write one of its files"),
        (OperationalError("INSERT", {}, Exception("database or disk is full")), 507, "disk of the label database"),
    ],
)
def test_a_disk_that_cannot_be_written_is_said_to_be(
    client: TestClient, site: AppState, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, says: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise error

    label = {"video": "kitchen", "glance": 1.0, "sentence": "a red square moves"}
    with monkeypatch.context() as patch:
        patch.setattr(site.labels, "add", full)
        answer = client.post("/api/labels", json=label)
    assert answer.status_code == status
    assert says in answer.json()["detail"]
    assert client.post("/api/labels", json=label).status_code == 201


def test_what_broken_off_uploads_left_is_swept_at_the_start(settings: Settings) -> None:
    folder = settings.workspace / "arriving"
    folder.mkdir(parents=True)
    kept = arriving(folder).name
    for name in ("upload-old", "upload-new", kept, ".upload-1.4194305-1.partial"):  # no process has so high a number
        (folder / name).write_bytes(b"half")
    os.utime(folder / "upload-old", (1, 1))
    (settings.videos / ".copy.4194305-1.partial").write_bytes(b"half")
    with opened(settings):
        assert {path.name for path in folder.iterdir()} == {"upload-new", kept}
        assert not list(settings.videos.glob("*.partial"))


# --- the library ------------------------------------------------------------------------------------------------------


def test_videos_are_listed_filtered_sorted_and_counted(client: TestClient) -> None:
    client.post("/api/labels", json={"video": "street", "glance": 1.0, "sentence": "a square"})
    everything = client.get("/api/videos").json()
    assert (everything["total"], everything["seconds"]) == (3, 18.0)
    assert everything["states"] == {"searchable": 3}
    assert everything["present"]
    first = everything["videos"][0]
    assert (first["video"], first["folder"], first["state"]) == ("garden/dog <b>", "garden", "searchable")
    assert first["size"] > 0
    assert first["date"]
    by_labels = client.get("/api/videos", params={"sort": "labels", "descending": True, "limit": 1}).json()
    assert ([one["video"] for one in by_labels["videos"]], by_labels["total"]) == (["street"], 3)
    assert client.get("/api/videos", params={"folder": "garden"}).json()["total"] == 1
    assert client.get("/api/videos", params={"since": "2999-01-01"}).json()["total"] == 0
    assert client.get("/api/videos", params={"until": "2999-01-01"}).json()["total"] == 3
    assert client.get("/api/videos", params={"state": ["damaged", "gone"]}).json()["total"] == 0
    assert client.get("/api/videos/folders").json() == [{"folder": "garden", "videos": 1}]


@pytest.mark.parametrize("params", [{"state": "lost"}, {"sort": "colour"}, {"since": "yesterday"}, {"limit": 0}])
def test_a_list_that_cannot_be_is_refused(client: TestClient, params: dict[str, object]) -> None:
    assert client.get("/api/videos", params=params).status_code == 422


def test_a_deleted_video_loses_its_file_and_is_listed_as_removed(client: TestClient, site: AppState) -> None:
    path = site.file("kitchen")
    assert client.post("/api/videos/delete", json={"videos": ["kitchen"]}).status_code == 204
    assert not path.exists()
    assert "kitchen" not in {one["video"] for one in client.get("/api/videos").json()["videos"]}
    (removed,) = client.get("/api/videos", params={"state": "removed"}).json()["videos"]
    assert (removed["video"], removed["watchable"]) == ("kitchen", False)
    assert client.post("/api/videos/delete", json={"videos": ["kitchen"]}).status_code == 404


def test_what_is_added_again_is_found_again(client: TestClient, site: AppState, clip: bytes) -> None:
    client.post("/api/videos/remove", json={"videos": ["kitchen"]})
    assert site.removed() == {"kitchen"}
    assert upload(client, "holiday.mp4", clip)[1]["video"] == "kitchen"
    assert site.removed() == frozenset()


@pytest.mark.parametrize("action", ["remove", "reread", "delete"])
def test_a_video_that_is_not_there_cannot_be_changed(client: TestClient, site: AppState, action: str) -> None:
    answer = client.post(f"/api/videos/{action}", json={"videos": ["kitchen", "nowhere"]})
    assert (answer.status_code, answer.json()["detail"].startswith("nowhere: there is no such video")) == (404, True)
    assert site.file("kitchen").exists()
    assert site.removed() == frozenset()


def test_a_preview_says_what_would_come_in_and_takes_nothing(settings: Settings, tmp_path: Path, clip: bytes) -> None:
    camera = tmp_path / "camera"
    one = render(camera / "day" / "one.mp4", (90, 20, 160), 1.0)
    (camera / "two.mp4").write_bytes(one.read_bytes())
    (camera / "old kitchen.mp4").write_bytes(clip)
    with opened(replace(settings, folders=(tmp_path,))) as (site, client):
        before = set(site.library.files())
        answer = client.post("/api/videos/folder/preview", json={"folder": str(camera)}).json()
        assert (answer["new"], answer["already"], answer["size"]) == (1, 2, one.stat().st_size)
        assert {(file["file"], file["already"]) for file in answer["files"]} == {
            ("day/one.mp4", None),
            ("two.mp4", "one.mp4"),
            ("old kitchen.mp4", "kitchen"),
        }
        assert set(site.library.files()) == before
        assert site.jobs.all() == []
        assert client.post("/api/videos/folder/preview", json={"folder": "/etc"}).status_code == 403


def test_a_video_is_renamed_with_its_file_and_labels(client: TestClient, site: AppState) -> None:
    client.post("/api/labels", json={"video": "street", "glance": 1.0, "sentence": "a square"})
    assert client.post("/api/videos/rename", json={"video": "street", "name": "My road"}).status_code == 202
    ended(site)
    job = next(job for job in site.jobs.all() if job.kind == "rename")
    assert (job.state, job.result) == ("done", {"video": "My road"})
    assert site.file("My road").name == "My road.mp4"
    assert [label.annotation.video for label in site.labels.all()] == ["My road"]


@pytest.mark.parametrize(
    ("video", "name", "status"),
    [("street", "kitchen", 409), ("street", "..", 415), ("nowhere", "road", 404), ("street", "", 422)],
)
def test_a_name_that_cannot_be_is_refused(
    client: TestClient, site: AppState, video: str, name: str, status: int
) -> None:
    assert client.post("/api/videos/rename", json={"video": video, "name": name}).status_code == status
    assert site.jobs.all() == []


def test_a_sheet_is_asked_for_until_it_is_there(client: TestClient) -> None:
    asked = {"video": "kitchen", "interval": 0.5}
    answer = client.get("/api/sheet", params=asked)
    assert answer.status_code == 202
    assert (answer.content, answer.headers["cache-control"]) == (b"", "no-store")
    while (answer := client.get("/api/sheet", params=asked)).status_code == 202:
        time.sleep(0.05)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    assert "max-age" in answer.headers["cache-control"]
    assert client.get("/api/sheet", params=asked | {"interval": 0.3}).status_code == 422
    assert client.get("/api/sheet", params=asked | {"number": -1}).status_code == 422
    assert client.get("/api/sheet", params=asked | {"video": "nowhere"}).status_code == 404
    while (answer := client.get("/api/sheet", params=asked | {"number": 7})).status_code == 202:
        time.sleep(0.05)
    assert answer.status_code == 422
    assert answer.json()["detail"] == "kitchen.mp4: ends before 87.5 s"


def test_the_timing_of_frames_is_told(client: TestClient) -> None:
    assert client.get("/api/timing", params={"video": "kitchen"}).json() == {"fps": 12.0, "variable": False}
    assert client.get("/api/timing", params={"video": "nowhere"}).status_code == 404
