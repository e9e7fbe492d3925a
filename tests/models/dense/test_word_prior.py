from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from cfmr.data.features import FeatureStore, FeatureWriter
from cfmr.data.vocabulary import Vocabulary
from cfmr.errors import InputError
from cfmr.extractors.efficientnet_lite0 import CHANNELS, EfficientNetLite0
from cfmr.models.checkpoint import Checkpoint
from cfmr.models.dense.model import SHARPNESS, Dense
from cfmr.models.dense.text_onnx import dense_text
from cfmr.models.dense.word_prior import WordPrior, adapted, find_prior
from tests.support.searchable import random_dense, save_dense_checkpoint
from tests.support.worlds import World

SEEN, UNSEEN_WORDS, CHANNELS_HERE, LOOK = 4, 3, 5, 3
WORDS = SEEN + UNSEEN_WORDS
VECTORS = np.random.default_rng(3).standard_normal((WORDS + 1, 4)).astype(np.float32)


def made_up_prior(weight: float = 2.0, words: int = WORDS) -> WordPrior:
    rng = np.random.default_rng(5)
    looks = rng.standard_normal((words + 1, LOOK)).astype(np.float16).astype(np.float32)
    looks[0] = 0
    mean, axes = rng.standard_normal(CHANNELS_HERE), rng.standard_normal((CHANNELS_HERE, LOOK))
    telling = np.ones(words + 1, np.float32)
    telling[[0, 1]] = 0  # padding, and a function word
    return WordPrior(mean.astype(np.float32), axes.astype(np.float32), looks, telling, weight)


def model_with(prior: WordPrior) -> Dense:
    learned = random_dense(frame_dim=6, word_dim=4, words=SEEN)
    return Dense(learned.whitening, learned.fits, learned.readout, learned.max_num_frames, prior)


def sentence(model: Dense, *ids: int) -> np.ndarray:
    return model.text_vectors(model.word_inputs(VECTORS)[[ids]], np.array([len(ids)]))[0]


def shown(clips: int = 12) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((clips, 6)).astype(np.float32)


