"""An index without any training: CLIP's vectors of frames, pooled under the bells of the published anchors.

A moment's concept is the sum of its frames' vectors, weighted by the anchor's bell (Method, Gaussian temporal anchors),
scaled to length 1; a sentence's is its CLIP text vector. So a score is a cosine. There is one concept, K = 1. The
anchors are those of the published configuration for Charades-STA, whose videos are half a minute long; a longer video
is cut into overlapping windows of that length.
"""

import hashlib
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cfmr.data.features import FeatureStore
from cfmr.data.vocabulary import FUNCTION_WORDS
from cfmr.data.word_vectors import load_word_vectors
from cfmr.errors import InputError
from cfmr.extractors.clip import Clip
from cfmr.index.codec import Floats
from cfmr.index.encode import LONGER, RowEncoder, Windowing
from cfmr.index.model_source import synthetic_sentences
from cfmr.index.text_encoder import GRAPH
from cfmr.index.text_export import WHOLE, TextCheck, keep_graph
from cfmr.index.token_encoder import INPUT, OUTPUT, TOKENIZER, TokenEncoder
from cfmr.models.base import Features, PlainRows
from cfmr.moments.anchors import anchor_grid, anchor_stds, bells, spans

VERSION = 1  # raised whenever the same features would give other rows
CENTRES, WIDTHS, WIDEST, SIGMA = 8, 3, 0.45, 9.0
WINDOW = 30.0  # seconds; windows of a longer video
ALIKE = 0.98  # of sentences have to give the checkpoint's own tokens; a strange sign may be read otherwise
OPSET = 17
COMMON_WORDS = 5000  # of which sentences to check with are made where none are given
NAMES = 100  # at most, by which an index learns when nothing matches


class ClipAnchors(PlainRows):
    """CLIP's frames as a model that is searched by anchors."""

    readout: Literal["anchors"] = "anchors"

    def __init__(self) -> None:
        self.centres, self.widths = anchor_grid(CENTRES, WIDTHS, WIDEST)

    def video_vectors(self, features: Features, duration: float) -> tuple[Floats, Floats]:
        """Frames (n, dim) -> vectors (A, dim) of length 1, and the anchors' spans (A, 2) as fractions."""
        weights = bells(self.centres, anchor_stds(self.widths, SIGMA), len(features))
        return _unit(weights @ _unit(np.asarray(features, np.float32))), spans(self.centres, self.widths)


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)


