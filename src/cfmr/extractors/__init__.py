"""What turns a video into features: one module a backbone, found by name."""

import importlib
import importlib.util
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cfmr.errors import InputError

#: Name -> module and class. Modules are imported when asked for: some need packages of an extra.
EXTRACTORS = {
    "efficientnet-lite0": "cfmr.extractors.efficientnet_lite0:EfficientNetLite0",
    "i3d": "cfmr.extractors.i3d:I3D",
    "c3d": "cfmr.extractors.c3d:C3D",
    "clip": "cfmr.extractors.clip:Clip",
    "clip-2s": "cfmr.extractors.clip:Clip2s",
    "slowfast": "cfmr.extractors.slowfast:SlowFast",
    "torchvision": "cfmr.extractors.torchvision_video:TorchvisionVideo",
}

_EXTRAS = {"torch": "train", "torchvision": "backbones", "open_clip": "backbones", "transformers": "backbones"}

Attributes = dict[str, str | int | float]
VideoProgress = Callable[[float], None]  # called with the share of a video that is done


@dataclass(frozen=True, slots=True)
class Extraction:
    """Result of the extraction of one video.

    Attributes:
        features: (clips, dim) float32.
        duration: seconds that could be read.
        damage: one line about the unreadable part, or None.
    """

    features: npt.NDArray[np.float32]
    duration: float
    damage: str | None


class Extractor(Protocol):
    """A backbone. Clip i begins at i / clips_per_second; its features do not depend on other videos.

    Attributes:
        name: as in the registry.
        version: increased whenever the same video would give different features.
        dim: dimension of a feature.
        clips_per_second: clips per second of video.
    """

    name: str
    version: int
    dim: int
    clips_per_second: float

    def attributes(self) -> Attributes:
        """Everything that determines the features; stored in the feature file, so that different ones are not mixed."""
        ...

    def extract(self, path: str | os.PathLike[str], progress: VideoProgress | None = None) -> Extraction:
        """Extract the features of one video, read as a stream.

        Raises:
            InputError: the file is not a video, or nothing in it can be read.
        """
        ...


def needs(package: str, name: str) -> None:
    """Raise InputError that tells what to install, where an extractor's package is missing."""
    if importlib.util.find_spec(package) is None:
        raise InputError(f"--extractor {name}: needs {package}; pip install 'cfmr[{_EXTRAS[package]}]'")


def takes(name: str, option: str) -> bool:
    """Whether an extractor of the registry takes an option."""
    family = name.partition("/")[0]
    return family in EXTRACTORS and option in inspect.signature(_factory(family)).parameters


def _factory(family: str) -> Callable[..., Extractor]:
    module, _, made = EXTRACTORS[family].partition(":")
    factory: Callable[..., Extractor] = getattr(importlib.import_module(module), made)
    return factory


def get_extractor(name: str, threads: int = 1, **options: Any) -> Extractor:
    """Make an extractor.

    Args:
        name: in the registry; with some, a backbone after a slash: `torchvision/r3d_18`.
        threads: cores that one may use.
        options: its own: `weights`, for those that need a file; `layer` of C3D.

    Raises:
        InputError: no extractor of that name, an option it does not know, or a package or file that it lacks.
    """
    family, _, backbone = name.partition("/")
    if family not in EXTRACTORS or (family == "torchvision" and not backbone):
        names = ", ".join(key if key != "torchvision" else "torchvision/NAME" for key in EXTRACTORS)
        raise InputError(f"--extractor {name}: not known; choose one of {names}")
    if backbone:
        options["backbone"] = backbone
    factory = _factory(family)
    options = {key: value for key, value in options.items() if value is not None}
    unknown = set(options) - set(inspect.signature(factory).parameters)
    if unknown:
        what = "no backbone" if "backbone" in unknown else f"no --{min(unknown)}"
        raise InputError(f"--extractor {family}: takes {what}")
    return factory(threads=threads, **options)
