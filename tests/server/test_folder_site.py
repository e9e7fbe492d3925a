"""`cfmr serve VIDEOS`: a server that begins with a folder and nothing else."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from cfmr import MomentRetriever
from cfmr.cli import main
from cfmr.errors import InputError
from cfmr.index.workspace import Workspace, write_workspace
from cfmr.server.app import create_app, open_state
from cfmr.server.context import AppState
from cfmr.server.settings import resolve_settings
from cfmr.server.stores import videos as library
from cfmr.server.stores.videos import Library
from cfmr.server.work import watch
from cfmr.server.work.watch import FolderWatch
from tests.server.sites import render, served, until
from tests.support.interrupts import heeding_interrupts


def at_rest(state: AppState) -> bool:
    jobs = state.jobs.all()
    return bool(jobs) and all(job.over for job in jobs)


def searchable(client: TestClient) -> set[str]:
    found = client.get("/api/videos").json()["videos"]
    return {video["video"] for video in found if video["indexed"]}


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that was served until all of it was read; to be copied."""
    videos = tmp_path_factory.mktemp("served") / "videos"
    render(videos / "kitchen.mp4", seconds=2.0)
    render(videos / "garden/dog.mp4", (40, 160, 60), 2.0)
    (videos / "broken.mp4").write_bytes(b"no film")
    with served(videos) as (state, client):
        assert client.get("/api/status").json()["reads"]
        assert client.get("/api/search", params={"q": "a dog"}).status_code in (200, 409)
        until(lambda: at_rest(state))
        (job,) = state.jobs.all()
        assert (job.state, job.message) == ("done", "2 videos can be searched")
    return videos


@pytest.fixture
def videos(read: Path, tmp_path: Path) -> Path:
    shutil.copytree(read, tmp_path / "videos")
    return tmp_path / "videos"


def test_a_folder_is_searched_without_a_label_and_a_damaged_file_is_named(videos: Path) -> None:
    with served(videos) as (_, client):
        status = client.get("/api/status").json()
        assert (status["ready"], status["indexed"], status["videos"]) == (True, 2, 3)
        assert (status["folder"], status["reachable"]) == (str(videos), True)
        assert [one["video"] for one in status["unread"]] == ["broken"]
        assert "cannot be read as a video" in status["unread"][0]["reason"]
        found = client.get("/api/search", params={"q": "a dog"}).json()
        assert {moment["video"] for moment in found["moments"]} == {"kitchen", "garden/dog"}


