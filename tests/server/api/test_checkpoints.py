"""Checkpoints on the page: downloading one from a hub, reading the videos with it, and answering with it."""

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from cfmr import MomentRetriever
from cfmr.extractors.known_checkpoints import known_checkpoint
from cfmr.files.atomic import read_json
from cfmr.index.folder import zero_shot_source
from cfmr.index.workspace import need_workspace
from cfmr.server.api import checkpoints
from cfmr.server.app import create_app, open_state
from cfmr.server.settings import resolve_settings
from tests.server import sites
from tests.server.sites import render, served
from tests.support.backbones import save_clip, save_siglip
from tests.support.hub import Hub, serving

pytest.importorskip("huggingface_hub")

B_32 = known_checkpoint("clip-vit-b-32")
ADDRESS = f"/api/checkpoints/{B_32.name}"
until = partial(sites.until, seconds=200)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("published") / "clip")


@pytest.fixture
def hub(published: Path, tmp_path: Path) -> Iterator[Hub]:
    shutil.copytree(published, tmp_path / "repository")
    with serving(Hub(tmp_path / "repository", B_32.repository, B_32.revision)) as hub:
        yield hub


@pytest.fixture(autouse=True)
def _machine(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine where nothing was downloaded yet. The hub's address is read by the processes that jobs start."""
    for key, value in {"HF_HOME": tmp_path / "hf", "HF_ENDPOINT": hub.url, "XDG_DATA_HOME": tmp_path / "data"}.items():
        monkeypatch.setenv(key, str(value))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that was read with the built-in model; to be copied."""
    videos = tmp_path_factory.mktemp("read") / "videos"
    render(videos / "kitchen.mp4", seconds=2.0)
    render(videos / "street.mp4", (50, 70, 200), 2.0)
    render(videos / "roof.mp4", (90, 20, 100), 2.0)
    with served(videos) as (state, _):
        until(lambda: state.jobs.all() and all(job.over for job in state.jobs.all()))
    return videos


@pytest.fixture
def videos(read: Path, tmp_path: Path) -> Path:
    shutil.copytree(read, tmp_path / "videos")
    return tmp_path / "videos"


def done(client: TestClient, job: str) -> dict[str, Any]:
    """A job as it ended."""

    def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = client.get(f"/api/jobs/{job}").json()
        return None if found["state"] in ("queued", "running") else found

    found: dict[str, Any] = until(ended)
    return found


def fetched(client: TestClient) -> dict[str, Any]:
    answer = client.post(f"{ADDRESS}/fetch")
    assert answer.status_code == 202, answer.text
    return done(client, answer.json()["id"])


def listed(client: TestClient) -> dict[str, Any]:
    found = {one["name"]: one for one in client.get("/api/checkpoints").json()}
    one: dict[str, Any] = found[B_32.name]
    return one


def test_what_can_be_downloaded_is_listed_with_its_size_licence_and_languages(videos: Path) -> None:
    with served(videos) as (_, client):
        found = client.get("/api/checkpoints").json()
        names = ["clip-vit-b-32", "clip-vit-l-14", "siglip2-base", "mobileclip2-s0"]
        assert [one["name"] for one in found] == names
        assert all(one["size"] > 1e8 and one["licence"] and one["languages"] for one in found)
        assert not any(one["here"] or one["read"] or one["served"] for one in found)


def test_a_checkpoint_is_downloaded_read_with_and_used_and_can_be_left_again(hub: Hub, videos: Path) -> None:
    with served(videos) as (state, client):
        assert fetched(client)["message"] == "Downloaded"
        assert listed(client)["here"]
        assert client.post("/api/videos/remove", json={"videos": ["roof"]}).status_code == 204
        answer = client.post(f"{ADDRESS}/use").json()
        assert answer["served"] == "original"
        assert client.get("/api/search", params={"q": "a dog"}).status_code == 200  # the model before answers
        ended = done(client, answer["job"])
        assert (ended["state"], ended["result"]) == ("done", {"served": B_32.name, "videos": 2}), ended
        assert client.get("/api/status").json()["model"] == B_32.name
        assert [one["id"] for one in client.get("/api/models").json() if one["served"]] == [B_32.name]
        assert (listed(client)["read"], listed(client)["served"]) == (True, True)
        assert str(zero_shot_source(need_workspace(videos).served().index)).endswith(f"checkpoints/{B_32.name}")
        # the shell's and Python's answers are the page's, and what was removed stays away
        page = client.get("/api/search", params={"q": "the red dog runs"}).json()["moments"][0]
        python = MomentRetriever.load(videos).search("the red dog runs")[0]
        assert (python.video, round(python.start, 3)) == (page["video"], page["start"])
        assert {video.id for video in MomentRetriever.load(videos).videos()} == {"kitchen", "street"}
        # what comes in is read with it
        render(videos / "garden.mp4", (40, 160, 60), 2.0)
        client.post("/api/videos/index")
        until(lambda: client.get("/api/status").json()["indexed"] == 3)
        until(lambda: all(job.over for job in state.jobs.all()))
        # and the first model takes it in once it answers again
        assert client.post("/api/models/original/serve").json()["served"] == "original"
        client.post("/api/videos/index")
        until(lambda: client.get("/api/status").json()["indexed"] == 3)
        assert client.post(f"{ADDRESS}/use").json() == {"served": B_32.name, "job": None}
        assert client.get("/api/status").json()["indexed"] == 3
        # it can be deleted like any model that is not in use
        assert client.delete(f"/api/models/{B_32.name}").status_code == 409
        client.post("/api/models/original/serve")
        assert client.delete(f"/api/models/{B_32.name}").status_code == 204
        assert not (state.settings.workspace / "checkpoints" / B_32.name).exists()
        assert not listed(client)["read"]


def learned(client: TestClient) -> dict[str, Any]:
    answer = client.post("/api/learn", json={"serve": "always", "fits": 1})
    assert answer.status_code == 202, answer.text
    ended = done(client, answer.json()["id"])
    assert ended["state"] == "done", ended
    return {one["id"]: one for one in client.get("/api/models").json()}[ended["result"]["model"]]


def test_labels_are_learned_from_what_the_checkpoint_sees(hub: Hub, videos: Path) -> None:
    with served(videos) as (state, client):
        for second, (video, said) in enumerate([("kitchen", "a red room"), ("street", "a blue one"), ("roof", "dusk")]):
            label = {"video": video, "sentence": said, "glance": 0.2 + second / 4}
            assert client.post("/api/labels", json=label).status_code == 201
        assert learned(client)["basis"] is None
        fetched(client)
        done(client, client.post(f"{ADDRESS}/use").json()["job"])
        model = learned(client)
        assert (model["basis"], model["served"]) == (B_32.name, True)
        place = need_workspace(videos)
        served_model = place.served()
        assert served_model.features == place.of_checkpoint(B_32.name).features
        config = read_json(served_model.checkpoint / "config.json")
        assert config["train"]["prior_checkpoint"] == str(zero_shot_source(place.of_checkpoint(B_32.name).index))
        # what comes in is read by the checkpoint, and indexed by the model
        render(videos / "garden.mp4", (40, 160, 60), 2.0)
        client.post("/api/videos/index")
        until(lambda: client.get("/api/status").json()["indexed"] == 4)
        # learning again goes on from there; what it stands on cannot be deleted
        assert learned(client)["basis"] == B_32.name
        answer = client.delete(f"/api/models/{B_32.name}")
        assert (answer.status_code, "has learned from its features" in answer.json()["detail"]) == (409, True)
        # the first model answers, and learns, from the first features as ever
        client.post("/api/models/original/serve")
        until(lambda: all(job.over for job in state.jobs.all()))
        client.post("/api/models/original/serve")
        assert learned(client)["basis"] is None


def test_a_download_does_not_wait_for_other_work_and_can_be_cancelled(hub: Hub, videos: Path) -> None:
    hub.holds[B_32.weights] = 20_000
    with served(videos) as (state, client):
        job = client.post(f"{ADDRESS}/fetch").json()["id"]
        assert client.post(f"{ADDRESS}/fetch").json()["id"] == job
        assert hub.held.wait(100)
        assert listed(client)["fetching"] == job
        client.post("/api/videos/index")
        until(lambda: next(one.state for one in state.jobs.all() if one.kind == "add") == "done")
        assert client.post(f"/api/jobs/{job}/cancel").status_code == 200
        assert done(client, job)["state"] == "cancelled"
        assert not listed(client)["here"]
        hub.holds.clear()
        hub.release.set()
        assert fetched(client)["state"] == "done"
        assert listed(client)["here"]


def test_a_transfer_that_breaks_is_said_in_a_line_and_goes_on_at_the_next_try(hub: Hub, videos: Path) -> None:
    content = (hub.folder / B_32.weights).read_bytes()
    with served(videos) as (_, client):
        hub.breaks[B_32.weights] = [0] * 7
        ended = fetched(client)
        assert ended["state"] == "failed"
        assert "broke off" in ended["message"]
        blobs = next((Path(str(hub.folder.parent)) / "hf").rglob("blobs"))
        (blobs / f"{hub.sha256(B_32.weights)}.cfmr.incomplete").write_bytes(content[:30_000])
        assert listed(client)["arrived"] == 30_000
        hub.breaks.clear()
        hub.asked.clear()
        assert fetched(client)["state"] == "done"
        assert hub.fetched(B_32.weights) == ["bytes=30000-"]


def wrong(hub: Hub) -> None:
    hub.damaged.add(B_32.weights)


def page(hub: Hub) -> None:
    hub.pages.add(B_32.weights)


def other_kind(hub: Hub) -> None:
    shutil.rmtree(hub.folder)
    save_siglip(hub.folder)


@pytest.mark.parametrize(
    ("spoil", "said"), [(wrong, "not the checksum"), (page, "something else"), (other_kind, "of another kind")]
)
def test_a_wrong_download_is_refused_in_a_line(spoil: Callable[[Hub], None], said: str, hub: Hub, videos: Path) -> None:
    spoil(hub)
    with served(videos) as (_, client):
        ended = fetched(client)
        assert ended["state"] == "failed"
        assert said in ended["message"]
        assert "\n" not in ended["message"]
        assert not listed(client)["here"]
        assert client.get("/api/search", params={"q": "a dog"}).status_code == 200


def test_no_network_is_said_in_a_line(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with served(videos) as (_, client):
        ended = fetched(client)
        assert ended["state"] == "failed"
        assert "http://127.0.0.1:9 cannot be reached" in ended["message"]


def test_what_cannot_be_used_is_said(videos: Path, monkeypatch: pytest.MonkeyPatch, hub: Hub) -> None:
    with served(videos) as (_, client):
        assert client.post("/api/checkpoints/nosuch/fetch").status_code == 404
        answer = client.post(f"{ADDRESS}/use")
        assert (answer.status_code, "not downloaded yet" in answer.json()["detail"]) == (409, True)
        fetched(client)
        monkeypatch.setattr(type(B_32), "missing", lambda _: ["torch", "transformers"])
        answer = client.post(f"{ADDRESS}/use")
        assert answer.status_code == 409
        assert "needs torch and transformers; pip install" in answer.json()["detail"]
        monkeypatch.setattr(checkpoints, "is_available", lambda: False)
        answer = client.post(f"{ADDRESS}/fetch")
        assert (answer.status_code, "huggingface_hub" in answer.json()["detail"]) == (409, True)


def test_a_server_of_an_index_offers_none(videos: Path, tmp_path: Path) -> None:
    index = shutil.copytree(videos / ".cfmr" / "index", tmp_path / "index")
    state = open_state(resolve_settings(index, videos, workspace=tmp_path / "page"))
    with TestClient(create_app(state), base_url="http://127.0.0.1:8000") as client:
        assert client.get("/api/checkpoints").json() == []
        assert client.post(f"{ADDRESS}/fetch").status_code == 409
