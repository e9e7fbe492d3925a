"""Reading other people's pickles without executing anything that is in them.

A pickle is a program. This reader lets it build dicts, lists, numbers, texts, arrays and tensors, and nothing else:
every name that it asks for is looked up in a short list, whose entries are stand-ins made here; the real numpy or
torch functions are never handed out. Torch itself is not needed.
"""

import contextlib
import io
import math
import os
import pickle
import pickletools
import re
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cfmr.errors import InputError
from cfmr.files.archive import check_archive
from cfmr.files.reading import SMALL, reading, require_regular

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # what torch.save wrote first before version 1.6
_STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}
# Other names of one module: as protocols before 3 spell it, and as it is called on each system.
_MODULES = {"__builtin__": "builtins", "posix": "os", "nt": "os"}


def read_pickle(path: str | os.PathLike[str]) -> Any:
    """The content of a pickle of plain values and numpy arrays: dicts, lists, tuples, numbers, texts, arrays.

    Counters and ordered dicts become dicts in their order, sets become lists.

    Raises:
        InputError: the file is missing or malformed, or asks for anything else, which is named and not executed.
    """
    path = Path(path)
    with _opened(path) as file:
        return _Plain.in_room_for(file).of(_unpickle(file, path))


def read_torch(path: str | os.PathLike[str]) -> Any:
    """The content of a file that `torch.save` wrote (zip or the older format): plain values, tensors as arrays.

    bfloat16 becomes float32.

    Raises:
        InputError: as `read_pickle`.
    """
    path = Path(path)
    with _opened(path) as file:
        if zipfile.is_zipfile(file):
            return _read_zip(file, path)
        file.seek(0)
        return _read_legacy(file, path)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with reading(path, "a pickle of plain values", "copy it again"):
        require_regular(path)
        with open(path, "rb") as file:
            yield file


# --- the two formats of torch.save ------------------------------------------------------------------------------------


def _read_zip(file: BinaryIO, path: Path) -> Any:
    with zipfile.ZipFile(file) as archive:
        check_archive(path, archive)
        members = {info.filename: info for info in archive.infolist()}
        pickles = [name for name in members if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise InputError(f"{path}: a zip file, but not one that torch.save wrote (it has no data.pkl)")
        root = pickles[0].removesuffix("data.pkl")

        def read(name: str) -> bytes:
            # torch.save never compresses; what does could unpack to any size.
            if members[name].compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{name} is compressed, torch.save never does that")
            return archive.read(name)

        if f"{root}byteorder" in members and read(f"{root}byteorder") != b"little":
            raise InputError(f"{path}: written on a big-endian machine; save it again on a little-endian one")
        storages: dict[str, _Storage] = {}

        def storage(key: str, dtype: str) -> _Storage:
            if key not in storages:
                storages[key] = _Storage(dtype, read(f"{root}data/{key}"))
            return storages[key]

        return _Plain.in_room_for(file).of(_unpickle(io.BytesIO(read(pickles[0])), path, storage))


def _read_legacy(file: BinaryIO, path: Path) -> Any:
    if file.read(2) not in (b"\x80\x02", b"\x80\x03", b"\x80\x04"):
        raise InputError(f"{path}: not a file that torch.save wrote")
    file.seek(0)
    if _unpickle(file, path) != _LEGACY_MAGIC:
        raise InputError(f"{path}: a pickle, but not one that torch.save wrote")
    _unpickle(file, path)  # protocol version
    system = _unpickle(file, path)
    if not system.get("little_endian", True):
        raise InputError(f"{path}: written on a big-endian machine; save it again on a little-endian one")
    storages: dict[str, _Storage] = {}

    def storage(key: str, dtype: str) -> _Storage:
        return storages.setdefault(key, _Storage(dtype))

    content = _unpickle(file, path, storage)
    for key in _unpickle(file, path):
        (count,) = struct.unpack("<q", file.read(8))
        entry = storages[key]
        size = count * _item_size(entry.dtype)
        if size < 0 or size > _remaining(file):
            raise ValueError("it ends within a tensor")
        entry.data = file.read(size)
    return _Plain.in_room_for(file).of(content)


def _remaining(file: BinaryIO) -> int:
    here = file.tell()
    end = file.seek(0, io.SEEK_END)
    file.seek(here)
    return end - here


# --- the unpickler ----------------------------------------------------------------------------------------------------


def _unpickle(file: BinaryIO, path: Path, storage: "Callable[[str, str], _Storage] | None" = None) -> Any:
    _check_opcodes(file)
    return _Unpickler(file, path, storage).load()


def _check_opcodes(file: BinaryIO) -> None:
    """Refuse a pickle whose opcodes do not parse, or that makes the unpickler allocate by a mere number."""
    start = file.tell()
    limit = _remaining(file)
    for opcode, argument, _ in pickletools.genops(file):
        # The C unpickler makes room up to the largest slot, and for the whole frame, that is named.
        if opcode.name in ("PUT", "LONG_BINPUT", "FRAME") and int(argument or 0) > limit:
            raise ValueError("it numbers more values than it can hold")
    file.seek(start)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, path: Path, storage: "Callable[[str, str], _Storage] | None" = None) -> None:
        super().__init__(file, encoding="latin1")
        self._path, self._storage, self._allowed = path, storage, _allowed()

    def find_class(self, module: str, name: str) -> Any:
        module = _MODULES.get(module, module)
        if module in ("torch", "torch.storage") and name in _STORAGES:
            return _STORAGES[name]
        try:
            return self._allowed[f"{module}.{name}"]
        except KeyError:
            raise InputError(
                f"{self._path}: asks to run '{module}.{name}'; refused, only plain values, arrays and tensors are read"
            ) from None

    def persistent_load(self, pid: Any) -> Any:
        kind, dtype, key, *_ = pid
        if kind != "storage" or self._storage is None or dtype not in _STORAGES.values():
            raise ValueError("it refers to something outside itself")
        if len(pid) > 5 and pid[5] is not None:
            raise ValueError("it has views of storages, which torch wrote before version 0.4")
        return self._storage(str(key), dtype)


