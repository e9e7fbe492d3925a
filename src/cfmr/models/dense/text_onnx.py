"""CFMR-Dense's text encoder as an ONNX graph."""

import numpy as np
import onnx

from cfmr.config import DenseConfig
from cfmr.models.dense.constants import OWN_SHARE, SHARPNESS
from cfmr.models.onnx_graph import INPUT, Graph, Parameters, finished


def text_graph(parameters: Parameters, config: DenseConfig) -> onnx.ModelProto:
    """See `cfmr.models.text_graph`."""
    return dense_text(parameters)


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
