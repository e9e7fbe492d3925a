import numpy as np
import onnxruntime
import pytest

from cfmr.errors import InputError
from cfmr.models.checkpoint import Checkpoint
from cfmr.models.dense.model import SHARPNESS, Dense, Whitening, waves
from cfmr.models.dense.text_onnx import dense_text
from tests.support.searchable import random_dense, save_dense_checkpoint
from tests.support.worlds import World

VECTORS = np.random.default_rng(3).standard_normal((7, 4)).astype(np.float32)


@pytest.fixture
def model() -> Dense:
    return random_dense(frame_dim=6, word_dim=4, words=6)


def sentences(model: Dense, *ids: list[int]) -> np.ndarray:
    longest = max(map(len, ids))
    padded = np.array([[*row, *[0] * (longest - len(row))] for row in ids])
    vectors = VECTORS.copy()
    vectors[0] = 0
    return model.text_vectors(model.word_inputs(vectors)[padded], np.array([len(row) for row in ids]))


def features(clips: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((clips, 6)).astype(np.float32)


def test_every_clip_has_a_vector_and_a_span(model: Dense) -> None:
    vectors, spans = model.video_vectors(features(20), 30.0)
    assert vectors.shape == (20, model.size)
    assert (spans[0, 0], spans[-1, 1]) == (0, 1)
    np.testing.assert_allclose(spans[1:, 0], spans[:-1, 1])


def test_no_score_is_greater_than_that_of_equal_directions(model: Dense) -> None:
    vectors, _ = model.video_vectors(features(30), 30.0)
    scores = vectors @ sentences(model, [1, 2], [3], [4, 5, 6]).T
    assert np.abs(scores).max() <= SHARPNESS * (1 + 1e-5)


def test_the_length_of_a_feature_does_not_matter(model: Dense) -> None:
    shown = features(20)
    np.testing.assert_allclose(model.video_vectors(shown, 30.0)[0], model.video_vectors(7 * shown, 30.0)[0], atol=1e-4)


def test_the_order_of_words_and_their_padding_do_not_matter(model: Dense) -> None:
    found = sentences(model, [1, 2, 3], [3, 1, 2], [4, 5, 6, 1, 2])
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    np.testing.assert_allclose(sentences(model, [1, 2, 3])[0], found[0], atol=1e-6)


def test_longer_videos_than_the_most_frames_are_pooled(model: Dense) -> None:
    assert len(model.video_vectors(features(100), 30.0)[0]) == 40


def test_a_video_of_one_clip_has_a_vector(model: Dense) -> None:
    vectors, spans = model.video_vectors(features(1), 0.5)
    assert np.isfinite(vectors).all()
    assert spans.tolist() == [[0, 1]]


def test_waves_start_with_a_constant_and_tell_places_apart() -> None:
    found = waves(16)
    assert (found[:, 0] == 1).all()
    assert np.linalg.matrix_rank(found) == found.shape[1]


def test_a_silent_feature_is_no_number_to_divide_by() -> None:
    assert np.isfinite(Whitening(np.zeros(3, np.float32), np.eye(3, dtype=np.float32))(np.zeros((2, 3)))).all()


def test_the_graph_of_the_text_encoder_gives_the_vectors_of_the_model(model: Dense) -> None:
    session = onnxruntime.InferenceSession(dense_text(model.parameters()).SerializeToString())
    words = model.word_inputs(VECTORS)
    for ids in ([1], [2, 3, 4], [1, 1, 5, 6, 2, 3]):
        expected = model.text_vectors(words[[ids]], np.array([len(ids)]))[0]
        np.testing.assert_allclose(session.run(None, {"words": words[[ids]]})[0], expected, rtol=1e-5, atol=1e-5)


def test_parameters_that_do_not_fit_each_other_are_named(world: World) -> None:
    path = save_dense_checkpoint(world, world.root / "checkpoint")
    loaded = Checkpoint.load(path)
    loaded.parameters["own"] = loaded.parameters["own"][:, :-1]
    with pytest.raises(InputError, match="parameter 'own'"):
        Dense.restore(loaded)


def test_a_checkpoint_of_the_earlier_model_is_refused(world: World) -> None:
    loaded = Checkpoint.load(save_dense_checkpoint(world, world.root / "checkpoint"))
    loaded.parameters = {"looks": np.zeros(3, np.float32)}
    with pytest.raises(InputError, match="is it a checkpoint of this model"):
        Dense.restore(loaded)


def test_a_checkpoint_that_does_not_say_how_curves_are_read_is_refused(world: World) -> None:
    loaded = Checkpoint.load(save_dense_checkpoint(world, world.root / "checkpoint"))
    del loaded.state["reader"]
    with pytest.raises(InputError, match="how moments are read"):
        Dense.restore(loaded)
