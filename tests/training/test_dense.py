import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cfmr.config import DenseConfig, load_config
from cfmr.data.features import FeatureStore, FeatureWriter
from cfmr.errors import InputError
from cfmr.models.base import load_model
from cfmr.models.checkpoint import Checkpoint
from cfmr.models.dense import selection
from cfmr.models.dense.fit import DenseFit
from cfmr.models.dense.model import Dense
from cfmr.training import dense as training
from cfmr.training.data import load_data
from tests.support.searchable import dense_config
from tests.support.worlds import FRAME_DIM, World, make_world


@pytest.fixture
def dense_world(tmp_path: Path) -> World:
    world = make_world(tmp_path, videos=40)
    world.config.write_text(json.dumps(dense_config(world)))
    return world


def run(world: World, name: str, **options: Any) -> dict[str, Any]:
    config = load_config(world.config)
    return training.train(config, world.root / name, **({"select": "last"} | options))


def checkpoint(world: World, name: str) -> Checkpoint:
    return Checkpoint.load(world.root / name / "checkpoint")


def keep_rows(world: World, count: int) -> None:
    world.training.write_text(json.dumps(json.loads(world.training.read_text())[:count]))


def test_it_learns_a_world_in_which_words_have_looks(dense_world: World) -> None:
    figures = run(dense_world, "run")
    assert figures["test"]["R@1,IoU=0.5"] > figures["best_constant"]["R@1,IoU=0.5"] + 20


def test_it_finds_the_video_among_all(dense_world: World) -> None:
    figures = run(dense_world, "run")
    assert figures["corpus"]["video R@1"] > 300 / figures["videos"]  # three times chance


def test_the_same_seed_gives_the_same_model(dense_world: World) -> None:
    run(dense_world, "one")
    run(dense_world, "two")
    run(dense_world, "three", seed=9)
    one, two, three = (checkpoint(dense_world, name).parameters for name in ("one", "two", "three"))
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert not np.array_equal(one["clip"], three["clip"])


