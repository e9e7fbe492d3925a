"""An index without training or download: what the default extractor's own classifier says of clips (`models.prior`).

A row is a clip's vector averaged with its neighbours' over a third of the usual moment; a sentence's is the sum of its
words' looks, scaled to length 1. So a score is a cosine, times the same number as a score of CFMR-Dense. A video of any
length is read as a whole, since a clip is judged by itself.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from cfmr.data.features import FeatureStore
from cfmr.data.vocabulary import Vocabulary
from cfmr.errors import InputError
from cfmr.extractors.efficientnet_lite0 import EfficientNetLite0
from cfmr.index import BUILT_IN
from cfmr.index.codec import Floats
from cfmr.index.encode import RowEncoder, Windowing
from cfmr.index.files import write_array, write_json
from cfmr.index.model_source import synthetic_sentences
from cfmr.index.text_encoder import GRAPH
from cfmr.index.text_export import WHOLE, TextCheck, keep_graph
from cfmr.index.word_encoder import VECTORS, WORDS, SentenceEncoder
from cfmr.models.base import Features, PlainRows
from cfmr.models.dense.model import SHARPNESS, unit
from cfmr.models.known_words import KnownWords, known_words
from cfmr.models.onnx_graph import INPUT, Graph, finished
from cfmr.models.prior import DIM, KNOWLEDGE, VERSION
from cfmr.moments.span_reader import SpanReader, running_mean

MAX_WORDS = 40
MADE_UP_WORDS = 3
COMMON_NAMES = 3000
#: Moments of 7.5 s, more or less, in videos of any length: nothing was seen that would tell.
READER = SpanReader(width=0.25, width_spread=0.6, width_exponent=1.0)


class PriorClips(PlainRows):
    """Clips by what the classifier says of them."""

    readout = READER

    def __init__(self, prior: KnownWords) -> None:
        self.prior = prior

    def video_vectors(self, features: Features, duration: float) -> tuple[Floats, Floats]:
        """Features (n, dim) of a video of so many seconds -> vectors (n, DIM), spans (n, 2) as fractions."""
        count = len(features)
        vectors = self.prior.clips(features) * np.float32(SHARPNESS)
        edges = (np.arange(count + 1) / count).astype(np.float32)
        return running_mean(vectors, READER.window_in(count, duration)), np.stack([edges[:-1], edges[1:]], axis=1)


class PriorModel:
    """The built-in prior, see `cfmr.index.model_source.IndexModel`.

    Args:
        features: of the videos.

    Raises:
        InputError: the features are of another extractor, or reduced, or the word vectors are not installed.
    """

    name = "built-in"
    max_words = MAX_WORDS
    readout = READER

    def __init__(self, features: FeatureStore) -> None:
        _check_extractor(features)
        self.prior = known_words()
        self.model = PriorClips(self.prior)
        self.encoder = RowEncoder(self.model, Windowing(None, 0.0))
        self.frame_dim = EfficientNetLite0.dim
        self.vocabulary = _vocabulary(self.prior)
        self.fingerprint = hashlib.blake2b(
            b"%d %d " % (VERSION, DIM) + KNOWLEDGE.read_bytes(), digest_size=12
        ).hexdigest()

    def readable(self, sentences: Sequence[str]) -> list[str]:
        """Those with a word that has a look."""
        return [s for s in dict.fromkeys(sentences) if self.vocabulary.ids(s, MAX_WORDS)]

    def made_up(self, count: int) -> list[str]:
        """Of words that have a look."""
        return synthetic_sentences(self.vocabulary.words, MADE_UP_WORDS, count)

    def random_names(self, count: int) -> list[str]:
        """Common words that have a look, at random; few of them are in any collection of videos."""
        common = self.vocabulary.words[:COMMON_NAMES]
        return [str(word) for word in np.random.default_rng(0).choice(common, count)]

    def text_vectors(self, sentences: Sequence[str]) -> Floats:
        """See `IndexModel`."""
        ids = [self.vocabulary.ids(sentence, MAX_WORDS) for sentence in sentences]
        return unit(np.stack([self.vocabulary.vectors[row].astype(np.float32).sum(0) for row in ids]))

    def moment_vectors(self, features: Features, duration: float) -> Floats:
        """See `IndexModel`."""
        return self.model.video_vectors(features, duration)[0]

    def card_extras(self) -> dict[str, Any]:
        """That there is no checkpoint, and that sentences are read as names of things."""
        return {"zero_shot": BUILT_IN, "extractor": EfficientNetLite0.name, "reads": "names"}

    def export_text(self, folder: Path, card: dict[str, Any], check: TextCheck) -> Iterable[str]:
        """Words and their looks, and the graph that adds them up, see `IndexModel`."""
        write_json(folder / WORDS, self.vocabulary.words)
        write_array(folder / VECTORS, [self.vocabulary.vectors], len(self.vocabulary.vectors))
        onnx.save(_sum_of_words(), folder / WHOLE)

        def read(graph: str, count: int) -> Floats:
            return SentenceEncoder(folder, MAX_WORDS, graph).vectors(check.sentences[:count])

        if difference := keep_graph(folder, card, read, self.text_vectors(check.sentences), check):
            raise RuntimeError(f"the exported text encoder differs from the model by {difference:.1e}")
        return [GRAPH, WORDS, VECTORS]


def _check_extractor(features: FeatureStore) -> None:
    said = features.attributes
    name = str(said.get("extractor", "an unknown extractor"))
    if name != EfficientNetLite0.name or "pca" in said or features.dim != EfficientNetLite0.dim:
        made = f"{name}, reduced" if "pca" in said else name
        raise InputError(
            f"{features.path}: features of {made}; --zero-shot {BUILT_IN} needs the default extractor's, as they are"
        )


def _vocabulary(prior: KnownWords) -> Vocabulary:
    """Every word that has a look, the most frequent first, with the looks in half precision."""
    return Vocabulary(prior.words, np.concatenate([np.zeros((1, DIM), np.float16), prior.looks]))


def _sum_of_words() -> onnx.ModelProto:
    """Looks of words (1, n, DIM) -> their sum (DIM,), scaled to length 1."""
    graph = Graph()
    summed = graph.op("ReduceSum", INPUT, graph.constant(np.array([1], np.int64)), keepdims=0)
    length = graph.op("ReduceL2", summed, axes=[1], keepdims=1)
    scaled = graph.op("Div", summed, graph.op("Max", length, graph.constant(np.array(1e-6, np.float32))))
    return finished(graph, scaled, DIM, DIM)
