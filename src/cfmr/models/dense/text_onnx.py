"""CFMR-Dense's text encoder as an ONNX graph: words' vectors are added up and brought to length 1, see `Dense`."""

import numpy as np
import onnx

from cfmr.config import DenseConfig
from cfmr.models.dense.word_prior import WordPrior
from cfmr.models.onnx_graph import INPUT, Graph, Parameters, finished


def text_graph(parameters: Parameters, config: DenseConfig) -> onnx.ModelProto:
    """See `cfmr.models.text_graph`."""
    return dense_text(parameters)


def dense_text(parameters: Parameters) -> onnx.ModelProto:
    """The text encoder of CFMR-Dense: `Dense.word_inputs` of words (1, n, M d + p) -> query (M d + p)."""
    fits, _, size = parameters["clip"].shape
    graph = Graph()
    summed = graph.op("ReduceSum", INPUT, graph.constant(np.array([1], np.int64)), keepdims=0)
    prior = WordPrior.restore(dict(parameters))
    if prior is None:
        return finished(graph, _unit(graph, summed, fits, size), fits * size, fits * size)
    whole = fits * size + prior.size
    learned = _unit(graph, graph.slice(summed, 1, 0, fits * size), fits, size)
    flat = graph.op("Reshape", learned, graph.constant(np.array([1, fits * size], np.int64)))
    look = graph.slice(summed, 1, fits * size, whole)
    length = graph.op("ReduceL2", look, axes=[1], keepdims=1)
    short = graph.op("Div", look, graph.op("Max", length, graph.constant(np.array(1.0, np.float32))))
    weighted = graph.op("Mul", short, graph.constant(np.array(prior.scale, np.float32)))
    return finished(graph, graph.op("Concat", flat, weighted, axis=1), whole, whole)


def _unit(graph: Graph, summed: str, fits: int, size: int) -> str:
    """(1, M d) -> (M, d), each row of length 1."""
    parts = graph.op("Reshape", summed, graph.constant(np.array([fits, size], np.int64)))
    lengths = graph.op("ReduceL2", parts, axes=[1], keepdims=1)
    return graph.op("Div", parts, graph.op("Max", lengths, graph.constant(np.array(1e-6, np.float32))))
