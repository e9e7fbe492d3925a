"""Training rows of CFMR-Dense: the clips of every video, the words of every sentence, one glance each.

Behind the rows that say what happens come the negative ones, which say that a sentence does not happen at a glance.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from cfmr.data.annotations import Annotation
from cfmr.data.features import FeatureStore, pool_clips
from cfmr.data.vocabulary import Vocabulary

Doubles = NDArray[np.float64]
Indices = NDArray[np.intp]

MAX_CLIPS = 128  # of a video that training looks at: more would say little more about where a glance lies


class ClipSet:
    """Rows by number, their videos' features read when they are asked for. Start and end of moments are not read.

    Args:
        annotations: rows with glances.
        vocabulary: knows at least one word of every sentence.
        max_num_words: words of a sentence that are read.
        negatives: rows of what does not happen at their glances; those without a known word say nothing.

    Attributes:
        names: the videos; those of which only negative rows are come last.
        videos: (N,) which of them each row is of.
        seconds: (V,) lengths of the videos.
        glances: (N,) as fractions of the video.
        word_ids: of each row.
        negative_videos, negative_glances, negative_word_ids: the same of negative rows.
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
        negatives: Sequence[Annotation] = (),
    ) -> None:
        negatives = [row for row in negatives if vocabulary.ids(row.sentence, max_num_words)]
        durations = {row.video: row.duration for row in [*annotations, *negatives]}
        self.names = list(durations)
        self.seconds = np.array(list(durations.values()), np.float64)
        number = {name: i for i, name in enumerate(self.names)}

        def read(rows: Sequence[Annotation]) -> tuple[Indices, Doubles, list[Indices]]:
            videos = np.array([number[row.video] for row in rows], np.intp)
            glances = [row.glance for row in rows if row.glance is not None]
            assert len(glances) == len(rows), "load_annotations(..., glances=True) makes sure of it"
            shares = (np.array(glances, np.float64) / self.seconds[videos]).clip(0, 1)
            return videos, shares, [np.array(vocabulary.ids(row.sentence, max_num_words), np.intp) for row in rows]

        self.videos, self.glances, self.word_ids = read(annotations)
        self.negative_videos, self.negative_glances, self.negative_word_ids = read(negatives)
        self.vectors, self.has_words = vocabulary.vectors, bool(vocabulary.words)
        self._features = features

    @property
    def num_shown(self) -> int:
        """How many of the videos, the first ones, have rows that are not negative."""
        return int(self.videos.max(initial=-1)) + 1

    def __len__(self) -> int:
        return len(self.word_ids)

    def clips(self) -> Iterator[NDArray[np.float32]]:
        """Features (n, D) of one video after the other, n at most MAX_CLIPS."""
        for name in self.names:
            found = self._features.read(name)
            yield pool_clips(found, MAX_CLIPS) if len(found) > MAX_CLIPS else found
