"""Training rows of CFMR-Dense: the clips of every video, the words of every sentence, one glance each."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from cfmr.data.annotations import Annotation
from cfmr.data.features import FeatureStore, pool_clips
from cfmr.data.vocabulary import Vocabulary

MAX_CLIPS = 128  # of a video that training looks at: more would say little more about where a glance lies


class ClipSet:
    """Rows by number, their videos' features read when they are asked for. Start and end of moments are not read.

    Args:
        annotations: rows with glances.
        vocabulary: knows at least one word of every sentence.
        max_num_words: words of a sentence that are read.

    Attributes:
        names: the videos.
        videos: (N,) which of them each row is of.
        seconds: (V,) lengths of the videos.
        glances: (N,) as fractions of the video.
        word_ids: of each row.
        vectors: (words + 1, word_dim) of the vocabulary.
        has_words: sentences share words; not so where features of sentences stand in for them.
    """

    def __init__(
        self,
        annotations: Sequence[Annotation],
        features: FeatureStore,
        vocabulary: Vocabulary,
        *,
        max_num_words: int,
    ) -> None:
        durations = {row.video: row.duration for row in annotations}
        self.names = list(durations)
        self.seconds = np.array(list(durations.values()), np.float64)
        number = {name: i for i, name in enumerate(self.names)}
        self.videos = np.array([number[row.video] for row in annotations], np.intp)
        glances = [row.glance for row in annotations if row.glance is not None]
        assert len(glances) == len(annotations), "load_annotations(..., glances=True) makes sure of it"
        self.glances = (np.array(glances, np.float64) / self.seconds[self.videos]).clip(0, 1)
        self.word_ids = [np.array(vocabulary.ids(row.sentence, max_num_words), np.intp) for row in annotations]
        self.vectors, self.has_words = vocabulary.vectors, bool(vocabulary.words)
        self._features = features

    def __len__(self) -> int:
        return len(self.word_ids)

    def clips(self) -> Iterator[NDArray[np.float32]]:
        """Features (n, D) of one video after the other, n at most MAX_CLIPS."""
        for name in self.names:
            found = self._features.read(name)
            yield pool_clips(found, MAX_CLIPS) if len(found) > MAX_CLIPS else found
