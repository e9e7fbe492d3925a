import collections
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cfmr.cli import app
from cfmr.errors import InputError
from cfmr.models.checkpoint import Checkpoint
from cfmr.models.convert import convert

torch = pytest.importorskip("torch")

DATASET = {
    "dataset": "tiny",
    "feature_path": "f.hdf5",
    "vocab_size": 29,
    "word_dim": 12,
    "frame_dim": 16,
    "max_num_words": 20,
    "max_num_frames": 40,
    "train_data": "",
    "test_data": "",
    "vocab_path": "",
}


def config_file(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"dataset": {**DATASET, **changes}}))
    return path


def sizes() -> dict[str, Any]:
    """The model's part of a configuration, as the original writes it into a checkpoint."""
    transformers = {"d_model": 8, "num_heads": 2, "num_decoder_layers1": 1, "num_decoder_layers2": 1, "dropout": 0.0}
    return {
        "frames_input_size": 5,
        "words_input_size": 2,
        "hidden_size": 8,
        "use_negative": True,
        "sigma": 9,
        "gamma": 0.5,
        "dropout": 0.0,
        "Transformers": transformers,
        "num_concept": 2,
        "guass_width_num_training": 3,
        "width_thresh_training": 0.5,
        "guass_center_num": 4,
        "guass_width_num": 2,
        "width_thresh": 0.4,
        "vocab_size": 4,
        "max_epoch": 30,
    }


@pytest.fixture
def theirs() -> dict[str, Any]:
    """What the original release saves."""
    from cfmr.config import CFMRSizes
    from cfmr.models.cfmr.pytorch.model import CFMR

    config = sizes()
    known = CFMRSizes(**{key: value for key, value in config.items() if key not in ("vocab_size", "max_epoch")})
    model = CFMR(known, vocabulary=4, max_num_frames=200)
    return {
        "num_updates": 12,
        "config": {"model": {"name": "CFMR", "config": config}},
        "model_parameters": collections.OrderedDict(model.state_dict()),
    }


def saved(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "model.pt"
    torch.save(content, path)
    return path


def vectors_file(tmp_path: Path, words: int = 3, dim: int = 2) -> Path:
    names = [f"w{number}" for number in range(words)]
    content = {
        "w2id": {name: row for row, name in enumerate(names)},
        "id2vec": [np.full(dim, row, np.float32) for row in range(words)],
        "counter": collections.Counter({name: row + 1 for row, name in enumerate(names)}),
    }
    path = tmp_path / "glove.pkl"
    path.write_bytes(pickle.dumps(content))
    return path


@pytest.mark.parametrize("name", ["charades_tiny", "tacos_tiny"])
def test_a_converted_checkpoint_gives_the_originals_concepts(shared: Path, tmp_path: Path, name: str) -> None:
    from cfmr.models.pytorch import restore

    fixture = np.load(shared / "parity" / f"{name}.npz")
    frames, words = fixture["in/frames_feat"], fixture["in/words_feat"]
    config = config_file(tmp_path, max_num_frames=frames.shape[1], frame_dim=frames.shape[2], word_dim=words.shape[2])
    checkpoint, _ = convert(shared / "parity" / f"{name}.pt", config)
    checkpoint.save(tmp_path / "converted")
    model = restore(Checkpoint.load(tmp_path / "converted"))
    with torch.inference_mode():
        video = model.encode_video(torch.from_numpy(frames[:, model.kept_clips])).flatten(0, 1)
        text = model.encode_text(torch.from_numpy(words[:, 1:-1]), fixture["in/words_len"])
    np.testing.assert_allclose(video, fixture["eval/vid_concepts"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(text, fixture["eval/txt_concepts"], rtol=0, atol=1e-5)


def test_a_checkpoint_without_words_is_converted_and_says_so(tmp_path: Path, theirs: dict[str, Any]) -> None:
    checkpoint, notes = convert(saved(tmp_path, theirs))
    assert len(checkpoint.vocabulary) == 3
    assert any("200 clips a video assumed" in note for note in notes)
    assert any("give the glove.pkl" in note for note in notes)
    assert checkpoint.vocabulary.ids("1 2 3 <1>", 20) == []


def test_words_come_from_the_vectors_it_was_trained_with(tmp_path: Path, theirs: dict[str, Any]) -> None:
    path = saved(tmp_path, theirs)
    checkpoint, notes = convert(path, vocabulary=vectors_file(tmp_path))
    assert checkpoint.vocabulary.words == ["w2", "w1", "w0"]
    assert not any("glove.pkl" in note for note in notes)
    with pytest.raises(InputError, match="has 2 words, the checkpoint knows 3"):
        convert(path, vocabulary=vectors_file(tmp_path, words=2))
    with pytest.raises(InputError, match="vectors are 7 wide, the checkpoint's 2"):
        convert(path, vocabulary=vectors_file(tmp_path, dim=7))


def test_parameters_saved_from_several_devices_are_read(tmp_path: Path, theirs: dict[str, Any]) -> None:
    names = theirs["model_parameters"]
    theirs["model_parameters"] = {f"module.{name}": value for name, value in names.items()}
    assert set(convert(saved(tmp_path, theirs))[0].parameters) == set(names)


def test_a_parameter_that_does_not_fit_is_named(tmp_path: Path, theirs: dict[str, Any]) -> None:
    del theirs["model_parameters"]["vid_pred_vec"]
    with pytest.raises(InputError, match=r"model\.pt: parameter 'vid_pred_vec' is missing"):
        convert(saved(tmp_path, theirs))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model_parameters": None}, "no 'model_parameters'"),
        ({"model_parameters": {"a": "b"}}, "something else than tensors"),
        ({"model_parameters": {"a": torch.ones(1)}}, "parameter 'frame_fc.weight' is missing"),
        ({"config": {}}, "does not say the model's sizes"),
        ({"config": {"model": {"name": "CFMR", "config": {"sigma": 9}}}}, "key 'model.config.frames_input_size'"),
    ],
)
def test_a_file_of_something_else_is_named(
    tmp_path: Path, theirs: dict[str, Any], change: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says) as error:
        convert(saved(tmp_path, {**theirs, **change}))
    assert "model.pt" in str(error.value)


class Runs:
    def __reduce__(self) -> Any:
        return os.system, ("touch broken-in",)


def test_the_command_refuses_a_file_that_asks_to_run_something(
    tmp_path: Path, theirs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = saved(tmp_path, {**theirs, "config": Runs()})
    result = CliRunner().invoke(app, ["convert", str(path), "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, InputError)
    assert "model.pt: asks to run 'os.system'; refused" in str(result.exception)
    assert not (tmp_path / "broken-in").exists()
    assert not (tmp_path / "out").exists()


def test_the_command_writes_a_checkpoint(tmp_path: Path, theirs: dict[str, Any]) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["convert", str(saved(tmp_path, theirs)), "--out", str(out)])
    assert result.exit_code == 0
    assert "parameters" in result.stdout
    checkpoint = Checkpoint.load(out)
    assert checkpoint.state == {"converted_from": "model.pt", "num_updates": 12}
    for name, value in theirs["model_parameters"].items():
        np.testing.assert_array_equal(checkpoint.parameters[name], value.numpy())
