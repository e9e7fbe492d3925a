"""How good a model is: its answers for annotated sentences, in one video and over a whole collection."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.config import Config
from cfmr.data.annotations import Annotation, by_sentence, load_annotations
from cfmr.data.features import FeatureStore
from cfmr.data.text_features import sentence_vocabulary
from cfmr.errors import InputError
from cfmr.models.base import Model, load_model
from cfmr.models.checkpoint import Checkpoint, find_checkpoint
from cfmr.models.encode import Array, Encoded, encode, iterate_answers, rank_moments
from cfmr.moments.average_precision import average_precision
from cfmr.moments.metrics import best_constant, corpus_measures, glance_hits, moment_measures, rounded

CORPUS_ANSWERS = 100  # the deepest measure over a collection reads so many
CORPUS_VIDEOS = 100  # of so many videos answers are read off; the rest cannot be among the best


def evaluate(model: Model, annotations: Sequence[Annotation], encoded: Encoded) -> dict[str, float]:
    """R@n,IoU=m and mIoU, percent, of annotated sentences, each asked of its own video.

    A sentence whose moments are several annotations is asked once; the moment nearest to an answer counts, and mAP over
    all of them is measured too.
    """
    groups = by_sentence(annotations)
    truth = _moments(annotations, groups)
    found = _answers(model, annotations, encoded, groups)
    measures = moment_measures([answers for answers, _ in found], truth)
    if any(annotation.qid is not None for annotation in annotations):
        windows = [np.column_stack([answers, values]).astype(np.float64) for answers, values in found]
        precisions = [average_precision(w, spans) for w, spans in zip(windows, truth, strict=True)]
        measures["mAP"] = 100 * float(np.mean(precisions))
    return rounded(measures)


def evaluate_glances(model: Model, annotations: Sequence[Annotation], encoded: Encoded) -> float:
    """How often, in percent, the best answer contains a glance of the sentence."""
    groups = by_sentence(annotations)
    times = np.array([(row.glance or 0.0) / row.duration for row in annotations])
    found = _answers(model, annotations, encoded, groups)
    return glance_hits([answers for answers, _ in found], [times[group] for group in groups])


def constant_answer(annotations: Sequence[Annotation]) -> dict[str, float]:
    """The best that one and the same answer for all sentences can reach on these moments, for each measure."""
    return rounded(best_constant(_moments(annotations, by_sentence(annotations))))


def evaluate_corpus(model: Model, annotations: Sequence[Annotation], encoded: Encoded) -> dict[str, float]:
    """Measures over all videos of the annotations together."""
    names = list(encoded.videos)
    durations = {row.video: row.duration for row in annotations}
    ranked, videos, truth = [], [], []
    for group in by_sentence(annotations):
        order, found = search_collection(model, encoded, names, durations, encoded.sentences[group[0]])
        ranked.append([answer[1:] for answer in found])
        videos.append([names[i] for i in order])
        truth.append((annotations[group[0]].video, np.array([_span(annotations[i]) for i in group])))
    return rounded(corpus_measures(ranked, truth, videos))


Found = tuple[float, str, float, float]  # score, video, start, end


def search_collection(
    model: Model, encoded: Encoded, names: Sequence[str], durations: Mapping[str, float], sentence: Array
) -> tuple[NDArray[np.intp], list[Found]]:
    """Videos in the order of their best scores, and the best moments of all, for one sentence's vector.

    Args:
        names: the videos.
        durations: their lengths in seconds.

    Returns:
        positions in `names`, and at most CORPUS_ANSWERS moments, best first.
    """
    scores = [encoded.videos[name][0] @ sentence for name in names]
    peaks = np.array([float(score.max()) for score in scores])
    order = np.argsort(-peaks, kind="stable")
    found: list[Found] = []
    for i in order[:CORPUS_VIDEOS]:
        worst = found[-1][0] if len(found) == CORPUS_ANSWERS else -math.inf
        if worst >= peaks[i]:
            break  # no moment of a video scores above its peak
        name, duration = names[i], durations[names[i]]
        moments = iterate_answers(model.readout, scores[i], encoded.videos[name][1], duration)
        for value, (start, end) in moments:
            if value <= worst:
                break
            found.append((value, name, start * duration, end * duration))
        found = sorted(found, key=lambda answer: -answer[0])[:CORPUS_ANSWERS]
    return order, found


def _answers(
    model: Model, annotations: Sequence[Annotation], encoded: Encoded, groups: Sequence[Sequence[int]]
) -> list[tuple[Array, Array]]:
    answers = []
    for group in groups:
        first = annotations[group[0]]
        vectors, spans = encoded.videos[first.video]
        answers.append(rank_moments(model.readout, vectors @ encoded.sentences[group[0]], spans, first.duration))
    return answers


def _span(row: Annotation) -> tuple[float, float]:
    if row.span is None:
        raise ValueError(f"{row.video}: no annotated moment; load_annotations(..., spans=True) makes sure of it")
    return row.span


def _moments(annotations: Sequence[Annotation], groups: Sequence[Sequence[int]]) -> list[NDArray[np.float64]]:
    """All moments (g, 2) of each sentence as fractions of its video."""
    durations: Any = np.array([row.duration for row in annotations])[:, None]
    spans = np.array([_span(row) for row in annotations]) / durations
    return [spans[group] for group in groups]


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
    sizes = checkpoint.config.dataset
    vocabulary = sentence_vocabulary(checkpoint.vocabulary, config.dataset.vocab_path, rows, sizes.word_dim)
    vocabulary.check(rows, config.dataset.test_data)
    features = FeatureStore(config.dataset.feature_path)
    features.check((row.video for row in rows), checkpoint.config.dataset.frame_dim)
    model = load_model(checkpoint, backend, device)
    encoded = encode(model, rows, features, vocabulary, sizes.max_num_words)
    figures = {"test": evaluate(model, rows, encoded), "best_constant": constant_answer(rows)}
    if corpus:
        figures["corpus"] = evaluate_corpus(model, rows, encoded)
    return figures
