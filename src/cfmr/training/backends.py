"""Which backend trains: PyTorch or MindSpore."""

from pathlib import Path
from typing import Any, Protocol, cast

from cfmr.config import Config, DenseConfig
from cfmr.models.base import check_backend, import_backend
from cfmr.training import dense


class Training(Protocol):
    """A backend's training module."""

    def train(
        self, config: Config, directory: Path, *, resume: Path | None, seed: int, select: str, device: str
    ) -> dict[str, Any]:
        """Train and return the final figures."""


def find_training(backend: str, config: Config | None = None) -> Training:
    """The training module for a configuration on a backend; CFMR-Dense needs none.

    Raises:
        InputError: names the extra to install if the backend's framework is missing.
    """
    if isinstance(config, DenseConfig):
        check_backend(backend)
        return cast(Training, dense)
    return cast(Training, import_backend("training", backend))
