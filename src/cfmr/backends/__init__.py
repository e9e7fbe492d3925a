"""Models in the frameworks that train them. Each backend has the same three files: model, losses, training."""

from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol, cast, get_args

import numpy as np
from numpy.typing import NDArray

from cfmr.checkpoints import Checkpoint
from cfmr.config import Config
from cfmr.errors import InputError

Backend = Literal["pytorch", "mindspore"]


class Model(Protocol):
    """What the rest of the project asks of a model, whichever backend it runs on."""

    @property
    def readout(self) -> str:
        """How answers are found: "anchors", each vector of a video stands for a moment; or what `curves` reads off."""

    def video_vectors(self, features: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Features (n, frame_dim) -> vectors (m, D) and their spans (m, 2) as fractions of the video."""

    def text_vectors(self, words: NDArray[np.float32], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        """Word vectors (B, W, word_dim), zero behind a sentence's end, and lengths (B,) -> (B, D)."""


class Training(Protocol):
    """A backend's training module."""

    def train(
        self, config: Config, directory: Path, *, resume: Path | None, seed: int, select: str, device: str
    ) -> dict[str, Any]:
        """Train and return the final figures."""

    def restore(self, checkpoint: Checkpoint, device: str) -> Model:
        """The model of a checkpoint, ready to encode."""


def check_backend(name: str) -> Backend:
    """Raises InputError for a name that is no backend."""
    if name not in get_args(Backend):
        raise InputError(f"--backend {name}: known are {', '.join(get_args(Backend))}")
    return cast(Backend, name)


def find_training(backend: str) -> Training:
    """The training module of a backend. Raises InputError naming the extra to install if its framework is missing."""
    name = check_backend(backend)
    framework, extra = {"pytorch": ("torch", "train"), "mindspore": ("mindspore", "mindspore")}[name]
    try:
        return cast(Training, import_module(f"cfmr.backends.{name}.training"))
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != framework:
            raise
        raise InputError(f"this needs {framework}, which is not installed; install cfmr[{extra}]") from error


def load_model(checkpoint: Checkpoint, backend: str = "pytorch", device: str = "cpu") -> Model:
    """The model of a checkpoint, ready to encode.

    Raises:
        InputError: the backend is not installed, or the parameters do not fit the configuration.
    """
    return find_training(backend).restore(checkpoint, device)
