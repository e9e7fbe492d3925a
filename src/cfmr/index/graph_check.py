"""What an ONNX graph of an index may hold: an index may come from anywhere, and its text encoder runs at every search.

A graph cannot call code, but it can loop for ever, compute for hours in one operator, and read other files. So only
operators are let pass that take time in proportion to their tensors (or multiply two of them), on numbers alone; graphs
with loops or branches, with functions, or with weights outside of themselves are refused before ONNX Runtime sees them.
None that this project writes has any. `graph_run` bounds the rest.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from cfmr.errors import InputError
from cfmr.files.reading import reading, require_regular

_PLAIN = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh BatchNormalization BitShift BitwiseAnd BitwiseNot
BitwiseOr BitwiseXor Cast CastLike Ceil Celu Clip Compress Concat Constant ConstantOfShape Cos Cosh CumSum
DepthToSpace DequantizeLinear Div Dropout DynamicQuantizeLinear Elu Equal Erf Exp Expand EyeLike Flatten Floor
Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual
GroupNormalization HardSigmoid HardSwish Hardmax Identity InstanceNormalization IsInf IsNaN LayerNormalization
LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization MatMul MatMulInteger Max Mean
MeanVarianceNormalization Min Mish Mod Mul Neg NonZero Not OneHot Or PRelu Pad Pow QLinearMatMul QuantizeLinear
Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
ReduceSum ReduceSumSquare Relu Reshape Round ScatterElements ScatterND Selu Shape Sigmoid Sign Sin Sinh Size
Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Swish Tan Tanh ThresholdedRelu Tile TopK
Transpose Trilu Unsqueeze Where Xor
"""
_OF_ONNX_RUNTIME = """
Attention BiasGelu DynamicQuantizeMatMul EmbedLayerNormalization FastGelu FusedGemm FusedMatMul Gelu
MatMulIntegerToFloat MatMulNBits MultiHeadAttention QAttention QEmbedLayerNormalization QuickGelu
SimplifiedLayerNormalization SkipLayerNormalization SkipSimplifiedLayerNormalization
"""  # with which it writes quantised and fused models
OPERATORS = frozenset(_PLAIN.split())
ALLOWED = {"": OPERATORS, "ai.onnx": OPERATORS, "com.microsoft": frozenset(_OF_ONNX_RUNTIME.split())}  # by domain
STRING = 8  # of the types of tensors; texts lie outside of the memory that is bounded
LARGEST = 4 << 30  # bytes of a graph


def check_graph(path: Path) -> None:
    """Raise InputError if a graph is damaged, may run for ever, or refers to other files."""
    with reading(path, "an ONNX graph", "build the index again"):
        if require_regular(path) > LARGEST:
            raise ValueError("it is too large")
        model = _message().FromString(path.read_bytes())
        if not model.HasField("graph"):
            raise ValueError("there is no graph in it")
        _check(path, model)


def _check(path: Path, model: Any) -> None:
    if model.functions:
        raise InputError(f"{path}: defines functions of its own; refused, build the index again")
    for node in _nodes(model.graph):
        if node.op_type not in ALLOWED.get(node.domain, ()) or _makes_texts(node):
            raise InputError(
                f"{path}: runs '{node.op_type}', which may take for ever or do anything; refused, build the index again"
            )
    for tensor in _tensors(model.graph):
        if tensor.data_location or tensor.external_data:
            raise InputError(f"{path}: refers to weights in another file; refused, build the index again")
        if tensor.data_type == STRING:
            raise InputError(f"{path}: computes with texts; refused, build the index again")


def _makes_texts(node: Any) -> bool:
    """Whether an operator, by its attributes, makes texts of numbers or of nothing."""
    return any(a.name.startswith("value_string") or (a.name == "to" and a.i == STRING) for a in node.attribute)


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)


def _nodes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g") or attribute.graphs:
                raise ValueError(f"'{node.op_type}' holds another graph")


# Messages of onnx.proto, as far as they are checked: field, number, and its type or the message it holds.
_FIELDS: dict[str, list[tuple[str, int, type | str]]] = {
    "Tensor": [("data_type", 2, int), ("external_data", 13, "Entry"), ("data_location", 14, int)],
    "Entry": [("key", 1, bytes)],
    "Sparse": [("values", 1, "Tensor"), ("indices", 2, "Tensor")],
    "Attribute": [
        ("name", 1, str),
        ("i", 3, int),
        ("t", 5, "Tensor"),
        ("g", 6, "Graph"),
        ("tensors", 10, "Tensor"),
        ("graphs", 11, "Graph"),
    ],
    "Node": [("op_type", 4, str), ("attribute", 5, "Attribute"), ("domain", 7, str)],
    "Graph": [("node", 1, "Node"), ("initializer", 5, "Tensor"), ("sparse_initializer", 15, "Sparse")],
    "Model": [("graph", 7, "Graph"), ("functions", 25, "Entry")],
}
_REPEATED = {
    "Tensor": {13},
    "Entry": set[int](),
    "Sparse": set[int](),
    "Attribute": {10, 11},
    "Node": {5},
    "Graph": {1, 5, 15},
    "Model": {25},
}


@cache
def _message() -> Any:
    """ONNX's `ModelProto`, as far as it is checked; importing the package onnx would take longer than a search."""
    file = descriptor_pb2.FileDescriptorProto(name="cfmr/graph.proto", package="cfmr_graph", syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    one, many = kinds.LABEL_OPTIONAL, kinds.LABEL_REPEATED
    plain = {int: kinds.TYPE_INT64, str: kinds.TYPE_STRING, bytes: kinds.TYPE_BYTES}
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            label = many if number in _REPEATED[name] else one
            if isinstance(kind, str):
                inner = {"type": kinds.TYPE_MESSAGE, "type_name": f".cfmr_graph.{kind}"}
                message.field.add(name=field, number=number, label=label, **inner)
            else:
                message.field.add(name=field, number=number, label=label, type=plain[kind])
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("cfmr_graph.Model"))
