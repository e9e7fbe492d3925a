"""SlowFast 8 x 8, ResNet-50 (Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019), on clips of
two seconds, as QVHighlights and Lighthouse take it.

Source of weights: `SLOWFAST_8x8_R50.pkl` of PySlowFast's model zoo (Kinetics-400, Caffe2's names), or a `.pyth` file of
PySlowFast with `model_state`. Input: RGB in [0, 1] less 0.45 over 0.225, shorter side 224, the middle 224 x 224.
Window: 60 frames of 30 a second, one after the other (half a clip a second). Of these the fast pathway sees 32, spread
over 64 / 30 of as many frames as the video itself has a second, and the slow one 8 of the 32. Output: both pathways'
averages, 2048 and 256 numbers.
"""

import math
import os
import re
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cfmr.errors import InputError
from cfmr.extractors import Attributes, Extraction, VideoProgress, needs
from cfmr.extractors.windows import Images, Parameters, Plan, digest, extract_windows, load_weights, read_weights
from cfmr.files.safe_pickle import read_pickle
from cfmr.video.decode import Frame, Video

SIDE = 224
FRAMES, SLOW_FRAMES = 32, 8
SPAN = 64  # frames of 30 a second that the 32 are spread over
BLOCKS = (3, 4, 6, 3)
FUSED = 2  # times its width the fast pathway tells the slow one
SLIM = 8  # how much narrower the fast pathway is

# Caffe2's names without the t_ of the fast pathway, in order of trial: (pattern, PySlowFast's name); P is the pathway
_CAFFE2 = (
    (r"pool1_subsample_(.*)", r"s1_fuse.conv_f2s_\1"),
    (r"res(\d)_\d+_branch2c_bn_subsample_(.*)", r"s\1_fuse.conv_f2s_\2"),
    (r"res_conv1_(.*)", r"s1.pathwayP_stem.\1"),
    (r"conv1_(.*)", r"s1.pathwayP_stem.conv_\1"),
    (r"res(\d)_(\d+)_branch(\d)([a-c])_(.*)", r"s\1.pathwayP_res\2.branch\3.\4_\5"),
    (r"res(\d)_(\d+)_branch(\d)_(.*)", r"s\1.pathwayP_res\2.branch\3_\4"),
    (r"pred_(.*)", r"head.projection_\1"),
)
_ENDINGS = {"_rm": ".running_mean", "_riv": ".running_var", "_s": ".weight", "_b": ".bias", "_w": ".weight"}
_OTHERS = ("momentum", "lr", "model_iter")  # of training, in the same file


class SlowFast:
    """See the module.

    Args:
        weights: file of published weights.
        threads: cores to use.

    Raises:
        InputError: torch is not installed, or the weights are missing, truncated or another network's.
    """

    name = "slowfast"
    version = 1
    dim = 2304
    plan = Plan(fps=30.0, length=60, stride=60, batch=1)
    clips_per_second = plan.clips_per_second

    def __init__(self, weights: str | os.PathLike[str] | None = None, threads: int = 1) -> None:
        needs("torch", self.name)
        if weights is None:
            raise InputError("--extractor slowfast: needs --weights, the file SLOWFAST_8x8_R50.pkl")
        self.weights, self._threads = Path(weights), threads

    def attributes(self) -> Attributes:
        """For the feature file."""
        own: Attributes = {"extractor": self.name, "version": self.version, "dim": self.dim}
        return {**own, "weights": digest(self.weights), **self.plan.attributes()}

    def extract(self, path: str | os.PathLike[str], progress: VideoProgress | None = None) -> Extraction:
        """Features of a video, (clips, 2304). Raises InputError if it is none, or the weights are of no use."""
        network = self._network
        with Video(path) as video:
            chosen = fast_frames(video.info().fps or self.plan.fps)
        return extract_windows(path, self.plan, middle, lambda windows: network.features(windows[:, chosen]), progress)

    @cached_property
    def _network(self) -> Any:
        import torch

        torch.set_num_threads(self._threads)
        network = build_slowfast()
        load_weights(network, _parameters(self.weights), self.weights, ignore=("head.",))
        return network


