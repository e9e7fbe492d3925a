"""An index made with CLIP, served: what comes in is read by the checkpoint that the index names."""

import time
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from cfmr.cli import main
from cfmr.server.app import create_app, open_state
from cfmr.server.settings import resolve_settings
from tests.server.sites import render
from tests.support.backbones import save_clip


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr("sys.argv", ["cfmr", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0


def test_the_page_searches_and_takes_in_videos_without_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cfmr.index.build.CHECKED_SENTENCES", 40)
    clip, videos, features = save_clip(tmp_path / "clip"), tmp_path / "videos", tmp_path / "features.hdf5"
    render(videos / "kitchen.mp4")
    run(monkeypatch, "extract", videos, "--extractor", "clip", "--weights", clip, "--out", features)
    run(monkeypatch, "index", "--zero-shot", clip, "--features", features, "--out", tmp_path / "index")
    site = open_state(resolve_settings(tmp_path / "index", videos, workspace=tmp_path / "page"))
    with TestClient(create_app(site), base_url="http://127.0.0.1:8000") as client:
        found = client.get("/api/search", params={"q": "the red dog runs"}).json()
        assert found["moments"][0]["video"] == "kitchen"
        body = render(tmp_path / "street.mp4", (50, 70, 200)).read_bytes()
        assert client.post("/api/videos", params={"name": "street.mp4"}, content=body).status_code == 201
        while any(not job.over for job in site.jobs.all()):
            time.sleep(0.05)
        log = client.get(f"/api/jobs/{site.jobs.all()[0].id}/log").json()["text"]
        assert site.jobs.all()[0].state == "done", log
        found = client.get("/api/search", params={"q": "the red dog runs", "top": 50}).json()
        assert {moment["video"] for moment in found["moments"]} == {"kitchen", "street"}
        assert client.get("/api/curve", params={"q": "the red dog", "video": "street"}).status_code == 200
