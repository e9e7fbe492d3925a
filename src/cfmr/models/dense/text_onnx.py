"""CFMR-Dense's text encoder as an ONNX graph: words' vectors are added up and brought to length 1, see `Dense`."""

import numpy as np
import onnx

from cfmr.config import DenseConfig
from cfmr.models.dense.word_prior import WordPrior
from cfmr.models.onnx_graph import INPUT, Floats, Graph, Parameters, finished


def word_table(parameters: Parameters, config: DenseConfig, inputs: Floats) -> Floats:
    """Inputs as they are, see `cfmr.models.text_graph`."""
    return inputs


def text_graph(parameters: Parameters, config: DenseConfig) -> onnx.ModelProto:
    """See `cfmr.models.text_graph`."""
    return dense_text(parameters)


def dense_text(parameters: Parameters) -> onnx.ModelProto:
    """The text encoder of CFMR-Dense: `Dense.word_inputs` of words (1, n, M d + s) -> query (M d + p)."""
    fits, _, size = parameters["clip"].shape
    graph = Graph()
    summed = graph.op("ReduceSum", INPUT, graph.constant(np.array([1], np.int64)), keepdims=0)
    prior = WordPrior.restore(dict(parameters))
    if prior is None:
        return finished(graph, _unit(graph, summed, fits, size), fits * size, fits * size)
    learned_size, looks_end = fits * size, fits * size + prior.size
    flat = graph.constant(np.array([1, learned_size], np.int64))
    learned = graph.op("Reshape", _unit(graph, graph.slice(summed, 1, 0, learned_size), fits, size), flat)
    one = graph.constant(np.array(1.0, np.float32))
    telling, seen = (graph.slice(summed, 1, looks_end + i, looks_end + i + 1) for i in range(2))
    silent = graph.op("Sub", one, graph.op("Min", telling, one))  # 1 where no word tells anything
    share = graph.op("Div", graph.op("Add", seen, silent), graph.op("Max", telling, one))
    look = graph.slice(summed, 1, learned_size, looks_end)
    length = graph.op("ReduceL2", look, axes=[1], keepdims=1)
    short = graph.op("Div", look, graph.op("Max", length, one))
    weighted = graph.op("Mul", short, graph.constant(np.array(prior.scale, np.float32)))
    both = graph.op("Concat", graph.op("Mul", learned, share), weighted, axis=1)
    return finished(graph, both, looks_end + 2, looks_end)


def _unit(graph: Graph, summed: str, fits: int, size: int) -> str:
    """(1, M d) -> (M, d), each row of length 1."""
    parts = graph.op("Reshape", summed, graph.constant(np.array([fits, size], np.int64)))
    lengths = graph.op("ReduceL2", parts, axes=[1], keepdims=1)
    return graph.op("Div", parts, graph.op("Max", lengths, graph.constant(np.array(1e-6, np.float32))))
