"""Training batches, the same for every backend: numpy arrays made from annotations, features and words.

Start and end of a moment do not exist here: a row is a video, a sentence and a glance.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from cfmr.data.annotations import Annotation
from cfmr.data.features import FeatureStore, pool_clips
from cfmr.data.vocabulary import Vocabulary, tokenize
from cfmr.models.cfmr.masking import masking_weights


@dataclass(frozen=True)
class Batch:
    """B sentences with their videos. W is the number of words of the longest."""

    clips: NDArray[np.float32]  # B, S, frame_dim: the clips the model keeps
    words: NDArray[np.float32]  # B, W, word_dim
    word_ids: NDArray[np.int64]  # B, W; 0 is padding
    lengths: NDArray[np.int64]  # B, number of words
    glances: NDArray[np.float32]  # B, fractions of the video
    masked: NDArray[np.bool_]  # B, W, words the reconstructor does not see
    videos: NDArray[np.int64]  # B, equal numbers are equal videos
    durations: NDArray[np.float32]  # B, seconds

    def __len__(self) -> int:
        return len(self.lengths)

    def share(self, rank: int, processes: int) -> "Batch":
        """The rows of one process. W stays that of the whole batch, because the losses depend on it."""
        return Batch(**{f.name: getattr(self, f.name)[rank::processes] for f in fields(self)})


class TrainingSet:
    """Rows ready for batching: each video pooled once to the clips the model keeps, each sentence looked up once.

    Args:
        annotations: rows with a glance.
        features: holds every video of them.
        vocabulary: knows at least one word of every sentence.
        max_num_frames: F, clips a video is pooled to.
        max_num_words: longer sentences are cut.
        kept: indices (S,) of the clips that the model reads.
    """

    def __init__(
        self,
        annotations: Sequence[Annotation],
        features: FeatureStore,
        vocabulary: Vocabulary,
        *,
        max_num_frames: int,
        max_num_words: int,
        kept: NDArray[np.int64],
    ) -> None:
        names = list(dict.fromkeys(row.video for row in annotations))
        self.clips = np.stack([pool_clips(features.read(name), max_num_frames)[kept] for name in names])
        number = {name: i for i, name in enumerate(names)}
        self.videos = np.array([number[row.video] for row in annotations], np.int64)
        self.durations = np.array([row.duration for row in annotations], np.float32)
        self.glances = np.array([_fraction(row) for row in annotations], np.float32)
        self.vectors = vocabulary.vectors
        known = [_known_words(row.sentence, vocabulary, max_num_words) for row in annotations]
        self.word_ids = [ids for ids, _ in known]
        self.weights = [weights for _, weights in known]

    def __len__(self) -> int:
        return len(self.word_ids)

    def num_batches(self, size: int) -> int:
        return -(-len(self) // size)

    def epoch(self, size: int, rng: np.random.Generator) -> Iterator[Batch]:
        """All rows once, in random order, with freshly masked words."""
        order = rng.permutation(len(self))
        for first in range(0, len(order), size):
            yield self.batch(order[first : first + size], rng)

    def batch(self, rows: NDArray[np.int64], rng: np.random.Generator) -> Batch:
        """The batch of some rows; `rng` draws the masked words."""
        lengths = np.array([len(self.word_ids[row]) for row in rows], np.int64)
        word_ids = np.zeros((len(rows), int(lengths.max())), np.int64)
        masked = np.zeros(word_ids.shape, np.bool_)
        for i, row in enumerate(rows):
            word_ids[i, : lengths[i]] = self.word_ids[row]
            masked[i, _masked_words(self.weights[row], rng)] = True
        return Batch(
            clips=self.clips[self.videos[rows]],
            words=self.vectors[word_ids],
            word_ids=word_ids,
            lengths=lengths,
            glances=self.glances[rows],
            masked=masked,
            videos=self.videos[rows],
            durations=self.durations[rows],
        )


def _fraction(row: Annotation) -> float:
    assert row.glance is not None, "load_annotations(..., glances=True) makes sure of it"
    return row.glance / row.duration


def _known_words(
    sentence: str, vocabulary: Vocabulary, max_num_words: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Ids and masking weights of the words the model knows. Parts of speech are those in the whole sentence."""
    tokens = tokenize(sentence)
    weights = masking_weights(tokens)
    known = [i for i, token in enumerate(tokens) if token in vocabulary][:max_num_words]
    kept = weights[known].astype(np.float64)
    return np.array(vocabulary.ids(sentence, max_num_words), np.int64), kept / kept.sum()


def _masked_words(weights: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """About a third of the words, drawn without replacement by masking weight (Method, Semantic reconstructor)."""
    return rng.choice(len(weights), max(len(weights) // 3, 1), replace=False, p=weights)
