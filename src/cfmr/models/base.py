"""What the rest of the project asks of a model, and where the model of a checkpoint comes from."""

from importlib import import_module
from types import ModuleType
from typing import Any, Literal, Protocol, cast, get_args

import numpy as np
from numpy.typing import NDArray

from cfmr.errors import InputError
from cfmr.models.checkpoint import Checkpoint

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


def check_backend(name: str) -> Backend:
    """Raises InputError for a name that is no backend."""
    if name not in get_args(Backend):
        raise InputError(f"--backend {name}: known are {', '.join(get_args(Backend))}")
    return cast(Backend, name)


def import_backend(room: str, backend: str) -> ModuleType:
    """The module of a backend in `cfmr.models` or `cfmr.training`.

    Raises:
        InputError: names the extra to install if its framework is missing.
    """
    name = check_backend(backend)
    framework, extra = {"pytorch": ("torch", "train"), "mindspore": ("mindspore", "mindspore")}[name]
    try:
        return import_module(f"cfmr.{room}.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != framework:
            raise
        raise InputError(f"this needs {framework}, which is not installed; install cfmr[{extra}]") from error


def load_model(checkpoint: Checkpoint, backend: str = "pytorch", device: str = "cpu") -> Model:
    """The model of a checkpoint, ready to encode.

    Raises:
        InputError: the backend is not installed, or the parameters do not fit the configuration.
    """
    return cast(Model, import_backend("models", backend).restore(checkpoint, device))
