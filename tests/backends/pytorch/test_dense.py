import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from cfmr.annotations import load_annotations
from cfmr.backends import load_model
from cfmr.batches import ClipSet
from cfmr.checkpoints import Checkpoint
from cfmr.config import DenseConfig, DenseLoss, load_config
from cfmr.features import FeatureStore
from cfmr.words import Vocabulary, load_word_vectors
from worlds import FRAME_DIM, World, make_world

torch = pytest.importorskip("torch")

from cfmr.backends.pytorch import dense, training  # noqa: E402

QUIET = Console(file=open(os.devnull, "w"))  # noqa: SIM115
SIZES = {"hidden_size": 8, "rank": 10, "smoothing": 1.0, "clip_dropout": 0.2, "word_dropout": 0.1}


@pytest.fixture
def dense_world(tmp_path: Path) -> World:
    world = make_world(tmp_path, videos=40, epochs=3)
    value = json.loads(world.config.read_text())
    sizes = {key: value["model"]["config"][key] for key in ("frames_input_size", "words_input_size")}
    value["model"] = {"name": "CFMR-Dense", "config": sizes | SIZES}
    value["loss"] = {"bell_seconds": 2.0, "ridge": 1.0, "within": 1.0, "across": 1.0}
    world.config.write_text(json.dumps(value))
    return world


def run(world: World, name: str, **options: Any) -> dict[str, Any]:
    torch.set_num_threads(1)
    config = load_config(world.config)
    return training.train(config, world.root / name, console=QUIET, **({"select": "last"} | options))


def clip_set(world: World) -> ClipSet:
    rows = load_annotations(world.training)
    vocabulary = Vocabulary.build([row.sentence for row in rows], load_word_vectors(world.root / "glove.txt"), 100)
    return ClipSet(rows, FeatureStore(world.features), vocabulary, max_num_frames=40, max_num_words=10)


def test_it_learns_a_world_in_which_words_have_looks(dense_world: World) -> None:
    figures = run(dense_world, "run")
    assert figures["test"]["R@1,IoU=0.5"] > figures["best_constant"]["R@1,IoU=0.5"] + 10


def test_a_broken_off_run_ends_like_an_unbroken_one(dense_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(dense_world, "whole")
    start = training.DenseTrainer.start_epoch

    def interrupted(self: Any, epoch: int) -> None:
        if epoch == 3:
            raise KeyboardInterrupt
        start(self, epoch)

    monkeypatch.setattr(training.DenseTrainer, "start_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(dense_world, "broken")
    monkeypatch.undo()
    assert run(dense_world, "broken", resume=dense_world.root / "broken") == whole


def test_start_and_end_of_training_moments_change_nothing(dense_world: World) -> None:
    run(dense_world, "with-spans")
    rows = json.loads(dense_world.training.read_text())
    dense_world.training.write_text(
        json.dumps([[v, length, None, said, glance] for v, length, _, said, glance in rows])
    )
    run(dense_world, "without")
    a, b = (Checkpoint.load(dense_world.root / name / "checkpoint").parameters for name in ("with-spans", "without"))
    assert all(np.array_equal(a[name], b[name]) for name in a)


def test_a_checkpoint_gives_the_vectors_it_was_saved_with(dense_world: World) -> None:
    run(dense_world, "run")
    checkpoint = Checkpoint.load(dense_world.root / "run/checkpoint")
    model = load_model(checkpoint)
    features = FeatureStore(dense_world.features).read("v00")
    vectors, spans = model.video_vectors(features)
    assert vectors.shape == (len(features), 8)
    assert spans[0, 0] == 0
    assert spans[-1, 1] == 1
    again, _ = load_model(Checkpoint.load(dense_world.root / "run/checkpoint")).video_vectors(features)
    np.testing.assert_array_equal(vectors, again)


def test_longer_videos_than_trained_on_are_pooled(dense_world: World) -> None:
    config = load_config(dense_world.config)
    assert isinstance(config, DenseConfig)
    model = dense.Dense.from_config(config).eval()
    vectors, _ = model.video_vectors(np.ones((100, FRAME_DIM), np.float32))
    assert len(vectors) == 40


def test_a_bell_stands_at_the_glance_of_its_own_video(dense_world: World) -> None:
    data = clip_set(dense_world)
    batch = data.batch(np.array([0, 3, 4]))
    target = dense.bells(batch, 1.5)
    np.testing.assert_allclose(target.sum(1), 1, rtol=1e-5)
    first = np.concatenate([[0], batch.counts.cumsum()])
    for row, video in enumerate(batch.videos):
        place = first[video] + batch.glances[row] * batch.counts[video] - 0.5
        assert abs(target[row].argmax() - place) <= 0.5 + 1e-3
        assert target[row, first[video] : first[video + 1]].sum() == pytest.approx(1, rel=1e-5)


def test_smoothing_keeps_a_constant_and_never_crosses_videos() -> None:
    video = torch.tensor([0] * 6 + [1] * 4)
    values = torch.cat([torch.zeros(6, 2), torch.ones(4, 2)])
    torch.testing.assert_close(dense.smooth(values, video, 1.5), values)


def test_padding_of_a_sentence_changes_nothing(dense_world: World) -> None:
    config = load_config(dense_world.config)
    assert isinstance(config, DenseConfig)
    model = dense.Dense.from_config(config).eval()
    words = torch.randn(1, 3, 8)
    padded = torch.cat([words, torch.zeros(1, 4, 8)], dim=1)
    length = torch.tensor([3])
    torch.testing.assert_close(model.encode_text(words, length), model.encode_text(padded, length))


def test_a_video_of_which_the_same_is_said_is_no_counterexample(dense_world: World) -> None:
    batch = clip_set(dense_world).batch(np.arange(9))
    same = np.zeros(len(batch), np.int64)
    alike = dense.ClipBatch(**{**vars_of(batch), "sentences": same})
    loss = dense.DenseCriterion(DenseLoss(bell_seconds=2, ridge=1, within=0, across=1))
    own = dense.DenseCriterion(DenseLoss(bell_seconds=2, ridge=1, within=1, across=0))
    scores = torch.randn(len(batch), len(batch.clips))
    assert loss(scores, alike).total.item() == pytest.approx(own(scores, alike).total.item(), rel=1e-5)


def vars_of(batch: dense.ClipBatch) -> dict[str, Any]:
    return {name: getattr(batch, name) for name in batch.__dataclass_fields__}
