"""Which model's text encoder becomes which ONNX graph."""

import onnx

from cfmr.config import Config, DenseConfig
from cfmr.models.cfmr.text_onnx import cfmr_text
from cfmr.models.dense.text_onnx import dense_text
from cfmr.models.onnx_graph import Parameters


def text_graph(parameters: Parameters, config: Config) -> onnx.ModelProto:
    """The text encoder of a checkpoint."""
    if isinstance(config, DenseConfig):
        return dense_text(parameters)
    return cfmr_text(parameters, config.model.config)
