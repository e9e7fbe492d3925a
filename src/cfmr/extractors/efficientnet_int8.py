"""EfficientNet-Lite0 in 8 bits as an ONNX graph, made of its weights alone: no picture is needed to calibrate it.

What calibration would measure is known from batch normalisation: mean and deviation of every channel over ImageNet
(Nagel et al., Data-Free Quantization through Weight Equalization and Bias Correction, ICCV 2019).

- After ReLU6 a value lies between 0 and 6; that is its range.
- A block's result, and the sums of a stage's results, are centred and divided by each channel's deviation, so that all
  channels share one scale; the 1 x 1 convolutions before and after take that in.
- Weights have a scale each output channel. A filter over neighbouring pixels is rounded so that its sum is kept: many
  are differences, and with another sum a flat picture would be an edge to them.
- What rounding a 1 x 1 convolution adds on average, with its input's mean, is taken off its bias.

The frames are the first convolution's input as they are. That convolution sees four pixels as one place with twelve
channels and makes two of its results at once, for which there are faster kernels than for three channels.
"""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from cfmr.extractors.efficientnet_graph import (
    BLOCKS,
    LEVELS,
    STRIDES,
    Doubles,
    Graph,
    Parameters,
    folded,
    is_added,
    level,
)

WIDTH_STEP, HEIGHT_STEP = 4, 2  # the sizes of pictures that the graph takes are multiples of these

_RELU6 = 6 / 255  # scale of what lies between 0 and 6
_SPREAD = 5.0  # deviations on either side of the mean that 8 bits hold
_CENTRE = 128  # what stands for the mean
_FINER = np.linspace(127, 96, 32)  # largest rounded weight of a filter: of the scales that this gives the best is taken
_SUMS = 20.0  # what a wrong sum of a filter counts for, beside wrong weights
_NORMAL = np.array([NormalDist().inv_cdf((i + 0.5) / 64) for i in range(64)])

Int8 = npt.NDArray[np.int8]


@dataclass(frozen=True)
class _Tensor:
    """A tensor of the graph: a stored value q stands for offset + spread * scale * (q - zero), channel by channel.

    Attributes:
        mean: expected (value - offset) / spread of each channel.
    """

    name: str
    scale: float
    zero: int
    spread: Doubles
    offset: Doubles
    mean: Doubles


def build_int8_graph(parameters: Parameters) -> Any:
    """The network in 8 bits, with the input and outputs of the one in floats. `parameters` were checked before."""
    return _Builder(parameters).model()


