"""What an index is built from: the model of a checkpoint, or something else that does as it does."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx

from cfmr.data.vocabulary import base_forms
from cfmr.errors import InputError
from cfmr.index.codec import Floats
from cfmr.index.encode import RowEncoder, Windowing
from cfmr.index.files import write_array, write_json
from cfmr.index.text_encoder import GRAPH
from cfmr.index.text_export import WHOLE, TextCheck, keep_graph
from cfmr.index.word_encoder import VECTORS, WORDS, SentenceEncoder
from cfmr.models.base import Features, load_model
from cfmr.models.checkpoint import Checkpoint, find_checkpoint
from cfmr.models.encode import encode_sentences
from cfmr.models.text_graph import text_graph, word_table
from cfmr.moments.span_reader import Readout


class IndexModel(Protocol):
    """A model that an index is built with; the index keeps its text encoder, so that a search needs nothing else.

    Attributes:
        name: for people.
        fingerprint: equal for models that give equal rows.
        frame_dim: numbers of a clip's features.
        max_words: most words, or tokens, of a sentence.
        encoder: features to rows.
    """

    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def frame_dim(self) -> int: ...
    @property
    def max_words(self) -> int: ...
    @property
    def encoder(self) -> RowEncoder: ...

    @property
    def readout(self) -> Readout:
        """How moments are read off the scores of rows."""

    def readable(self, sentences: Sequence[str]) -> list[str]:
        """Those sentences that the model can read, once each."""

    def made_up(self, count: int) -> list[str]:
        """Sentences that it can read, for want of real ones."""

    def random_names(self, count: int) -> list[str]:
        """Common words at random, of which few are in any collection of videos; none where only annotations tell when
        nothing matches."""

    def text_vectors(self, sentences: Sequence[str]) -> Floats:
        """Vectors (n, dim) of sentences that it can read."""

    def moment_vectors(self, features: Features, duration: float) -> Floats:
        """Features (n, frame_dim) of a video of so many seconds -> vectors (m, dim) of its moments."""

    def card_extras(self) -> dict[str, Any]:
        """What the card says beside what all models have; `"reads"` names the text encoder, if it reads no words."""

    def export_text(self, folder: Path, card: dict[str, Any], check: TextCheck) -> Iterable[str]:
        """Write the text encoder's files and return their names; what was measured on the way goes into the card."""


class CheckpointModel:
    """The model of a checkpoint.

    Args:
        window: seconds of a window, for videos longer than that; None for what the model was trained on.
    """

    def __init__(
        self, checkpoint: Checkpoint, window: float | None = None, backend: str = "pytorch", device: str = "cpu"
    ) -> None:
        if not checkpoint.vocabulary.words:
            raise InputError("the model was trained on features of sentences and can read no others; train it on words")
        self.checkpoint, self.window, self.backend, self.device = checkpoint, window, backend, device
        self.model = load_model(checkpoint, backend, device)
        self.encoder = RowEncoder(self.model, Windowing.of(checkpoint, window))
        self.name: str = checkpoint.config.model.name
        self.frame_dim = checkpoint.config.dataset.frame_dim
        self.max_words = checkpoint.config.dataset.max_num_words
        self.fingerprint = model_fingerprint(checkpoint)
        self.readout = self.model.readout

    @classmethod
    def load(
        cls, path: Path, window: float | None = None, backend: str = "pytorch", device: str = "cpu"
    ) -> "CheckpointModel":
        """From a checkpoint's or a run's directory.

        Raises:
            InputError: there is no checkpoint, it is damaged, or the backend is not installed.
        """
        return cls(Checkpoint.load(find_checkpoint(path)), window, backend, device)

    def readable(self, sentences: Sequence[str]) -> list[str]:
        """Those with a known word."""
        return [s for s in dict.fromkeys(sentences) if self.checkpoint.vocabulary.ids(s, self.max_words)]

    def unclicked_names(self, count: int) -> list[str]:
        """Names of things that are known by their looks alone, at random: most are in no video of a collection."""
        prior = getattr(self.model, "prior", None)
        if prior is None:
            return []
        words = self.checkpoint.vocabulary.words
        seen = self.checkpoint.parameters["own"].shape[1] - 1
        forms = {form for word in words[:seen] for form in base_forms(word)}
        names = [word for word in words[seen:] if not forms.intersection(base_forms(word))]
        return [str(word) for word in np.random.default_rng(0).permutation(names)[:count]]

    def random_names(self, count: int) -> list[str]:
        """None: what it was trained on tells more."""
        return []

    def made_up(self, count: int) -> list[str]:
        """Of the words of the vocabulary."""
        return synthetic_sentences(self.checkpoint.vocabulary.words, self.max_words, count)

    def text_vectors(self, sentences: Sequence[str]) -> Floats:
        """See `IndexModel`."""
        return encode_sentences(self.model, sentences, self.checkpoint.vocabulary, self.max_words)

    def moment_vectors(self, features: Features, duration: float) -> Floats:
        """See `IndexModel`."""
        return self.model.video_vectors(features, duration)[0]

    def card_extras(self) -> dict[str, Any]:
        """The data set and the epoch."""
        return {"dataset": self.checkpoint.config.dataset.dataset, "epoch": self.checkpoint.state.get("epoch")}

    def export_text(self, folder: Path, card: dict[str, Any], check: TextCheck) -> Iterable[str]:
        """The text encoder and its vocabulary, see `IndexModel`."""
        vocabulary = self.checkpoint.vocabulary
        write_json(folder / WORDS, vocabulary.words)
        parameters, config = self.checkpoint.parameters, self.checkpoint.config
        table = word_table(parameters, config, self.model.word_inputs(vocabulary.vectors))
        write_array(folder / VECTORS, [table], len(table))
        onnx.save(text_graph(parameters, config), folder / WHOLE)

        def read(graph: str, count: int) -> Floats:
            return SentenceEncoder(folder, self.max_words, graph).vectors(check.sentences[:count])

        if difference := keep_graph(folder, card, read, self.text_vectors(check.sentences), check):
            raise RuntimeError(f"the exported text encoder differs from the model by {difference:.1e}")
        return [GRAPH, WORDS, VECTORS]


def model_fingerprint(checkpoint: Checkpoint) -> str:
    """Equal for equal parameters and words, and the same way to read moments."""
    digest = hashlib.blake2b(digest_size=12)
    for name in sorted(checkpoint.parameters):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(checkpoint.parameters[name]).data)
    digest.update(repr(checkpoint.state.get("reader")).encode())
    digest.update("\n".join(checkpoint.vocabulary.words).encode())
    digest.update(np.ascontiguousarray(checkpoint.vocabulary.vectors).data)
    return digest.hexdigest()


def synthetic_sentences(words: Sequence[str], max_words: int, count: int) -> list[str]:
    """Sentences of words as frequent as in speech, for want of real ones."""
    rng = np.random.default_rng(0)
    chance = 1 / np.arange(1, len(words) + 1)
    chance /= chance.sum()
    lengths = rng.integers(1, min(max_words, 12) + 1, count)
    return [" ".join(rng.choice(words, n, p=chance)) for n in lengths]
