"""A run: the directory a training writes, and what it holds back for validation. The same for every backend."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np

from cfmr.annotations import Annotation, load_annotations
from cfmr.backends import load_model
from cfmr.checkpoints import Checkpoint
from cfmr.config import Config
from cfmr.errors import InputError
from cfmr.evaluation import constant_answer, encode, evaluate, evaluate_corpus
from cfmr.features import FeatureStore
from cfmr.files import make_directory, replacing, write_json
from cfmr.words import Vocabulary, load_word_vectors, tokenize

Select = Literal["validation", "test", "last"]


def check_select(name: str) -> Select:
    """Raises InputError for a name that is no way to select an epoch."""
    if name not in get_args(Select):
        raise InputError(f"--select {name}: known are {', '.join(get_args(Select))}")
    return cast(Select, name)


HELD_OUT = 0.1  # share of the training videos that validate where no file is given for it


@dataclass(frozen=True)
class RunData:
    """Rows of a run. Validation rows are never trained on."""

    training: list[Annotation]
    validation: list[Annotation]
    test: list[Annotation]
    features: FeatureStore
    vocabulary: Vocabulary


def load_data(config: Config, select: Select, seed: int) -> RunData:
    """Read and check everything a run needs, before any of it is used.

    Raises:
        InputError: an annotation, a sentence or a video's features cannot be used; one line names where.
    """
    paths = config.dataset
    training = load_annotations(paths.train_data, glances=True)
    test = load_annotations(paths.test_data, spans=True) if paths.test_data else []
    if select == "test" and not test:
        raise InputError("--select test needs the configuration's dataset.test_data; it names no file")
    validation: list[Annotation] = []
    if select == "validation":
        if paths.val_data and paths.val_data not in (paths.train_data, paths.test_data):
            validation = load_annotations(paths.val_data)
        else:
            training, validation = hold_out(training, seed)
    vocabulary = build_vocabulary(config, training + validation)
    vocabulary.check(training + validation, paths.train_data)
    vocabulary.check(test, paths.test_data)
    features = FeatureStore(paths.feature_path)
    features.check((row.video for row in [*training, *validation, *test]), paths.frame_dim)
    return RunData(training, validation, test, features, vocabulary)


def build_vocabulary(config: Config, rows: Sequence[Annotation]) -> Vocabulary:
    """The words a model is to know: those of the original's `glove.pkl`, else the most frequent of the rows."""
    paths = config.dataset
    sentences = [row.sentence for row in rows]
    wanted = {token for sentence in sentences for token in tokenize(sentence)}  # a GloVe file has millions of others
    vectors = load_word_vectors(paths.vocab_path, wanted)
    if vectors.dim != paths.word_dim:
        raise InputError(
            f"{paths.vocab_path}: word vectors are {vectors.dim} wide, the configuration's dataset.word_dim is "
            f"{paths.word_dim}"
        )
    if vectors.counts is not None:
        return Vocabulary.original(vectors, paths.vocab_size)
    return Vocabulary.build(sentences, vectors, paths.vocab_size)


def hold_out(rows: list[Annotation], seed: int) -> tuple[list[Annotation], list[Annotation]]:
    """Split off a tenth of the videos with all their rows: (training, validation). Depends on names and seed alone."""
    videos = sorted({row.video for row in rows})
    if len(videos) < 2:
        raise InputError("one video alone leaves none to validate on; add videos, or train with --select last")
    count = max(1, round(HELD_OUT * len(videos)))
    chosen = {videos[i] for i in np.random.default_rng([seed, 1]).permutation(len(videos))[:count]}
    return [row for row in rows if row.video not in chosen], [row for row in rows if row.video in chosen]


def find_checkpoint(path: Path) -> Path:
    """A checkpoint, or the chosen one of a run's directory."""
    return path / "checkpoint" if (path / "checkpoint").is_dir() else path


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


class RunDirectory:
    """`config.json`, `metrics.jsonl` (one line an epoch), `metrics.json` (the final figures), `checkpoint` (the chosen
    epoch), `last` (with the optimiser, to resume from) and TensorBoard's events in `tensorboard`."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = make_directory(Path(path))
        self.chosen = self.path / "checkpoint"
        self.last = self.path / "last"
        self.tensorboard = self.path / "tensorboard"
        self.final = self.path / "metrics.json"
        self.epochs = self.path / "metrics.jsonl"

    def write_config(self, config: Config) -> None:
        write_json(self.path / "config.json", config.model_dump())

    def write_epochs(self, lines: Sequence[dict[str, Any]]) -> None:
        """All lines at once, beside and renamed: an interrupted run never leaves half a line."""
        with replacing(self.epochs) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