class _Builder(Graph):
    def __init__(self, parameters: Parameters) -> None:
        super().__init__()
        self.parameters = parameters

    def model(self) -> Any:
        x = self.stem()
        for number, (project, total) in enumerate(_stages(self.parameters)):
            x = self.block(x, number, project, total)
            if number in LEVELS:
                self.floats(x, level(number))
        x = self.convolution(x, "_conv_head", self.active("_conv_head", "_bn1"), "_bn1")
        self.floats(x, "head")
        self.node("GlobalAveragePool", ["head"], "mean")
        self.node("Flatten", ["mean"], "pooled")
        return self.checked_model(**{"com.microsoft": 1})

    def stem(self) -> _Tensor:
        """The first convolution, of four pixels and two results a place: strides 2 and 3 x 3 become 2, 1 and 3 x 2."""
        out = self.active("_conv_stem", "_bn0")
        weight, bias = folded(self.parameters, "_conv_stem", "_bn0")
        rounded, scales = _rounded_filters(weight)
        count = len(weight)
        wide = np.zeros((2, count, 4, 3, 3, 2), dtype=np.int8)  # result, channel, pixel, colour, row, place
        for result in range(2):
            for column in range(3):
                place, pixel = divmod(2 * result + column, 4)
                wide[result, :, pixel, :, :, place] = rounded[..., column]
        self.node("Reshape", ["frames", self.constant("by_four", np.array([0, 0, -1, 12]))], "places")
        self.node("Transpose", ["places"], "image", perm=[0, 3, 1, 2])
        image = _Tensor("image", 1 / 128, 127, np.ones(3), np.zeros(3), np.zeros(3))
        two = _Tensor("two", out.scale, out.zero, out.spread, out.offset, out.mean)
        weights = wide.reshape(2 * count, 12, 3, 2), np.tile(scales, 2), np.tile(bias, 2)
        self.quantized(image, "_conv_stem", two, weights, pads=[0, 0, 1, 1], strides=[2, 1])
        self.node("Transpose", ["two"], "two_last", perm=[0, 2, 3, 1])
        self.node("Reshape", ["two_last", self.constant("by_one", np.array([0, 0, -1, count]))], "one_last")
        self.node("Transpose", ["one_last"], out.name, perm=[0, 3, 1, 2])
        return out

    def block(self, x: _Tensor, number: int, project: _Tensor, total: _Tensor) -> _Tensor:
        """Expand, filter each channel, project; add the input where `total` is another tensor than `project`."""
        name, y = f"_blocks.{number}.", x
        if f"{name}_expand_conv.weight" in self.parameters:
            out = self.active(f"{name}_expand_conv", f"{name}_bn0")
            y = self.convolution(y, f"{name}_expand_conv", out, f"{name}_bn0")
        out = self.active(f"{name}_depthwise_conv", f"{name}_bn1")
        y = self.depthwise(y, f"{name}_depthwise_conv", out, f"{name}_bn1", STRIDES.get(number, 1))
        y = self.convolution(y, f"{name}_project_conv", project, f"{name}_bn2")
        if total is not project:
            inputs = [*self.stored(y), *self.stored(x), *self.stored(total)[1:]]
            self.node("QLinearAdd", inputs, total.name, domain="com.microsoft")
        return total

    def active(self, name: str, norm: str) -> _Tensor:
        """The tensor after a convolution and ReLU6."""
        mean, deviation = _statistics(self.parameters, norm)
        expected = np.clip(mean[:, None] + deviation[:, None] * _NORMAL, 0, 6).mean(axis=1)
        return _Tensor(f"{name}.relu6", _RELU6, 0, np.ones(len(mean)), np.zeros(len(mean)), expected)

    def convolution(self, x: _Tensor, name: str, out: _Tensor, norm: str) -> _Tensor:
        """A 1 x 1 convolution."""
        weight, bias = folded(self.parameters, name, norm)
        matrix = weight[:, :, 0, 0]
        bias = (bias + matrix @ x.offset - out.offset) / out.spread
        matrix = matrix * x.spread / out.spread[:, None]
        scales = _largest(matrix) / 127
        rounded = np.round(matrix / scales[:, None])
        bias += (matrix - rounded * scales[:, None]) @ x.mean
        return self.quantized(x, name, out, (rounded.astype(np.int8)[:, :, None, None], scales, bias))

    def depthwise(self, x: _Tensor, name: str, out: _Tensor, norm: str, stride: int) -> _Tensor:
        """A convolution of each channel by itself. Its input comes from ReLU6, so zeros around it are zeros."""
        weight, bias = folded(self.parameters, name, norm)
        rounded = (*_rounded_filters(weight), bias)
        return self.quantized(x, name, out, rounded, group=len(weight), auto_pad="SAME_UPPER", strides=[stride, stride])

    def quantized(
        self, x: _Tensor, name: str, out: _Tensor, weights: tuple[Int8, Doubles, Doubles], **attributes: Any
    ) -> _Tensor:
        """The operation itself, with weights, their scales, and biases in units of `out.spread`."""
        rounded, scales, bias = weights
        whole = np.round(bias / (x.scale * scales)).clip(-(2**31), 2**31 - 1)
        inputs = [
            *self.stored(x),
            self.constant(f"{name}.w", rounded),
            self.constant(f"{name}.scales", scales.astype(np.float32)),
            self.constant(f"{name}.zeros", np.zeros(len(rounded), dtype=np.int8)),
            *self.stored(out)[1:],
            self.constant(f"{name}.b", whole.astype(np.int32)),
        ]
        self.node("QLinearConv", inputs, out.name, kernel_shape=list(rounded.shape[2:]), **attributes)
        return out

    def stored(self, x: _Tensor) -> list[str]:
        """Name, scale and zero of a tensor, as the operations in 8 bits take them."""
        scale, zero = f"{x.name}.scale", f"{x.name}.zero"
        if all(constant.name != scale for constant in self.constants):
            self.constant(scale, np.array(x.scale, dtype=np.float32))
            self.constant(zero, np.array(x.zero, dtype=np.uint8))
        return [x.name, scale, zero]

    def floats(self, x: _Tensor, name: str) -> None:
        """A tensor's values under a name."""
        scales = self.constant(f"{name}.scales", (x.scale * x.spread).astype(np.float32))
        zeros = self.constant(f"{name}.zeros", np.full(len(x.spread), x.zero, dtype=np.uint8))
        self.node("DequantizeLinear", [x.name, scales, zeros], f"{name}.centred", axis=1)
        offset = self.constant(f"{name}.offset", x.offset.astype(np.float32)[:, None, None])
        self.node("Add", [f"{name}.centred", offset], name)


