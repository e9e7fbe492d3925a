"""How good a model is: its answers for annotated sentences, in one video and over a whole collection."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.annotations import Annotation
from cfmr.backends import Model
from cfmr.curves import floor_of, moments_of_curve
from cfmr.features import FeatureStore
from cfmr.metrics import best_constant, corpus_measures, glance_hits, moment_measures, rounded
from cfmr.words import Vocabulary

Array = NDArray[np.float32]

BATCH = 256  # sentences encoded at once
CORPUS_ANSWERS = 100  # the deepest measure over a collection reads so many
CORPUS_VIDEOS = 100  # of so many videos answers are read off; the rest cannot be among the best


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
    names = dict.fromkeys(row.video for row in annotations)
    return Encoded(
        videos={name: model.video_vectors(features.read(name)) for name in names},
        sentences=encode_sentences(model, [row.sentence for row in annotations], vocabulary, max_num_words),
    )


def encode_sentences(model: Model, sentences: Sequence[str], vocabulary: Vocabulary, max_num_words: int) -> Array:
    """Vectors (N, D) of sentences that each hold a known word."""
    ids = [vocabulary.ids(sentence, max_num_words) for sentence in sentences]
    vectors = []
    for first in range(0, len(ids), BATCH):
        part = ids[first : first + BATCH]
        lengths = np.array([len(row) for row in part], np.int64)
        padded = np.zeros((len(part), int(lengths.max())), np.int64)
        for row, found in zip(padded, part, strict=True):
            row[: len(found)] = found
        vectors.append(model.text_vectors(vocabulary.vectors[padded], lengths))
    return np.concatenate(vectors)


def rank_moments(readout: str, scores: Array, spans: Array) -> tuple[Array, Array]:
    """Answers within one video.

    Args:
        readout: how the model is read, see `Model.readout`.
        scores: (m,) inner products of the video's vectors with the sentence's.
        spans: (m, 2) of the vectors, any unit of time.

    Returns:
        spans (k, 2), best first, and their scores (k,).
    """
    if readout == "anchors":
        order = np.argsort(-scores, kind="stable")
        return spans[order], scores[order]
    floor = floor_of(readout)
    if floor is None:
        raise ValueError(f"unknown readout {readout!r}")
    found, values = moments_of_curve(scores, spans, floor)
    return found.astype(np.float32), values.astype(np.float32)


def evaluate(model: Model, annotations: Sequence[Annotation], encoded: Encoded) -> dict[str, float]:
    """R@n,IoU=m and mIoU, percent, of annotated sentences, each asked of its own video."""
    truth = _fractions(annotations)
    return rounded(moment_measures([answers for answers, _ in _answers(model, annotations, encoded)], truth))


def evaluate_glances(model: Model, annotations: Sequence[Annotation], encoded: Encoded) -> float:
    """How often, in percent, the best answer contains the glance."""
    glances = np.array([(row.glance or 0.0) / row.duration for row in annotations])
    return glance_hits([answers for answers, _ in _answers(model, annotations, encoded)], glances)


def constant_answer(annotations: Sequence[Annotation]) -> dict[str, float]:
    """The best that one and the same answer for all sentences can reach on these moments, for each measure."""
    return rounded(best_constant(_fractions(annotations)))


def evaluate_corpus(model: Model, annotations: Sequence[Annotation], encoded: Encoded) -> dict[str, float]:
    """Measures over all videos of the annotations together."""
    names = list(encoded.videos)
    durations = {row.video: row.duration for row in annotations}
    ranked, videos, truth = [], [], []
    for row, sentence in zip(annotations, encoded.sentences, strict=True):
        scores = [encoded.videos[name][0] @ sentence for name in names]
        order = np.argsort([-float(score.max()) for score in scores], kind="stable")
        found: list[tuple[float, str, float, float]] = []
        for i in order[:CORPUS_VIDEOS]:
            name = names[i]
            answers, values = rank_moments(model.readout, scores[i], encoded.videos[name][1] * durations[name])
            found += [(float(v), name, float(s), float(e)) for (s, e), v in zip(answers, values, strict=True)]
        found.sort(key=lambda answer: -answer[0])
        ranked.append([answer[1:] for answer in found[:CORPUS_ANSWERS]])
        videos.append([names[i] for i in order])
        truth.append((row.video, *_span(row)))
    return rounded(corpus_measures(ranked, truth, videos))


def _answers(model: Model, annotations: Sequence[Annotation], encoded: Encoded) -> list[tuple[Array, Array]]:
    answers = []
    for row, sentence in zip(annotations, encoded.sentences, strict=True):
        vectors, spans = encoded.videos[row.video]
        answers.append(rank_moments(model.readout, vectors @ sentence, spans))
    return answers


def _span(row: Annotation) -> tuple[float, float]:
    if row.span is None:
        raise ValueError(f"{row.video}: no annotated moment; load_annotations(..., spans=True) makes sure of it")
    return row.span


def _fractions(annotations: Sequence[Annotation]) -> NDArray[np.float64]:
    durations: Any = np.array([row.duration for row in annotations])[:, None]
    return np.asarray(np.array([_span(row) for row in annotations]) / durations)