def test_a_score_is_the_learned_one_and_the_weighted_one_of_looks() -> None:
    prior = replace(made_up_prior(), looks=0.3 * made_up_prior().looks)
    whole, learned = model_with(prior), random_dense(frame_dim=6, word_dim=4, words=SEEN)
    ids = (1, 3)
    score = whole.video_vectors(shown(), 0.5)[0] @ sentence(whole, *ids)
    alone = learned.video_vectors(shown(), 0.5)[0] @ learned.text_vectors(
        learned.word_inputs(VECTORS[: SEEN + 1])[[ids]], np.array([2])
    )[0]  # fmt: skip
    summed = prior.looks[list(ids)].sum(0)
    meant = summed / max(1.0, float(np.linalg.norm(summed)))
    window = whole.readout.window_in(12, 0.5)
    looked = np.stack([prior.clips(shown()) @ meant])[0]
    kernel = np.ones(window) / window
    padded = np.pad(looked, window // 2, mode="edge")
    smooth = np.convolve(padded, kernel, mode="valid")
    np.testing.assert_allclose(score, alone + SHARPNESS * 2.0 * smooth, rtol=1e-3, atol=1e-3)


def test_of_a_word_that_was_never_clicked_only_its_look_is_known() -> None:
    model = model_with(made_up_prior())
    vector = sentence(model, SEEN + 1)
    assert not vector[: model.learned_size].any()
    assert vector[model.learned_size :].any()


def test_what_is_learned_counts_by_the_share_of_telling_words_that_were_clicked() -> None:
    model = model_with(made_up_prior())
    fits = len(model.fits)

    def learned(*ids: int) -> float:
        return float(np.linalg.norm(sentence(model, *ids)[: model.learned_size]) / fits**0.5)

    assert learned(2, 3) == pytest.approx(1)
    assert learned(1, 2, SEEN + 1) == pytest.approx(1 / 2)  # the function word does not count
    assert learned(1, SEEN + 1) == pytest.approx(0)
    assert learned(1) == pytest.approx(1)


def test_a_prior_that_is_worth_nothing_is_left_to_words_that_were_never_clicked() -> None:
    model = model_with(made_up_prior(weight=0.0))
    clicked, other = sentence(model, 1, 2), sentence(model, SEEN + 1)
    assert not clicked[model.learned_size :].any()
    np.testing.assert_allclose(other, sentence(model_with(made_up_prior(weight=1.0)), SEEN + 1))


def test_the_graph_of_the_text_encoder_gives_the_vectors_of_the_model() -> None:
    for weight in (0.0, 0.5, 3.0):
        model = model_with(made_up_prior(weight))
        session = onnxruntime.InferenceSession(dense_text(model.parameters()).SerializeToString())
        words = model.word_inputs(VECTORS)
        for ids in ([1], [SEEN + 1], [2, SEEN + 2, 4, 1], [1, SEEN + 1]):
            expected = sentence(model, *ids)
            np.testing.assert_allclose(session.run(None, {"words": words[[ids]]})[0], expected, rtol=1e-5, atol=1e-5)


def with_prior(world: World) -> Checkpoint:
    """A checkpoint on the disk with more words than were seen in training, and their looks."""
    path = save_dense_checkpoint(world, world.root / "checkpoint")
    loaded = Checkpoint.load(path)
    dim, words = loaded.vocabulary.vectors.shape[1], loaded.vocabulary.words
    vectors = np.concatenate([loaded.vocabulary.vectors, np.zeros((2, dim), np.float32)])
    loaded.vocabulary = Vocabulary([*words, "zebra", "hammer"], vectors)
    loaded.parameters |= made_up_prior(1.5, len(words) + 2).parameters()
    loaded.save(path)
    return Checkpoint.load(path)


def test_a_checkpoint_keeps_it(world: World) -> None:
    loaded = with_prior(world)
    prior = Dense.restore(loaded).prior
    assert prior is not None
    expected = made_up_prior(1.5, len(loaded.vocabulary))
    assert prior.weight == 1.5
    np.testing.assert_array_equal(prior.looks, expected.looks)
    np.testing.assert_array_equal(prior.axes, expected.axes)


@pytest.mark.parametrize("name", ["prior_mean", "prior_axes", "prior_looks", "prior_telling", "prior_weight"])
def test_a_prior_that_is_not_whole_is_refused_by_name(world: World, name: str) -> None:
    loaded = with_prior(world)
    loaded.parameters[name] = loaded.parameters[name][:-1]
    with pytest.raises(InputError, match="parameter 'prior_"):
        Dense.restore(loaded)
    del loaded.parameters[name]
    with pytest.raises(InputError, match="parameter 'prior_"):
        Dense.restore(loaded)


# --- where it comes from ----------------------------------------------------------------------------------------------


def store(path: Path, extractor: str, dim: int = EfficientNetLite0.dim, **said: str) -> FeatureStore:
    with FeatureWriter(path, {"extractor": extractor, "version": 1, **said}) as writer:
        writer.add("a", np.ones((3, dim), np.float32), duration=2.0)
    return FeatureStore(path)


VOCABULARY = Vocabulary(["person", "dog"], np.ones((3, 50), np.float32))


def test_the_default_extractors_features_have_one(tmp_path: Path) -> None:
    found = find_prior(store(tmp_path / "f.hdf5", EfficientNetLite0.name), VOCABULARY)
    assert found is not None
    prior, vocabulary = found
    assert vocabulary.words[:2] == ["person", "dog"]
    assert {"zebra", "hammer"} <= set(vocabulary.words)
    assert len(prior.looks) == len(vocabulary) + 1 == len(vocabulary.vectors)
    assert not prior.looks[:2].any()  # padding, and a word that is no name of a class
    assert np.linalg.norm(prior.looks[2]) > 0.1


@pytest.mark.parametrize("said", [{"extractor": "c3d"}, {"extractor": EfficientNetLite0.name, "pca": "a"}])
def test_other_features_have_none(tmp_path: Path, said: dict[str, str]) -> None:
    assert find_prior(store(tmp_path / "f.hdf5", **said), VOCABULARY) is None


def test_sentences_that_are_no_words_have_none(tmp_path: Path) -> None:
    nothing = Vocabulary([], np.zeros((1, 50), np.float32))
    assert find_prior(store(tmp_path / "f.hdf5", EfficientNetLite0.name), nothing) is None


def test_in_a_collection_of_its_own_look_clips_are_compared_with_what_is_usual_there(tmp_path: Path) -> None:
    found = find_prior(store(tmp_path / "f.hdf5", EfficientNetLite0.name), VOCABULARY)
    assert found is not None
    rng = np.random.default_rng(0)
    videos = [rng.normal(5.0, 2.0, (20, CHANNELS)).astype(np.float32) for _ in range(90)]
    prior = adapted(found[0], videos)
    np.testing.assert_allclose(prior.mean, 0.9 * 5.0 + 0.1 * found[0].mean, atol=0.3)
    assert np.abs(prior.clips(np.concatenate(videos)).mean(0)).max() < 0.1
    assert adapted(found[0], []) is found[0]