class _Stand:
    """A callable that a pickle may call. Made anew for each file, so a pickle that alters it alters nothing else."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)


def _allowed() -> dict[str, _Stand]:
    stands: dict[str, Callable[..., Any]] = {
        "collections.OrderedDict": _Mapping,
        "collections.Counter": _Mapping,
        "builtins.set": list,
        "builtins.frozenset": list,
        "builtins.complex": complex,
        "builtins.bytes": lambda: b"",
        "_codecs.encode": _latin1,
        "numpy.ndarray": _refused_call,
        "numpy.dtype": _Dtype,
        "torch.Size": tuple,
        "torch._utils._rebuild_tensor": _Tensor,
        "torch._utils._rebuild_tensor_v2": lambda storage, offset, size, stride, *_: _Tensor(
            storage, offset, size, stride
        ),
        "torch._utils._rebuild_parameter": lambda data, *_: data,
    }
    for core in ("numpy.core", "numpy._core"):
        stands[f"{core}.multiarray._reconstruct"] = lambda *_: _Array()
        stands[f"{core}.multiarray.scalar"] = lambda dtype, data=b"": _Array((), dtype, data, scalar=True)
        stands[f"{core}.numeric._frombuffer"] = lambda data, dtype, shape, order: _Array(
            shape, dtype, data, fortran=order == "F"
        )
    return {name: _Stand(function) for name, function in stands.items()}


class _Mapping(dict[Any, Any]):
    def __setstate__(self, _: Any) -> None:
        """State dicts carry a note on module versions, which nothing here reads."""


def _refused_call(*_: Any) -> None:
    raise ValueError("it makes an array in an unknown way")


def _latin1(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"it encodes bytes as {encoding!r}")
    return text.encode("latin-1")


# --- stand-ins for arrays and tensors, turned into arrays at the end --------------------------------------------------


class _Dtype:
    def __init__(self, code: str, *_: Any) -> None:
        if not isinstance(code, str) or not re.fullmatch(r"[?bBiufcSU]\d{0,5}", code):
            raise ValueError(f"it has an array of {code!r}, only numbers and texts are read")
        self._code, self._order = code, "="

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        if order not in ("<", ">", "=", "|"):
            raise ValueError("it has an array of unknown byte order")
        self._order = order

    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self._code if self._order == "|" else self._order + self._code)


class _Array:
    def __init__(
        self, shape: Any = None, dtype: Any = None, data: Any = b"", *, fortran: bool = False, scalar: bool = False
    ) -> None:
        self._shape, self._dtype, self._data, self._fortran, self._scalar = shape, dtype, data, fortran, scalar

    def __setstate__(self, state: Any) -> None:
        _, self._shape, self._dtype, self._fortran, self._data = state

    def numpy(self) -> Any:
        if not isinstance(self._dtype, _Dtype) or not isinstance(self._data, bytes | bytearray | str):
            raise ValueError("it has an array of Python objects, only numbers and texts are read")
        dtype = self._dtype.numpy()
        shape = _sizes(self._shape)
        data = self._data.encode("latin-1") if isinstance(self._data, str) else bytes(self._data)
        if math.prod(shape) * dtype.itemsize != len(data):
            raise ValueError(f"it has an array of shape {shape} with {len(data)} bytes")
        array = np.frombuffer(data, dtype).reshape(shape, order="F" if self._fortran else "C")
        return array.item() if self._scalar else array.astype(dtype.newbyteorder("="))


@dataclass
class _Storage:
    dtype: str
    data: bytes | None = None

    def numpy(self) -> NDArray[Any]:
        if self.data is None:
            raise ValueError("it ends before its tensors")
        if len(self.data) % _item_size(self.dtype):
            raise ValueError("it has a tensor of a broken length")
        if self.dtype == "bfloat16":  # the upper half of a float32
            return (np.frombuffer(self.data, "<u2").astype(np.uint32) << 16).view(np.float32)
        return np.frombuffer(self.data, self.dtype)


@dataclass
class _Tensor:
    storage: Any
    offset: Any
    size: Any
    stride: Any

    def numpy(self) -> NDArray[Any]:
        if not isinstance(self.storage, _Storage):
            raise ValueError("it has a tensor without a storage")
        values = self.storage.numpy()
        size, stride, (offset,) = _sizes(self.size), _sizes(self.stride), _sizes((self.offset,))
        count = math.prod(size)
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if count > len(values) or (count and last >= len(values)):
            raise ValueError(f"it has a tensor of shape {size} that reaches outside its {len(values)} values")
        steps = tuple(step * values.itemsize for step in stride)
        return np.lib.stride_tricks.as_strided(values[offset:], size, steps, writeable=False).copy()


def _item_size(dtype: str) -> int:
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def _sizes(value: Any) -> tuple[int, ...]:
    if not isinstance(value, tuple | list) or not all(type(n) is int and n >= 0 for n in value):
        raise ValueError("it has an array of an impossible shape")
    return tuple(value)


@dataclass
class _Plain:
    """Turns what was unpickled into plain values. A value that stands in many places is turned once."""

    room: int  # bytes that its arrays may take
    _seen: dict[int, tuple[Any, Any]] = field(default_factory=dict)

    @classmethod
    def in_room_for(cls, file: BinaryIO) -> "_Plain":
        """Arrays of a file share a few of its bytes at most: a thousand copies of one tensor were made to fill memory.

        The room is four times the size of the file.
        """
        return cls(SMALL + 4 * os.stat(file.fileno()).st_size)

    def of(self, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float | complex | str | bytes):
            return value
        if id(value) not in self._seen:
            self._seen[id(value)] = (value, self._turned(value))  # keeps the original alive, and so its id taken
        return self._seen[id(value)][1]

    def _turned(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {self.of(key): self.of(item) for key, item in value.items()}
        if isinstance(value, tuple):
            return tuple(self.of(item) for item in value)
        if isinstance(value, list | set | frozenset):
            return [self.of(item) for item in value]
        if isinstance(value, _Array | _Tensor | _Storage):
            array = value.numpy()
            self.room -= getattr(array, "nbytes", 0)
            if self.room < 0:
                raise ValueError("its arrays would take many times the size of the file")
            return array
        if isinstance(value, bytearray):
            return bytes(value)
        raise ValueError(f"it has a value of an unknown kind, {type(value).__name__.strip('_')}")
