"""A person's own labels found as text: what someone has said of a moment is found by it, whatever a model thinks.

The page keeps labels in a workspace, each state of one a row of its own (`cfmr.server.stores.labels`); here they are
only read, by what comes with Python.
"""

import math
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
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
WHERE NOT deleted{also} AND revision = (SELECT max(revision) FROM label_states WHERE label = state.label)
ORDER BY at, label
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
        columns = {row[1] for row in database.execute("PRAGMA table_info(label_states)")}
        also = " AND NOT absent" if "absent" in columns else ""  # files of before have no negative labels
        return [OwnLabel(*row) for row in database.execute(_NEWEST.format(also=also))]


@dataclass(frozen=True, slots=True)
class SaidAlike:
    """A sentence that says the same as a query, or nearly.

    Attributes:
        sentence: as it was said.
        likeness: 1 for the same words in any order and form, or for all of the query's words among others; less where
            some are only near by word vectors.
        exact: the same words and no others.
    """

    sentence: str
    likeness: float
    exact: bool


class Sayings:
    """Sentences by their words, so that of many only those are looked at that share words with a query.

    Args:
        vectors: how alike words are; the default ones if None.
    """

    def __init__(self, vectors: WordVectors | None = None) -> None:
        self._vectors = vectors
        self._said: dict[str, frozenset[str]] = {}
        self._having: dict[str, list[str]] = {}  # a word -> the sentences that have it
        self._lock = threading.Lock()

    def add(self, sentences: Iterable[str]) -> None:
        """Add sentences; those that are there already stay as they are."""
        with self._lock:
            for sentence in sentences:
                if sentence not in self._said:
                    self._said[sentence] = words = _stems(sentence)
                    for word in words:
                        self._having.setdefault(word, []).append(sentence)

    def alike(self, query: str) -> list[SaidAlike]:
        """Those that say what a query says: exact ones first, then by likeness, else in the order they were added."""
        asked = _stems(query)
        if not asked:
            return []
        found = [one for said in self._sharing(asked) if (one := self._compared(asked, said))]
        return sorted(found, key=lambda one: (not one.exact, -one.likeness))

    def _sharing(self, asked: frozenset[str]) -> Iterable[str]:
        """Sentences that have as many of these words as is needed to be like them.

        So many are needed that one of the rarest has to be among them: only sentences that have one are counted.
        """
        needed = math.ceil(SAME_WORDS * len(asked) - 1e-9)
        rare = sorted(asked, key=lambda word: len(self._having.get(word, ())))[: len(asked) - needed + 1]
        counted = Counter(sentence for word in rare for sentence in tuple(self._having.get(word, ())))
        return [sentence for sentence in counted if len(asked & self._said[sentence]) >= needed]

    def _compared(self, asked: frozenset[str], sentence: str) -> SaidAlike | None:
        said = self._said[sentence]
        common = asked & said
        if len(common) == len(asked):
            return SaidAlike(sentence, 1.0, said == asked)
        if len(common) >= SAME_WORDS * max(len(asked), len(said)):
            likeness = _likeness(asked - common, said - common, len(common), self._vectors)
            if likeness >= NEAR:
                return SaidAlike(sentence, round(likeness, 4), exact=False)
        return None


def alike_labels(query: str, labels: Sequence[OwnLabel]) -> list[OwnLabel]:
    """Those of some labels that say what a query says, exact ones first, then by likeness."""
    by_sentence: dict[str, list[OwnLabel]] = {}
    for label in labels:
        by_sentence.setdefault(label.sentence, []).append(label)
    sayings = Sayings()
    sayings.add(by_sentence)
    return [replace(label, exact=one.exact) for one in sayings.alike(query) for label in by_sentence[one.sentence]]


@lru_cache(maxsize=1 << 16)
def _stems(sentence: str) -> frozenset[str]:
    """Words that tell something, each by the shortest word that it may be a form of."""
    return frozenset(_stem(word) for word in tokenize(sentence) if word not in FUNCTION_WORDS) or frozenset(
        tokenize(sentence)
    )


@lru_cache(maxsize=1 << 15)
def _stem(word: str) -> str:
    """The shortest word that it may be a form of."""
    return min(base_forms(word), key=len)


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
