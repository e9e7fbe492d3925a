"""Which backend trains: PyTorch or MindSpore."""

from pathlib import Path
from typing import Any, Protocol, cast

from cfmr.config import Config
from cfmr.models.base import import_backend
from cfmr.progress import TrainingProgress, silent


class Training(Protocol):
    """A backend's training module."""

    def train(
        self,
        config: Config,
        directory: Path,
        *,
        resume: Path | None,
        seed: int,
        select: str,
        device: str,
        progress: TrainingProgress = silent,
    ) -> dict[str, Any]:
        """Train and return the final figures."""


def find_training(backend: str) -> Training:
    """The training module of a backend. Raises InputError naming the extra to install if its framework is missing."""
    return cast(Training, import_backend("training", backend))
