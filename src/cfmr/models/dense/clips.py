"""Training rows of CFMR-Dense: every video's clips, every sentence's words."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cfmr.data.annotations import Annotation
from cfmr.data.features import FeatureStore, pool_clips
from cfmr.data.vocabulary import Vocabulary
from cfmr.models.cfmr.batches import _fraction

# --- whole videos, for models that compare every clip -----------------------------------------------------------------


class ClipSet:
    """Rows with all clips of their videos; longer videos are pooled to `max_num_frames`.

    Args: see `TrainingSet`.
    """

    def __init__(
        self,
        annotations: Sequence[Annotation],
        features: FeatureStore,
        vocabulary: Vocabulary,
        *,
        max_num_frames: int,
        max_num_words: int,
    ) -> None:
        names = list(dict.fromkeys(row.video for row in annotations))
        self.clips = [_at_most(features.read(name), max_num_frames) for name in names]
        number = {name: i for i, name in enumerate(names)}
        self.videos = np.array([number[row.video] for row in annotations], np.int64)
        self.durations = np.array([row.duration for row in annotations], np.float32)
        self.glances = np.array([_fraction(row) for row in annotations], np.float32)
        self.vectors = vocabulary.vectors
        self.word_ids = [np.array(vocabulary.ids(row.sentence, max_num_words), np.int64) for row in annotations]

    def __len__(self) -> int:
        return len(self.word_ids)

    def words(self, first: int, end: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Word vectors (B, W, word_dim) of some rows, zero behind a sentence's end, and lengths (B,)."""
        chosen = self.word_ids[first:end]
        lengths = np.array([len(ids) for ids in chosen], np.int64)
        words = np.zeros((len(chosen), int(lengths.max()), self.vectors.shape[1]), np.float32)
        for row, ids in zip(words, chosen, strict=True):
            row[: len(ids)] = self.vectors[ids]
        return words, lengths


def _at_most(features: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    return pool_clips(features, count) if len(features) > count else features
