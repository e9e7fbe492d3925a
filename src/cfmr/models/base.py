"""The protocols of a model, and loading the model of a checkpoint."""

from abc import ABC, abstractmethod
from importlib import import_module
from types import ModuleType
from typing import Any, Literal, Protocol, cast, get_args

import numpy as np
from numpy.typing import NDArray

from cfmr.config import Config, DenseConfig
from cfmr.errors import InputError
from cfmr.models.checkpoint import Checkpoint
from cfmr.moments.span_reader import Readout

Backend = Literal["pytorch", "mindspore"]


Floats = NDArray[np.float32]
Features = NDArray[np.floating[Any]]


class RowModel(Protocol):
    """The offline half of a model: features of a video to the rows that an index keeps.

    A long video is encoded in windows: `encode_rows` processes one of them, `finish_rows` the rows of all. A row is the
    searched vector itself, or a shorter representation of it (see `row_map`). `PlainRows` has the usual implementation.
    """

    @property
    def readout(self) -> Readout:
        """The way to moments: each row is a moment, or moments are read off the curve of all rows."""

    def encode_rows(self, features: Features, duration: float) -> tuple[Floats, Floats]:
        """Features (n, frame_dim) of a video or a window, and its duration in seconds -> rows (m, width), and spans
        (m, 2) as fractions of it."""

    def finish_rows(self, rows: Floats, features: Features) -> Floats:
        """Rows (m, width) of all windows and features (n, frame_dim) of the whole video -> rows as indexed (m, w)."""

    def row_map(self) -> tuple[Floats, Floats] | None:
        """Weight (K, d_concept, width) and bias (K, d_concept) of the map from rows to concepts, see
        `cfmr.index.codec`; None if a row is the searched vector."""


class Model(RowModel, Protocol):
    """A trained model of any framework, as index, evaluation, report and export use it."""

    def video_vectors(self, features: Features, duration: float) -> tuple[Floats, Floats]:
        """Features (n, frame_dim) of a video, and its duration -> vectors (m, D), spans (m, 2) as fractions of it."""

    def word_inputs(self, vectors: Floats) -> Floats:
        """Vectors (V, word_dim) of a vocabulary, padding first -> the text encoder's input for each word."""

    def text_vectors(self, words: Floats, lengths: NDArray[np.int64]) -> Floats:
        """Word inputs (B, W, w) of sentences, zero after the end of a sentence, and lengths (B,) -> (B, D)."""


class PlainRows(ABC):
    """A model whose rows are its vectors and do not depend on the rest of the video."""

    @abstractmethod
    def video_vectors(self, features: Features, duration: float) -> tuple[Floats, Floats]:
        """See `Model.video_vectors`."""

    def encode_rows(self, features: Features, duration: float) -> tuple[Floats, Floats]:
        """The vectors, see `RowModel.encode_rows`."""
        return self.video_vectors(features, duration)

    def finish_rows(self, rows: Floats, features: Features) -> Floats:
        """The rows as they are, see `RowModel.finish_rows`."""
        return rows

    def row_map(self) -> None:
        """Rows are vectors, see `RowModel.row_map`."""
        return


FOLDERS = {"CFMR": "cfmr", "CFMR-Dense": "dense"}  # of `cfmr.models`, by the `model.name` of a configuration


def model_module(config: Config, name: str) -> ModuleType:
    """A module of the folder that holds the model of a configuration: `text_onnx`, ..."""
    return import_module(f"cfmr.models.{FOLDERS[config.model.name]}.{name}")


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
    if name == "mindspore":
        import_module("cfmr.models.cfmr.mindspore.environment").prepare()  # before MindSpore is imported
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
    if isinstance(checkpoint.config, DenseConfig):  # needs no framework, whatever the backend
        return cast(Model, import_module("cfmr.models.dense.model").Dense.restore(checkpoint))
    return cast(Model, import_backend("models", backend).restore(checkpoint, device))
