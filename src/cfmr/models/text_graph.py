"""The text encoder of any model as an ONNX graph: each model's folder says how, in `text_onnx.py`."""

import onnx

from cfmr.config import Config
from cfmr.models.base import model_module
from cfmr.models.onnx_graph import Floats, Parameters


def text_graph(parameters: Parameters, config: Config) -> onnx.ModelProto:
    """The text encoder of a checkpoint: rows of `word_table` (1, n, w) -> query (D,)."""
    graph: onnx.ModelProto = model_module(config, "text_onnx").text_graph(parameters, config)
    return graph


def word_table(parameters: Parameters, config: Config, inputs: Floats) -> Floats:
    """What the graph reads of each word: `Model.word_inputs` (V, i) of a vocabulary -> (V, w).

    Whatever the encoder works out of each word by itself is worked out here, once.
    """
    table: Floats = model_module(config, "text_onnx").word_table(parameters, config, inputs)
    return table
