from functools import cache
from pathlib import Path

import numpy as np
import pytest

from cfmr.data.vocabulary import tokenize
from cfmr.data.word_vectors import WordVectors, load_word_vectors
from cfmr.errors import InputError
from cfmr.extractors import efficientnet_lite0
from cfmr.extractors.efficientnet_graph import CHANNELS
from cfmr.extractors.efficientnet_lite0 import EfficientNetLite0
from cfmr.extractors.efficientnet_network import weights_file
from cfmr.files.atomic import read_json
from cfmr.files.safe_pickle import read_torch
from cfmr.models import prior
from cfmr.models.prior import DIM, KNOWLEDGE, ClassPrior


@pytest.fixture(scope="module")
def built_in() -> ClassPrior:
    return ClassPrior.load()


@pytest.fixture(scope="module")
def glove() -> WordVectors:
    return load_word_vectors()


def cosine(one: np.ndarray, two: np.ndarray) -> float:
    return float(one @ two / np.linalg.norm(one) / np.linalg.norm(two))


@cache
def classifier() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    knowledge = read_json(KNOWLEDGE)
    return np.array(knowledge["mean"]), np.array(knowledge["deviation"]), read_torch(weights_file())["_fc.weight"]


def clip_of_class(number: int) -> np.ndarray:
    """A feature (1, dim) that shows one class and nothing else."""
    mean, deviation, weights = classifier()
    look = weights[number] * deviation
    feature = np.zeros((1, EfficientNetLite0.dim), np.float32)
    feature[0, :CHANNELS] = mean + 20 * deviation * look / np.linalg.norm(look)
    return feature


def test_what_is_known_covers_every_class() -> None:
    knowledge = read_json(KNOWLEDGE)
    assert len(knowledge["synsets"]) == len(set(knowledge["synsets"])) == 1000
    alone = {members[0] for _, members in knowledge["kinds"] if len(members) == 1}
    assert alone == set(range(1000))
    assert len(knowledge["mean"]) == len(knowledge["deviation"]) == CHANNELS
    assert min(knowledge["deviation"]) > 0
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in knowledge["licence"]


@pytest.mark.parametrize(
    ("word", "number", "other"),
    [("tench", 0, "broom"), ("accordion", 401, "tench"), ("broom", 462, "accordion"), ("mushrooms", 947, "umbrella")],
)
def test_a_class_is_found_by_its_name(
    built_in: ClassPrior, glove: WordVectors, word: str, number: int, other: str
) -> None:
    clip = built_in.clips(clip_of_class(number))[0]
    named, another = built_in.looks([word, other], glove)
    assert cosine(clip, named) > 0.9
    assert cosine(clip, another) < 0.5


def test_the_name_of_a_kind_means_all_of_its_classes(built_in: ClassPrior, glove: WordVectors) -> None:
    dog, broom = built_in.looks(["dog", "broom"], glove)
    breeds = np.concatenate([built_in.clips(clip_of_class(number)) for number in range(151, 269)])
    assert (breeds @ dog / np.linalg.norm(dog) > breeds @ broom / np.linalg.norm(broom)).mean() > 0.95


def test_a_word_that_names_no_class_means_the_nearest_ones(built_in: ClassPrior, glove: WordVectors) -> None:
    skateboard, unicycle, tench = built_in.looks(["skateboard", "unicycle", "tench"], glove)
    assert cosine(skateboard, unicycle) > cosine(skateboard, tench)


def test_forms_of_a_word_look_alike(built_in: ClassPrior, glove: WordVectors) -> None:
    one, several, capital = built_in.looks(["butterfly", "butterflies", "Butterfly"], glove)
    assert cosine(one, several) > 0.99
    np.testing.assert_array_equal(one, capital)


@pytest.mark.parametrize("word", ["the", "of", "red", "opens", "talking", "quickly", "xqzzt", "собака", "rebondit", ""])
def test_words_for_nothing_that_is_seen_have_no_look(built_in: ClassPrior, glove: WordVectors, word: str) -> None:
    assert not built_in.looks([word], glove).any()


def test_an_unspecific_word_counts_for_little(built_in: ClassPrior, glove: WordVectors) -> None:
    broom, container = np.linalg.norm(built_in.looks(["broom", "container"], glove), axis=1)
    assert container < 0.5 * broom


def test_clips_have_length_one_whatever_follows_the_networks_average(built_in: ClassPrior) -> None:
    features = np.random.default_rng(0).random((5, EfficientNetLite0.dim)).astype(np.float32)
    vectors = built_in.clips(features)
    assert vectors.shape == (5, DIM)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    features[:, CHANNELS:] = 0
    np.testing.assert_array_equal(built_in.clips(features), vectors)


def test_directions_say_the_same_of_raw_features(built_in: ClassPrior, glove: WordVectors) -> None:
    words = ["broom", "the", "dog"]
    features = np.random.default_rng(1).random((40, EfficientNetLite0.dim)).astype(np.float32)
    weights, biases = built_in.directions(words, glove, EfficientNetLite0.dim)
    linear = features @ weights.T + biases
    cosines = built_in.clips(features) @ built_in.looks(words, glove).T
    assert weights.shape == (3, EfficientNetLite0.dim)
    assert not weights[1].any()
    lengths = linear[:, [0, 2]] / cosines[:, [0, 2]]  # a clip's length is the same for every word
    np.testing.assert_allclose(lengths[:, 0], lengths[:, 1], rtol=2e-2)


def test_other_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"_conv_stem.weight": torch.zeros(1)}, tmp_path / "other.pth")
    monkeypatch.setattr(prior, "weights_file", lambda: tmp_path / "other.pth")
    prior._load.cache_clear()
    with pytest.raises(InputError, match=r"other\.pth: .*no classifier"):
        ClassPrior.load()
    prior._load.cache_clear()


FOOTAGE = {
    "cockatoo.mp4": "a parrot",
    "flipping_a_pancake.mkv": "a frying pan",
    "rotated_0.mov": "a computer keyboard",
    "intel/car-detection.gif": "a red car",
    "intel/classroom.gif": "a classroom with desks",
    "intel/fruit-and-vegetable-detection.gif": "an orange",
    "intel/store-aisle-detection.gif": "a store with shelves",
    "intel/worker-zone-detection.gif": "a worker in a helmet",
    "intel/people-detection.gif": None,
    "intel/head-pose-face-detection-male.gif": None,
}


def test_things_are_found_in_real_footage_without_a_label(
    shared: Path, built_in: ClassPrior, glove: WordVectors
) -> None:
    extractor = efficientnet_lite0.EfficientNetLite0()
    rows = [built_in.clips(extractor.extract(shared / "video" / name).features) for name in FOOTAGE]
    places = []
    for right, query in enumerate(FOOTAGE.values()):
        if query is not None:
            look = built_in.looks(tokenize(query), glove).sum(0)
            best = [float((clips @ look).max()) for clips in rows]
            places.append(sorted(best, reverse=True).index(best[right]))
    assert sum(place == 0 for place in places) >= 5
    assert sum(place < 3 for place in places) >= 7
