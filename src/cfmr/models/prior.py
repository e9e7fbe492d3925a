"""What words look like before the first click: a prior from the default extractor's own classifier.

The extractor's backbone was trained to tell 1,000 named classes apart. Its classifier's weights say how each of them
looks in the features; WordNet's names and word vectors say which classes a word means. One vector a word and one a clip
come of it, and their inner product says how well they fit. Nothing is downloaded and no feature is computed anew.

With f the network's average over the picture (the first 1,280 numbers of a feature), W the classifier's weights and
mean and deviation those of f over many photographs:

- class c looks like  t_c = W_c deviation / |W_c deviation|;
- word w means class c as much as  sim(w, c), the greatest strength of a name of c (or of a kind that c belongs to)
  times the cosine of that name and w in GloVe;
- w's look is  max_c sim * sum_c u_c t_c  with u proportional to exp(sim / TEMPERATURE) where sim >= NEAR;
- a clip is  x / |x|  with x = (f - mean) / deviation,

both in the DIM directions in which the classes differ most. An unspecific word means many unlike classes, whose looks
cancel out: its vector is short, and it counts for little in a sentence. Words that are no names of classes and name
nothing that can be seen (by WordNet) have no look.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.data.vocabulary import FUNCTION_WORDS, base_forms, tokenize
from cfmr.data.word_vectors import WordVectors
from cfmr.errors import InputError
from cfmr.extractors.efficientnet_graph import CHANNELS
from cfmr.extractors.efficientnet_network import weights_file
from cfmr.files.atomic import read_json
from cfmr.files.safe_pickle import read_torch

Floats = NDArray[np.float32]

KNOWLEDGE = Path(__file__).with_name("class_prior.json")  # made by benchmarks/class_prior.py
VERSION = 1  # raised whenever the same word or features would give another vector

CLASSES = 1000
DIM = 512
TEMPERATURE = 0.04
NEAR = 0.6  # least strength times cosine with which a word means a class
HEAD, MODIFIER = 0.8, 0.7  # strength of a name of several words for its last one, and for the others
PLURALS = frozenset({"men", "women", "children", "feet", "geese", "mice", "teeth"})
COMMON = 60_000  # words of GloVe, by frequency, of which a table of words is made
OWN = 0.95  # a word that names a class so strongly means nothing else


class ClassPrior:
    """Vectors of words and of clips, see the module.

    Args:
        weights: (1000, 1280) of the classifier.
        knowledge: names of classes and kinds, words that are things, mean and deviation of the features; the content of
            `KNOWLEDGE`.

    Attributes:
        dim: length of a vector.
        mean: (1280,) of the features over photographs.
        deviation: (1280,) of them.
        basis: (1280, DIM) directions in which the classes differ most.
    """

    dim = DIM

    def __init__(self, weights: NDArray[np.floating[Any]], knowledge: dict[str, Any]) -> None:
        self.mean = np.asarray(knowledge["mean"], np.float64)
        self.deviation = np.asarray(knowledge["deviation"], np.float64)
        self.deviation = np.maximum(self.deviation, 0.3 * self.deviation.mean())  # a channel that is hardly ever on
        whitened = np.asarray(weights, np.float64) * self.deviation
        classes = whitened / np.linalg.norm(whitened, axis=1, keepdims=True)
        self.basis = _leading(classes, DIM)  # 1280, DIM
        self._classes = (classes @ self.basis).astype(np.float32)  # 1000, DIM
        self.meant = _strengths(knowledge["kinds"])
        self._things = frozenset(knowledge["things"])
        self._named_in: tuple[WordVectors, Floats, Floats] | None = None

    @classmethod
    def load(cls) -> "ClassPrior":
        """The prior of the installed weights. Raises InputError if they are missing or others."""
        return _load()

    # --- clips

    def clips(self, features: NDArray[np.floating[Any]]) -> Floats:
        """Features (n, dim) as the default extractor writes them -> vectors (n, DIM) of length 1."""
        return clip_vectors(features, self.mean, self.deviation, self.basis)

    # --- words

    def looks(self, words: Sequence[str], vectors: WordVectors) -> Floats:
        """Vectors (n, DIM) of words; zeros where a word has no look. A sentence's vector is the sum of its words'."""
        shares = np.zeros((len(words), CLASSES), np.float32)
        for row, word in enumerate(words):
            meant = self._similarity(word.lower(), vectors)
            if meant is not None and meant.max() >= NEAR:
                share = np.exp((meant - meant.max()) / TEMPERATURE) * (meant >= NEAR)
                shares[row] = meant.max() * share / share.sum()
        return np.asarray(shares @ self._classes, np.float32)

    def directions(self, words: Sequence[str], vectors: WordVectors, dim: int) -> tuple[Floats, Floats]:
        """Looks as linear functions of raw features: weights (n, dim) and biases (n,), zeros where there is no look.

        weights @ f + bias is the inner product of the look with (f - mean) / deviation, that of `clips` but for the
        clip's length.
        """
        raw = np.asarray(self.looks(words, vectors), np.float64) @ self.basis.T / self.deviation
        weights = np.zeros((len(words), dim), np.float32)
        weights[:, :CHANNELS] = raw
        return weights, np.asarray(-raw @ self.mean, np.float32)

    def table(self, vectors: WordVectors) -> tuple[list[str], Floats]:
        """Every word that has a look, and the looks (n, DIM): of names of classes, and of COMMON words."""
        words = sorted({*self.meant, *filter(self._may_mean, islice(vectors.row, COMMON))})
        looks = self.looks(words, vectors)
        kept = np.flatnonzero(looks.any(axis=1))
        return [words[row] for row in kept], looks[kept]

    def _may_mean(self, word: str) -> bool:
        return any(form in self._things or form in self.meant for form in _singular_forms(word))

    def _similarity(self, word: str, vectors: WordVectors) -> Floats | None:
        """How much a word means each class, (1000,), or None for a word that means none."""
        forms = _singular_forms(word)
        named = [self.meant[form] for form in forms if form in self.meant]
        own = np.max(named, axis=0) if named else None
        if own is not None and own.max() >= OWN:
            return np.asarray(own, np.float32)
        if not self._things.intersection(forms):
            return own if own is not None and own.max() >= HEAD else None
        if word not in vectors:
            return own
        near = self._near(vectors[word], vectors)
        return near if own is None else np.maximum(near, own)

    def _near(self, vector: Floats, vectors: WordVectors) -> Floats:
        directions, strengths = self._names_in(vectors)
        cosines = directions @ (vector / np.linalg.norm(vector))
        near = np.flatnonzero(cosines >= NEAR)  # with no strength above 1, no other name can be near enough
        return np.asarray((cosines[near, None] * strengths[near]).max(0, initial=0), np.float32)

    def _names_in(self, vectors: WordVectors) -> tuple[Floats, Floats]:
        """Of the names that have a vector: the vectors scaled to length 1 (n, 50), and what each names (n, 1000)."""
        if self._named_in is None or self._named_in[0] is not vectors:
            names = [name for name in self.meant if name in vectors]
            rows = vectors.of(names)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            self._named_in = vectors, rows, np.stack([self.meant[name] for name in names])
        return self._named_in[1:]


def clip_vectors(
    features: NDArray[np.floating[Any]],
    mean: NDArray[np.float64],
    deviation: NDArray[np.float64],
    basis: NDArray[np.float64],
) -> Floats:
    """See `ClassPrior.clips`."""
    inside = ((np.asarray(features[:, :CHANNELS], np.float64) - mean) / deviation) @ basis
    return np.asarray(inside / np.maximum(np.linalg.norm(inside, axis=1, keepdims=True), 1e-9), np.float32)


@cache
def _load() -> ClassPrior:
    source = weights_file()
    parameters = read_torch(source)
    weights = parameters.get("_fc.weight")
    if weights is None or weights.shape != (CLASSES, CHANNELS):
        raise InputError(f"{source}: these are not the weights of EfficientNet-Lite0 (it has no classifier)")
    return ClassPrior(weights, read_json(KNOWLEDGE))


def _singular_forms(word: str) -> tuple[str, ...]:
    """What a noun may be a form of, itself first."""
    return base_forms(word) if word.endswith("s") or word in PLURALS else (word,)


def _leading(rows: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """The directions (dim, count) in which rows (n, dim) are longest; the largest entry of each is positive."""
    _, directions = np.linalg.eigh(rows.T @ rows)
    leading = directions[:, ::-1][:, :count]
    largest = leading[np.abs(leading).argmax(0), np.arange(count)]
    return np.ascontiguousarray(leading * np.sign(largest))


def _strengths(kinds: Iterable[tuple[dict[str, float], list[int]]]) -> dict[str, Floats]:
    """How strongly each word names each class, (1000,) a word."""
    found: dict[str, Floats] = {}
    for names, classes in kinds:
        for name, strength in names.items():
            *before, last = tokenize(name.replace("-", " ")) or [""]
            for word, share in [(last, HEAD if before else 1.0), *((word, MODIFIER) for word in before)]:
                row = found.setdefault(word, np.zeros(CLASSES, np.float32))
                row[classes] = np.maximum(row[classes], share * strength)
    return {word: row for word, row in found.items() if word and word not in FUNCTION_WORDS}
