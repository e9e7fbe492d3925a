"""Models in the frameworks that train them. Each backend has the same three files: model, losses, training."""

from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cfmr.checkpoints import Checkpoint
from cfmr.errors import InputError

Backend = Literal["pytorch", "mindspore"]


class Model(Protocol):
    """What the rest of the project asks of a model, whichever backend it runs on."""

    @property
    def readout(self) -> str:
        """ "anchors": each vector of a video stands for a moment; "curve": moments are read off all of them."""

    def video_vectors(self, features: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Features (n, frame_dim) -> vectors (m, D) and their spans (m, 2) as fractions of the video."""

    def text_vectors(self, words: NDArray[np.float32], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        """Word vectors (B, W, word_dim), zero behind a sentence's end, and lengths (B,) -> (B, D)."""


def load_model(checkpoint: Checkpoint, backend: Backend = "pytorch", device: str = "cpu") -> Model:
    """The model of a checkpoint, ready to encode.

    Raises:
        InputError: the backend is not installed, or the parameters do not fit the configuration.
    """
    if backend == "pytorch":
        try:
            from cfmr.backends.pytorch.training import restore
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise InputError("this needs PyTorch; install cfmr[train]") from error
        return restore(checkpoint, device)
    raise InputError(f"backend '{backend}' is not known; take pytorch")
