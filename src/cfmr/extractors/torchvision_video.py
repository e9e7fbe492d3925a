"""The video backbones of torchvision, by name: `torchvision/r3d_18`, `torchvision/mvit_v2_s` and so on.

Source of weights: torchvision's own (Kinetics-400), the `.pth` file that its documentation links, loaded from a path.
Input: as the preset that torchvision publishes with the backbone's weights says (size, crop, mean, deviation). Window:
16 frames of 15 a second (Swin 32; MViT 16 of 7.5), one around every 8/15 of a second (1.875 clips a second). Output:
what the classifier sees, averaged over the window.
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


class TorchvisionVideo:
    """See the module.

    Args:
        backbone: torchvision's name of it.
        weights: file of published weights.
        threads: cores to use.

    Raises:
        InputError: torchvision is not installed or does not fit PyTorch, has no such backbone, or the weights are
            missing or another network's.
    """

    version = 1

    def __init__(self, backbone: str, weights: str | os.PathLike[str] | None = None, threads: int = 1) -> None:
        self.name = f"torchvision/{backbone}"
        models = _models(self.name)
        known = models.list_models(module=models.video)
        if backbone not in known:
            raise InputError(f"--extractor {self.name}: torchvision's video backbones are {', '.join(known)}")
        if weights is None:
            raise InputError(f"--extractor {self.name}: needs --weights, the file that torchvision publishes for it")
        self.weights, self._backbone, self._threads = Path(weights), backbone, threads
        self._preset = models.get_model_weights(backbone).DEFAULT.transforms()
        self.plan = _plan(backbone)
        self.clips_per_second = self.plan.clips_per_second

    @cached_property
    def dim(self) -> int:
        """Width of a feature."""
        import torch

        with torch.device("meta"):
            return int(_head(_build(self._backbone)).weight.shape[1])

    def attributes(self) -> Attributes:
        """For the feature file."""
        own: Attributes = {"extractor": self.name, "version": self.version, "dim": self.dim}
        return {**own, "weights": digest(self.weights), **self.plan.attributes()}

    def extract(self, path: str | os.PathLike[str], progress: VideoProgress | None = None) -> Extraction:
        """Features of a video, (clips, dim). Raises InputError if it is none, or the weights are of no use."""
        return extract_windows(path, self.plan, self._prepare, self._encode, progress)

    def _prepare(self, frame: Frame) -> Images:
        # about the size that the preset makes; it does the rest exactly
        side = max(self._preset.resize_size)
        width, height = frame.size
        scale = side / min(width, height)
        return frame.rgb(max(round(width * scale), 1), max(round(height * scale), 1))

    def _encode(self, windows: Images) -> npt.NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            frames = torch.from_numpy(windows).permute(0, 1, 4, 2, 3)  # n, time, 3, height, width
            features: npt.NDArray[np.float32] = self._network(self._preset(frames)).flatten(1).numpy()
        return features

    @cached_property
    def _network(self) -> Any:
        import torch

        torch.set_num_threads(self._threads)
        network = _build(self._backbone)
        load_weights(network, read_weights(self.weights), self.weights)
        _remove_head(network)
        return network


def _models(name: str) -> Any:
    needs("torch", name)
    needs("torchvision", name)
    try:
        from torchvision import models
    except (ImportError, OSError, RuntimeError) as error:
        raise InputError(
            f"--extractor {name}: torchvision was built for another PyTorch than the one installed ({error}); "
            "install both from the same place"
        ) from error
    return models


def _plan(backbone: str) -> Plan:
    if backbone.startswith("mvit"):
        return Plan(fps=7.5, length=16, stride=4)
    if backbone.startswith("swin"):
        return Plan(fps=15.0, length=32, stride=8)
    return Plan(fps=15.0, length=16, stride=8)


def _build(backbone: str) -> Any:
    from torchvision import models

    return models.get_model(backbone, weights=None).eval()


def _head(network: Any) -> Any:
    """The layer that classifies: the last one with weights, whatever its name."""
    import torch

    kinds = torch.nn.Linear, torch.nn.Conv3d
    return [module for module in network.modules() if isinstance(module, kinds)][-1]


def _remove_head(network: Any) -> None:
    import torch

    head = _head(network)
    for parent in network.modules():
        for name, child in parent.named_children():
            if child is head:
                setattr(parent, name, torch.nn.Identity())
