"""Killed at any change of the disk, a command leaves a state from which the same command goes on."""

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from cfmr.config import load_config
from cfmr.data.annotations import Annotation
from cfmr.data.features import FeatureStore, FeatureWriter
from cfmr.data.pack import pack
from cfmr.data.prepare import prepare
from cfmr.data.vocabulary import Vocabulary
from cfmr.files.atomic import present_directory, read_json, write_json
from cfmr.models.checkpoint import Checkpoint
from cfmr.server.app import create_app, open_state
from cfmr.server.settings import resolve_settings
from cfmr.server.stores.jobs import Jobs
from cfmr.server.stores.labels import LabelStore
from tests.support.killing import killed_everywhere
from tests.support.searchable import dense_config
from tests.support.worlds import WORD_DIM, World, make_world


def features(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((6, 4)).astype(np.float32)


def test_a_json_file_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    def check(folder: Path) -> None:
        assert read_json(folder / "a.json") in (1, 2)

    kills = killed_everywhere(
        lambda folder: write_json(folder / "a.json", 1),
        lambda folder: write_json(folder / "a.json", 2),
        check,
        tmp_path,
    )
    assert kills >= 2


def test_a_checkpoint_is_the_old_or_the_new_one(tmp_path: Path, world: World) -> None:
    config = load_config(world.config)
    vocabulary = Vocabulary(["dog"], np.ones((2, WORD_DIM), np.float32))

    def save(folder: Path, epoch: int) -> None:
        weights = {"w": np.full(3, epoch, np.float32)}
        Checkpoint(config, vocabulary, weights, {"epoch": epoch}, dict(weights)).save(folder / "last")

    def check(folder: Path) -> None:
        found = Checkpoint.load(folder / "last")
        assert found.parameters["w"].tolist() == [found.state["epoch"]] * 3

    (tmp_path / "kills").mkdir()
    kills = killed_everywhere(lambda folder: save(folder, 1), lambda folder: save(folder, 2), check, tmp_path / "kills")
    assert kills >= 10


def test_an_extraction_loses_nothing_finished(tmp_path: Path) -> None:
    def extract(folder: Path) -> None:
        with FeatureWriter(folder / "f.hdf5", {"extractor": "x"}) as writer:
            for number, video in enumerate("abc"):
                if video not in writer:
                    writer.add(video, features(number), duration=3.0)

    def start(folder: Path) -> None:
        with FeatureWriter(folder / "f.hdf5", {"extractor": "x"}) as writer:
            writer.add("a", features(0), duration=3.0)

    def check(folder: Path) -> None:
        with FeatureStore(folder / "f.hdf5") as store:
            assert store.videos in (["a"], ["a", "b", "c"])
            for video in store.videos:
                np.testing.assert_array_equal(store.read(video), features("abc".index(video)))

    assert killed_everywhere(start, extract, check, tmp_path) >= 8


def test_packing_goes_on(tmp_path: Path) -> None:
    def start(folder: Path) -> None:
        (folder / "arrays").mkdir()
        for number in range(3):
            np.save(folder / "arrays" / f"{number}.npy", features(number))

    def check(folder: Path) -> None:
        if (folder / "f.hdf5").exists():
            with FeatureStore(folder / "f.hdf5") as store:
                assert store.videos == ["0", "1", "2"]

    work = lambda folder: pack(folder / "arrays", folder / "f.hdf5")  # noqa: E731
    assert killed_everywhere(start, work, check, tmp_path) >= 8


def test_preparing_writes_whole_files(tmp_path: Path) -> None:
    video = {"duration": 82.7, "timestamps": [[0.8, 19.8]], "sentences": ["a man runs"]}

    def start(folder: Path) -> None:
        (folder / "raw").mkdir()
        for name in ("train", "val_1"):
            (folder / "raw" / f"{name}.json").write_text(json.dumps({"v_1": video}))

    def check(folder: Path) -> None:
        for path in (folder / "out").glob("*.json"):
            assert len(read_json(path)) == 1

    work = lambda folder: prepare("activitynet", folder / "raw", folder / "out")  # noqa: E731
    assert killed_everywhere(start, work, check, tmp_path) >= 4


ANN = Annotation("a", 10.0, "a dog runs", 2.0, None)


@contextlib.contextmanager
def labels(folder: Path) -> Iterator[LabelStore]:
    store = LabelStore(f"sqlite:///{folder / 'labels.sqlite'}")
    yield store
    store.close()


def test_a_label_that_was_answered_is_kept(tmp_path: Path) -> None:
    imported = [replace(ANN, sentence=f"a cat sits {number}") for number in range(3)]

    def start(folder: Path) -> None:
        with labels(folder) as store:
            store.add(ANN, "Ann", "1")

    def work(folder: Path) -> None:
        with labels(folder) as store:
            store.add(replace(ANN, sentence="a dog sits"), "Bob", "2")
            (folder / "answered").touch()
            if store.get("1").revision == 1:
                store.change("1", 1, "Bob", glance=3.0)
            store.take_in(imported, "Ann")

    def check(folder: Path) -> None:
        with labels(folder) as store:
            first, *others = [store.get("1"), *(label for label in store.all() if label.id != "1")]
            assert (first.revision, first.annotation.glance) in ((1, 2.0), (2, 3.0))
            assert len(others) in ((0, 1) if not (folder / "answered").exists() else (1, 4))
            assert len(store.history("1")) == first.revision

    assert killed_everywhere(start, work, check, tmp_path, step=3) >= 8


def test_an_upload_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cfmr.server.api.videos.check_video", lambda *_: None)
    content = np.random.default_rng(0).bytes(3 << 20)

    def start(folder: Path) -> None:
        (folder / "videos").mkdir()
        (folder / "videos" / "holiday.mp4").write_bytes(b"another")

    def work(folder: Path) -> None:
        state = open_state(resolve_settings(folder / "index", folder / "videos", workspace=folder / "page"))
        client = TestClient(create_app(state), "http://127.0.0.1:8000")  # not started: no job runs
        answer = client.post("/api/videos", params={"name": "holiday.mp4"}, content=content)
        assert answer.status_code == 201, answer.text
        assert answer.json()["video"] == "holiday-2"

    def check(folder: Path) -> None:
        found = {path.name: path.read_bytes() for path in folder.glob("videos/[!.]*")}
        assert found.pop("holiday.mp4") == b"another"
        assert list(found.values()) in ([], [content])
        assert list(found) in ([], ["holiday-2.mp4"])

    assert killed_everywhere(start, work, check, tmp_path, step=3) >= 8


@pytest.mark.parametrize("kind", ["dense", "published"])
def test_a_training_goes_on_and_ends_as_if_never_killed(tmp_path: Path, kind: str) -> None:
    world = make_world(tmp_path / "world", videos=12, epochs=2)
    if kind == "dense":
        world.config.write_text(json.dumps(dense_config(world)))
        module = "cfmr.training.dense"
    else:
        torch = pytest.importorskip("torch")
        torch.set_num_threads(1)
        module = "cfmr.training.pytorch"
    training = import_module(module)

    def work(folder: Path) -> dict[str, Any]:
        run = folder / "run"
        there = (run / "config.json").exists()
        return training.train(load_config(world.config), run, select="last", resume=run if there else None)

    whole = work(tmp_path)

    def check(folder: Path) -> None:
        run = folder / "run"
        if present_directory(run / "last").exists():
            Checkpoint.load(run / "last")
        if (run / "metrics.json").exists():
            assert read_json(run / "metrics.json") == whole

    (tmp_path / "kills").mkdir()
    assert killed_everywhere(lambda _: None, work, check, tmp_path / "kills", step=29) >= 5


def test_a_job_that_was_answered_is_known_and_ends(tmp_path: Path) -> None:
    def done_by(jobs: Jobs) -> None:
        while not all(job.over for job in jobs.all()):
            time.sleep(0.005)
        jobs.close()

    def begun(folder: Path) -> Jobs:
        jobs = Jobs(folder / "jobs")
        jobs.handlers["learn"] = lambda work, arguments: arguments
        jobs.begin()
        return jobs

    def work(folder: Path) -> None:
        jobs = begun(folder)
        job = jobs.start("learn", "a title", {"number": 1})
        with open(folder / "answered", "a") as file:
            file.write(f"{job.id}\n")
        done_by(jobs)

    def check(folder: Path) -> None:
        answered = (folder / "answered").read_text().split() if (folder / "answered").exists() else []
        jobs = begun(folder)
        done_by(jobs)
        known = {job.id: job for job in jobs.all()}
        assert set(answered) <= known.keys()
        assert {job.state for job in known.values()} <= {"done", "failed", "cancelled"}
        assert all(job.result == {"number": 1} for job in known.values() if job.state == "done")

    assert killed_everywhere(lambda _: None, work, check, tmp_path) >= 8