def _statistics(parameters: Parameters, norm: str) -> tuple[Doubles, Doubles]:
    """Mean and deviation over ImageNet of what a batch normalisation gives."""
    return parameters[f"{norm}.bias"].astype(np.float64), np.abs(parameters[f"{norm}.weight"]).astype(np.float64)


def _stages(parameters: Parameters) -> list[tuple[_Tensor, _Tensor]]:
    """Of every block the tensor that it makes and the one that goes on: their sum's, where its input is added."""
    added = [is_added(parameters, f"_blocks.{n}.", STRIDES.get(n, 1)) for n in range(BLOCKS)]
    own = [_statistics(parameters, f"_blocks.{n}._bn2") for n in range(BLOCKS)]
    summed: list[tuple[Doubles, Doubles]] = []  # means, variances
    for (mean, deviation), adds in zip(own, added, strict=True):
        before = summed[-1] if adds else (0.0, 0.0)
        summed.append((before[0] + mean, before[1] + deviation**2))
    spreads: list[Doubles] = []  # a stage has one, its last block's
    for number in reversed(range(BLOCKS)):
        goes_on = number + 1 < BLOCKS and added[number + 1]
        spreads.insert(0, spreads[0] if goes_on else np.maximum(np.sqrt(summed[number][1]), 1e-9))
    stages = []
    for number, ((mean, deviation), (total, variance), spread) in enumerate(zip(own, summed, spreads, strict=True)):
        project = _centred(f"_blocks.{number}.project", mean, deviation, spread)
        whole = _centred(f"_blocks.{number}.sum", total, np.sqrt(variance), spread)
        stages.append((project, whole if added[number] else project))
    return stages


def _centred(name: str, mean: Doubles, deviation: Doubles, spread: Doubles) -> _Tensor:
    scale = _SPREAD * float((deviation / spread).max()) / 127
    return _Tensor(name, scale, _CENTRE, spread, mean, np.zeros(len(mean)))


def _largest(weights: Doubles) -> Doubles:
    """Of each output channel, and never 0."""
    largest: Doubles = np.abs(weights).reshape(len(weights), -1).max(axis=1)
    return np.maximum(largest, 1e-12)


def _rounded_filters(weights: Doubles) -> tuple[Int8, Doubles]:
    """Filters (out, in, h, w) rounded so that sums over their windows are kept, and a scale each output channel."""
    flat = weights.reshape(*weights.shape[:2], -1)
    rounded, scales, least = np.zeros(flat.shape), np.ones(len(flat)), np.full(len(flat), np.inf)
    for top in _FINER:
        step = _largest(weights) / top
        exact = flat / step[:, None, None]
        tried = _keeping_sums(exact)
        off = tried - exact
        cost = step**2 * ((off**2).sum(axis=(1, 2)) + _SUMS * (off.sum(axis=2) ** 2).sum(axis=1))
        better = cost < least
        rounded[better], scales[better], least[better] = tried[better], step[better], cost[better]
    whole: Int8 = rounded.reshape(weights.shape).astype(np.int8)
    return whole, scales


def _keeping_sums(values: Doubles) -> Doubles:
    """Rounded down, but those with the largest remainders up, as many as their sum asks for; along the last axis."""
    down = np.floor(values)
    remainders = values - down
    missing = np.round(remainders.sum(axis=-1, keepdims=True))
    rank = np.argsort(np.argsort(-remainders, axis=-1, kind="stable"), axis=-1, kind="stable")
    return np.asarray(down + (rank < missing), dtype=np.float64)
