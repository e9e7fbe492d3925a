"""The published model's text encoder as an ONNX graph, written from a checkpoint's parameters.

The graph computes what the last position needs and nothing else: in the last layer one query. Start and prediction
vector are projected beforehand, attention and residual norms are ONNX Runtime's fused operators, and the neck's rows
are put in the order in which concepts are searched. A sentence comes alone, so there is no padding (Method, Text
concepts).
"""

import numpy as np
import onnx

from cfmr.config import CFMRConfig, CFMRSizes
from cfmr.models.onnx_graph import FUSED, INPUT, Graph, Parameters, finished


def text_graph(parameters: Parameters, config: CFMRConfig) -> onnx.ModelProto:
    """See `cfmr.models.text_graph`."""
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