def fast_frames(rate: float) -> npt.NDArray[np.int64]:
    """Which 32 of a window's 60 frames are seen, by the whole frames a second that the video itself has."""
    last = int(SPAN * math.floor(rate) / SlowFast.plan.fps - 1)
    frames = np.linspace(0, last, FRAMES).astype(np.int64)
    return np.minimum(frames, SlowFast.plan.length - 1)


def middle(frame: Frame) -> Images:
    """(224, 224, 3) from the middle of a frame whose shorter side is 224 long, rounded down as Lighthouse does."""
    width, height = frame.size
    wide = (int(width * SIDE / height), SIDE) if height < width else (SIDE, int(height * SIDE / width))
    image = frame.rgb(*wide)
    top, left = (image.shape[0] - SIDE) // 2, (image.shape[1] - SIDE) // 2
    return image[top : top + SIDE, left : left + SIDE]


def _parameters(path: Path) -> Parameters:
    """By PySlowFast's names."""
    if path.suffix != ".pkl":
        return read_weights(path)
    content = read_pickle(path)
    blobs = content.get("blobs") if isinstance(content, dict) else None
    if not isinstance(blobs, dict):
        raise InputError(f"{path}: holds no 'blobs', as files of PySlowFast's model zoo do")
    kept = {str(name): value for name, value in blobs.items() if not any(other in str(name) for other in _OTHERS)}
    wrong = next((name for name, value in kept.items() if not isinstance(value, np.ndarray)), None)
    if wrong is not None:
        raise InputError(f"{path}: its {wrong} is no array of numbers")
    return {renamed(name): value for name, value in kept.items()}


def renamed(name: str) -> str:
    """PySlowFast's name of a parameter of Caffe2's."""
    pathway, rest = ("1", name[2:]) if name.startswith("t_") else ("0", name)
    for pattern, theirs in _CAFFE2:
        found = re.fullmatch(pattern, rest)
        if found:
            rest = found.expand(theirs.replace("P", pathway)).replace("conv_f2s_bn_", "bn_")
            break
    ending = next((ending for ending in _ENDINGS if rest.endswith(ending)), "")
    return rest.removesuffix(ending) + _ENDINGS.get(ending, "")


