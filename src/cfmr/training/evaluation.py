"""How good a model is: its answers for annotated sentences, in one video and over a whole collection."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.config import Config
from cfmr.data.annotations import Annotation, load_annotations
from cfmr.data.features import FeatureStore
from cfmr.errors import InputError
from cfmr.models.base import Model, load_model
from cfmr.models.checkpoint import Checkpoint, find_checkpoint
from cfmr.models.encode import Array, Encoded, encode, rank_moments
from cfmr.moments.metrics import best_constant, corpus_measures, glance_hits, moment_measures, rounded

CORPUS_ANSWERS = 100  # the deepest measure over a collection reads so many
CORPUS_VIDEOS = 100  # of so many videos answers are read off; the rest cannot be among the best


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
            answers, values = rank_moments(model.readout, scores[i], encoded.videos[name][1], durations[name])
            answers = answers * durations[name]
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
        answers.append(rank_moments(model.readout, vectors @ sentence, spans, row.duration))
    return answers


def _span(row: Annotation) -> tuple[float, float]:
    if row.span is None:
        raise ValueError(f"{row.video}: no annotated moment; load_annotations(..., spans=True) makes sure of it")
    return row.span


def _fractions(annotations: Sequence[Annotation]) -> NDArray[np.float64]:
    durations: Any = np.array([row.duration for row in annotations])[:, None]
    return np.asarray(np.array([_span(row) for row in annotations]) / durations)


def evaluate_checkpoint(
    config: Config, path: Path, *, corpus: bool, backend: str, device: str
) -> dict[str, dict[str, float]]:
    """Figures of a checkpoint on the test split that a configuration names, beside the best constant answer.

    Raises:
        InputError: rows, features or the checkpoint cannot be used.
    """
    checkpoint = Checkpoint.load(find_checkpoint(path))
    if not config.dataset.test_data:
        raise InputError("the configuration's dataset.test_data names no file, so there is nothing to measure on")
    rows = load_annotations(config.dataset.test_data, spans=True)
    checkpoint.vocabulary.check(rows, config.dataset.test_data)
    features = FeatureStore(config.dataset.feature_path)
    features.check((row.video for row in rows), checkpoint.config.dataset.frame_dim)
    model = load_model(checkpoint, backend, device)
    encoded = encode(model, rows, features, checkpoint.vocabulary, checkpoint.config.dataset.max_num_words)
    figures = {"test": evaluate(model, rows, encoded), "best_constant": constant_answer(rows)}
    if corpus:
        figures["corpus"] = evaluate_corpus(model, rows, encoded)
    return figures
