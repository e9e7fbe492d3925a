"""What learning starts from: features of the videos, and the checkpoint that made them."""

from dataclasses import dataclass
from pathlib import Path

from cfmr.index.folder import features_source, zero_shot_source
from cfmr.server.context import AppState


@dataclass(frozen=True, slots=True)
class Basis:
    """Features to learn from.

    Attributes:
        name: of the CLIP-like checkpoint that made them, on the page; None for the first features.
        features: the feature file, or where it will be.
        weights: the CLIP-like checkpoint that made them, if one did and it is there.
    """

    name: str | None
    features: Path
    weights: Path | None


def basis_of(state: AppState) -> Basis:
    """The features of the model that answers: who has chosen a checkpoint goes on from what it knows."""
    model = state.models.current
    if model.features is None:
        return Basis(None, state.features, _existing(zero_shot_source(state.settings.index)))
    return Basis(model.basis or model.id, model.features, _existing(features_source(model.features)))


def _existing(source: Path | None) -> Path | None:
    """A source that lies on the disk; `builtin` does not."""
    return source if source is not None and source.exists() else None
