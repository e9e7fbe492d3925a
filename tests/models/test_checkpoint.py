import json
from pathlib import Path

import numpy as np
import pytest

from cfmr.config import load_config, parse_config
from cfmr.data.vocabulary import Vocabulary
from cfmr.errors import InputError
from cfmr.models.checkpoint import Checkpoint, find_checkpoint
from tests.support.worlds import WORD_DIM, World


@pytest.fixture
def saved(world: World) -> Path:
    vocabulary = Vocabulary(["dog", "cat"], np.ones((3, WORD_DIM), np.float32))
    parameters = {"frame_fc.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}
    path = world.root / "checkpoint"
    Checkpoint(load_config(world.config), vocabulary, parameters, {"epoch": 3}).save(path)
    return path


def test_what_is_saved_is_loaded(saved: Path, world: World) -> None:
    checkpoint = Checkpoint.load(saved)
    assert checkpoint.config == load_config(world.config)
    assert checkpoint.vocabulary.words == ["dog", "cat"]
    assert checkpoint.state == {"epoch": 3}
    np.testing.assert_array_equal(checkpoint.parameters["frame_fc.weight"], [[0, 1, 2], [3, 4, 5]])


def test_it_holds_json_and_safetensors_only(saved: Path) -> None:
    assert {path.suffix for path in saved.iterdir()} == {".json", ".safetensors"}


@pytest.mark.parametrize("name", ["model.safetensors", "vocabulary.safetensors", "config.json", "state.json"])
def test_a_truncated_file_is_named(saved: Path, name: str) -> None:
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=name):
        Checkpoint.load(saved)


@pytest.mark.parametrize("name", ["model.safetensors", "vocabulary.json", "state.json"])
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(InputError, match=name):
        Checkpoint.load(saved)


def test_a_foreign_file_is_told_from_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"model\.pt: is a file; a checkpoint is a directory"):
        Checkpoint.load(tmp_path / "model.pt")
    with pytest.raises(InputError, match="does not exist"):
        Checkpoint.load(tmp_path / "gone")


def test_another_version_is_refused(saved: Path) -> None:
    (saved / "state.json").write_text('{"format": "cfmr-checkpoint-99"}')
    with pytest.raises(InputError, match="not a checkpoint of this version"):
        Checkpoint.load(saved)


@pytest.mark.parametrize("name", ["model.safetensors", "vocabulary.safetensors", "vocabulary.json"])
def test_a_flipped_bit_is_found(saved: Path, name: str) -> None:
    content = bytearray((saved / name).read_bytes())
    content[-10] ^= 1
    (saved / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}: .*does not fit its checksum"):
        Checkpoint.load(saved)


def test_one_without_checksums_is_read(saved: Path) -> None:
    state = json.loads((saved / "state.json").read_text())
    del state["crc32"]
    (saved / "state.json").write_text(json.dumps(state))
    assert Checkpoint.load(saved).state == {"epoch": 3}


def test_one_that_was_being_replaced_when_the_power_went_is_read(saved: Path) -> None:
    saved.rename(saved.parent / ".checkpoint.old")
    assert Checkpoint.load(saved).state == {"epoch": 3}
    assert find_checkpoint(saved.parent) == saved


def test_a_configuration_that_asks_for_more_than_there_is_does_not_fit(saved: Path) -> None:
    torch_models = pytest.importorskip("cfmr.models.pytorch")
    checkpoint = Checkpoint.load(saved)
    value = checkpoint.config.model_dump()
    value["dataset"]["frame_dim"] = value["model"]["config"]["frames_input_size"] = 1 << 16
    value["model"]["config"]["hidden_size"] = value["model"]["config"]["Transformers"]["d_model"] = 1 << 16
    checkpoint.config = parse_config(value, "config.json")
    with pytest.raises(InputError, match=r"the configuration asks for|is missing"):
        torch_models.restore(checkpoint)
