"""A person's own labels found as text: what someone has said of a moment is found by it, whatever a model thinks.

The page keeps labels in a workspace, each state of one a row of its own (`cfmr.server.stores.labels`); here they are
only read, by what comes with Python.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from cfmr.data.vocabulary import FUNCTION_WORDS, base_forms, tokenize
from cfmr.data.word_vectors import WordVectors, load_word_vectors
from cfmr.errors import InputError

SAME_WORDS = 2 / 3  # of the words of both sentences, those that have to be the same for the others to be compared
NEAR_WORD = 0.7  # least cosine of two words that may stand for each other amid the same words
NEAR = 0.85  # least likeness of two sentences

FILE = "labels.sqlite"  # of a workspace
WAIT = 2.0  # seconds for whoever writes it at the moment
_NEWEST = """
SELECT label, video, duration, sentence, glance, author FROM label_states AS state
WHERE NOT deleted AND revision = (SELECT max(revision) FROM label_states WHERE label = state.label) ORDER BY at, label
"""


@dataclass(frozen=True, slots=True)
class OwnLabel:
    """What someone has said of a second of a video.

    Attributes:
        exact: it says what was asked in the same words, in any order and form, and no others.
    """

    id: str
    video: str
    duration: float
    sentence: str
    glance: float
    author: str
    exact: bool = False


def read_own_labels(path: Path) -> list[OwnLabel]:
    """All labels of a workspace's file as they are now, held-out ones too, the oldest first; none where it is missing.

    Raises:
        InputError: it is damaged or no such file.
    """
    if not path.is_file():
        return []
    try:
        try:
            return _read(path, "mode=ro")
        except sqlite3.OperationalError:  # nobody may write beside it, and so nobody does
            return _read(path, "immutable=1")
    except sqlite3.Error as error:
        raise InputError(
            f"{path}: labels cannot be read ({error}); move the file away to search without them"
        ) from error


def _read(path: Path, how: str) -> list[OwnLabel]:
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?{how}", uri=True, timeout=WAIT)) as database:
        return [OwnLabel(*row) for row in database.execute(_NEWEST)]


@dataclass(frozen=True, slots=True)
class SaidAlike:
    """A sentence that says the same as a query, or nearly.

    Attributes:
        number: of the sentence.
        likeness: 1 for the same words in any order and form, or for all of the query's words among others; less where
            some are only near by word vectors.
        exact: the same words and no others.
    """

    number: int
    likeness: float
    exact: bool


def said_alike(query: str, sentences: Sequence[str], vectors: WordVectors | None = None) -> list[SaidAlike]:
    """Those of some sentences that say what a query says, exact ones first, then by likeness.

    Args:
        vectors: how alike words are; the default ones if None.
    """
    asked = _stems(query)
    if not asked:
        return []
    found = []
    for number, sentence in enumerate(sentences):
        said = _stems(sentence)
        common = asked & said
        if len(common) == len(asked):
            found.append(SaidAlike(number, 1.0, said == asked))
        elif len(common) >= SAME_WORDS * max(len(asked), len(said)):
            likeness = _likeness(asked - common, said - common, len(common), vectors)
            if likeness >= NEAR:
                found.append(SaidAlike(number, round(likeness, 4), exact=False))
    return sorted(found, key=lambda one: (not one.exact, -one.likeness))


@lru_cache(maxsize=1 << 16)
def _stems(sentence: str) -> frozenset[str]:
    """Words that tell something, each by the shortest word that it may be a form of."""
    return frozenset(
        min(base_forms(word), key=len) for word in tokenize(sentence) if word not in FUNCTION_WORDS
    ) or frozenset(tokenize(sentence))


def _likeness(asked: frozenset[str], said: frozenset[str], common: int, vectors: WordVectors | None) -> float:
    """Mean over the query's words: 1 for those in common, the greatest cosine with one of the others, 0 if not near."""
    try:
        known = load_word_vectors() if vectors is None else vectors
    except InputError:  # none are installed: then only the same words are alike
        return common / (common + len(asked))
    ours, theirs = (known.of(sorted(word for word in words if word in known)) for words in (asked, said))
    if not len(ours) or not len(theirs):
        return common / (common + len(asked))
    lengths = np.linalg.norm(ours, axis=1)[:, None] * np.linalg.norm(theirs, axis=1)
    best = (ours @ theirs.T / np.maximum(lengths, 1e-9)).max(axis=1)
    return float((common + best[best >= NEAR_WORD].sum()) / (common + len(asked)))
