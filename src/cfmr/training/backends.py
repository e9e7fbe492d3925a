"""Which backend trains: PyTorch or MindSpore."""

from pathlib import Path
from typing import Any, Protocol, cast

from cfmr.config import Config, DenseConfig
from cfmr.models.base import check_backend, import_backend
from cfmr.progress import TrainingProgress, silent
from cfmr.training import dense
from cfmr.training.run import Select


class TrainingBackend(Protocol):
    """A framework's training module."""

    def train(
        self,
        config: Config,
        directory: Path,
        *,
        resume: Path | None = None,
        seed: int = 8,
        select: Select = "validation",
        device: str = "cpu",
        progress: TrainingProgress = silent,
    ) -> dict[str, Any]:
        """Train a model and measure it once on the test split.

        Args:
            config: model, data and how long.
            directory: where the run is written.
            resume: the `last` of an interrupted run, or the run's directory.
            seed: of the first weights, the order of rows, masked words and dropout.
            select: which epoch becomes the checkpoint.
            device: "cpu", "cuda", "cuda:1", "Ascend", ...
            progress: told of every step, and of the figures of every epoch.

        Returns:
            the final figures, as written to `metrics.json`.

        Raises:
            InputError: the configuration, its data, the device or `resume` cannot be used.
        """


def find_training(backend: str, config: Config | None = None) -> TrainingBackend:
    """The training module for a configuration on a backend; CFMR-Dense needs none.

    Raises:
        InputError: names the extra to install if the backend's framework is missing.
    """
    if isinstance(config, DenseConfig):
        check_backend(backend)
        return cast(TrainingBackend, dense)
    return cast(TrainingBackend, import_backend("training", backend))
