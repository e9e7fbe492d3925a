import numpy as np

from cfmr.data.annotations import load_annotations
from cfmr.data.features import FeatureStore, pool_clips
from cfmr.data.vocabulary import Vocabulary
from cfmr.data.word_vectors import load_word_vectors
from cfmr.models.cfmr.batches import TrainingSet
from tests.support.worlds import World


def training_set(world: World) -> TrainingSet:
    rows = load_annotations(world.training)
    vectors = load_word_vectors(world.root / "glove.txt")
    vocabulary = Vocabulary.build([row.sentence for row in rows], vectors, 100)
    features = FeatureStore(world.features)
    kept = np.array([0, 5, 9, 9])
    return TrainingSet(rows, features, vocabulary, max_num_frames=10, max_num_words=10, kept=kept)


def test_an_epoch_holds_every_row_once(world: World) -> None:
    data = training_set(world)
    batches = list(data.epoch(8, np.random.default_rng(0)))
    assert [len(batch) for batch in batches] == [8, 8, 8, 3]
    glances = np.concatenate([batch.glances for batch in batches])
    assert sorted(glances.tolist()) == sorted(data.glances.tolist())


def test_clips_are_those_that_the_model_keeps(world: World) -> None:
    data = training_set(world)
    batch = data.batch(np.array([0, 1]), np.random.default_rng(0))
    pooled = pool_clips(FeatureStore(world.features).read("v00"), 10)
    np.testing.assert_array_equal(batch.clips[0], pooled[[0, 5, 9, 9]])
    assert batch.videos.tolist() == [0, 0]


def test_about_a_third_of_the_words_is_masked_and_never_padding(world: World) -> None:
    data = training_set(world)
    batch = data.batch(np.arange(len(data)), np.random.default_rng(0))
    assert (batch.masked.sum(1) == np.maximum(batch.lengths // 3, 1)).all()
    assert not batch.masked[batch.word_ids == 0].any()


def test_words_come_with_their_vectors_and_padding_with_none(world: World) -> None:
    data = training_set(world)
    batch = data.batch(np.arange(3), np.random.default_rng(0))
    assert (batch.words[batch.word_ids == 0] == 0).all()
    np.testing.assert_array_equal(batch.words, data.vectors[batch.word_ids])


def test_shares_of_processes_add_up_to_the_batch(world: World) -> None:
    batch = training_set(world).batch(np.arange(5), np.random.default_rng(0))
    shares = [batch.share(rank, 2) for rank in range(2)]
    assert [len(share) for share in shares] == [3, 2]
    assert {share.word_ids.shape[1] for share in shares} == {batch.word_ids.shape[1]}
