import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from cfmr.config import DenseConfig, load_config
from cfmr.data.annotations import load_annotations
from cfmr.data.features import FeatureStore, FeatureWriter
from cfmr.data.vocabulary import Vocabulary
from cfmr.data.word_vectors import load_word_vectors
from cfmr.errors import InputError
from cfmr.models.base import load_model
from cfmr.models.checkpoint import Checkpoint
from cfmr.models.dense.clips import ClipSet
from cfmr.models.text_graph import text_graph
from tests.support.worlds import FRAME_DIM, World, make_world

torch = pytest.importorskip("torch")

from cfmr.models.dense import fit  # noqa: E402
from cfmr.models.dense import model as dense  # noqa: E402
from cfmr.training import pytorch as training  # noqa: E402

QUIET = Console(file=open(os.devnull, "w"))  # noqa: SIM115
SIZES = {"hidden_size": 9, "own_words": 12, "seen_words": 10, "smoothing": 1.0, "floor": 0.2}


@pytest.fixture
def dense_world(tmp_path: Path) -> World:
    world = make_world(tmp_path, videos=40)
    value = json.loads(world.config.read_text())
    sizes = {key: value["model"]["config"][key] for key in ("frames_input_size", "words_input_size")}
    value["train"] = {"max_num_epochs": 3, "model_saved_path": "runs"}
    value["model"] = {"name": "CFMR-Dense", "config": sizes | SIZES}
    value["loss"] = {"bell_seconds": 2.0, "ridge": 0.1, "noise": 1.0, "mean_share": 0.5}
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


def fitted(world: World) -> dense.Dense:
    run(world, "run")
    model = load_model(Checkpoint.load(world.root / "run/checkpoint"))
    assert isinstance(model, dense.Dense)
    return model


def keep_rows(world: World, count: int) -> None:
    world.training.write_text(json.dumps(json.loads(world.training.read_text())[:count]))


def test_it_learns_a_world_in_which_words_have_looks(dense_world: World) -> None:
    figures = run(dense_world, "run")
    assert figures["test"]["R@1,IoU=0.5"] > figures["best_constant"]["R@1,IoU=0.5"] + 20


def test_it_finds_the_video_among_all(dense_world: World) -> None:
    figures = run(dense_world, "run")
    assert figures["corpus"]["video R@1"] > 300 / figures["videos"]  # three times chance


