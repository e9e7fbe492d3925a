"""C3D (Tran et al., "Learning Spatiotemporal Features with 3D Convolutional Networks", ICCV 2015) of Sports-1M.

Source of weights: `c3d.pickle` of the PyTorch port by D. Abati (a state dict; the Caffe model's parameters). Input as
in Caffe: 171 x 128, the middle 112 x 112, BGR minus the mean (90, 98, 102) of Sports-1M. Window: 16 frames around every
8 frames of 25 a second (3.1 clips a second). Output: fc6 or fc7, after its ReLU, 4096 numbers; `cfmr extract --pca 500`
reduces them, as the published features of ActivityNet Captions are reduced.
"""

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cfmr.errors import InputError
from cfmr.extractors import Attributes, Extraction, VideoProgress, needs
from cfmr.extractors.windows import Images, Plan, digest, extract_windows, load_weights, read_weights
from cfmr.video.decode import Frame

_MEAN_BGR = (90.0, 98.0, 102.0)
LAYERS = ("fc6", "fc7")


class C3D:
    """See the module.

    Args:
        weights: file of published weights.
        layer: "fc6" or "fc7".
        threads: cores to use.

    Raises:
        InputError: torch is not installed, or the weights are missing, truncated or another network's.
    """

    name = "c3d"
    version = 1
    dim = 4096
    plan = Plan(fps=25.0, length=16, stride=8)
    clips_per_second = plan.clips_per_second

    def __init__(self, weights: str | os.PathLike[str] | None = None, layer: str = "fc6", threads: int = 1) -> None:
        needs("torch", self.name)
        if weights is None:
            raise InputError("--extractor c3d: needs --weights, the file c3d.pickle trained on Sports-1M")
        if layer not in LAYERS:
            raise InputError(f"--layer {layer}: C3D has the layers {' and '.join(LAYERS)}")
        self.weights, self.layer, self._threads = Path(weights), layer, threads

    def attributes(self) -> Attributes:
        """For the feature file."""
        own: Attributes = {"extractor": self.name, "version": self.version, "dim": self.dim, "layer": self.layer}
        return {**own, "weights": digest(self.weights), **self.plan.attributes()}

    def extract(self, path: str | os.PathLike[str], progress: VideoProgress | None = None) -> Extraction:
        """Features of a video, (clips, 4096). Raises InputError if it is none, or the weights are of no use."""
        network = self._network

        def features(windows: Images) -> npt.NDArray[np.float32]:
            result: npt.NDArray[np.float32] = network.features(windows, self.layer)
            return result

        return extract_windows(path, self.plan, _prepare, features, progress)

    @cached_property
    def _network(self) -> Any:
        import torch

        torch.set_num_threads(self._threads)
        network = build_c3d()
        load_weights(network, read_weights(self.weights), self.weights)
        return network


def _prepare(frame: Frame) -> Images:
    return frame.rgb(171, 128)[8:120, 29:141]


def build_c3d(classes: int = 487) -> Any:
    """The network as a torch module with random weights.

    `forward` takes (batch, 3, 16, 112, 112), BGR minus the mean, and gives fc6 and fc7, each after its ReLU, and the
    logits: (batch, 4096), (batch, 4096), (batch, classes).
    """
    import torch
    from torch import Tensor, nn
    from torch.nn import functional as F

    widths = {"1": (3, 64), "2": (64, 128), "3a": (128, 256), "3b": (256, 256)}
    widths |= {"4a": (256, 512), "4b": (512, 512), "5a": (512, 512), "5b": (512, 512)}

    class C3DNetwork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, (inputs, outputs) in widths.items():
                self.add_module(f"conv{name}", nn.Conv3d(inputs, outputs, 3, padding=1))
            self.fc6, self.fc7 = nn.Linear(8192, 4096), nn.Linear(4096, 4096)
            self.fc8 = nn.Linear(4096, classes)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            for name in widths:
                x = torch.relu(self.get_submodule(f"conv{name}")(x))
                if name == "1":
                    x = F.max_pool3d(x, (1, 2, 2))
                elif name == "5b":
                    x = F.max_pool3d(x, 2, padding=(0, 1, 1))  # 7 x 7 -> 4 x 4
                elif name in ("2", "3b", "4b"):
                    x = F.max_pool3d(x, 2)
            fc6 = torch.relu(self.fc6(x.flatten(1)))
            fc7 = torch.relu(self.fc7(fc6))
            return fc6, fc7, self.fc8(fc7)

        @torch.inference_mode()
        def features(self, windows: npt.NDArray[np.uint8], layer: str) -> npt.NDArray[np.float32]:
            """RGB windows (n, 16, 112, 112, 3) -> (n, 4096)."""
            bgr = torch.from_numpy(np.ascontiguousarray(windows[..., ::-1])).float() - torch.tensor(_MEAN_BGR)
            result: npt.NDArray[np.float32] = self(bgr.permute(0, 4, 1, 2, 3))[LAYERS.index(layer)].numpy()
            return result

    return C3DNetwork().eval()
