"""Example queries of a run: what was asked, what is true, what was found."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cfmr.data.annotations import Annotation
from cfmr.data.features import FeatureStore
from cfmr.data.vocabulary import Vocabulary
from cfmr.models.base import Model
from cfmr.models.encode import encode_sentences, rank_moments
from cfmr.report.efficiency import one_thread

ANSWERS = 5


@dataclass(frozen=True)
class Example:
    """One sentence asked of its video.

    Attributes:
        annotation: the sentence and the true moment.
        spans: (ANSWERS, 2) best first, seconds.
        milliseconds: from the sentence to these.
    """

    annotation: Annotation
    spans: NDArray[np.float64]
    milliseconds: float


def run_examples(
    model: Model,
    rows: Sequence[Annotation],
    features: FeatureStore,
    vocabulary: Vocabulary,
    max_words: int,
    count: int = 5,
) -> list[Example]:
    """Ask some test sentences, one a video, drawn once and for all so that runs can be compared."""
    drawn = np.random.default_rng(0).permutation(len(rows))
    videos: dict[str, Annotation] = {}
    for index in drawn:
        videos.setdefault(rows[index].video, rows[index])
    chosen = list(videos.values())[:count]
    with one_thread():
        for row in chosen:  # warms up
            encode_sentences(model, [row.sentence], vocabulary, max_words)
        return [_run_example(model, row, features, vocabulary, max_words) for row in chosen]


def _run_example(
    model: Model, row: Annotation, features: FeatureStore, vocabulary: Vocabulary, max_words: int
) -> Example:
    vectors, spans = model.video_vectors(features.read(row.video), row.duration)
    began = time.perf_counter()
    sentence = encode_sentences(model, [row.sentence], vocabulary, max_words)[0]
    found, _ = rank_moments(model.readout, vectors @ sentence, spans, row.duration)
    elapsed = time.perf_counter() - began
    return Example(row, np.asarray(found[:ANSWERS] * row.duration, np.float64), 1000 * elapsed)