def test_a_broken_off_run_ends_like_an_unbroken_one(dense_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(dense_world, "whole")
    fit = DenseFit.run

    def interrupted(self: DenseFit, rows: Any, number: int, *others: Any, **named: Any) -> Any:
        if number == 3:
            raise KeyboardInterrupt
        return fit(self, rows, number, *others, **named)

    monkeypatch.setattr(DenseFit, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(dense_world, "broken")
    monkeypatch.undo()
    assert run(dense_world, "broken", resume=dense_world.root / "broken") == whole
    whole_parameters, parameters = (checkpoint(dense_world, name).parameters for name in ("whole", "broken"))
    assert all(np.array_equal(parameters[name], value) for name, value in whole_parameters.items())


def test_a_fit_carries_on_when_glances_are_added(dense_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = json.loads(dense_world.training.read_text())
    keep_rows(dense_world, len(rows) - 5)
    run(dense_world, "first")
    dense_world.training.write_text(json.dumps(rows))
    monkeypatch.setattr(training, "choose_reader", None)  # a few glances more are no reason to choose anew
    carried = run(dense_world, "first", resume=dense_world.root / "first")
    monkeypatch.undo()
    anew = run(dense_world, "anew")
    assert carried["test"]["R@1,IoU=0.5"] > anew["test"]["R@1,IoU=0.5"] - 12
    assert len(Dense.restore(checkpoint(dense_world, "first")).descended) == 3


def test_words_that_come_later_are_learned_when_a_fit_is_carried_on(dense_world: World) -> None:
    rows = json.loads(dense_world.training.read_text())
    dense_world.training.write_text(json.dumps([row for row in rows if "dog" not in row[3]]))
    run(dense_world, "run")
    assert "dog" not in checkpoint(dense_world, "run").vocabulary
    dense_world.training.write_text(json.dumps(rows))
    run(dense_world, "run", resume=dense_world.root / "run")
    learned = checkpoint(dense_world, "run")
    (dog,) = learned.vocabulary.ids("dog", 1)
    assert np.abs(learned.parameters["own"][:, dog]).max() > 0


def test_start_and_end_of_training_moments_change_nothing(dense_world: World) -> None:
    run(dense_world, "with-spans")
    rows = json.loads(dense_world.training.read_text())
    dense_world.training.write_text(
        json.dumps([[v, length, None, said, glance] for v, length, _, said, glance in rows])
    )
    run(dense_world, "without")
    a, b = (checkpoint(dense_world, name) for name in ("with-spans", "without"))
    assert all(np.array_equal(a.parameters[name], b.parameters[name]) for name in a.parameters)
    assert a.state["reader"] == b.state["reader"]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_handful_of_labels_is_enough_to_fit(dense_world: World, count: int) -> None:
    keep_rows(dense_world, count)
    run(dense_world, "run")
    model = Dense.restore(checkpoint(dense_world, "run"))
    vectors, _ = model.video_vectors(FeatureStore(dense_world.features).read("v07"), 30.0)
    assert np.isfinite(vectors).all()
    assert "too few" in checkpoint(dense_world, "run").state["chosen"]["chosen_by"]
    assert len(model.fits) == len(model.descended)  # and no regression


def test_a_regression_stands_behind_the_fits(dense_world: World) -> None:
    run(dense_world, "run")
    found = checkpoint(dense_world, "run")
    model = Dense.restore(found)
    assert len(model.fits) == len(model.descended) + 1
    assert sum(model.shares) == pytest.approx(1)
    assert found.state["chosen"]["regression_share"] == pytest.approx(model.shares[-1])


@pytest.mark.parametrize(("regressed", "share"), [(1, 0.5), (0, 0.0)])
def test_models_of_before_have_half_a_score_from_a_regression_or_nothing(
    dense_world: World, regressed: float, share: float
) -> None:
    run(dense_world, "run")
    found = checkpoint(dense_world, "run")
    del found.parameters["regression_share"]
    found.parameters["regressed"] = np.array([regressed], np.float32)
    assert Dense.restore(found).regression_share == share
    assert len(Dense.restore(found).descended) == len(found.parameters["clip"]) - regressed


def test_all_glances_at_one_second_of_one_video_are_enough_to_fit(dense_world: World) -> None:
    (video, duration, *_), *_ = json.loads(dense_world.training.read_text())
    rows = [[video, duration, None, f"the dog {word}", duration / 3] for word in ("runs", "sleeps") for _ in range(10)]
    dense_world.training.write_text(json.dumps(rows))
    figures = run(dense_world, "run")
    assert np.isfinite(figures["test"]["R@1,mIoU"])


@pytest.mark.parametrize("shown", [lambda clips: np.full((clips, 2), 7.0), lambda clips: np.zeros((clips, 2))])
def test_features_that_never_change_do_no_harm(dense_world: World, tmp_path: Path, shown: Any) -> None:
    source, padded = FeatureStore(dense_world.features), tmp_path / "padded.hdf5"
    with FeatureWriter(padded, {}) as writer:
        for name in source.videos:
            features = source.read(name)
            writer.add(name, np.concatenate([features, shown(len(features)).astype(np.float32)], axis=1))
    dense_world.edit_config(dataset={"feature_path": str(padded), "frame_dim": FRAME_DIM + 2})
    figures = run(dense_world, "padded")
    assert figures["test"]["R@1,IoU=0.5"] > figures["best_constant"]["R@1,IoU=0.5"] + 15


def test_features_that_are_all_the_same_fall_back_to_where_glances_lie(dense_world: World, tmp_path: Path) -> None:
    source, same = FeatureStore(dense_world.features), tmp_path / "same.hdf5"
    with FeatureWriter(same, {}) as writer:
        for name in source.videos:
            writer.add(name, np.ones((len(source.read(name)), FRAME_DIM), np.float32))
    dense_world.edit_config(dataset={"feature_path": str(same)})
    figures = run(dense_world, "same")
    assert np.isfinite(figures["test"]["R@1,mIoU"])


def test_settings_that_are_given_win(dense_world: World) -> None:
    value = json.loads(dense_world.config.read_text())
    value["model"]["config"] = {"width": 0.5, "curve_weight": 2.0}
    dense_world.config.write_text(json.dumps(value))
    run(dense_world, "run")
    state = checkpoint(dense_world, "run").state
    assert (state["reader"]["width"], state["reader"]["curve_weight"]) == (0.5, 2.0)
    assert state["chosen"]["given"] == {"width": 0.5, "curve_weight": 2.0}


def test_the_checkpoint_says_why_moments_are_read_as_they_are(dense_world: World) -> None:
    run(dense_world, "run")
    rows = len(json.loads(dense_world.training.read_text()))
    chosen = checkpoint(dense_world, "run").state["chosen"]
    assert chosen["chosen_by"] == f"likelihood of {rows} held-out glances, {selection.NUM_FOLDS} folds by video"


def test_it_can_carry_on_from_a_model_of_its_own_kind_only(dense_world: World, world: World) -> None:
    run(dense_world, "run")
    dense_world.edit_config(dataset={"frame_dim": FRAME_DIM})
    folder = dense_world.root / "run" / "last"
    state = json.loads((folder / "config.json").read_text())
    state["dataset"]["frame_dim"] = FRAME_DIM + 1
    (folder / "config.json").write_text(json.dumps(state))
    with pytest.raises(InputError, match="features of another width"):
        run(dense_world, "run", resume=dense_world.root / "run")


def test_a_configuration_of_the_earlier_model_says_what_to_do(dense_world: World) -> None:
    value = json.loads(dense_world.config.read_text())
    value["loss"] = {"bell_seconds": 2.0}
    dense_world.config.write_text(json.dumps(value))
    with pytest.raises(InputError, match=r"'loss' is of an earlier CFMR-Dense.*remove"):
        load_config(dense_world.config)


def test_a_key_of_another_model_is_refused_by_name(dense_world: World) -> None:
    value = json.loads(dense_world.config.read_text())
    value["model"]["config"] = {"sigma": 9}
    dense_world.config.write_text(json.dumps(value))
    with pytest.raises(InputError, match=r"model\.config\.sigma"):
        load_config(dense_world.config)


def test_the_configuration_is_one_of_its_own(dense_world: World) -> None:
    assert isinstance(load_config(dense_world.config), DenseConfig)


def test_no_deep_learning_framework_is_loaded(dense_world: World) -> None:
    import subprocess
    import sys

    script = (
        "import sys; from pathlib import Path; from cfmr.config import load_config; from cfmr.training import dense;"
        "dense.train(load_config(sys.argv[1]), Path(sys.argv[2]), select='last');"
        "print(sorted({'torch', 'mindspore', 'tensorboard'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script, str(dense_world.config), str(dense_world.root / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_restored_model_is_the_one_that_was_saved(dense_world: World) -> None:
    run(dense_world, "run")
    saved = checkpoint(dense_world, "run")
    model = load_model(saved)
    assert isinstance(model, Dense)
    again = model.parameters()
    assert all(np.array_equal(again[name], saved.parameters[name]) for name in saved.parameters)


def scores_at_glance(world: World, name: str, row: list[Any]) -> tuple[float, float]:
    """The relevance of a row's sentence at its glance, and the mean over its video."""
    found = checkpoint(world, name)
    model = Dense.restore(found)
    with FeatureStore(found.config.dataset.feature_path) as features:
        clips, _ = model.video_vectors(features.read(row[0]), row[1])
    ids = found.vocabulary.ids(row[3], 20)
    words = model.word_inputs(found.vocabulary.vectors)[ids][None]
    curve = clips @ model.text_vectors(words, np.array([len(ids)]))[0]
    return float(curve[int(row[4] / row[1] * len(curve))]), float(curve.mean())


def test_what_a_negative_label_denies_is_believed_less(dense_world: World) -> None:
    rows = json.loads(dense_world.training.read_text())
    denied = rows[0]
    others = [row for row in rows if row[0] != denied[0]]
    dense_world.training.write_text(json.dumps(others))
    run(dense_world, "before")
    said = [[*denied[:2], [], denied[3], denied[4] + shift] for shift in np.linspace(-0.3, 0.3, 8)]
    dense_world.training.write_text(json.dumps([*others, *said]))
    run(dense_world, "after")
    (before, usual), (after, usual_after) = (scores_at_glance(dense_world, n, denied) for n in ("before", "after"))
    assert after - usual_after < before - usual - 0.25


def test_negative_labels_of_videos_that_validate_are_not_learned_from(dense_world: World) -> None:
    rows = json.loads(dense_world.training.read_text())
    dense_world.training.write_text(json.dumps([*rows, *([*row[:2], [], *row[3:5]] for row in rows)]))
    data = load_data(load_config(dense_world.config), "validation", 8)
    validated = {row.video for row in data.validation}
    assert validated
    assert {row.video for row in data.negatives} == {row[0] for row in rows} - validated
