"""A run: the directory a training writes, and what it holds back for validation. The same for every backend."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cfmr.config import CFMRConfig, Config
from cfmr.data.annotations import Annotation, load_annotations, load_negatives
from cfmr.data.features import FeatureStore
from cfmr.data.text_features import is_text_features, load_text_features
from cfmr.data.vocabulary import Vocabulary, tokenize
from cfmr.data.word_vectors import load_word_vectors
from cfmr.errors import InputError
from cfmr.training.run import Select

HELD_OUT_SHARE = 0.1  # share of the training videos that validate where no file is given for it


@dataclass(frozen=True)
class RunData:
    """Rows of a run. Validation rows are never trained on."""

    training: list[Annotation]
    validation: list[Annotation]
    test: list[Annotation]
    features: FeatureStore
    vocabulary: Vocabulary
    negatives: list[Annotation] = field(default_factory=list)  # what does not happen at their glances


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
        validation = _validation_file(config)
        if not validation:
            training, validation = hold_out(training, seed)
    vocabulary = _look_up(config, training + validation, test)
    vocabulary.check(training + validation, paths.train_data)
    vocabulary.check(test, paths.test_data)
    features = FeatureStore(paths.feature_path)
    features.check((row.video for row in [*training, *validation, *test]), paths.frame_dim)
    return RunData(training, validation, test, features, vocabulary, _negatives(config, validation, features))


def _negatives(config: Config, validation: Sequence[Annotation], features: FeatureStore) -> list[Annotation]:
    """Negative labels of the training file, of videos that are not validated on."""
    if isinstance(config, CFMRConfig):  # the published model knows no such labels
        return []
    validated = {row.video for row in validation}
    found = [row for row in load_negatives(config.dataset.train_data) if row.video not in validated]
    features.check((row.video for row in found), config.dataset.frame_dim)
    return found


def _validation_file(config: Config) -> list[Annotation]:
    """Rows of the configuration's validation file; none where it names no file of its own for that."""
    paths = config.dataset
    own = paths.val_data and paths.val_data not in (paths.train_data, paths.test_data)
    return load_annotations(paths.val_data) if own and paths.val_data else []


def validation_rows(config: Config, state: Mapping[str, Any]) -> list[Annotation]:
    """What a run could validate on: never its training rows, nor its test rows. [] where it held nothing back.

    Args:
        state: of its checkpoint, which has the seed and how the epoch was chosen.
    """
    rows = _validation_file(config)
    if not rows and state.get("select") == "validation" and isinstance(seed := state.get("seed"), int):
        rows = hold_out(load_annotations(config.dataset.train_data), seed)[1]
    return rows


def _look_up(config: Config, learnt: Sequence[Annotation], test: Sequence[Annotation]) -> Vocabulary:
    """Words, or the features of sentences that stand in for them."""
    paths = config.dataset
    if not is_text_features(paths.vocab_path):
        return build_vocabulary(config, learnt)
    if isinstance(config, CFMRConfig):
        raise InputError(
            f"{paths.vocab_path}: features of sentences can stand in for words with CFMR-Dense only; CFMR learns by "
            "guessing words that are hidden from it. Give word vectors as vocab_path"
        )
    return load_text_features(paths.vocab_path, [*learnt, *test], paths.word_dim)


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
    count = max(1, round(HELD_OUT_SHARE * len(videos)))
    chosen = {videos[i] for i in np.random.default_rng([seed, 1]).permutation(len(videos))[:count]}
    return [row for row in rows if row.video not in chosen], [row for row in rows if row.video in chosen]
