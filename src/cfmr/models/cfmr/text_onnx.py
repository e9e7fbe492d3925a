"""The published model's text encoder as an ONNX graph, written from a checkpoint's parameters.

The graph computes what the last position needs and nothing else: in the last layer one query. Words have no position
and come first into linear maps, so what these make of each word is a table, made once; start and prediction vector are
constants. Attention is ONNX Runtime's fused operator, the two maps of the neck are one, and its rows are put in the
order in which concepts are searched. A sentence comes alone, so there is no padding (Method, Text concepts).
"""

import numpy as np
import onnx
from numpy.typing import NDArray

from cfmr.config import CFMRConfig, CFMRSizes
from cfmr.models.onnx_graph import FUSED, INPUT, Floats, Graph, Parameters, finished

LAYER = "txt_encoder.txt_encoder.decoder_layers.{}."


def word_table(parameters: Parameters, config: CFMRConfig, vectors: Floats) -> Floats:
    """See `cfmr.models.text_graph`."""
    return cfmr_words(parameters, vectors)


def text_graph(parameters: Parameters, config: CFMRConfig) -> onnx.ModelProto:
    """See `cfmr.models.text_graph`."""
    return cfmr_text(parameters, config.model.config)


def cfmr_words(parameters: Parameters, vectors: Floats) -> Floats:
    """Word vectors (..., word_dim) -> what `word_fc` makes of each, and its first query, key and value, (..., 4d)."""
    first = vectors @ parameters["word_fc.weight"].T + parameters["word_fc.bias"]
    weight, bias = (parameters[LAYER.format(0) + f"self_attn.in_proj_{name}"] for name in ("weight", "bias"))
    return np.concatenate([first, first @ weight.T + bias], axis=-1).astype(np.float32)


def cfmr_text(parameters: Parameters, sizes: CFMRSizes) -> onnx.ModelProto:
    """The published model's text encoder: `cfmr_words` (1, n, 4d) -> query (K d), every concept of length 1."""
    graph = Graph()
    heads, concepts, width = sizes.Transformers.num_heads, sizes.num_concept, sizes.hidden_size
    start, last = (cfmr_words(parameters, parameters[n])[None, None] for n in ("start_vec", "txt_pred_vec"))
    table = graph.op("Concat", graph.constant(start), INPUT, graph.constant(last), axis=1)
    x, *projected = graph.split(table, 2, [width] * 4)
    layers = range(sizes.Transformers.num_decoder_layers1)
    for number in layers:
        prefix = LAYER.format(number)
        layer = {n.removeprefix(prefix): v for n, v in parameters.items() if n.startswith(prefix)}
        asking = x if number < layers[-1] else _last(graph, x)
        if number > 0:
            projected = _projected(graph, x, asking, layer)
        elif asking != x:
            projected[0] = _last(graph, projected[0])
        mixed = graph.op(
            "MultiHeadAttention", *projected, domain=FUSED, num_heads=heads, unidirectional=int(asking == x)
        )
        x = _after_attention(graph, asking, mixed, layer, one_row=asking != x)
    order = np.arange(width * concepts).reshape(width, concepts).T.ravel()  # the original views concepts as (d, K)
    x = graph.linear(x, *_neck(parameters, order), one_row=True)
    x = graph.op("Reshape", x, graph.constant(np.array([concepts, width], np.int64)))
    x = graph.op("LpNormalization", x, axis=-1, p=2)
    return finished(graph, x, 4 * width, width * concepts)


def _neck(parameters: Parameters, order: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Nothing lies between the two maps of the neck, so they are one: weight (K d, d) and bias (K d)."""
    inner, inner_bias, outer, outer_bias = (
        parameters[f"txt_encoder.txt_necks.{i}.{n}"].astype(np.float64) for i in (0, 1) for n in ("weight", "bias")
    )
    weight, bias = outer @ inner, outer @ inner_bias + outer_bias
    return weight[order].astype(np.float32), bias[order].astype(np.float32)


def _last(graph: Graph, x: str) -> str:
    """Of the last position."""
    return graph.slice(x, 1, -1, 2**31 - 1)


def _projected(graph: Graph, x: str, asking: str, layer: Parameters) -> list[str]:
    """Queries of the positions that ask, all or the last one; keys and values of all."""
    weight, bias = layer["self_attn.in_proj_weight"], layer["self_attn.in_proj_bias"]
    width = weight.shape[1]
    if asking == x:
        return graph.split(graph.linear(x, weight, bias), 2, [width] * 3)
    keys_values = graph.split(graph.linear(x, weight[width:], bias[width:]), 2, [width] * 2)
    return [graph.linear(asking, weight[:width], bias[:width], one_row=True), *keys_values]


def _after_attention(graph: Graph, x: str, mixed: str, layer: Parameters, one_row: bool) -> str:
    """The rest of a post-norm layer."""
    mixed = graph.linear(mixed, layer["self_attn.out_proj.weight"], layer["self_attn.out_proj.bias"], one_row)
    norm = layer["self_attn_layer_norm.weight"], layer["self_attn_layer_norm.bias"]
    x = graph.add_and_norm(x, mixed, norm)
    hidden = graph.op("Relu", graph.linear(x, layer["fc1.weight"], layer["fc1.bias"], one_row))
    norm = layer["final_layer_norm.weight"], layer["final_layer_norm.bias"]
    return graph.add_and_norm(x, graph.linear(hidden, layer["fc2.weight"], layer["fc2.bias"], one_row), norm)
