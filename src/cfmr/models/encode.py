"""Videos and sentences to vectors, and scores to ranked moments, for every model."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cfmr.data.annotations import Annotation
from cfmr.data.features import FeatureStore
from cfmr.data.vocabulary import Vocabulary
from cfmr.models.base import Model
from cfmr.moments.span_reader import MAX_MOMENTS, Readout, iterate_moments, moment_score, moment_scores, read_moments

Array = NDArray[np.float32]

BATCH = 256  # sentences encoded at once


@dataclass(frozen=True)
class Encoded:
    """Vectors of videos and of sentences. D is the size of a vector."""

    videos: dict[str, tuple[Array, Array]]  # vectors (m, D), spans (m, 2) as fractions
    sentences: Array  # N, D


def encode(
    model: Model,
    annotations: Sequence[Annotation],
    features: FeatureStore,
    vocabulary: Vocabulary,
    max_num_words: int,
) -> Encoded:
    """Everything that answering needs."""
    seconds = {row.video: row.duration for row in annotations}
    return Encoded(
        videos={name: model.video_vectors(features.read(name), seconds[name]) for name in seconds},
        sentences=encode_sentences(model, [row.sentence for row in annotations], vocabulary, max_num_words),
    )


def encode_sentences(
    model: Model, sentences: Sequence[str], vocabulary: Vocabulary, max_num_words: int, inputs: Array | None = None
) -> Array:
    """Vectors (N, D) of sentences that each hold a known word.

    Args:
        inputs: `model.word_inputs` of the vocabulary, where they are at hand, as they are online.
    """
    ids = [vocabulary.ids(sentence, max_num_words) for sentence in sentences]
    words, vectors = model.word_inputs(vocabulary.vectors) if inputs is None else inputs, []
    for first in range(0, len(ids), BATCH):
        part = ids[first : first + BATCH]
        lengths = np.array([len(row) for row in part], np.int64)
        padded = np.zeros((len(part), int(lengths.max())), np.int64)
        for row, found in zip(padded, part, strict=True):
            row[: len(found)] = found
        vectors.append(model.text_vectors(words[padded], lengths))
    return np.concatenate(vectors)


def rank_moments(readout: Readout, scores: Array, spans: Array, duration: float) -> tuple[Array, Array]:
    """Answers within one video.

    Args:
        readout: how the model is read, see `Model.readout`.
        scores: (m,) inner products of the video's vectors with the sentence's.
        spans: (m, 2) of the vectors, as fractions of the video.
        duration: of the video, seconds.

    Returns:
        spans (k, 2) as fractions, best first, and their scores (k,), comparable with those of other videos.
    """
    if readout == "anchors":
        order = np.argsort(-scores, kind="stable")
        return spans[order], scores[order]
    found, chances = read_moments(scores, duration, readout)
    return found.astype(np.float32), moment_scores(float(scores.max()), chances).astype(np.float32)


def iterate_answers(
    readout: Readout, scores: Array, spans: Array, duration: float
) -> Iterator[tuple[float, tuple[float, float]]]:
    """The answers of `rank_moments`, each worked out when it is asked for: score and span."""
    if readout == "anchors":
        for i in np.argsort(-scores, kind="stable"):
            yield float(scores[i]), (float(spans[i, 0]), float(spans[i, 1]))
        return
    clips = len(scores)
    peak, likeliest = float(scores.max()), 0.0
    for read in itertools.islice(iterate_moments(scores, duration, readout), MAX_MOMENTS):
        likeliest = likeliest or read.chance
        yield moment_score(peak, read.chance, likeliest), (read.first / clips, read.end / clips)
