"""The text encoder of any model as an ONNX graph: each model's folder says how, in `text_onnx.py`."""

import onnx

from cfmr.config import Config
from cfmr.models.base import model_module
from cfmr.models.onnx_graph import Parameters


def text_graph(parameters: Parameters, config: Config) -> onnx.ModelProto:
    """The text encoder of a checkpoint: words (1, n, word_dim) -> query (D,)."""
    graph: onnx.ModelProto = model_module(config, "text_onnx").text_graph(parameters, config)
    return graph
