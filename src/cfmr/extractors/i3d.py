"""I3D, RGB (Carreira and Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017): Inception-v1 with 3-D convolutions.

Source of weights: `rgb_imagenet.pt` (Kinetics-400) or `rgb_charades.pt` (the same, trained on with Charades) of the
PyTorch port by A. J. Piergiovanni; or `model_rgb.pth` of the port by Y. Hasson. Input: RGB scaled to [-1, 1], shorter
side 256, the middle 224 x 224. Window: 16 frames around every 8 frames of 24 a second (3 clips a second). Output: the
average over `Mixed_5c` of (2, 7, 7), 1024 numbers.
"""

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cfmr.errors import InputError
from cfmr.extractors import Attributes, Extraction, VideoProgress, needs
from cfmr.extractors.windows import (
    Parameters,
    Plan,
    centre_crop,
    digest,
    extract_windows,
    load_weights,
    read_weights,
)

_INCEPTION = {  # name -> channels of the 1 x 1 branch, two of 3 x 3 (reduced, then full), and of the pooled one
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
_POOLS = {  # in front of these, a max pool of (kernel, stride)
    "Conv3d_2b_1x1": ((1, 3, 3), (1, 2, 2)),
    "Mixed_3b": ((1, 3, 3), (1, 2, 2)),
    "Mixed_4b": ((3, 3, 3), (2, 2, 2)),
    "Mixed_5b": ((2, 2, 2), (2, 2, 2)),
}


class I3D:
    """See the module.

    Args:
        weights: file of published weights.
        threads: cores to use.

    Raises:
        InputError: torch is not installed, or the weights are missing, truncated or another network's.
    """

    name = "i3d"
    version = 1
    dim = 1024
    plan = Plan(fps=24.0, length=16, stride=8)
    clips_per_second = plan.clips_per_second

    def __init__(self, weights: str | os.PathLike[str] | None = None, threads: int = 1) -> None:
        needs("torch", self.name)
        if weights is None:
            raise InputError("--extractor i3d: needs --weights, the file rgb_imagenet.pt or rgb_charades.pt")
        self.weights, self._threads = Path(weights), threads

    def attributes(self) -> Attributes:
        """For the feature file."""
        own: Attributes = {
            "extractor": self.name,
            "version": self.version,
            "dim": self.dim,
            "weights": digest(self.weights),
        }
        return {**own, **self.plan.attributes()}

    def extract(self, path: str | os.PathLike[str], progress: VideoProgress | None = None) -> Extraction:
        """Features of a video, (clips, 1024). Raises InputError if it is none, or the weights are of no use."""
        network = self._network
        return extract_windows(path, self.plan, lambda frame: centre_crop(frame, 256, 224), network.features, progress)

    @cached_property
    def _network(self) -> Any:
        import torch

        torch.set_num_threads(self._threads)
        network = build_i3d()
        load_weights(network, _renamed(read_weights(self.weights)), self.weights, ignore=("logits.",))
        return network


def build_i3d(classes: int = 0) -> Any:
    """The network as a torch module with random weights; `classes` adds the classifier (400 for Kinetics).

    `forward` takes (batch, 3, time, height, width) in [-1, 1] and gives the map of `Mixed_5c`, (batch, 1024, time / 8,
    height / 32, width / 32), every quotient rounded up; or with `classes` the logits, (batch, classes, time).
    """
    import torch
    from torch import Tensor, nn
    from torch.nn import functional as F

    def padded(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        """Pad as TensorFlow's "same" does, more behind than in front."""
        sizes = []
        for length, k, s in reversed(list(zip(x.shape[2:], kernel, stride, strict=True))):
            total = max(k - s if length % s == 0 else k - length % s, 0)
            sizes += [total // 2, total - total // 2]
        return F.pad(x, sizes)

    class Unit(nn.Module):
        """Convolution, batch normalisation, ReLU."""

        def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
            super().__init__()
            self.kernel, self.stride = (kernel,) * 3, (stride,) * 3
            self.conv3d = nn.Conv3d(inputs, outputs, self.kernel, self.stride, bias=False)
            self.bn = nn.BatchNorm3d(outputs, eps=1e-3, momentum=0.01)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv3d(padded(x, self.kernel, self.stride))
            return torch.relu(self.bn(x))

    class Inception(nn.Module):
        def __init__(self, inputs: int, widths: tuple[int, ...]) -> None:
            super().__init__()
            self.b0 = Unit(inputs, widths[0], 1)
            self.b1a, self.b1b = Unit(inputs, widths[1], 1), Unit(widths[1], widths[2], 3)
            self.b2a, self.b2b = Unit(inputs, widths[3], 1), Unit(widths[3], widths[4], 3)
            self.b3b = Unit(inputs, widths[5], 1)

        def forward(self, x: Tensor) -> Tensor:
            pooled = F.max_pool3d(padded(x, (3, 3, 3), (1, 1, 1)), 3, 1)
            return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], dim=1)

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv3d = nn.Conv3d(I3D.dim, classes, 1)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.conv3d(x)
            return logits

    class I3DNetwork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.Conv3d_1a_7x7 = Unit(3, 64, 7, 2)
            self.Conv3d_2b_1x1 = Unit(64, 64, 1)
            self.Conv3d_2c_3x3 = Unit(64, 192, 3)
            width = 192
            for name, widths in _INCEPTION.items():
                self.add_module(name, Inception(width, widths))
                width = widths[0] + widths[2] + widths[4] + widths[5]
            self.stations = list(self._modules)
            if classes:
                self.logits = Logits()

        def forward(self, x: Tensor) -> Tensor:
            for name in self.stations:
                if name in _POOLS:
                    kernel, stride = _POOLS[name]
                    x = F.max_pool3d(padded(x, kernel, stride), kernel, stride)
                x = self.get_submodule(name)(x)
            if not classes:
                return x
            logits: Tensor = self.logits(F.avg_pool3d(x, (2, 7, 7), 1))
            return logits[..., 0, 0]

        @torch.inference_mode()
        def features(self, windows: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            """RGB windows (n, time, height, width, 3) -> (n, 1024)."""
            x = torch.from_numpy(windows).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
            pooled = F.avg_pool3d(self(x), (2, 7, 7), 1).mean(dim=(2, 3, 4))
            result: npt.NDArray[np.float32] = pooled.numpy()
            return result

    return I3DNetwork().eval()


def _renamed(parameters: Parameters) -> Parameters:
    """Names of Hasson's port as Piergiovanni's has them."""
    if not any(name.startswith("conv3d_1a_7x7.") for name in parameters):
        return parameters
    branches = {"branch_0.": "b0.", "branch_1.0.": "b1a.", "branch_1.1.": "b1b.", "branch_2.0.": "b2a."}
    branches |= {"branch_2.1.": "b2b.", "branch_3.1.": "b3b.", ".batch3d.": ".bn.", "conv3d_0c_1x1.": "logits."}
    renamed = {}
    for name, value in parameters.items():
        for theirs, ours in branches.items():
            name = name.replace(theirs, ours)
        renamed[name if name.startswith("logits.") else name[0].upper() + name[1:]] = value
    return renamed
