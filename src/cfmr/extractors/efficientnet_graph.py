"""EfficientNet-Lite0 as an ONNX graph, from its published weights."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cfmr.errors import InputError

CHANNELS = 1280
BLOCKS = 16
LEVELS = {4: 40, 7: 80, 10: 112, 14: 192}  # blocks whose maps are looked at, and their channels
STRIDES = {1: 2, 3: 2, 5: 2, 11: 2}  # of the depthwise convolution of these blocks; 1 elsewhere
_EPSILON = 1e-3  # of batch normalisation

Parameters = dict[str, npt.NDArray[np.float32]]
Doubles = npt.NDArray[np.float64]


def build_graph(parameters: Parameters, source: Path) -> Any:
    """The network as an ONNX model with batch normalisation folded into the convolutions.

    Raises:
        InputError: parameters are missing or have other shapes; `source` is named.
    """
    try:
        return _Builder(parameters).model()
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        raise InputError(f"{source}: these are not the weights of EfficientNet-Lite0 ({error})") from error


def level(block: int) -> str:
    """The output that has a block's map."""
    return f"level{block}"


def folded(parameters: Parameters, name: str, norm: str) -> tuple[Doubles, Doubles]:
    """Weights (out, in, h, w) and biases (out,) of a convolution with its batch normalisation folded in."""
    weight = parameters[f"{name}.weight"].astype(np.float64)
    scale, bias, mean, var = (
        parameters[f"{norm}.{part}"].astype(np.float64) for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale /= np.sqrt(var + _EPSILON)
    return weight * scale[:, None, None, None], bias - mean * scale


class Graph:
    """Nodes and constants as they come, and the model that they make."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        """Add a constant; returns its name."""
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, domain: str = "", **attributes: Any) -> str:
        """Add an operation; returns its output's name."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], domain=domain, **attributes))
        return output

    def checked_model(self, **domains: int) -> Any:
        """frames (n, height, width, 3) uint8 -> pooled (n, 1280), level4 (n, 40, h, w), level7 and so on."""
        from onnx import TensorProto, checker, helper

        graph = helper.make_graph(
            self.nodes,
            "efficientnet-lite0",
            [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["n", "height", "width", 3])],
            [
                helper.make_tensor_value_info("pooled", TensorProto.FLOAT, ["n", CHANNELS]),
                *(
                    helper.make_tensor_value_info(
                        level(block), TensorProto.FLOAT, ["n", width, f"h{block}", f"w{block}"]
                    )
                    for block, width in LEVELS.items()
                ),
            ],
            self.constants,
        )
        opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(name, number) for name, number in domains.items())]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
        checker.check_model(model)
        return model


class _Builder(Graph):
    def __init__(self, parameters: Parameters) -> None:
        super().__init__()
        self.parameters = parameters

    def model(self) -> Any:
        from onnx import TensorProto

        for name, value in (("zero", 0.0), ("six", 6.0), ("offset", 127.0), ("scale", 1 / 128)):
            self.constant(name, np.array(value, dtype=np.float32))
        self.node("Cast", ["frames"], "values", to=TensorProto.FLOAT)
        self.node("Sub", ["values", "offset"], "centred")
        self.node("Mul", ["centred", "scale"], "scaled")
        x = self.node("Transpose", ["scaled"], "image", perm=[0, 3, 1, 2])
        x = self.convolution(x, "_conv_stem", "_bn0", stride=2)
        for number in range(BLOCKS):
            x = self.block(x, f"_blocks.{number}.", STRIDES.get(number, 1))
            if number in LEVELS:
                self.node("Identity", [x], level(number))
        x = self.convolution(x, "_conv_head", "_bn1")
        self.node("GlobalAveragePool", [x], "mean")
        self.node("Flatten", ["mean"], "pooled")
        return self.checked_model()

    def block(self, x: str, name: str, stride: int) -> str:
        """Expand, filter each channel, project; the input is added where shapes allow (no activation after it)."""
        y = x
        if f"{name}_expand_conv.weight" in self.parameters:
            y = self.convolution(y, f"{name}_expand_conv", f"{name}_bn0")
        y = self.convolution(y, f"{name}_depthwise_conv", f"{name}_bn1", stride, depthwise=True)
        y = self.convolution(y, f"{name}_project_conv", f"{name}_bn2", active=False)
        return self.node("Add", [y, x], f"{name}sum") if is_added(self.parameters, name, stride) else y

    def convolution(
        self, x: str, name: str, norm: str, stride: int = 1, depthwise: bool = False, active: bool = True
    ) -> str:
        """A convolution with its batch normalisation folded in, and ReLU6 where `active`."""
        weight, bias = folded(self.parameters, name, norm)
        self.constant(f"{name}.w", weight.astype(np.float32))
        self.constant(f"{name}.b", bias.astype(np.float32))
        result = self.node(
            "Conv",
            [x, f"{name}.w", f"{name}.b"],
            f"{name}.y",
            auto_pad="SAME_UPPER",  # as TensorFlow pads
            strides=[stride, stride],
            kernel_shape=list(weight.shape[2:]),
            group=len(weight) if depthwise else 1,
        )
        return self.node("Clip", [result, "zero", "six"], f"{name}.relu6") if active else result


def is_added(parameters: Parameters, name: str, stride: int) -> bool:
    """Whether a block adds its input to what it makes."""
    expand = parameters.get(f"{name}_expand_conv.weight")
    return stride == 1 and expand is not None and expand.shape[1] == len(parameters[f"{name}_project_conv.weight"])
