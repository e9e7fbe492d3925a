"""The text encoder as an ONNX graph, written from a checkpoint's parameters: no framework is asked.

The graph computes what the last position needs and nothing else: in the last layer one query. Start and prediction
vector are projected beforehand, attention and residual norms are ONNX Runtime's fused operators, and the neck's rows
are put in the order in which concepts are searched. A sentence comes alone, so there is no padding (Method, Text
concepts).
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from cfmr.config import OWN_SHARE, SHARPNESS, CFMRSizes, Config, DenseConfig

Floats = NDArray[np.float32]
Parameters = Mapping[str, NDArray[Any]]

FUSED = "com.microsoft"
OPSET, IR = 17, 9
INPUT, OUTPUT = "words", "query"
SHARE = 0.995  # of sentences whose first moment must survive quantisation


@dataclass
class Graph:
    """Nodes and constants, put together one operator at a time."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def constant(self, value: NDArray[Any]) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], domain=domain, **attributes))
        return name

    def linear(self, x: str, weight: Floats, bias: Floats | None) -> str:
        """x W^T + b, with the weight as PyTorch stores it, (out, in)."""
        y = self.op("MatMul", x, self.constant(weight.T))
        return y if bias is None else self.op("Add", y, self.constant(bias))

    def add_and_norm(self, x: str, branch: str, bias: Floats, norm: tuple[Floats, Floats]) -> str:
        """LayerNorm(x + branch + bias)."""
        scale, shift = map(self.constant, norm)
        return self.op(
            "SkipLayerNormalization", x, branch, scale, shift, self.constant(bias), domain=FUSED, epsilon=1e-5
        )

    def slice(self, x: str, axis: int, first: int, last: int) -> str:
        bounds = (self.constant(np.array([b], np.int64)) for b in (first, last, axis))
        return self.op("Slice", x, *bounds)


def text_graph(parameters: Parameters, config: Config) -> onnx.ModelProto:
    """The text encoder of a checkpoint."""
    if isinstance(config, DenseConfig):
        return dense_text(parameters)
    return cfmr_text(parameters, config.model.config)


def cfmr_text(parameters: Parameters, sizes: CFMRSizes) -> onnx.ModelProto:
    """The published model's text encoder: words (1, n, word_dim) -> query (K d), every concept of length 1."""
    graph = Graph()
    heads, concepts, width = sizes.Transformers.num_heads, sizes.num_concept, sizes.hidden_size
    weight, bias = parameters["word_fc.weight"], parameters["word_fc.bias"]
    start, last = ((parameters[n] @ weight.T + bias)[None, None] for n in ("start_vec", "txt_pred_vec"))
    words = graph.linear(INPUT, weight, bias)
    x = graph.op("Concat", graph.constant(start), words, graph.constant(last), axis=1)
    layers = range(sizes.Transformers.num_decoder_layers1)
    for number in layers:
        prefix = f"txt_encoder.txt_encoder.decoder_layers.{number}."
        layer = {n.removeprefix(prefix): v for n, v in parameters.items() if n.startswith(prefix)}
        x = _layer(graph, x, layer, heads, only_last=number == layers[-1])
    x = graph.linear(x, parameters["txt_encoder.txt_necks.0.weight"], parameters["txt_encoder.txt_necks.0.bias"])
    order = np.arange(width * concepts).reshape(width, concepts).T.ravel()  # the original views concepts as (d, K)
    neck = parameters["txt_encoder.txt_necks.1.weight"][order], parameters["txt_encoder.txt_necks.1.bias"][order]
    x = graph.op("Reshape", graph.linear(x, *neck), graph.constant(np.array([concepts, width], np.int64)))
    x = graph.op("LpNormalization", x, axis=-1, p=2)
    return finished(graph, x, weight.shape[1], width * concepts)


def _layer(graph: Graph, x: str, layer: Parameters, heads: int, only_last: bool) -> str:
    """One post-norm layer; `only_last`: of the last position."""
    weight, bias = layer["self_attn.in_proj_weight"], layer["self_attn.in_proj_bias"]
    width = weight.shape[1]
    if only_last:
        keys_values = graph.linear(x, weight[width:], None)
        k, v = (graph.slice(keys_values, 2, i * width, (i + 1) * width) for i in range(2))
        x = graph.slice(x, 1, -1, 2**31 - 1)
        q = graph.linear(x, weight[:width], None)
        mixed = graph.op("MultiHeadAttention", q, k, v, graph.constant(bias), domain=FUSED, num_heads=heads)
    else:
        inputs = (x, graph.constant(weight.T), graph.constant(bias))
        mixed = graph.op("Attention", *inputs, domain=FUSED, num_heads=heads, unidirectional=1)
    mixed = graph.linear(mixed, layer["self_attn.out_proj.weight"], None)
    norm = layer["self_attn_layer_norm.weight"], layer["self_attn_layer_norm.bias"]
    x = graph.add_and_norm(x, mixed, layer["self_attn.out_proj.bias"], norm)
    hidden = graph.op("Relu", graph.linear(x, layer["fc1.weight"], layer["fc1.bias"]))
    norm = layer["final_layer_norm.weight"], layer["final_layer_norm.bias"]
    return graph.add_and_norm(x, graph.linear(hidden, layer["fc2.weight"], None), layer["fc2.bias"], norm)


