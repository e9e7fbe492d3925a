import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cfmr.models.checkpoint import Checkpoint
from cfmr.progress import silent
from cfmr.search.calibrate import thresholds_of
from cfmr.search.retriever import MomentRetriever
from cfmr.server.work.fitting import fit_and_index
from tests.support.searchable import dense_config
from tests.support.worlds import World, make_world

HELD_OUT = 24
NEW = "a purple walrus"


@pytest.fixture
def made_up(tmp_path: Path) -> World:
    return make_world(tmp_path / "world", videos=24)


def write_job(world: World, folder: Path, held_out: int = HELD_OUT) -> Path:
    """What the server writes: so many of the rows are held out, one of them with a word that no other has."""
    folder.mkdir()
    rows = [[video, seconds, None, said, at] for video, seconds, _, said, at in json.loads(world.training.read_text())]
    vectors = world.root / "glove.txt"
    vectors.write_text(vectors.read_text() + "walrus" + 8 * " 0.5" + "\n")
    if held_out:
        rows[0][3] = NEW
    seconds = {row[0]: row[1] for row in rows}
    named = {name: [row for row in rows if row[0] in seconds] for name in ("all", "train", "unseen")}
    named["train"], named["unseen"] = rows[held_out:], rows[:held_out]
    for name, part in named.items():
        (folder / f"{name}.json").write_text(json.dumps(part))
    value = dense_config(world)
    value["dataset"] |= {"train_data": str(folder / "train.json"), "val_data": None, "test_data": ""}
    value["dataset"]["vocab_path"] = str(vectors)
    value["train"] = {"num_fits": 1, "model_saved_path": "runs"}
    (folder / "config.json").write_text(json.dumps(value))
    told = json.loads((folder / "all.json").read_text())
    assert len(told) == len(rows)
    return folder


@pytest.fixture
def durations(made_up: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The made-up feature file does not say how long its videos are; those of the page do."""
    rows = [*json.loads(made_up.training.read_text()), *json.loads(made_up.test.read_text())]
    seconds = {row[0]: row[1] for row in rows}
    monkeypatch.setattr("cfmr.data.features.FeatureStore.duration", lambda _, video: seconds[video])


@pytest.mark.usefixtures("durations")
def test_the_trial_has_not_seen_held_out_labels_and_the_final_model_has(made_up: World, tmp_path: Path) -> None:
    folder = write_job(made_up, tmp_path / "job")
    fit_and_index(folder, tmp_path, silent)
    tried, final = (Checkpoint.load(folder / run / "checkpoint") for run in ("trial/run", "run"))
    assert "walrus" not in tried.vocabulary
    assert "walrus" in final.vocabulary
    assert final.state["reader"] == tried.state["reader"]
    assert len(MomentRetriever.load(folder / "index").search(NEW, top=1)) == 1
    assert len(MomentRetriever.load(folder / "index").videos()) == 24


@pytest.mark.usefixtures("durations")
def test_the_threshold_is_that_of_the_trial(made_up: World, tmp_path: Path) -> None:
    folder = write_job(made_up, tmp_path / "job")
    fit_and_index(folder, tmp_path, silent)
    chosen = thresholds_of(folder / "trial" / "index")
    assert chosen["threshold_sentences"] >= HELD_OUT - 1  # the walrus is no word that the trial knows
    assert thresholds_of(folder / "index") == chosen


@pytest.mark.usefixtures("durations")
def test_without_held_out_labels_there_is_no_trial_and_no_threshold(made_up: World, tmp_path: Path) -> None:
    folder = write_job(made_up, tmp_path / "job", held_out=0)
    fit_and_index(folder, tmp_path, silent)
    assert not (folder / "trial").exists()
    assert thresholds_of(folder / "index") == {}


@pytest.mark.usefixtures("durations")
def test_progress_is_told_of_the_whole_and_never_goes_back(made_up: World, tmp_path: Path) -> None:
    shares: list[float] = []

    def told(label: str, done: int, total: int | None, metrics: Mapping[str, Any] | None = None) -> None:
        assert total
        shares.append(done / total)

    fit_and_index(write_job(made_up, tmp_path / "job"), tmp_path, told)
    assert shares == sorted(shares)
    assert shares[0] < 0.3
    assert shares[-1] > 0.85
