"""Building an ONNX graph."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Floats = NDArray[np.float32]
Parameters = Mapping[str, NDArray[Any]]

OPSET, IR = 17, 9
INPUT, OUTPUT = "words", "query"
FUSED = "com.microsoft"
ONE_ROW = "one_row_"  # names of nodes that multiply a matrix with one row begin with it


@dataclass
class Graph:
    """Nodes and constants, put together one operator at a time."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def constant(self, value: NDArray[Any]) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def op(self, kind: str, *inputs: str, domain: str = "", prefix: str = "t", **attributes: Any) -> str:
        name = f"{prefix}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name, domain=domain, **attributes))
        return name

    def linear(self, x: str, weight: Floats, bias: Floats, one_row: bool = False) -> str:
        """x W^T + b, with the weight as PyTorch stores it, (out, in); `one_row`: x is one, however long a sentence."""
        product = self.op("MatMul", x, self.constant(weight.T), prefix=ONE_ROW if one_row else "t")
        return self.op("Add", product, self.constant(bias))

    def add_and_norm(self, x: str, branch: str, norm: tuple[Floats, Floats]) -> str:
        """LayerNorm(x + branch). ONNX Runtime's fused operator for both takes three times as long on a CPU."""
        scale, shift = map(self.constant, norm)
        return self.op("LayerNormalization", self.op("Add", x, branch), scale, shift, axis=-1, epsilon=1e-5)

    def split(self, x: str, axis: int, sizes: Sequence[int]) -> list[str]:
        names = [f"t{len(self.nodes)}_{i}" for i in range(len(sizes))]
        inputs = [x, self.constant(np.array(sizes, np.int64))]
        self.nodes.append(helper.make_node("Split", inputs, names, f"t{len(self.nodes)}", axis=axis))
        return names

    def slice(self, x: str, axis: int, first: int, last: int) -> str:
        bounds = (self.constant(np.array([b], np.int64)) for b in (first, last, axis))
        return self.op("Slice", x, *bounds)


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