def dense_text(parameters: Parameters) -> onnx.ModelProto:
    """The text encoder of CFMR-Dense: words (1, n, word_dim) -> query (d + S + 1); see `Dense.encode_text`."""
    graph = Graph()
    weight, known = parameters["word_fc.weight"], parameters["words"]
    length = graph.op("ReduceL2", INPUT, axes=[-1], keepdims=1)
    unit = graph.op("Div", INPUT, graph.op("Max", length, graph.constant(np.array(1e-12, np.float32))))
    level = np.full(len(known), np.float32(np.log(OWN_SHARE) - SHARPNESS))
    near = graph.linear(unit, np.float32(SHARPNESS) * known, level)
    described = graph.op("Concat", unit, graph.op("Exp", near), axis=2)
    count = graph.op("Gather", graph.op("Shape", INPUT), graph.constant(np.array([1], np.int64)))
    root = graph.op("Sqrt", graph.op("Cast", count, to=int(onnx.TensorProto.FLOAT)))
    summed = graph.op("ReduceSum", described, graph.constant(np.array([1], np.int64)), keepdims=0)
    both = np.concatenate([weight, parameters["own_fc.weight"]], axis=1)
    sentence = graph.op("Div", summed, root)
    query = graph.linear(sentence, both, parameters["word_fc.bias"])
    words, seen = weight.shape[1], parameters["looks"].shape[1]
    named = graph.op("Mul", graph.slice(sentence, 1, words, words + seen), graph.constant(parameters["named_scale"]))
    query = graph.op("Concat", query, named, graph.constant(np.ones((1, 1), np.float32)), axis=1)
    return finished(graph, query, words, len(weight) + seen + 1)


def finished(graph: Graph, result: str, word_dim: int, dim: int) -> onnx.ModelProto:
    """The model whose output is `result`, flattened to (dim,)."""
    flat = graph.constant(np.array([dim], np.int64))
    graph.nodes.append(helper.make_node("Reshape", [result, flat], [OUTPUT]))
    floats = onnx.TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info(INPUT, floats, [1, "words", word_dim])]
    outputs = [helper.make_tensor_value_info(OUTPUT, floats, [dim])]
    body = helper.make_graph(graph.nodes, "text", inputs, outputs, graph.constants)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(FUSED, 1)]
    return helper.make_model(body, opset_imports=opsets, ir_version=IR, producer_name="cfmr")


def quantise(source: Path, target: Path) -> None:
    """Write the graph at `source` again with weights of 8 bits, one scale a column."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.disable(logging.WARNING)  # it recommends an optimisation that this graph has had
    try:
        quantize_dynamic(
            source,
            target,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,  # 7 bits: processors without VNNI add pairs of products in 16, which 8 overflow
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
    finally:
        logging.disable(logging.NOTSET)


def keep_smaller(
    folder: Path, target: str, read: Callable[[str], Floats], truth: Floats, moments: Floats
) -> dict[str, Any]:
    """Of `whole.onnx` in a folder and the same with weights of 8 bits, keep the smaller if it answers alike.

    Args:
        target: name of the one that is kept.
        read: vectors (n, dim) of some sentences by the graph of a name.
        truth: the model's vectors (n, dim) of the same sentences.
        moments: vectors (m, dim) that they are to find.

    Returns:
        what was measured, for the card of the index.
    """
    whole, small = folder / "whole.onnx", folder / "small.onnx"
    difference = float(np.abs(read(whole.name) - truth).max())
    quantise(whole, small)
    same = same_first(truth, read(small.name), moments)
    (small if same >= SHARE else whole).replace(folder / target)
    whole.unlink(missing_ok=True)
    small.unlink(missing_ok=True)
    return {
        "largest_difference": difference,
        "quantised": same >= SHARE,
        "same_first_quantised": round(same, 4),
        "sentences": len(truth),
    }


def same_first(truth: Floats, other: Floats, moments: Floats) -> float:
    """Share of queries (n, dim) for which two encoders find the same first of some moments (m, dim)."""
    return float(((truth @ moments.T).argmax(1) == (other @ moments.T).argmax(1)).mean())
