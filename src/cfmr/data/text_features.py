"""Features of sentences that somebody has already, standing in for words: of CLIP, RoBERTa or any text encoder.

A file a sentence as Moment-DETR (`qid7.npz`) and Lighthouse (`7.npz`) have them, with `last_hidden_state` (tokens, dim)
and `pooler_output` (dim,); or HDF5 with a data set a sentence, as PRVR has it.
"""

import zipfile
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cfmr.data.features import FeatureStore
from cfmr.data.vocabulary import Vocabulary
from cfmr.errors import InputError
from cfmr.files.archive import check_archive
from cfmr.files.reading import reading, require_regular

MEMBERS = ("last_hidden_state", "pooler_output")  # the first that is there is taken
HDF5 = (".hdf5", ".h5")


class Sentence(Protocol):
    """An annotation, or a query."""

    @property
    def qid(self) -> str | int | None: ...

    @property
    def sentence(self) -> str: ...


class TextFeatures(Vocabulary):
    """A vocabulary of whole sentences: the "words" of one are the features of its tokens. Others are not known.

    Args:
        tokens: (L, dim) features of each sentence.
        source: where they are from, for messages.
    """

    def __init__(self, tokens: dict[str, NDArray[np.float32]], source: str) -> None:
        dim = next(iter(tokens.values())).shape[1]
        super().__init__([], np.zeros((1, dim), np.float32))
        self.vectors = np.concatenate([self.vectors, *tokens.values()])
        ends = np.cumsum([1, *(len(rows) for rows in tokens.values())])
        self._rows = dict(zip(tokens, pairwise(ends.tolist()), strict=True))
        self._source = source

    def ids(self, sentence: str, max_words: int) -> list[int]:
        """Rows of `vectors` that are the first `max_words` tokens of a sentence; none of one without features."""
        first, end = self._rows.get(sentence, (0, 0))
        return list(range(first, min(end, first + max_words)))

    def check(self, annotations: Sequence[Sentence], path: object) -> None:
        """Raise InputError for the first sentence without features."""
        for number, row in enumerate(annotations, 1):
            if row.sentence not in self._rows:
                raise InputError(f"{path}: row {number} has no features of {row.sentence!r} in {self._source}")

    def kept(self) -> Vocabulary:
        """No words: features belong to sentences, not to the model."""
        return Vocabulary([], self.vectors[:1])


def is_text_features(source: str) -> bool:
    """Whether a configuration's `vocab_path` names features of sentences."""
    path = Path(source.partition("#")[0])
    return path.is_dir() or (path.is_file() and path.suffix in HDF5)


def load_text_features(source: str, rows: Iterable[Sentence], dim: int) -> TextFeatures:
    """Features of the sentences of some rows, by their qid.

    Args:
        source: a folder of `.npz` files or an HDF5 file, and after a # which of its arrays to take.
        rows: annotations or queries.
        dim: the width that is expected.

    Raises:
        InputError: sentences without a qid or without features (the first ten), or features of another width.
    """
    place, _, member = source.partition("#")
    path = Path(place)
    wanted: dict[str, str | int] = {}
    for row in rows:
        if row.qid is None:
            raise InputError(f"{path}: features of sentences are found by their qid, and {row.sentence!r} has none")
        wanted.setdefault(row.sentence, row.qid)
    store = FeatureStore(path) if path.is_file() else None
    files = {} if store is not None else {qid: _file(path, qid) for qid in wanted.values()}
    missing = [
        str(qid) for qid in wanted.values() if (str(qid) not in store if store is not None else files[qid] is None)
    ]
    if missing:
        listed = ", ".join(missing[:10]) + (", ..." if len(missing) > 10 else "")
        raise InputError(f"{path}: no features for {len(missing)} of {len(wanted)} sentences by qid: {listed}")
    tokens = {}
    for sentence, qid in wanted.items():
        file = files.get(qid)
        tokens[sentence] = store.read(str(qid)) if store is not None else _read(file or path, member)
        if tokens[sentence].shape[1] != dim:
            raise InputError(
                f"{file or path}: features of sentence {qid} are {tokens[sentence].shape[1]} wide, the configuration's "
                f"dataset.word_dim is {dim}"
            )
    return TextFeatures(tokens, str(path))


def sentence_vocabulary(own: Vocabulary, source: str, rows: Sequence[Sentence], dim: int) -> Vocabulary:
    """What a model's sentences are looked up in: its own words, or features where it was trained on such.

    Raises:
        InputError: it was trained on features of sentences, and they are not there.
    """
    if own.words:
        return own
    if not is_text_features(source):
        raise InputError(f"{source}: not there; the model was trained on features of sentences and answers no others")
    return load_text_features(source, rows, dim)


def _file(folder: Path, qid: str | int) -> Path | None:
    return next((file for name in (f"{qid}", f"qid{qid}") if (file := folder / f"{name}.npz").is_file()), None)


def _read(path: Path, member: str) -> NDArray[np.float32]:
    with reading(path, "a complete npz file"):
        require_regular(path)
        with zipfile.ZipFile(path) as archive:
            check_archive(path, archive)
    with reading(path, "a complete npz file"), np.load(path, allow_pickle=False) as content:
        names = [member] if member else [name for name in MEMBERS if name in content]
        if not names or names[0] not in content:
            raise InputError(f"{path}: has {', '.join(content)}; {member or ' or '.join(MEMBERS)} is expected")
        value = np.asarray(content[names[0]])
    if not np.issubdtype(value.dtype, np.floating):
        raise InputError(f"{path}: holds {value.dtype}, features are floating-point numbers")
    value = value.reshape(1, -1) if value.ndim == 1 else value.reshape(-1, value.shape[-1])
    tokens: NDArray[np.float32] = value.astype(np.float32)
    if not tokens.size or not np.isfinite(tokens).all():
        raise InputError(f"{path}: holds NaN, infinite numbers or nothing; extract it again")
    return tokens