class ClipModel:
    """A CLIP checkpoint as it was published, without any training; see `cfmr.index.model_source.IndexModel`.

    Args:
        weights: the checkpoint that the features were made with.
        features: of the videos.
        window: seconds of a window, for videos longer than that.

    Raises:
        InputError: the features are of something else, or the checkpoint's text side cannot be carried.
    """

    name = "CLIP"

    def __init__(self, weights: Path, features: FeatureStore, window: float | None = None) -> None:
        self.clip = open_clip_of(weights, features)
        self.model = ClipAnchors()
        self.readout = self.model.readout
        self.encoder = RowEncoder(self.model, Windowing(window or WINDOW, window or LONGER * WINDOW))
        self.frame_dim, self.max_words = self.clip.dim, self.clip.towers.longest
        self.fingerprint = _fingerprint(self.clip)
        self._tokenizer = _tokenizer(self.clip)

    def readable(self, sentences: Sequence[str]) -> list[str]:
        """Sentences that are not too long. Raises InputError if many give other tokens than the checkpoint's own."""
        tokens = {sentence: self._tokenizer.encode(sentence).ids for sentence in dict.fromkeys(sentences)}
        fitting = [sentence for sentence, ids in tokens.items() if len(ids) <= self.max_words]
        same = [sentence for sentence in fitting if tokens[sentence] == self.clip.towers.ids(sentence)]
        if len(same) < ALIKE * len(fitting):
            raise InputError(
                f"{self.clip.weights}: its tokenizer cannot be carried into an index; "
                f"{len(fitting) - len(same)} of {len(fitting)} sentences would be read otherwise"
            )
        return same

    def made_up(self, count: int) -> list[str]:
        """Of common words."""
        words = load_word_vectors().words[:COMMON_WORDS]
        return self.readable(synthetic_sentences(words, max(self.max_words // 2, 1), count))

    def random_names(self, count: int) -> list[str]:
        """Common words at random. They are fewer than are asked for, since reading one takes some 10 ms."""
        words = load_word_vectors().words[:COMMON_WORDS]
        telling = [word for word in words if word.isalpha() and word not in FUNCTION_WORDS]
        chosen = np.random.default_rng(0).choice(telling, min(count, NAMES), replace=False)
        return self.readable([str(word) for word in chosen])

    def text_vectors(self, sentences: Sequence[str]) -> Floats:
        """See `IndexModel`."""
        return self.clip.text(sentences)

    def moment_vectors(self, features: Features, duration: float) -> Floats:
        """See `IndexModel`."""
        return self.model.video_vectors(features, duration)[0]

    def card_extras(self) -> dict[str, Any]:
        """The checkpoint, and that its text encoder reads tokens."""
        return {"zero_shot": str(self.clip.weights.resolve()), "extractor": self.clip.name, "reads": "tokens"}

    def export_text(self, folder: Path, card: dict[str, Any], check: TextCheck) -> Iterable[str]:
        """The text encoder and its tokenizer, see `IndexModel`."""
        self._tokenizer.save(str(folder / TOKENIZER))
        export_text(self.clip, folder / WHOLE)

        def read(graph: str, count: int) -> Floats:
            return TokenEncoder(folder, self.max_words, graph).vectors(check.sentences[:count])

        if difference := keep_graph(folder, card, read, self.text_vectors(check.sentences), check):
            raise InputError(
                f"{self.clip.weights}: its text side gives other vectors as ONNX "
                f"(by {difference:.1e}), so no index can carry it"
            )
        return [GRAPH, TOKENIZER]


def open_clip_of(weights: Path, features: FeatureStore) -> Clip:
    """The checkpoint that features were made with.

    Raises:
        InputError: it is no checkpoint, or the features were made with something else.
    """
    said = features.attributes
    name = str(said.get("extractor", "clip"))
    hint = "make them with: cfmr extract --extractor clip --weights"
    if name.partition("/")[0] != "clip" or "pca" in said:
        made = f"{name}, reduced" if "pca" in said else name
        raise InputError(f"{features.path}: features of {made}; --zero-shot needs CLIP's, {hint} {weights}")
    clip = Clip(weights, name.partition("/")[2] or None)
    given = clip.attributes()
    if "weights" in said and said["weights"] != given["weights"]:
        raise InputError(
            f"{features.path}: made with another checkpoint than {weights}; name that one, or {hint} {weights}"
        )
    if features.dim != clip.dim:
        raise InputError(
            f"{features.path}: features are {features.dim} wide, those of {weights} are {clip.dim}; {hint} {weights}"
        )
    return clip


def _tokenizer(clip: Clip) -> Any:
    try:
        return clip.towers.tokenizer()
    except (ValueError, ImportError) as error:
        raise InputError(f"{clip.weights}: its tokenizer cannot be carried into an index ({error})") from error


def _fingerprint(clip: Clip) -> str:
    parts = VERSION, clip.name, clip.attributes()["weights"], CENTRES, WIDTHS, WIDEST, SIGMA
    return hashlib.blake2b(repr(parts).encode(), digest_size=12).hexdigest()


def export_text(clip: Clip, path: Path) -> None:
    """Write the text side as ONNX: tokens (1, n) -> query (dim,) of length 1.

    Raises:
        InputError: PyTorch cannot export it.
    """
    import torch
    from torch.nn import functional as F

    towers = clip.towers

    class Text(torch.nn.Module):
        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return F.normalize(towers.sentences(tokens), dim=-1)[0]

    example = torch.tensor([towers.ids("a person opens the door")])
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of each shape that is asked for; the result is compared
        try:
            torch.onnx.export(
                Text().eval(),
                (example,),
                str(path),
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes={} if towers.padded else {INPUT: {1: "n"}},
                opset_version=OPSET,
                dynamo=False,  # the newer exporter needs two more packages
            )
        except Exception as error:  # whatever an architecture's code meets in it
            raise InputError(
                f"{clip.weights}: its text side cannot be written as ONNX ({' '.join(str(error).split())[:200]})"
            ) from error