def test_a_broken_off_run_ends_like_an_unbroken_one(dense_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(dense_world, "whole")
    train_epoch = training.DenseTrainer.train_epoch

    def interrupted(self: Any, epoch: int, progress: Any) -> Any:
        if epoch == 3:
            raise KeyboardInterrupt
        return train_epoch(self, epoch, progress)

    monkeypatch.setattr(training.DenseTrainer, "train_epoch", interrupted)
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


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_handful_of_labels_is_enough_to_fit(dense_world: World, count: int) -> None:
    keep_rows(dense_world, count)
    model = fitted(dense_world)
    vectors, _ = model.video_vectors(FeatureStore(dense_world.features).read("v07"))
    assert np.isfinite(vectors).all()


def test_features_that_never_change_do_no_harm(dense_world: World, tmp_path: Path) -> None:
    source, padded = FeatureStore(dense_world.features), tmp_path / "padded.hdf5"
    with FeatureWriter(padded, {}) as writer:
        for name in source.videos:
            features = source.read(name)
            writer.add(name, np.concatenate([features, np.full((len(features), 2), 7.0, np.float32)], axis=1))
    dense_world.edit_config(dataset={"feature_path": str(padded), "frame_dim": FRAME_DIM + 2})
    value = json.loads(dense_world.config.read_text())
    value["model"]["config"]["frames_input_size"] = FRAME_DIM + 2
    dense_world.config.write_text(json.dumps(value))
    figures = run(dense_world, "padded")
    assert figures["test"]["R@1,IoU=0.5"] > figures["best_constant"]["R@1,IoU=0.5"] + 20


def test_a_checkpoint_gives_the_vectors_it_was_saved_with(dense_world: World) -> None:
    model = fitted(dense_world)
    features = FeatureStore(dense_world.features).read("v00")
    vectors, spans = model.video_vectors(features)
    assert vectors.shape == (len(features), SIZES["hidden_size"] + SIZES["seen_words"])
    assert (spans[0, 0], spans[-1, 1]) == (0, 1)
    again, _ = load_model(Checkpoint.load(dense_world.root / "run/checkpoint")).video_vectors(features)
    np.testing.assert_array_equal(vectors, again)


def test_scores_of_every_video_are_on_one_scale(dense_world: World) -> None:
    model = fitted(dense_world)
    bank = np.pad(model.bank.numpy(), ((0, 0), (0, 1)), constant_values=1)
    for name in ("v00", "v31"):
        vectors, _ = model.video_vectors(FeatureStore(dense_world.features).read(name))
        best = (vectors @ bank.T).max(0)
        assert best.mean() == pytest.approx(0, abs=1e-4)
        assert 0.7 < best.std() < 1.05


def test_a_video_in_which_nothing_happens_scores_low_for_every_sentence(dense_world: World) -> None:
    model = fitted(dense_world)
    features = FeatureStore(dense_world.features).read("v00")
    still = features.mean(0) + 0.01 * np.random.default_rng(0).standard_normal(features.shape).astype(np.float32)
    bank = np.pad(model.bank.numpy(), ((0, 0), (0, 1)), constant_values=1)
    reached = [(model.video_vectors(shown)[0] @ bank.T).max(0).max() for shown in (features, still)]
    assert reached[1] < reached[0]


def test_windows_of_a_video_are_joined_on_one_scale(dense_world: World) -> None:
    model = fitted(dense_world)
    features = FeatureStore(dense_world.features).read("v00")
    halves = np.concatenate([model.encode_rows(half)[0] for half in np.split(features, 2)])
    joined = model.finish_rows(halves, features)
    np.testing.assert_allclose(joined[:, -1], joined[0, -1])
    apart = halves - halves[0]
    scale = (joined[1, 0] - joined[0, 0]) / apart[1, 0]
    np.testing.assert_allclose(joined[:, :-1] - joined[0, :-1], scale * apart, atol=1e-3)


def test_longer_videos_than_trained_on_are_pooled(dense_world: World) -> None:
    vectors, _ = fitted(dense_world).video_vectors(np.ones((100, FRAME_DIM), np.float32))
    assert len(vectors) == 40


def test_a_video_of_one_clip_has_a_vector(dense_world: World) -> None:
    vectors, spans = fitted(dense_world).video_vectors(np.ones((1, FRAME_DIM), np.float32))
    assert np.isfinite(vectors).all()
    assert spans.tolist() == [[0, 1]]


@pytest.mark.parametrize("glance", [0.0, 0.31, 0.999])
def test_a_bell_stands_at_the_glance(glance: float) -> None:
    weight = fit.bell(50, glance, 25.0, 1.5)
    assert weight.sum() == pytest.approx(1)
    assert abs(weight.argmax() + 0.5 - glance * 50) <= 0.5 + 1e-9


def test_smoothing_keeps_a_constant() -> None:
    torch.testing.assert_close(dense.smooth(torch.ones(6, 2), 1.5), torch.ones(6, 2))


def test_padding_of_a_sentence_changes_nothing(dense_world: World) -> None:
    model = fitted(dense_world)
    words = np.random.default_rng(0).standard_normal((1, 3, 8)).astype(np.float32)
    padded = np.concatenate([words, np.zeros((1, 4, 8), np.float32)], axis=1)
    length = np.array([3])
    np.testing.assert_allclose(model.text_vectors(words, length), model.text_vectors(padded, length), rtol=1e-5)


def test_the_graph_of_the_text_encoder_gives_the_model_s_vectors(dense_world: World) -> None:
    model = fitted(dense_world)
    checkpoint = Checkpoint.load(dense_world.root / "run/checkpoint")
    session = onnxruntime.InferenceSession(text_graph(checkpoint.parameters, checkpoint.config).SerializeToString())
    for count in (1, 4, 9):
        words = np.random.default_rng(count).standard_normal((1, count, 8)).astype(np.float32)
        expected = model.text_vectors(words, np.array([count]))[0]
        np.testing.assert_allclose(session.run(None, {"words": words})[0], expected, rtol=1e-5, atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-2, 2, width=32), min_size=5, max_size=5), st.floats(0.5, 20, width=32))
