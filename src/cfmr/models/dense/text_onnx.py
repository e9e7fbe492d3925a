"""CFMR-Dense's text encoder as an ONNX graph: words' vectors are added up, each fit's part brought to length 1."""

import numpy as np
import onnx

from cfmr.config import DenseConfig
from cfmr.models.onnx_graph import INPUT, Graph, Parameters, finished


def text_graph(parameters: Parameters, config: DenseConfig) -> onnx.ModelProto:
    """See `cfmr.models.text_graph`."""
    return dense_text(parameters)


def dense_text(parameters: Parameters) -> onnx.ModelProto:
    """The text encoder of CFMR-Dense: `Dense.word_inputs` of words (1, n, M d) -> query (M d)."""
    fits, _, size = parameters["clip"].shape
    graph = Graph()
    summed = graph.op("ReduceSum", INPUT, graph.constant(np.array([1], np.int64)), keepdims=0)
    parts = graph.op("Reshape", summed, graph.constant(np.array([fits, size], np.int64)))
    lengths = graph.op("ReduceL2", parts, axes=[1], keepdims=1)
    unit = graph.op("Div", parts, graph.op("Max", lengths, graph.constant(np.array(1e-6, np.float32))))
    return finished(graph, unit, fits * size, fits * size)
