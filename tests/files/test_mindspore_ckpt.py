import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cfmr.errors import InputError
from cfmr.files.mindspore_ckpt import _message, checkpoint_name, read_ckpt
from cfmr.models.convert import convert

TESTS = Path(__file__).resolve().parents[1]
TYPES = {"<f4": "Float32", "<f8": "Float64", "<f2": "Float16", "<i4": "Int32", "<i8": "Int64", "|u1": "UInt8"}


def content(tensors: dict[str, np.ndarray], piece: int = 512 * 1024) -> bytes:
    """What MindSpore writes: long tensors in pieces, a scalar as of size 0."""
    file = _message()()
    for name, value in tensors.items():
        data = value.tobytes()
        for first in range(0, max(len(data), 1), piece):
            part = file.value.add(tag=name)
            part.tensor.dims.extend(value.shape or [0])
            part.tensor.tensor_type = TYPES[value.dtype.str]
            part.tensor.tensor_content = data[first : first + piece]
    return file.SerializeToString()


def saved(path: Path, tensors: dict[str, np.ndarray], tail: bytes = b"") -> Path:
    path.write_bytes(content(tensors) + tail)
    return path


@given(
    value=st.sampled_from(sorted(TYPES)).flatmap(
        lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=1, max_side=4))
    ),
    piece=st.integers(1, 5).map(lambda n: 8 * n),
)
def test_tensors_of_every_type_come_back_however_they_were_cut(
    tmp_path_factory: pytest.TempPathFactory, value: np.ndarray, piece: int
) -> None:
    path = tmp_path_factory.mktemp("ckpt") / "a.ckpt"
    path.write_bytes(content({"a.weight": value, "step": np.array(3, np.int32)}, piece))
    read = read_ckpt(path)
    np.testing.assert_array_equal(read["a.weight"], value)
    assert read["a.weight"].dtype == value.dtype
    assert read["step"].shape == ()


def test_bfloat16_becomes_float32(tmp_path: Path) -> None:
    file = _message()()
    value = file.value.add(tag="a")
    value.tensor.dims.append(2)
    value.tensor.tensor_type = "BFloat16"
    value.tensor.tensor_content = (np.array([1.5, -2.0], np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes()
    path = tmp_path / "a.ckpt"
    path.write_bytes(file.SerializeToString())
    assert read_ckpt(path)["a"].tolist() == [1.5, -2.0]


def test_a_checksum_at_the_end_is_passed_over(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.ckpt", {"a": np.ones(3, np.float32)}, b"crc_num" + bytes(10))
    assert read_ckpt(path)["a"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda data: b"", "holds no tensor"),
        (lambda data: data[:-5], "damaged"),
        (lambda data: b"PK\x03\x04" + bytes(range(256)), "damaged"),
        (lambda data: data.replace(b"Float32", b"Flote32"), "unknown type 'Flote32'"),
        (lambda data: None, "no such file"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, spoil: Any, says: str) -> None:
    path = tmp_path / "a.ckpt"
    data = spoil(content({"a": np.ones(3, np.float32)}))
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(InputError, match=rf"a\.ckpt: .*{says}") as error:
        read_ckpt(path)
    assert "\n" not in str(error.value)


@pytest.fixture
def theirs() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Parameters by our names, and the configuration that goes with them."""
    arrays = dict(np.load(TESTS / "parity/own_tiny.npz"))
    description = json.loads((TESTS / "parity/own_tiny.json").read_text())
    parameters = {name.removeprefix("param/"): value for name, value in arrays.items() if name.startswith("param/")}
    return parameters, {"model": {"name": "CFMR", "config": description["model"]}, "loss": description["loss"]}


def mindspore_name(name: str) -> str:
    owner, _, last = name.rpartition(".")
    return f"{owner}.{ {'weight': 'gamma', 'bias': 'beta'}[last] }" if "norm" in owner else name


def test_a_mindspore_checkpoint_is_converted_by_name(tmp_path: Path, theirs: Any) -> None:
    parameters, config = theirs
    (tmp_path / "config.json").write_text(json.dumps(config))
    tensors = {mindspore_name(name): value for name, value in parameters.items()}
    assert set(map(checkpoint_name, tensors)) == set(parameters)
    assert any(name.endswith("final_layer_norm.gamma") for name in tensors)
    tensors |= {f"moment1.{name}": value for name, value in list(tensors.items())[:3]}
    tensors |= {"global_step": np.array([7], np.int32)[0:1].reshape(())}
    checkpoint, notes = convert(saved(tmp_path / "model.ckpt", tensors), tmp_path / "config.json")
    assert checkpoint.parameters.keys() == parameters.keys()
    assert all(np.array_equal(checkpoint.parameters[name], value) for name, value in parameters.items())
    assert any("give the glove.pkl" in note for note in notes)


def test_a_mindspore_checkpoint_needs_its_configuration(tmp_path: Path, theirs: Any) -> None:
    with pytest.raises(InputError, match=r"model\.ckpt: does not say the model's sizes; give its configuration"):
        convert(saved(tmp_path / "model.ckpt", theirs[0]))


def test_what_mindspore_itself_wrote_is_read(tmp_path: Path) -> None:
    ms = pytest.importorskip("mindspore")
    long = np.random.default_rng(0).standard_normal((300, 1000)).astype(np.float32)
    tensors = {"fc.weight": long, "norm.gamma": np.ones(4, np.float16), "global_step": np.array(5, np.int32)}
    listed = [{"name": name, "data": ms.Tensor(value)} for name, value in tensors.items()]
    ms.save_checkpoint(listed, str(tmp_path / "a.ckpt"), append_dict={"epoch": 3, "note": "text"})
    ms.save_checkpoint(listed, str(tmp_path / "checked.ckpt"), crc_check=True)
    for name in ("a.ckpt", "checked.ckpt"):
        read = read_ckpt(tmp_path / name)
        for key, value in tensors.items():
            np.testing.assert_array_equal(read[key], value)