def test_words_with_nothing_in_common_are_seen_as_far_as_they_show(shares: list[float], size: float) -> None:
    """Looks at right angles have a closed form: what shows of each, less the penalty, up to the ceiling."""
    looks = size * torch.eye(5, 8)
    found = dense.seen(torch.tensor([shares]) @ looks, looks, torch.tensor(size**2))
    expected = (torch.tensor(shares) - dense.SPARSITY).clamp(0, dense.CEILING)
    torch.testing.assert_close(found[0], expected, atol=1e-4, rtol=0)


def test_few_words_explain_what_is_seen() -> None:
    torch.manual_seed(0)
    looks = torch.nn.functional.normalize(torch.randn(60, 40), dim=1)
    steepness = torch.linalg.matrix_norm(looks, 2) ** 2
    found = dense.seen((looks[7] + looks[31])[None], looks, steepness)[0]
    assert found[[7, 31]].tolist() == pytest.approx([dense.CEILING] * 2)
    assert (looks @ (looks[7] + looks[31]) > dense.CEILING).sum() > 10, "by themselves many words fit a little"
    others = torch.cat([found[:7], found[8:31], found[32:]])
    assert others.mean() < 0.02


def test_places_without_a_word_are_never_seen() -> None:
    looks = torch.tensor([[3.0, 0.0], [0.0, 0.0]])
    found = dense.seen(torch.tensor([[3.0, 3.0]]), looks, torch.tensor(9.0))
    assert found[0].tolist() == pytest.approx([dense.CEILING, 0.0])
    assert not dense.seen(torch.ones(4, 2), torch.zeros(3, 2), torch.tensor(0.0)).any()


def test_a_clip_shows_the_words_that_are_said_of_it(dense_world: World) -> None:
    model, data = fitted(dense_world), clip_set(dense_world)
    said, unsaid = [], []
    for row, video in enumerate(data.videos):
        place = min(int(data.glances[row] * len(data.clips[video])), len(data.clips[video]) - 1)
        shown = model.encode_clips(model.tensor(data.clips[video]))[place, -SIZES["seen_words"] :]
        words, lengths = data.words(row, row + 1)
        named = model.encode_text(model.tensor(words), model.tensor(lengths))[0, -SIZES["seen_words"] :]
        here = named > named.max() / 2
        said += shown[here].tolist()
        unsaid += shown[~here].tolist()
    assert np.mean(said) > 2 * np.mean(unsaid)


def test_it_learns_without_words_that_are_seen_too(dense_world: World) -> None:
    value = json.loads(dense_world.config.read_text())
    value["model"]["config"]["seen_words"] = 0
    dense_world.config.write_text(json.dumps(value))
    figures = run(dense_world, "run")
    assert figures["test"]["R@1,IoU=0.5"] > figures["best_constant"]["R@1,IoU=0.5"] + 20


def test_more_words_to_be_seen_than_are_known_are_refused(dense_world: World) -> None:
    value = json.loads(dense_world.config.read_text())
    value["model"]["config"]["seen_words"] = 13
    dense_world.config.write_text(json.dumps(value))
    with pytest.raises(InputError, match="seen_words 13 is more than own_words 12"):
        load_config(dense_world.config)


def test_words_of_their_own_are_the_commonest(dense_world: World) -> None:
    data = clip_set(dense_world)
    found = fit.commonest(data, 3)
    ids, times = np.unique(np.concatenate(data.word_ids), return_counts=True)
    kept = {int(np.argmax(data.vectors @ vector / np.linalg.norm(data.vectors + 1e-9, axis=1))) for vector in found}
    assert min(times[np.isin(ids, list(kept))]) >= np.sort(times)[-3]


def test_fewer_words_than_places_leave_the_rest_empty(dense_world: World) -> None:
    found = fit.commonest(clip_set(dense_world), 40)
    assert np.linalg.norm(found, axis=1).round(3).tolist() == [1.0] * 13 + [0.0] * 27


def test_a_key_of_another_model_is_refused_by_name(dense_world: World) -> None:
    dense_world.edit_config(loss={"margin_1": 0.1})
    with pytest.raises(InputError, match=r"loss\.margin_1"):
        load_config(dense_world.config)


def test_the_configuration_is_one_of_its_own(dense_world: World) -> None:
    assert isinstance(load_config(dense_world.config), DenseConfig)
