"""Matrices of an ONNX graph with weights of 8 bits, in the forms that ONNX Runtime multiplies with fast.

One scale a column, `COLUMNS`, takes the least time where several rows are multiplied; but all rows together have one
scale of 8 bits, too, and the numbers that reach farthest set it. `EVEN` makes these smaller and their weights larger
beforehand. With `BLOCKS`, each block of a column has its own scale, and so has each block of a row; where there is
but one row, that takes no more time. All processors sum both exactly; without AVX2 there is no fast kernel for blocks.
"""

import logging
from collections.abc import Callable, Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from cfmr.index.codec import Floats

BLOCK, SMALLEST_BLOCK = 128, 32  # weights that share a scale; ONNX Runtime has no fast kernel for fewer than 32
LEVELS = 127  # of 8 bits, on either side of zero
EVENED = 0.5  # 0 leaves inputs as they are, 1 brings all places to one reach, which the matrix then makes up for
TINY = np.float32(1e-30)
Tensors = dict[str, NDArray[Any]]


class Precision(IntEnum):
    """Of a matrix of weights."""

    COLUMNS = 0
    EVEN = 1
    BLOCKS = 2
    FLOAT = 3


def weight_layers(path: Path) -> list[tuple[str, int]]:
    """Nodes of a graph that multiply with a matrix of weights, and how many numbers that has."""
    graph = onnx.load(path).graph
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in graph.initializer if len(tensor.dims) == 2}
    nodes = (node for node in graph.node if node.op_type == "MatMul")
    return [(node.name, sizes[node.input[1]]) for node in nodes if node.name and node.input[1] in sizes]


def quantize(
    source: Path,
    target: Path,
    precision: Mapping[str, Precision] | None = None,
    reaches: Mapping[str, Floats] | None = None,
) -> None:
    """Write a graph again, with weights of 8 bits.

    Args:
        precision: of the matrices that are not to stay in floats, by their nodes; without it, all are in COLUMNS.
        reaches: what `input_reaches` says of those that are to be EVEN.
    """
    names = list[str]()
    if precision is not None:
        names = [name for name, kind in precision.items() if kind in (Precision.COLUMNS, Precision.EVEN)]
        onnx.save(_prepared(onnx.load(source), precision, reaches or {}), target)
        source = target
    if names or precision is None:
        _in_columns(source, target, names)


def input_reaches(source: Path, probe: Path, read: Callable[[], Floats]) -> dict[str, Floats]:
    """The largest number, without its sign, at each place (K,) of what a matrix (K, N) multiplies; of all matrices.

    Args:
        probe: is overwritten with a graph that says it of one sentence, all matrices in a row.
        read: what that says (n, sum of K) of some sentences.
    """
    model = onnx.load(source)
    rows = {tensor.name: tensor.dims[0] for tensor in model.graph.initializer if tensor.dims}
    names = {name for name, _ in weight_layers(source)}
    nodes = [node for node in model.graph.node if node.name in names]
    for node in nodes:
        size, reach = f"{node.name}_size", f"{node.name}_reach"
        model.graph.node.append(helper.make_node("Abs", [node.input[0]], [size]))
        model.graph.node.append(helper.make_node("ReduceMax", [size], [reach], axes=[0, 1], keepdims=0))
    said = "reaches"
    model.graph.node.append(helper.make_node("Concat", [f"{node.name}_reach" for node in nodes], [said], axis=0))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info(said, onnx.TensorProto.FLOAT, ["places"]))
    onnx.save(model, probe)
    ends = np.cumsum([rows[node.input[1]] for node in nodes])
    return dict(zip((node.name for node in nodes), np.split(read().max(0), ends[:-1]), strict=True))


def _in_columns(source: Path, target: Path, names: list[str]) -> None:
    """With these nodes, or all if there are none, in 8 bits with one scale a column."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.disable(logging.WARNING)  # it recommends an optimisation that this graph has had
    try:
        quantize_dynamic(
            source,
            target,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,  # 7 bits: processors without VNNI add pairs of products in 16, which 8 overflow
            nodes_to_quantize=names,
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
    finally:
        logging.disable(logging.NOTSET)


def _prepared(
    model: onnx.ModelProto, precision: Mapping[str, Precision], reaches: Mapping[str, Floats]
) -> onnx.ModelProto:
    """The graph with matrices in BLOCKS where they are to be, and those that are to be EVEN evened out."""
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        kind = precision.get(node.name)
        if kind not in (Precision.BLOCKS, Precision.EVEN):
            graph.node.append(node)
            continue
        weight = weights[node.input[1]]
        matrix = numpy_helper.to_array(weight)
        made, tensors = _blocks(node, matrix) if kind is Precision.BLOCKS else _even(node, matrix, reaches[node.name])
        graph.node.extend(made)
        graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in tensors.items())
        graph.initializer.remove(weight)
    return model


def _even(node: onnx.NodeProto, matrix: Floats, reach: Floats) -> tuple[list[onnx.NodeProto], Tensors]:
    """Nodes that scale an input (..., K) and multiply it with a matrix (K, N) scaled the other way, and their tensors.

    As in SmoothQuant (Xiao et al., ICML 2023), except that the scaling is an operator of its own.
    """
    scale = np.maximum(reach, TINY) ** EVENED / np.maximum(np.abs(matrix).max(1), TINY) ** (1 - EVENED)
    scale = np.where(reach > 0, scale, 1).astype(np.float32)
    scaled, factor, weight = (f"{node.name}_{name}" for name in ("scaled", "factor", "weight"))
    nodes = [
        helper.make_node("Mul", [node.input[0], factor], [scaled], scaled),
        helper.make_node("MatMul", [scaled, weight], node.output, node.name),
    ]
    return nodes, {factor: 1 / scale, weight: matrix * scale[:, None]}


def _blocks(node: onnx.NodeProto, matrix: Floats) -> tuple[list[onnx.NodeProto], Tensors]:
    """A node that multiplies with a matrix (K, N) in blocks of 8 bits: (N, blocks, size), 128 for zero, and scales."""
    size = min(BLOCK, 1 << max(len(matrix) - 1, SMALLEST_BLOCK - 1).bit_length())
    columns = np.pad(matrix.T, ((0, 0), (0, -len(matrix) % size))).reshape(matrix.shape[1], -1, size)
    scales = np.maximum(np.abs(columns).max(2), TINY) / LEVELS
    numbers = np.round(columns / scales[:, :, None]) + LEVELS + 1
    tensors: Tensors = {
        f"{node.name}_numbers": numbers.astype(np.uint8),
        f"{node.name}_scales": scales.astype(np.float32).ravel(),
    }
    attributes = {"K": len(matrix), "N": matrix.shape[1], "bits": 8, "block_size": size, "accuracy_level": 4}
    inputs, domain = [node.input[0], *tensors], "com.microsoft"
    return [helper.make_node("MatMulNBits", inputs, node.output, node.name, domain=domain, **attributes)], tensors
