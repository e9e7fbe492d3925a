"""What the published losses read and return, whichever framework computes them (Method, Losses, summed)."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, TypeVar

from cfmr.config import CFMRLoss

T = TypeVar("T")  # the framework's tensor
I = TypeVar("I")  # what it keeps indices in  # noqa: E741

SIDES = ("left", "right")  # of the glance, the two negatives; as parts of the losses are named


@dataclass
class Outputs(Generic[T, I]):
    """What the losses read. n training anchors; negatives and ref stand only at p*, where they are read."""

    anchor_concepts: T  # B, n, K, d
    text_concepts: T  # B, K, d
    anchor_nll: T  # n, B
    text_nll: T  # B
    best: I  # B, index of p*, the anchor of smallest nll
    negative_concepts: T  # 0 or 2, B, K, d
    negative_nll: T  # 0 or 2, B
    ref_concepts: T | None  # B, K, d
    ref_nll: T | None  # B


@dataclass
class Losses(Generic[T]):
    """The sum that is minimised, and its parts by name."""

    total: T
    parts: dict[str, T]


class PublishedLosses(ABC, Generic[T, I]):
    """Each method is one of the paper's losses and returns its named parts, already weighted.

    Args:
        config: margins and weights, `loss` of a configuration file.
    """

    def __init__(self, config: CFMRLoss) -> None:
        self.config = config

    def __call__(self, outputs: Outputs[T, I]) -> Losses[T]:
        """All parts and their sum."""
        parts = (
            self.reconstruction(outputs)
            | self.multimodal_concept(outputs)
            | self.diversity(outputs)
            | self.intra_video(outputs)
        )
        return Losses(total=self.total(list(parts.values())), parts=parts)

    @abstractmethod
    def total(self, parts: list[T]) -> T:
        """The sum of scalars."""

    @abstractmethod
    def reconstruction(self, outputs: Outputs[T, I]) -> dict[str, T]:
        """Words from the sentence's own concepts, and from those of p*."""

    @abstractmethod
    def multimodal_concept(self, outputs: Outputs[T, I]) -> dict[str, T]:
        """The sentence's concepts near those of p* and nearer than to negatives; video concepts are detached."""

    @abstractmethod
    def diversity(self, outputs: Outputs[T, I]) -> dict[str, T]:
        """Concepts of one side should differ from each other."""

    @abstractmethod
    def intra_video(self, outputs: Outputs[T, I]) -> dict[str, T]:
        """p* should explain the sentence better than the negatives and the whole video do."""
