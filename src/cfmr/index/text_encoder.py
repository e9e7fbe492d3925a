"""Sentences to query vectors, with ONNX Runtime and numpy only: what all text encoders of an index share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

GRAPH = "text.onnx"
LONGEST_TEXT = 2000  # characters; more is no sentence

#: What a model reads, as the card of an index says ("reads") -> module and class.
ENCODERS = {
    "words": "cfmr.index.word_encoder:SentenceEncoder",
    "names": "cfmr.index.word_encoder:NameEncoder",
    "tokens": "cfmr.index.token_encoder:TokenEncoder",
}


@dataclass(frozen=True, slots=True)
class UnknownWord:
    """A word of the query that the model does not know, and the known form or spelling it was read as, if any."""

    word: str
    used: str | None


@dataclass(frozen=True, slots=True)
class Query:
    """A sentence as the model reads it: the known words, what became of the others, and its vector (dim,)."""

    sentence: str
    words: tuple[str, ...]
    unknown: tuple[UnknownWord, ...]
    vector: Floats


class TextEncoder(Protocol):
    """The text encoder of an index: the files of its model, opened."""

    def warm_up(self) -> None:
        """Load everything now rather than at the first sentence."""

    @property
    def usual_length(self) -> float:
        """About how long the vectors of sentences are."""

    def vectors(self, sentences: Sequence[str]) -> Floats:
        """Vectors (n, dim) of sentences that the model can read."""

    def encode(self, sentence: str) -> Query:
        """The query of a person's sentence. Raises InputError for one that the model cannot read."""


def open_text_encoder(folder: Path, card: Mapping[str, Any]) -> TextEncoder:
    """The text encoder whose files lie in a folder, as the card of their index says."""
    module, _, name = ENCODERS[card.get("reads", "words")].partition(":")
    encoder: TextEncoder = getattr(import_module(module), name)(folder, int(card["max_words"]))
    return encoder
