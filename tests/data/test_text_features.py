import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cfmr.config import load_config
from cfmr.data.annotations import Annotation, load_annotations
from cfmr.data.text_features import is_text_features, load_text_features, sentence_vocabulary
from cfmr.data.vocabulary import Vocabulary
from cfmr.errors import InputError
from tests.support.worlds import World

TOKENS = np.arange(12, dtype=np.float32).reshape(3, 4)


def row(sentence: str, qid: Any) -> Annotation:
    return Annotation("v", 10.0, sentence, 1.0, None, qid)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "clip_text"
    folder.mkdir()
    np.savez(folder / "qid7.npz", last_hidden_state=TOKENS[None], pooler_output=TOKENS[0] + 1)
    np.savez(folder / "a_0.npz", last_hidden_state=TOKENS[:2].astype(np.float16))
    return folder


def tokens(found: Vocabulary, sentence: str, most: int = 10) -> list[list[float]]:
    return found.vectors[found.ids(sentence, most)].tolist()


def test_tokens_of_a_sentence_are_its_words(folder: Path) -> None:
    found = load_text_features(str(folder), [row("a dog", 7), row("a cat", "a_0")], 4)
    assert tokens(found, "a dog") == TOKENS.tolist()
    assert tokens(found, "a cat") == TOKENS[:2].tolist()
    assert tokens(found, "a dog", 2) == TOKENS[:2].tolist()
    assert found.ids("a bird", 10) == []
    assert found.kept().words == []
    assert found.kept().vectors.shape == (1, 4)
    with pytest.raises(InputError, match=r"test\.json: row 2 has no features of 'a bird'"):
        found.check([row("a dog", 7), row("a bird", 8)], "test.json")


def test_one_vector_for_the_whole_sentence_may_be_taken(folder: Path) -> None:
    found = load_text_features(f"{folder}#pooler_output", [row("a dog", 7)], 4)
    assert tokens(found, "a dog") == [(TOKENS[0] + 1).tolist()]


def test_features_in_hdf5_are_read_too(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "roberta.hdf5", "w") as file:
        file["v1#enc#0"] = TOKENS
    assert is_text_features(str(tmp_path / "roberta.hdf5"))
    found = load_text_features(str(tmp_path / "roberta.hdf5"), [row("a dog", "v1#enc#0")], 4)
    assert tokens(found, "a dog") == TOKENS.tolist()
    with pytest.raises(InputError, match="no features for 1 of 1 sentences by qid: v2#enc#0"):
        load_text_features(str(tmp_path / "roberta.hdf5"), [row("a dog", "v2#enc#0")], 4)


def test_what_cannot_be_used_is_named(folder: Path) -> None:
    with pytest.raises(InputError, match="found by their qid, and 'a dog' has none"):
        load_text_features(str(folder), [row("a dog", None)], 4)
    with pytest.raises(InputError, match="no features for 2 of 3 sentences by qid: 8, 9"):
        load_text_features(str(folder), [row("a dog", 7), row("a cat", 8), row("a bird", 9)], 4)
    with pytest.raises(InputError, match=r"features of sentence 7 are 4 wide, .*word_dim is 300"):
        load_text_features(str(folder), [row("a dog", 7)], 300)
    with pytest.raises(InputError, match=r"a_0\.npz: has last_hidden_state; pooler_output is expected"):
        load_text_features(f"{folder}#pooler_output", [row("a cat", "a_0")], 4)
    np.savez(folder / "5.npz", last_hidden_state=np.full((2, 4), np.nan))
    with pytest.raises(InputError, match=r"5\.npz: holds NaN"):
        load_text_features(str(folder), [row("a bird", 5)], 4)
    (folder / "6.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(InputError, match=r"6\.npz: not a complete npz file"):
        load_text_features(str(folder), [row("a bird", 6)], 4)
    with pytest.raises(InputError, match="gone: not there; the model was trained on features of sentences"):
        sentence_vocabulary(Vocabulary([], np.zeros((1, 4), np.float32)), "gone", [], 4)


def on_text_features(world: World) -> Path:
    """A made-up world whose sentences have a qid and, in place of words, features of two tokens."""
    rng = np.random.default_rng(3)
    looks: dict[str, np.ndarray] = {}
    folder = world.root / "text"
    folder.mkdir()
    for path in (world.training, world.test):
        rows = [[*row[:5], f"{path.stem}-{number}"] for number, row in enumerate(json.loads(path.read_text()))]
        path.write_text(json.dumps(rows))
        for _, _, _, sentence, _, qid in rows:
            words = [looks.setdefault(word, rng.standard_normal(6)) for word in sentence.split()[1:]]
            np.savez(folder / f"{qid}.npz", last_hidden_state=np.stack([words[0] + words[1], words[2]]))
    value = json.loads((Path(__file__).parents[2] / "config" / "charades" / "dense.json").read_text())
    told = json.loads(world.config.read_text())["dataset"]
    value["dataset"] = {**told, "vocab_path": str(folder), "word_dim": 6}
    world.config.write_text(json.dumps(value))
    return world.config


def test_a_model_is_trained_and_measured_on_features_of_sentences(world: World, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from cfmr.training.answers import Measuring, measure_checkpoint
    from cfmr.training.backends import find_training
    from cfmr.training.evaluation import evaluate_checkpoint

    config = load_config(on_text_features(world))
    figures = find_training("pytorch", config).train(
        config, world.root / "run", resume=None, seed=1, select="last", device="cpu"
    )
    checkpoint = world.root / "run"
    again = evaluate_checkpoint(config, checkpoint, corpus=False, backend="pytorch", device="cpu")
    assert again["test"] == figures["test"]
    wanted = Measuring(world.test, tmp_path / "pred.jsonl")
    scores = measure_checkpoint(config, checkpoint, wanted, backend="pytorch", device="cpu")
    assert scores["R@1,mIoU"] == pytest.approx(figures["test"]["R@1,mIoU"], abs=0.05)
    asked = [json.loads(line)["qid"] for line in (tmp_path / "pred.jsonl").read_text().splitlines()]
    assert asked == [row.qid for row in load_annotations(world.test)]

    from cfmr.index.model_source import CheckpointModel

    with pytest.raises(InputError, match="trained on features of sentences and can read no others"):
        CheckpointModel.load(checkpoint)


def test_the_published_model_needs_words(world: World) -> None:
    pytest.importorskip("torch")
    from cfmr.training.data import load_data

    folder = world.root / "text"
    folder.mkdir()
    world.edit_config(dataset={"vocab_path": str(folder)})
    with pytest.raises(InputError, match="can stand in for words with CFMR-Dense only"):
        load_data(load_config(world.config), "last", 0)


def test_a_file_of_no_features_at_all_lacks_those_of_every_sentence(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "text.hdf5", "w"):
        pass
    with pytest.raises(InputError, match=r"text\.hdf5: no features for 1 of 1 sentences by qid: 7"):
        load_text_features(str(tmp_path / "text.hdf5"), [row("a dog", 7)], 4)
