"""Reading MindSpore's checkpoint files (.ckpt) without MindSpore: a protobuf message of named tensors."""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from numpy.typing import NDArray

from cfmr.errors import InputError
from cfmr.files.reading import reading, require_regular

_TYPES = {
    "Float64": "<f8",
    "Float32": "<f4",
    "Float16": "<f2",
    "BFloat16": "<u2",
    "Int64": "<i8",
    "Int32": "<i4",
    "Int16": "<i2",
    "Int8": "|i1",
    "UInt64": "<u8",
    "UInt32": "<u4",
    "UInt16": "<u2",
    "UInt8": "|u1",
    "Bool": "|b1",
}
_CHECKSUM = b"crc_num"  # and ten bytes, at the end of a file that was saved with a checksum


def read_ckpt(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """The tensors of a file that MindSpore's `save_checkpoint` wrote, by name; bfloat16 becomes float32.

    Raises:
        InputError: the file is missing, damaged, encrypted or something else.
    """
    path = Path(path)
    with reading(path, "an unencrypted checkpoint of MindSpore"):
        require_regular(path)
        require_regular(path)
        content = path.read_bytes()
        if content[-17:-10] == _CHECKSUM:
            content = content[:-17]
        tensors = dict(_tensors(_message().FromString(content)))
    if not tensors:
        raise InputError(f"{path}: holds no tensor; is it a checkpoint of MindSpore?")
    return tensors


def _tensors(read: Any) -> Iterator[tuple[str, NDArray[Any]]]:
    """A tensor of more than half a megabyte stands in several pieces of one name."""
    pieces: dict[str, list[Any]] = {}
    for value in read.value:
        if not isinstance(value.tag, str):  # what is not UTF-8 comes as bytes
            raise ValueError("the name of a tensor is no text")
        if value.HasField("tensor"):
            pieces.setdefault(value.tag, []).append(value.tensor)
    for name, parts in pieces.items():
        kind = parts[0].tensor_type
        if kind == "str":  # a note, such as the epoch
            continue
        if kind not in _TYPES:
            raise ValueError(f"'{name}' is of unknown type {kind!r}")
        values = np.frombuffer(b"".join(part.tensor_content for part in parts), _TYPES[kind])
        if kind == "BFloat16":  # the upper half of a float32
            values = (values.astype(np.uint32) << 16).view(np.float32)
        dims = list(parts[0].dims)
        yield name, values.reshape([] if dims == [0] else dims).copy()


def checkpoint_name(name: str) -> str:
    """A parameter's name in our checkpoints, which is PyTorch's; MindSpore has gamma and beta in a layer norm."""
    *owner, last = name.split(".")
    return ".".join([*owner, {"gamma": "weight", "beta": "bias"}.get(last, last)])


@cache
def _message() -> Any:
    """MindSpore's `Checkpoint`, as far as it is read."""
    file = descriptor_pb2.FileDescriptorProto(name="cfmr/ckpt.proto", package="cfmr_ckpt", syntax="proto2")
    field = descriptor_pb2.FieldDescriptorProto
    tensor, value, checkpoint = (file.message_type.add(name=name) for name in ("Tensor", "Value", "Checkpoint"))
    for number, (name, label, kind) in enumerate(
        (
            ("dims", field.LABEL_REPEATED, field.TYPE_INT64),
            ("tensor_type", field.LABEL_REQUIRED, field.TYPE_STRING),
            ("tensor_content", field.LABEL_REQUIRED, field.TYPE_BYTES),
        ),
        1,
    ):
        tensor.field.add(name=name, number=number, label=label, type=kind)
    value.field.add(name="tag", number=1, label=field.LABEL_REQUIRED, type=field.TYPE_STRING)
    inner = {"label": field.LABEL_OPTIONAL, "type": field.TYPE_MESSAGE, "type_name": ".cfmr_ckpt.Tensor"}
    value.field.add(name="tensor", number=2, **inner)
    outer = {"label": field.LABEL_REPEATED, "type": field.TYPE_MESSAGE, "type_name": ".cfmr_ckpt.Value"}
    checkpoint.field.add(name="value", number=1, **outer)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("cfmr_ckpt.Checkpoint"))
