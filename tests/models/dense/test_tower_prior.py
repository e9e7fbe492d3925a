from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cfmr.config import parse_config, preset
from cfmr.data.annotations import Annotation, save_annotations
from cfmr.data.features import FeatureStore, FeatureWriter
from cfmr.data.vocabulary import Vocabulary
from cfmr.errors import InputError
from cfmr.extractors.clip import Clip
from cfmr.models.checkpoint import Checkpoint
from cfmr.models.dense import tower_prior
from cfmr.models.dense.model import Dense
from cfmr.models.dense.tower_prior import PROMPT, centred, find_tower_prior
from cfmr.models.encode import encode_sentences
from cfmr.training import dense
from tests.support.backbones import save_clip

pytest.importorskip("torch")

COMMON = ["the", "house", "dog", "cat", "car", "bird", "tree", "door", "street", "water", "hand", "ball", "cup"]
VOCABULARY = Vocabulary(["the", "dog", "zzyzx"], np.zeros((4, 50), np.float32))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip") / "checkpoint")


@pytest.fixture(autouse=True)
def few_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tower_prior, "load_word_vectors", lambda: SimpleNamespace(words=COMMON))
    monkeypatch.setattr(tower_prior, "cache_folder", lambda: tmp_path / "cache")
    (tmp_path / "cache").mkdir()


@pytest.fixture
def features(checkpoint: Path, tmp_path: Path) -> FeatureStore:
    """Six videos of ten clips, the third of each as the text tower sees a dog."""
    clip, rng = Clip(checkpoint), np.random.default_rng(0)
    with FeatureWriter(tmp_path / "f.hdf5", clip.attributes()) as writer:
        for number in range(6):
            shown = rng.standard_normal((10, clip.dim)).astype(np.float32)
            shown[3] = 40 * (clip.text([PROMPT.format("dog")])[0] - clip.text([PROMPT.format("house")])[0])
            writer.add(f"v{number}", shown / np.linalg.norm(shown, axis=1, keepdims=True), duration=20.0)
    return FeatureStore(tmp_path / "f.hdf5")


def test_words_look_like_their_text_vectors_less_the_usual_one(checkpoint: Path, features: FeatureStore) -> None:
    prior, whole = find_tower_prior(str(checkpoint), features, VOCABULARY)
    assert whole.words[:3] == ["the", "dog", "zzyzx"]
    assert sorted(whole.words) == sorted([*COMMON, "zzyzx"])
    lengths = np.linalg.norm(prior.looks, axis=1)
    assert lengths[:2].tolist() == [0, 0]  # padding, and a function word
    np.testing.assert_allclose(lengths[2:], 1, atol=1e-5)
    assert prior.telling[:4].tolist() == [0, 0, 1, 1]
    own = Clip(checkpoint).text([PROMPT.format("dog")])[0]
    rest = Clip(checkpoint).text([PROMPT.format(word) for word in whole.words[3:]])
    cosines = (own - rest.mean(axis=0)) @ prior.looks.T
    assert int(cosines.argmax()) == 2


def test_common_words_are_read_once(checkpoint: Path, features: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = find_tower_prior(str(checkpoint), features, VOCABULARY)
    read = list[str]()
    text = Clip.text
    monkeypatch.setattr(Clip, "text", lambda clip, said: (read.extend(said), text(clip, said))[1])
    again, _ = find_tower_prior(str(checkpoint), features, VOCABULARY)
    assert len(read) <= 2
    np.testing.assert_array_equal(first.looks, again.looks)


def test_clips_are_compared_with_what_all_of_them_show(checkpoint: Path, features: FeatureStore) -> None:
    prior, _ = find_tower_prior(str(checkpoint), features, VOCABULARY)
    shown = [features.read(name) + 3 for name in features.videos]
    own = centred(prior, shown)
    np.testing.assert_allclose(own.mean, np.concatenate(shown).mean(axis=0), atol=1e-5)
    assert centred(prior, []) is prior


def test_a_word_that_nobody_clicked_is_known_by_the_text_tower(
    checkpoint: Path, features: FeatureStore, tmp_path: Path
) -> None:
    rows = [Annotation(f"v{number}", 20.0, "a house", 15.0, None) for number in range(6)]
    save_annotations(tmp_path / "rows.json", rows)
    value = preset("dense", tmp_path).model_dump()
    value["dataset"] |= {"feature_path": str(features.path), "train_data": str(tmp_path / "rows.json")}
    value["dataset"] |= {"val_data": None, "test_data": "", "frame_dim": features.dim}
    value["train"]["prior_checkpoint"] = str(checkpoint)
    dense.train(parse_config(value, "test"), tmp_path / "run", select="last")
    learned = Checkpoint.load(tmp_path / "run" / "checkpoint")
    model = Dense.restore(learned)
    (query,) = encode_sentences(model, ["a dog"], learned.vocabulary, 10)
    clips, _ = model.video_vectors(features.read("v0"), 20.0)
    assert int((clips @ query).argmax()) in (2, 3, 4)


@pytest.mark.parametrize("said", [{"extractor": "efficientnet-lite0"}, {"extractor": "clip", "weights": "another"}])
def test_features_of_something_else_are_refused(checkpoint: Path, tmp_path: Path, said: dict[str, str]) -> None:
    with FeatureWriter(tmp_path / "g.hdf5", {"version": 1, **said}) as writer:
        writer.add("v", np.ones((3, 24), np.float32), duration=1.0)
    with pytest.raises(InputError, match=r"train\.prior_checkpoint: .*g\.hdf5"):
        find_tower_prior(str(checkpoint), FeatureStore(tmp_path / "g.hdf5"), VOCABULARY)
