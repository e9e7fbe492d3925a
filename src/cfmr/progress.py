"""How far a long task is, as the task tells whoever started it."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

Progress = Callable[[str, int, int | None], None]  # label, done, total; the total is None where it is not known


class TrainingProgress(Protocol):
    """A `Progress` that is also told the figures of an epoch."""

    def __call__(self, label: str, done: int, total: int | None, metrics: Mapping[str, Any] | None = None) -> None:
        """`metrics`, at the end of an epoch: its number, loss and validation figures, as one flat object."""


def silent(label: str, done: int, total: int | None, metrics: Mapping[str, Any] | None = None) -> None:
    """For callers that do not want to know."""
