"""What CFMR-Dense knows of words before any click (Method, CFMR-Dense, Prior knowledge of words).

A clip's score is the learned cosine plus `weight` times that of the prior look; both stand side by side in one vector,
so a query stays one vector and a score one inner product. The weight is chosen by glances that were held out
(`prior_weight.py`): it is large where few glances say what words look like, and can fall to 0. Words that no sentence
of training has keep their looks, and the more of a sentence's words are such, the less the learned part counts.

Shapes: n clips, C numbers of a feature that are looked at, p numbers of a look, W words of the vocabulary.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cfmr.data.features import FeatureStore
from cfmr.data.vocabulary import FUNCTION_WORDS, Vocabulary
from cfmr.errors import InputError
from cfmr.extractors.efficientnet_lite0 import EfficientNetLite0
from cfmr.models.base import Features, Floats
from cfmr.models.checkpoint import Tensors
from cfmr.models.known_words import known_words

OWN_VIDEOS = 10.0  # videos whose own mean and deviation count as much as those over photographs
LEAST_DEVIATION = 0.3  # of a channel, in mean deviations: one that is hardly ever on would count for too much
UNSEEN = 1.0  # least weight of words that training has not seen
NAMES = ("prior_mean", "prior_axes", "prior_looks", "prior_telling", "prior_weight")
COUNTS = 2  # numbers behind a word's look: whether it tells something, and whether training has seen it, too


@dataclass(frozen=True)
class WordPrior:
    """Looks of words, and how clips are compared with them.

    Attributes:
        mean: (C,), and
        axes: (C, p): a clip's vector is (features - mean) axes, scaled to length 1.
        looks: (W + 1, p) of the vocabulary's words, zeros where a word has none.
        telling: (W + 1,) 1 for words that tell something, 0 for function words.
        weight: of the prior's cosine, relative to the learned one.
    """

    mean: Floats
    axes: Floats
    looks: Floats
    telling: Floats
    weight: float = UNSEEN

    @property
    def size(self) -> int:
        """Numbers of a look, p."""
        return int(self.axes.shape[1])

    def clips(self, features: Features) -> Floats:
        """Features (n, >= C) -> vectors (n, p) of length 1."""
        inside = (np.asarray(features[:, : len(self.mean)], np.float32) - self.mean) @ self.axes
        return np.asarray(inside / np.maximum(np.linalg.norm(inside, axis=1, keepdims=True), 1e-9), np.float32)

    def words(self, seen: int) -> Floats:
        """Looks and counts (W + 1, p + COUNTS) that a sentence sums up; the first `seen` words are those of training.

        Where the weight is less than UNSEEN, the looks of those are shorter instead.
        """
        looks = np.array(self.looks, np.float32)
        looks[: seen + 1] *= np.float32(min(self.weight / UNSEEN, 1.0))
        was_seen = self.telling * (np.arange(len(looks)) <= seen)
        return np.column_stack([looks, self.telling, was_seen]).astype(np.float32)

    def sentences(self, summed: Floats) -> tuple[Floats, Floats]:
        """Sums of `words` (B, p + COUNTS) -> looks (B, p), as long as they are but at most 1, times the weight; and
        the share (B, 1) of the telling words that training has seen, by which what is learned counts."""
        looks, telling, seen = summed[:, :-COUNTS], summed[:, -2:-1], summed[:, -1:]
        lengths = np.linalg.norm(looks, axis=1, keepdims=True)
        share = (seen + 1 - np.minimum(telling, 1)) / np.maximum(telling, 1)  # 1 where no word tells anything
        return np.asarray(looks / np.maximum(lengths, 1.0) * np.float32(self.scale), np.float32), np.asarray(
            share, np.float32
        )

    @property
    def scale(self) -> float:
        """Greatest length of a sentence's part."""
        return max(self.weight, UNSEEN)

    # --- in a checkpoint ----------------------------------------------------------------------------------------------

    def parameters(self) -> Tensors:
        """By name, for a checkpoint; looks in half precision."""
        return {
            "prior_mean": self.mean,
            "prior_axes": self.axes,
            "prior_looks": self.looks.astype(np.float16),
            "prior_telling": self.telling,
            "prior_weight": np.array([self.weight], np.float32),
        }

    @classmethod
    def restore(cls, found: Tensors) -> "WordPrior | None":
        """Undo `parameters`; None for a model without a prior. Shapes are checked by `Dense.restore`."""
        if "prior_axes" not in found:
            return None
        mean, axes, looks, telling = (np.asarray(found[name], np.float32) for name in NAMES[:4])
        return cls(mean, axes, looks, telling, float(found["prior_weight"][0]))


def find_prior(features: FeatureStore, vocabulary: Vocabulary) -> tuple[WordPrior, Vocabulary] | None:
    """The prior for features, and the vocabulary with all words that have a look behind its own.

    Returns:
        None where nothing is known: other features than the default extractor's, or sentences that are no words.
    """
    said = features.attributes
    usual = said.get("extractor") == EfficientNetLite0.name and "pca" not in said
    if not usual or features.dim != EfficientNetLite0.dim or not vocabulary.words:
        return None
    try:
        known = known_words()
    except InputError:  # weights or word vectors are not installed: then there is no prior
        return None
    whole = extended(vocabulary, [word for word in known.words if word not in vocabulary])
    row_of = {word: row for row, word in enumerate(known.words)}
    rows = np.array([row_of.get(word, -1) for word in ["", *whole.words]])
    looks = np.where(rows[:, None] >= 0, known.looks[rows], 0).astype(np.float32)
    telling = np.array([0, *(word not in FUNCTION_WORDS for word in whole.words)], np.float32)
    return WordPrior(known.mean.astype(np.float32), _axes(known.basis, known.deviation), looks, telling), whole


def _axes(basis: NDArray[np.float64], deviation: NDArray[np.float64]) -> Floats:
    return np.asarray(basis / deviation[:, None], np.float32)


def extended(vocabulary: Vocabulary, words: Sequence[str]) -> Vocabulary:
    """With more words, of which nothing but the look is used."""
    blank = np.zeros((len(words), vocabulary.vectors.shape[1]), np.float32)
    return Vocabulary([*vocabulary.words, *words], np.concatenate([vocabulary.vectors, blank]))


def adapted(prior: WordPrior, videos: Iterable[Features]) -> WordPrior:
    """The prior for a collection: clips are compared with what is usual in it rather than in photographs.

    Args:
        videos: features (n, D) of each of some videos.
    """
    channels, count = len(prior.mean), 0
    sums, squares, clips = np.zeros(channels), np.zeros(channels), 0
    for shown in videos:
        values = np.asarray(shown[:, :channels], np.float64)
        sums, squares, clips = sums + values.sum(0), squares + (values**2).sum(0), clips + len(values)
        count += 1
    if not clips:
        return prior
    own_mean = sums / clips
    own_deviation = np.sqrt(np.maximum(squares / clips - own_mean**2, 0))
    known = known_words()
    share = count / (count + OWN_VIDEOS)
    mean = share * own_mean + (1 - share) * known.mean
    deviation = share * own_deviation + (1 - share) * known.deviation
    deviation = np.maximum(deviation, LEAST_DEVIATION * deviation.mean())
    return replace(prior, mean=mean.astype(np.float32), axes=_axes(known.basis, deviation))
