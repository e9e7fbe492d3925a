import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from cfmr.config import preset
from cfmr.data.annotations import Annotation, load_annotations
from cfmr.data.features import FeatureWriter
from cfmr.server.app import create_app, open_state
from cfmr.server.context import AppState
from cfmr.server.settings import Settings, resolve_settings
from cfmr.server.stores import jobs as jobs_module
from cfmr.server.work.compare import compare
from cfmr.server.work.learn import LearnRequest, decide
from tests.server.sites import CLIPS, SECONDS, WordRetriever, make_settings

CONFIG = {
    "dataset": {
        "train_data": "annotations/train.json",
        "val_data": "nowhere.json",
        "test_data": "annotations/test.json",
    },
    "train": {"num_fits": 3},
    "model": {"name": "CFMR-Dense", "config": {}},
}


def write_features(path: Path, videos: list[str]) -> None:
    with FeatureWriter(path, {"extractor": "made-up", "version": 1}) as writer:
        for name in videos:
            writer.add(name, np.ones((4, 2), np.float32), duration=SECONDS)


@pytest.fixture
def settings(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """With features, a checkpoint and what it was trained on; `cfmr` is a stand-in."""
    fake = Path(__file__).parents[1] / "fake_cfmr.py"
    monkeypatch.setattr(jobs_module, "COMMAND", (sys.executable, str(fake)))
    write_features(tmp_path / "features.hdf5", list(CLIPS))
    for name in ("checkpoint", "annotations"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint" / "config.json").write_text(json.dumps(CONFIG))
    rows = [["kitchen", SECONDS, [1.0, 3.0], sentence, 2.0] for sentence in ("an old sentence", "held one")]
    for name in ("train", "test"):
        (tmp_path / "annotations" / f"{name}.json").write_text(json.dumps(rows))
    return make_settings(tmp_path)


class Learned(WordRetriever):
    """What the stand-in learned: it finds what it was trained on."""

    def __init__(self, path: Path) -> None:
        super().__init__(bonus=1.0)
        rows = json.loads((path / "rows.json").read_text())
        for video, _, _, sentence, glance in rows:
            self.clips[video] = [*self.clips[video], (sentence, glance - 1, glance + 1)]


@pytest.fixture
def both(settings: Settings) -> Iterator[tuple[AppState, TestClient]]:
    def load(path: Path) -> WordRetriever:
        return WordRetriever() if path == settings.index else Learned(path)

    site = open_state(settings, load)
    with TestClient(create_app(site), base_url="http://127.0.0.1:8000") as client:
        yield site, client


def label(client: TestClient, count: int, said: str = "the square does thing") -> tuple[list[str], list[str]]:
    """Sentences to learn from, and held-out ones."""
    sides: tuple[list[str], list[str]] = ([], [])
    for number in range(count):
        label = {"video": "kitchen", "glance": 4.0, "sentence": f"{said} {number}"}
        answer = client.post("/api/labels", json=label)
        assert answer.status_code == 201
        sides[answer.json()["held_out"]].append(label["sentence"])
    return sides


def ended(client: TestClient, job: str) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while (found := client.get(f"/api/jobs/{job}").json())["state"] in ("queued", "running"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return dict(found)


def learn(client: TestClient, **how: object) -> dict[str, Any]:
    answer = client.post("/api/learn", json=how)
    assert answer.status_code == 202, answer.text
    return ended(client, answer.json()["id"])


def test_learning_makes_a_model_that_is_served_when_one_says_so(client: TestClient) -> None:
    said, held = label(client, 5)
    job = learn(client, serve="never")
    assert job["state"] == "done", job
    assert (job["result"]["model"], job["result"]["served"]) == ("0001", False)
    new, old = client.get("/api/models").json()
    assert (new["id"], new["labels"], new["served"], old["served"]) == ("0001", 5, False, True)
    assert client.get("/api/search", params={"q": said[0]}).json()["moments"][0]["score"] < 1
    assert client.post("/api/models/0001/serve").json() == {"served": "0001", "job": None}
    for sentence in (*said, *held):  # what is served has learned from the held-out labels, too
        assert client.get("/api/search", params={"q": sentence}).json()["moments"][0]["score"] > 1
    assert client.post("/api/models/original/serve").json()["served"] == "original"


def test_the_better_model_is_served_and_what_changed_is_said(client: TestClient, site: AppState) -> None:
    label(client, 8)
    job = learn(client)
    assert job["result"]["served"]
    assert site.models.current.id == "0001"
    listed = client.get("/api/models").json()[0]["comparison"]["labels"]
    improved = sum(one["hit_after"] and not one["hit_before"] for one in listed)
    assert improved == job["result"]["improved"]
    assert job["message"] == (
        f"The new model is in use: of 2 held-out labels, {improved} improved and {job['result']['worse']} got worse"
    )


def test_a_model_is_compared_as_it_was_before_it_learned_from_held_out_labels(client: TestClient) -> None:
    label(client, 8)
    learn(client, serve="always")
    job = learn(client)
    assert job["result"] == {"model": "0002", "served": True, "improved": 0, "worse": 0}
    comparison = client.get("/api/models").json()[0]["comparison"]
    assert comparison["before"] == comparison["after"]


def hits(found: int) -> dict[str, Any]:
    return {"of": 4, "first": found, "several": found, "everywhere": found, "length": 2.0}


def changed(before: int, after: int) -> dict[str, Any]:
    """A comparison of four held-out labels of which so many were found first."""
    labels = [{"hit_before": i < before, "hit_after": i >= 4 - after} for i in range(4)]
    return {"before": hits(before), "after": hits(after), "labels": labels}


@pytest.mark.parametrize(
    ("serve", "before", "after", "served"),
    [("better", 1, 3, True), ("better", 2, 2, True), ("better", 3, 1, False), ("always", 3, 1, True)],
)
def test_a_worse_model_is_served_only_if_one_says_so(
    site: AppState, monkeypatch: pytest.MonkeyPatch, serve: Any, before: int, after: int, served: bool
) -> None:
    used: list[str] = []
    monkeypatch.setattr(type(site.models), "switch", lambda _, name: used.append(name))
    result, message = decide(site, LearnRequest(serve=serve), "0007", changed(before, after))
    assert (result.served, used) == (served, ["0007"] * served)
    assert f"{result.improved} improved and {result.worse} got worse" in message
    assert ("not in use" in message) is not served


def test_without_a_held_out_label_the_current_model_stays(client: TestClient, site: AppState) -> None:
    label(client, 2)
    job = learn(client)
    assert not job["result"]["served"]
    assert "no held-out label" in job["message"]
    assert learn(client, serve="always")["result"]["served"]
    assert site.models.current.id == "0002"


def test_before_and_after_are_told_of_held_out_labels(client: TestClient) -> None:
    _, held = label(client, 8)
    learn(client)
    comparison = client.get("/api/models").json()[0]["comparison"]
    assert comparison["before"]["of"] == comparison["after"]["of"] == 2
    assert comparison["before"]["first"] <= comparison["after"]["first"] == 2
    assert {one["sentence"] for one in comparison["labels"]} == set(held)


def test_held_out_labels_are_never_trained_on_even_if_others_said_the_same(
    client: TestClient, site: AppState, tmp_path: Path
) -> None:
    said, held = label(client, 13)
    rows = [["kitchen", SECONDS, None, s.upper() + "!", 2.0] for s in held] + [["street", SECONDS, None, "old", 1.0]]
    (tmp_path / "annotations" / "train.json").write_text(json.dumps(rows))
    learn(client)
    folder = site.models.folder / "0001"
    trained = {row.sentence for row in load_annotations(folder / "train.json")}
    assert trained == {*said, "old"}
    assert {row.sentence for row in load_annotations(folder / "held-out.json")} == set(held)
    assert {*said, *held, "old"} <= {row.sentence for row in load_annotations(folder / "all.json")}


def test_the_configuration_names_what_is_there(client: TestClient, site: AppState) -> None:
    label(client, 1)
    learn(client, fits=1)
    config = json.loads((site.models.folder / "0001" / "config.json").read_text())
    data = config["dataset"]
    assert (data["test_data"], data["val_data"]) == ("", None)
    assert data["train_data"] == str(site.models.folder / "0001" / "train.json")
    assert data["feature_path"] == str(site.features)
    assert config["train"]["num_fits"] == 1


def test_where_the_published_model_is_served_the_better_one_learns(
    client: TestClient, site: AppState, tmp_path: Path
) -> None:
    published = CONFIG | {"model": {"name": "CFMR"}}
    (tmp_path / "checkpoint" / "config.json").write_text(json.dumps(published))
    label(client, 2)
    learn(client)
    config = json.loads((site.models.folder / "0001" / "config.json").read_text())
    shipped = preset("dense", tmp_path).model_dump()
    assert config["model"]["name"] == "CFMR-Dense"
    assert config["dataset"]["frame_dim"] == 2
    assert (config["model"], config["train"]) == (shipped["model"], shipped["train"])
    assert len(load_annotations(site.models.folder / "0001" / "train.json")) == 4  # and the original rows


def test_only_the_labels_are_learned_from_if_one_wants_that(client: TestClient, site: AppState) -> None:
    label(client, 2)
    learn(client, with_original=False)
    assert len(load_annotations(site.models.folder / "0001" / "train.json")) == 2


def test_if_training_dies_the_old_model_stays_and_nothing_is_left(client: TestClient, site: AppState) -> None:
    label(client, 2, "it dies at")
    job = learn(client)
    assert (job["state"], job["message"]) == ("failed", "there is no room left")
    assert [m["id"] for m in client.get("/api/models").json()] == ["original"]
    assert client.get("/api/search", params={"q": "red"}).status_code == 200
    assert list(site.models.folder.iterdir()) == []
    assert "no room left" in client.get(f"/api/jobs/{job['id']}/log").json()["text"]


def test_training_can_be_cancelled(client: TestClient, site: AppState) -> None:
    label(client, 2, "a slow thing")
    job = client.post("/api/learn", json={}).json()["id"]
    while "Learning: epoch 1/3" not in client.get(f"/api/jobs/{job}").json()["message"]:
        time.sleep(0.02)
    assert client.get(f"/api/jobs/{job}").json()["progress"] == pytest.approx(1 / 3)
    assert client.post("/api/learn", json={}).status_code == 409
    client.post(f"/api/jobs/{job}/cancel")
    assert ended(client, job)["state"] == "cancelled"
    assert list(site.models.folder.iterdir()) == []
    assert client.post("/api/jobs/none/cancel").status_code == 404


def test_without_labels_there_is_nothing_to_learn_from(client: TestClient) -> None:
    assert client.post("/api/learn", json={}).status_code == 409


def test_a_model_is_deleted_unless_it_is_in_use(client: TestClient, site: AppState) -> None:
    label(client, 2)
    learn(client)
    client.post("/api/models/0001/serve")
    assert client.delete("/api/models/0001").status_code == 409
    assert client.delete("/api/models/original").status_code == 409
    client.post("/api/models/original/serve")
    assert client.delete("/api/models/0001").status_code == 204
    assert [model["id"] for model in client.get("/api/models").json()] == ["original"]
    assert list(site.models.folder.iterdir()) == []
    assert client.delete("/api/models/0001").status_code == 404


def test_a_note_on_a_model_is_kept(client: TestClient, settings: Settings) -> None:
    label(client, 2)
    learn(client)

    def notes(site: TestClient) -> dict[str, str]:
        return {model["id"]: model["note"] for model in site.get("/api/models").json()}

    assert notes(client) == {"0001": "", "original": ""}
    assert client.put("/api/models/0001/note", json={"note": " finds\nthe <b>dog</b> "}).status_code == 204
    assert notes(client) == {"0001": "finds the <b>dog</b>", "original": ""}
    again = open_state(settings, lambda path: WordRetriever())
    assert again.models.model("0001").note == "finds the <b>dog</b>"
    again.jobs.close()
    assert client.put("/api/models/0001/note", json={"note": ""}).status_code == 204
    assert notes(client) == {"0001": "", "original": ""}


def test_a_note_that_cannot_be_kept_is_refused(client: TestClient) -> None:
    label(client, 2)
    learn(client)
    assert client.put("/api/models/original/note", json={"note": "first"}).status_code == 409
    assert client.put("/api/models/0002/note", json={"note": "first"}).status_code == 404
    assert client.put("/api/models/0001/note", json={"note": "x" * 201}).status_code == 422


def test_the_choice_survives_a_restart(client: TestClient, settings: Settings) -> None:
    label(client, 2)
    learn(client)
    client.post("/api/models/0001/serve")
    again = open_state(settings, lambda path: WordRetriever())
    assert again.models.current.id == "0001"
    again.jobs.close()


def test_a_model_that_was_deleted_by_hand_is_not_served_after_a_restart(client: TestClient, settings: Settings) -> None:
    label(client, 2)
    learn(client)
    client.post("/api/models/0001/serve")
    (settings.workspace / "models" / "0001" / "model.json").unlink()
    again = open_state(settings, lambda path: WordRetriever())
    assert again.models.current.id == "original"
    again.jobs.close()


def test_a_model_behind_the_videos_is_indexed_before_it_is_served(
    client: TestClient, settings: Settings, site: AppState
) -> None:
    label(client, 2)
    learn(client)
    assert settings.features is not None
    settings.features.unlink()
    write_features(settings.features, [*CLIPS, "new"])
    answer = client.post("/api/models/0001/serve").json()
    assert answer["served"] == "original"
    assert ended(client, answer["job"])["state"] == "done"
    assert site.models.current.id == "0001"


def test_the_first_model_needs_nothing_but_videos_and_labels(settings: Settings, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "checkpoint")
    settings.index.rmdir()
    assert settings.features is not None
    settings.features.unlink()
    fresh = resolve_settings(settings.index, settings.videos)
    site = open_state(fresh, Learned)
    with TestClient(create_app(site), base_url="http://127.0.0.1:8000") as client:
        said, _ = label(client, 4)
        job = learn(client)
        assert job["state"] == "done", job
        config = json.loads((site.models.folder / "0001" / "config.json").read_text())
        assert (config["dataset"]["frame_dim"], config["dataset"]["test_data"]) == (3, "")
        assert client.get("/api/models").json()[0]["comparison"]["before"] is None
        assert client.get("/api/status").json()["ready"]  # in use at once: there was none before
        assert client.get("/api/search", params={"q": said[0]}).json()["moments"]


def test_comparing_counts_what_cannot_be_searched_as_missed() -> None:
    rows = [Annotation("kitchen", SECONDS, "red square moves", 2.0, None), Annotation("gone", 9.0, "", 2.0, None)]
    answer = compare(None, WordRetriever(), rows)
    assert answer["before"] is None
    assert (answer["after"]["of"], answer["after"]["first"], answer["after"]["length"]) == (2, 1, 2.0)
    assert compare(None, WordRetriever(), []) == {}


def test_negative_labels_are_trained_on_but_those_of_held_out_sentences(client: TestClient, site: AppState) -> None:
    said, held = label(client, 5)
    for sentence in (said[0], held[0]):
        no = {"video": "kitchen", "glance": 1.0, "sentence": sentence, "absent": True}
        assert client.post("/api/labels", json=no).status_code == 201
    job = learn(client, serve="never", with_original=False)
    assert job["state"] == "done", job
    assert client.get("/api/models").json()[0]["labels"] == 5
    files = {name: json.loads((site.models.folder / "0001" / f"{name}.json").read_text()) for name in ("train", "all")}
    denied = {name: [row[3] for row in rows if row[2] == []] for name, rows in files.items()}
    assert denied == {"train": [said[0]], "all": [held[0], said[0]]}


def checked(client: TestClient) -> dict[str, Any]:
    answer = client.post("/api/labels/check")
    assert answer.status_code == 202, answer.text
    job = ended(client, answer.json()["id"])
    assert job["state"] == "done", job
    return job


def test_a_check_lists_the_labels_that_it_doubts_and_what_more_are_worth(client: TestClient) -> None:
    label(client, 2)
    made = [
        client.post("/api/labels", json={"video": "street", "glance": 2.0, "sentence": said, "absent": absent}).json()
        for said, absent in (("a wrong one", False), ("a wrong no", True), ("a no", True))
    ]
    assert checked(client)["message"] == "2 labels to review"
    found = client.get("/api/labels/check").json()
    assert {one["label"]["id"]: one["second"] for one in found["doubtful"]} == {made[0]["id"]: 1.5, made[1]["id"]: None}
    assert found["worth"]["points"] == [[5, 1, 7], [10, 2, 7]]  # two rows are of the first model's training
    client.delete(f"/api/labels/{made[0]['id']}", params={"revision": 1})
    client.delete(f"/api/labels/{made[1]['id']}", params={"revision": 1})
    assert checked(client)["message"] == "No label looks wrong"
    assert client.get("/api/labels/check").json()["doubtful"] == []
