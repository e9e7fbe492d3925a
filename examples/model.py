"""A model: each clip's vector is its feature through a matrix, a sentence's is the mean of its word vectors."""

import numpy as np
from numpy.typing import NDArray

from cfmr.models.base import Features, Floats, PlainRows
from cfmr.moments.span_reader import Readout, SpanReader


class Mean(PlainRows):
    """Linear, with nothing learned but the matrix (frame_dim, word_dim)."""

    readout: Readout = SpanReader(width=0.3)

    def __init__(self, matrix: Floats) -> None:
        self.matrix = matrix

    def video_vectors(self, features: Features, duration: float) -> tuple[Floats, Floats]:
        edges = np.linspace(0, 1, len(features) + 1, dtype=np.float32)
        return np.float32(features) @ self.matrix, np.stack([edges[:-1], edges[1:]], axis=1)

    def word_inputs(self, vectors: Floats) -> Floats:
        return vectors

    def text_vectors(self, words: Floats, lengths: NDArray[np.int64]) -> Floats:
        return words.sum(1) / lengths[:, None].astype(np.float32)

    @classmethod
    def fit(cls, clips: Floats, sentences: Floats) -> "Mean":
        """Least squares: clips (N, frame_dim) at the glances of sentences whose mean word vectors are (N, word_dim)."""
        return cls(np.linalg.lstsq(clips, sentences, rcond=None)[0])