def test_a_second_start_reads_nothing_and_a_new_file_is_taken_in(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(videos) as (state, _):
        FolderWatch(state).look()
        assert len(state.jobs.all()) == 1  # the one that came along
    monkeypatch.setattr(watch, "PAUSE", 0.1)
    with served(videos) as (state, client):
        render(videos / "street.mp4", (50, 70, 200), 2.0)
        until(lambda: "street" in searchable(client))
        until(lambda: at_rest(state))
        log = client.get(f"/api/jobs/{state.jobs.all()[0].id}/log").json()["text"]
        assert "1 video extracted, 2 were there already" in log


def test_a_video_that_is_removed_is_found_nowhere_until_it_is_restored(videos: Path) -> None:
    with served(videos) as (_, client):
        assert client.post("/api/videos/remove", json={"videos": ["nosuch"]}).status_code == 404
        assert client.post("/api/videos/remove", json={"videos": ["kitchen"]}).status_code == 204
        found = client.get("/api/search", params={"q": "a dog"}).json()["moments"]
        assert {moment["video"] for moment in found} == {"garden/dog"}
        assert [video.id for video in MomentRetriever.load(videos).videos()] == ["garden/dog"]
        assert "kitchen" not in {one["video"] for one in client.get("/api/videos").json()["videos"]}
        assert [one["video"] for one in client.get("/api/videos", params={"state": "removed"}).json()["videos"]] == [
            "kitchen"
        ]
        assert client.post("/api/videos/restore", json={"videos": ["kitchen"]}).status_code == 202
        until(lambda: "kitchen" in searchable(client))


def test_what_the_shell_removes_the_page_does_not_find(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(videos) as (_, client):
        monkeypatch.setattr("sys.argv", ["cfmr", "index", "--in", str(videos), "--remove", "kitchen"])
        with pytest.raises(SystemExit):
            main()
        until(lambda: searchable(client) == {"garden/dog"}, 5)


def test_an_empty_folder_is_served_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    with served(tmp_path / "videos") as (state, client):
        status = client.get("/api/status").json()
        assert (status["ready"], status["videos"], status["reachable"]) == (False, 0, True)
        answer = client.get("/api/search", params={"q": "a dog"})
        assert (answer.status_code, answer.json()["detail"]) == (
            409,
            "nothing can be searched yet: no video has been read",
        )
        client.post("/api/videos/index")
        until(lambda: at_rest(state))
        assert state.jobs.all()[0].message == f"No videos in {tmp_path / 'videos'} yet"


def test_a_folder_that_goes_away_is_said_and_the_rest_goes_on(videos: Path, tmp_path: Path) -> None:
    (videos / ".cfmr").rename(tmp_path / "work")
    (tmp_path / "work" / "workspace.json").unlink()
    write_workspace(Workspace(tmp_path / "work", videos, tmp_path / "work/index", tmp_path / "work/features.hdf5"))
    state = open_state(resolve_settings(None, videos, workspace=tmp_path / "work"))
    with TestClient(create_app(state), base_url="http://127.0.0.1:8000") as client:
        videos.rename(tmp_path / "unplugged")
        assert client.get("/api/status").json()["reachable"] is False
        found = client.get("/api/search", params={"q": "a dog"}).json()["moments"]
        assert [moment["watchable"] for moment in found] == [False] * len(found) != []
        assert client.get("/api/stream", params={"video": "kitchen"}).status_code == 404
        client.post("/api/videos/index")
        until(lambda: at_rest(state))
        assert state.jobs.all()[0].message.endswith("the folder cannot be reached; its videos are read when it is back")
        (tmp_path / "unplugged").rename(videos)
        assert client.get("/api/status").json()["reachable"] is True
        assert client.get("/api/stream", params={"video": "kitchen"}).status_code == 200


def test_a_share_that_hangs_holds_up_no_search(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "PATIENCE", 0.2)
    back, asked = threading.Event(), []

    def hang(folder: Path) -> None:
        asked.append(folder)
        back.wait(60)

    with served(videos) as (state, client):
        until(lambda: at_rest(state) or not state.jobs.all())
        monkeypatch.setattr(library, "ask_disk", hang)
        until(lambda: asked and not state.library.answers())  # not an earlier question that is slow
        assert client.get("/api/status").json()["reachable"] is False
        found = client.get("/api/search", params={"q": "a dog"}).json()["moments"]
        assert {moment["video"] for moment in found} == {"kitchen", "garden/dog"}
        assert client.get("/api/stream", params={"video": "kitchen"}).status_code == 404
        assert client.get("/api/videos").json()["total"] == 3
        client.post("/api/videos/index")
        until(lambda: at_rest(state))
        assert state.jobs.all()[0].message.endswith("the folder cannot be reached; its videos are read when it is back")
        assert len(asked) == 1  # however many ask
        back.set()
        until(lambda: client.get("/api/status").json()["reachable"])
        assert client.get("/api/stream", params={"video": "kitchen"}).status_code == 200


def test_labels_of_videos_that_are_gone_do_not_hold_up_learning(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(videos) as (state, client):
        for number in range(6):
            for video in ("kitchen", "garden/dog"):
                label = {"video": video, "glance": 1.0, "sentence": f"a thing number {number}"}
                assert client.post("/api/labels", json=label).status_code == 201
        (videos / "garden/dog.mp4").unlink()
        (videos / ".cfmr" / "features.hdf5").unlink()
        job = client.post("/api/learn", json={"serve": "never"}).json()["id"]
        until(lambda: client.get(f"/api/jobs/{job}").json()["state"] not in ("queued", "running"))
        assert client.get(f"/api/jobs/{job}").json()["state"] == "done", state.jobs.log(job)
        learned = MomentRetriever.load(videos / ".cfmr" / "models" / "0001" / "index")
        assert [video.id for video in learned.videos()] == ["kitchen"]
        assert client.post("/api/models/0001/serve").json()["served"] == "0001"
        assert [video.id for video in MomentRetriever.load(videos).videos()] == ["kitchen"]
        truth = videos / ".cfmr" / "models" / "0001" / "all.json"
        command = ["cfmr", "evaluate", "--in", str(videos), "--truth", str(truth)]
        monkeypatch.setattr("sys.argv", command)
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code in (0, None)


def test_a_listing_that_takes_long_keeps_nobody_waiting(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library(videos)
    assert set(library.files()) == {"kitchen", "garden/dog", "broken"}
    library._took, library._read = 1.0, -1e9
    calls: list[float] = []

    def slow(paths: list[Path]) -> dict[str, Path]:
        calls.append(time.monotonic())
        time.sleep(0.3)
        return {}

    monkeypatch.setattr("cfmr.server.stores.videos.find_videos", slow)
    assert set(library.files()) == set(library.files()) == {"kitchen", "garden/dog", "broken"}
    until(lambda: library.files() == {}, 5)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["nosuch"], "nosuch: no such folder"),
        (["film.mp4"], "film.mp4: is a file; name the folder it lies in"),
        ([], "name the folder with your videos: cfmr serve VIDEOS"),
        ([".", "--videos", "."], "one server has one folder of videos"),
        (["taken"], "workspace.json: not a workspace of cfmr"),
    ],
)
def test_what_cannot_be_served_is_said_in_a_line(
    options: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "film.mp4").touch()
    (tmp_path / "taken" / ".cfmr").mkdir(parents=True)
    (tmp_path / "taken" / ".cfmr" / "workspace.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["cfmr", "serve", *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_an_index_that_is_named_does_not_take_a_folders_workspace(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="choose another place with --workspace"):
        resolve_settings(tmp_path / "index", videos, workspace=videos / ".cfmr")


def test_ctrl_c_while_reading_ends_all_and_the_next_start_goes_on(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    for number in range(3):
        render(videos / f"{number}.mp4", (number * 80, 90, 90), 4.0)
    command = [sys.executable, "-m", "cfmr", "serve", str(videos), "--port", "0", "--no-browser"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert re.match(r"cfmr: http://\S+  \(Ctrl\+C ends it\)", process.stdout.readline())
    parts = videos / ".cfmr" / "features.hdf5.parts"
    until(lambda: list(parts.glob("*.npz")) or (videos / ".cfmr" / "features.hdf5").exists())
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "cfmr: stopped\n")
    with served(videos) as (state, client):
        until(lambda: searchable(client) == {"0", "1", "2"})
        until(lambda: at_rest(state))


def test_a_port_in_use_is_said_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "videos").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        monkeypatch.setattr("sys.argv", ["cfmr", "serve", str(tmp_path / "videos"), "--port", port])
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith("choose another --port, or 0 for a free one\n")


def test_the_browser_is_opened_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    note = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {note}\n')
    browser.chmod(0o755)
    pty = pytest.importorskip("pty")
    main_end, other_end = pty.openpty()
    command = [sys.executable, "-m", "cfmr", "serve", str(tmp_path / "videos"), "--port", "0"]
    process = subprocess.Popen(
        command,
        stdout=other_end,
        stderr=other_end,
        env=os.environ | {"BROWSER": f"{browser} %s"},
        preexec_fn=heeding_interrupts,  # it is interrupted while it starts
    )
    try:
        until(lambda: note.exists() and note.read_text(), 200)
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+\n", note.read_text())
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        os.close(other_end)
        os.close(main_end)