def build_slowfast(classes: int = 0) -> Any:
    """The network as a torch module with random weights, its parameters named as PySlowFast names them; `classes` adds
    the classifier (400 for Kinetics).

    `forward` takes the fast pathway's frames (batch, 3, 32, height, width) and gives (batch, 2304), or with `classes`
    the logits.
    """
    import torch
    from torch import Tensor, nn

    def convolution(inputs: int, outputs: int, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Any:
        padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
        return nn.Conv3d(inputs, outputs, kernel, stride, padding, bias=False)

    class Stem(nn.Module):
        def __init__(self, outputs: int, time: int) -> None:
            super().__init__()
            self.conv, self.bn = convolution(3, outputs, (time, 7, 7), (1, 2, 2)), nn.BatchNorm3d(outputs)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.bn(self.conv(x)))
            return nn.functional.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))

    class Stems(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pathway0_stem, self.pathway1_stem = Stem(64, 1), Stem(64 // SLIM, 5)

        def forward(self, slow: Tensor, fast: Tensor) -> tuple[Tensor, Tensor]:
            return self.pathway0_stem(slow), self.pathway1_stem(fast)

    class Head(nn.Module):
        def __init__(self, inputs: int) -> None:
            super().__init__()
            self.projection = nn.Linear(inputs, classes)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.projection(x)
            return logits

    class Fuse(nn.Module):
        """What the fast pathway (batch, inputs, 32, ...) tells the slow one: (batch, 2 inputs, 8, ...)."""

        def __init__(self, inputs: int) -> None:
            super().__init__()
            self.conv_f2s = convolution(inputs, FUSED * inputs, (7, 1, 1), (FRAMES // SLOW_FRAMES, 1, 1))
            self.bn = nn.BatchNorm3d(FUSED * inputs)

        def forward(self, fast: Tensor) -> Tensor:
            return torch.relu(self.bn(self.conv_f2s(fast)))

    class Bottleneck(nn.Module):
        def __init__(self, inputs: int, inner: int, outputs: int, time: int, stride: int) -> None:
            super().__init__()
            self.a, self.a_bn = convolution(inputs, inner, (time, 1, 1), (1, 1, 1)), nn.BatchNorm3d(inner)
            self.b, self.b_bn = convolution(inner, inner, (1, 3, 3), (1, stride, stride)), nn.BatchNorm3d(inner)
            self.c, self.c_bn = convolution(inner, outputs, (1, 1, 1), (1, 1, 1)), nn.BatchNorm3d(outputs)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.a_bn(self.a(x)))
            x = torch.relu(self.b_bn(self.b(x)))
            result: Tensor = self.c_bn(self.c(x))
            return result

    class Block(nn.Module):
        def __init__(self, inputs: int, inner: int, outputs: int, time: int, stride: int) -> None:
            super().__init__()
            if inputs != outputs or stride != 1:
                self.branch1 = convolution(inputs, outputs, (1, 1, 1), (1, stride, stride))
                self.branch1_bn = nn.BatchNorm3d(outputs)
            self.branch2 = Bottleneck(inputs, inner, outputs, time, stride)

        def forward(self, x: Tensor) -> Tensor:
            beside = self.branch1_bn(self.branch1(x)) if hasattr(self, "branch1") else x
            return torch.relu(beside + self.branch2(x))

    class Stage(nn.Module):
        """Blocks of both pathways; `widths` are (inputs, inner, outputs, kernel in time) of each."""

        def __init__(self, blocks: int, widths: tuple[tuple[int, int, int, int], ...], stride: int) -> None:
            super().__init__()
            self.blocks = blocks
            for pathway, (inputs, inner, outputs, time) in enumerate(widths):
                for number in range(blocks):
                    first = number == 0
                    block = Block(inputs if first else outputs, inner, outputs, time, stride if first else 1)
                    self.add_module(f"pathway{pathway}_res{number}", block)

        def forward(self, slow: Tensor, fast: Tensor) -> tuple[Tensor, Tensor]:
            for number in range(self.blocks):
                slow = self.get_submodule(f"pathway0_res{number}")(slow)
                fast = self.get_submodule(f"pathway1_res{number}")(fast)
            return slow, fast

    class SlowFastNetwork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.s1 = Stems()
            slow, fast = 64, 64 // SLIM
            for number, blocks in enumerate(BLOCKS):
                self.add_module(f"s{number + 1}_fuse", Fuse(fast))
                inner, outputs = 64 << number, 256 << number
                of_slow = (slow + FUSED * fast, inner, outputs, 1 if number < 2 else 3)
                of_fast = (fast, inner // SLIM, outputs // SLIM, 3)
                self.add_module(f"s{number + 2}", Stage(blocks, (of_slow, of_fast), 1 if number == 0 else 2))
                slow, fast = outputs, outputs // SLIM
            if classes:
                self.head = Head(slow + fast)

        def forward(self, fast: Tensor) -> Tensor:
            every = torch.linspace(0, fast.shape[2] - 1, fast.shape[2] * SLOW_FRAMES // FRAMES).long()
            slow, fast = self.s1(fast[:, :, every], fast)
            for number in range(len(BLOCKS)):
                told = self.get_submodule(f"s{number + 1}_fuse")(fast)
                slow, fast = self.get_submodule(f"s{number + 2}")(torch.cat([slow, told], dim=1), fast)
            pooled = torch.cat([slow.mean(dim=(2, 3, 4)), fast.mean(dim=(2, 3, 4))], dim=1)
            return self.head(pooled) if classes else pooled

        @torch.inference_mode()
        def features(self, windows: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            """RGB windows (n, 32, height, width, 3) -> (n, 2304)."""
            x = torch.from_numpy(windows).permute(0, 4, 1, 2, 3).float() / 255
            result: npt.NDArray[np.float32] = self((x - 0.45) / 0.225).numpy()
            return result

    return SlowFastNetwork().eval()
