import collections
import copy
import io
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cfmr.errors import InputError
from cfmr.files.safe_pickle import read_pickle, read_torch


class Runs:
    """Runs a command where it is unpickled."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], tuple(self.call[1:])


def pickled(tmp_path: Path, value: Any, protocol: int = 4) -> Path:
    path = tmp_path / "value.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_and_arrays_are_read_in_every_protocol(tmp_path: Path, protocol: int) -> None:
    value = {
        "w2id": {"<PAD>": 0, "café": 1},
        "counter": collections.Counter("abracadabra"),
        "ordered": collections.OrderedDict(b=1, a=2),
        "list": [None, True, 3, 2.5, 2**80, "x", b"\xff", (1, 2)],
        "vectors": [np.arange(3, dtype=np.float32), np.ones((2, 3), np.float64).T, np.array(["ab", "c"])],
        "order": np.asfortranarray(np.arange(6, dtype=">i2").reshape(2, 3)),
        "empty": np.zeros((0, 4), bool),
        "scalar": np.float64(1.5),
        "set": {7},
    }
    read = read_pickle(pickled(tmp_path, value, protocol))
    assert read["w2id"] == value["w2id"]
    assert read["counter"] == value["counter"]
    assert list(read["ordered"]) == ["b", "a"]
    assert read["list"] == value["list"]
    assert read["set"] == [7]
    assert read["scalar"] == 1.5
    for key in ("order", "empty"):
        np.testing.assert_array_equal(read[key], value[key])
    for mine, theirs in zip(read["vectors"], value["vectors"], strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Runs(os.system, "touch broken-in"), "os.system"),
        (Runs(eval, "1"), "builtins.eval"),
        (Runs(getattr, "x", "upper"), "builtins.getattr"),
        (Path("x"), "pathlib."),
        (collections.deque(), "collections.deque"),
        (np.float32, "numpy.float32"),
    ],
)
def test_a_pickle_that_asks_for_more_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = pickled(tmp_path, {"a": [value]})
    with pytest.raises(InputError, match="refused") as error:
        read_pickle(path)
    assert str(path) in str(error.value)
    assert name in str(error.value)
    assert not (tmp_path / "broken-in").exists()


def test_numpy_objects_are_not_handed_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="only numbers and texts"):
        read_pickle(pickled(tmp_path, np.array([{}, None], object)))


def test_a_pickle_cannot_alter_what_the_next_one_sees(tmp_path: Path) -> None:
    # BUILD on a class or function sets its attributes
    attack = b"\x80\x02ccollections\nCounter\n(N}X\x0b\x00\x00\x00most_commonK\x01stb."
    path = tmp_path / "attack.pkl"
    path.write_bytes(attack)
    with pytest.raises(InputError):
        read_pickle(path)
    assert collections.Counter("aab").most_common(1) == [("a", 2)]
    assert read_pickle(pickled(tmp_path, collections.Counter("aab"))) == {"a": 2, "b": 1}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04",
        b"\x80\x02Nr\xff\xff\xff\x7f.",  # a memo slot that needs 16 GB
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.",  # a frame longer than the file
        b"\x80\x02" + b"]q\x00h\x00a.",  # a list within itself
        b"not a pickle",
    ],
)
def test_a_malformed_pickle_is_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "broken.pkl"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"broken\.pkl"):
        read_pickle(path)


def test_an_array_that_claims_more_than_it_has_is_refused(tmp_path: Path) -> None:
    data = pickle.dumps(np.arange(8, dtype=np.int64), 2).replace(b"K\x08\x85", b"K\x63\x85")
    path = tmp_path / "array.pkl"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"array\.pkl"):
        read_pickle(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_become_arrays(tmp_path: Path, zipped: bool) -> None:
    torch = pytest.importorskip("torch")
    base = torch.arange(24, dtype=torch.float32)
    value = {
        "num_updates": 12,
        "model_parameters": collections.OrderedDict(
            whole=base.reshape(2, 12),
            part=base[3:9].reshape(2, 3).T,
            half=torch.tensor([1.5, -2.0], dtype=torch.float16),
            brain=torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
            long=torch.tensor([[2**40]]),
            flag=torch.tensor([True, False]),
            scalar=torch.tensor(2.5),
            none=torch.zeros(0, 3),
            weight=torch.nn.Parameter(torch.ones(2)),
        ),
        "size": torch.Size([2, 3]),
    }
    path = tmp_path / "model.pt"
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    read = read_torch(path)
    assert read["num_updates"] == 12
    assert read["size"] == (2, 3)
    for name, tensor in value["model_parameters"].items():
        array = read["model_parameters"][name]
        np.testing.assert_array_equal(array, tensor.detach().float().numpy())
        assert array.shape == tuple(tensor.shape)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_that_asks_to_run_something_is_refused_by_name(tmp_path: Path, zipped: bool) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "evil.pt"
    value = {"model_parameters": Runs(os.system, f"touch {tmp_path}/broken-in")}
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"evil\.pt: asks to run 'os\.system'; refused"):
        read_torch(path)
    assert not (tmp_path / "broken-in").exists()


def torch_zip(path: Path, data: bytes, storage: bytes = b"", compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/data/0", storage)
    return path


def tensor_pickle(offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """The opcodes that torch writes for a float tensor in storage 0."""
    numbers = b"".join(b"J" + struct.pack("<i", n) for n in size)
    steps = b"".join(b"J" + struct.pack("<i", n) for n in stride)
    storage = b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
    rest = b"J" + struct.pack("<i", offset) + b"(" + numbers + b"t(" + steps + b"t\x89}tR."
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n" + storage + rest


def test_a_tensor_is_read_from_bare_opcodes(tmp_path: Path) -> None:
    path = torch_zip(tmp_path / "m.pt", tensor_pickle(1, (3,), (1,)), np.arange(4, dtype="<f4").tobytes())
    assert read_torch(path).tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (5,), (1,)),
        (2, (3,), (1,)),
        (-1, (2,), (1,)),
        (0, (2,), (4,)),
        (0, (1 << 30, 1 << 30), (0, 0)),
        (0, (2,), ()),
    ],
)
def test_a_tensor_that_reaches_outside_its_storage_is_refused(
    tmp_path: Path, offset: int, size: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    path = torch_zip(tmp_path / "m.pt", tensor_pickle(offset, size, stride), bytes(16))
    with pytest.raises(InputError, match=r"m\.pt: .*or damaged"):
        read_torch(path)


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    path = torch_zip(tmp_path / "m.pt", pickle.dumps({"a": "x" * 10**6}), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match="compressed"):
        read_torch(path)


@pytest.mark.parametrize("data", [b"", b"hello", b"\x80\x02K\x01.", b"PK\x03\x04broken"])
def test_what_torch_did_not_write_is_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "m.pt"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"m\.pt"):
        read_torch(path)


def test_a_zip_of_something_else_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "x")
    with pytest.raises(InputError, match=r"no data\.pkl"):
        read_torch(path)


def sound_pickle() -> bytes:
    return pickle.dumps({"id2vec": [np.arange(3.0)], "counter": collections.Counter("abc"), "n": [1, 2.5, "x"]}, 2)


@given(cut=st.integers(0, 10**6), flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
def test_damage_ends_in_one_kind_of_error(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flips: list[tuple[int, int]]
) -> None:
    data = bytearray(sound_pickle())
    for place, byte in flips:
        data[place % len(data)] = byte
    path = tmp_path_factory.getbasetemp() / "damaged.pkl"
    path.write_bytes(data[: cut % len(data) + 1])
    try:
        read_pickle(path)
    except InputError as error:
        assert "damaged.pkl" in str(error)  # noqa: PT017


def test_the_vocabularies_of_the_original_are_read(shared: Path) -> None:
    for name in ("charades", "tacos"):
        path = shared / "data" / name / "glove.pkl"
        theirs = pickle.loads(path.read_bytes())
        ours = read_pickle(path)
        assert ours["w2id"] == theirs["w2id"]
        assert ours["counter"] == theirs["counter"]
        assert list(ours["counter"]) == list(theirs["counter"])
        np.testing.assert_array_equal(ours["id2vec"], theirs["id2vec"])


def test_the_checkpoints_of_the_original_are_read(shared: Path) -> None:
    torch = pytest.importorskip("torch")
    for path in sorted((shared / "parity").glob("*.pt")):
        theirs = torch.load(io.BytesIO(path.read_bytes()), weights_only=True)
        ours = read_torch(path)
        assert ours["config"] == theirs["config"]
        assert list(ours["model_parameters"]) == list(theirs["model_parameters"])
        for name, tensor in theirs["model_parameters"].items():
            np.testing.assert_array_equal(ours["model_parameters"][name], tensor.numpy())


def test_an_archive_whose_members_share_bytes_is_refused_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"")
        archive.writestr("a/data/0", bytes(1 << 20))
        for number in range(1, 100):
            member = copy.copy(archive.infolist()[1])
            member.filename = f"a/data/{number}"
            archive.filelist.append(member)
    with pytest.raises(InputError, match=r"a\.pt: .*its members overlap: they would take 104,857,\d+ bytes"):
        read_torch(path)


def test_a_tensor_that_stands_a_thousand_times_is_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.zeros(1 << 18)
    torch.save([tensor.view(-1, 1 << number) for number in range(19)] * 1, tmp_path / "few.pt")
    assert len(read_torch(tmp_path / "few.pt")) == 19
    torch.save([tensor.view(1, -1)[:, :-number] for number in range(1, 200)], tmp_path / "many.pt")
    with pytest.raises(InputError, match="its arrays would take many times the size of the file"):
        read_torch(tmp_path / "many.pt")
