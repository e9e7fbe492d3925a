"""Which backend trains: PyTorch or MindSpore."""

from pathlib import Path
from typing import Any, Protocol, cast

from cfmr.config import Config
from cfmr.models.base import import_backend
from cfmr.progress import TrainingProgress, silent
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


def find_training(backend: str) -> TrainingBackend:
    """The training module of a backend. Raises InputError naming the extra to install if its framework is missing."""
    return cast(TrainingBackend, import_backend("training", backend))
