"""A run: the directory a training writes, and what it holds back for validation. The same for every backend."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cfmr.config import CFMRConfig, Config
from cfmr.data.annotations import Annotation, load_annotations
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
    vocabulary = _look_up(config, training + validation, test)
    vocabulary.check(training + validation, paths.train_data)
    vocabulary.check(test, paths.test_data)
    features = FeatureStore(paths.feature_path)
    features.check((row.video for row in [*training, *validation, *test]), paths.frame_dim)
    return RunData(training, validation, test, features, vocabulary)


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
