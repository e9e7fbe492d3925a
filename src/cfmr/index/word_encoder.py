"""Sentences to query vectors where the model reads words of a vocabulary."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.data.vocabulary import Vocabulary, nearest_known, tokenize
from cfmr.errors import InputError
from cfmr.files.atomic import read_json
from cfmr.index.files import damaged, map_array
from cfmr.index.text_encoder import GRAPH, LONGEST_TEXT, Query, UnknownWord, open_graph, run_graph

Floats = NDArray[np.float32]

WORDS, VECTORS = "words.json", "words.npy"
CACHED_WORDS = 10_000  # unknown words whose nearest known one is kept


class SentenceEncoder:
    """The text encoder of an index whose model reads words.

    Args:
        directory: holds the graph, the vocabulary and its vectors.
        max_words: the most words the model reads.
    """

    def __init__(self, directory: Path, max_words: int, graph: str = GRAPH) -> None:
        self.max_words = max_words
        words, vectors = read_json(directory / WORDS), map_array(directory / VECTORS)
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise damaged(directory / WORDS, "it is no list of words")
        if vectors.ndim != 2 or vectors.dtype.kind != "f" or len(vectors) != len(words) + 1:
            raise damaged(directory / VECTORS, f"it has no vector for each of {len(words)} words")
        self.vocabulary = Vocabulary(words, vectors)
        self._graph = directory / graph
        self._nearest_words: dict[str, str | None] = {}  # unknown words looked up before

    @cached_property
    def _session(self) -> Any:
        return open_graph(self._graph)

    def warm_up(self) -> None:
        """Load the graph now rather than at the first sentence."""
        self._run([1])

    def _run(self, ids: Sequence[int]) -> Floats:
        words = np.asarray(self.vocabulary.vectors[ids], np.float32)[None]
        return run_graph(self._session, self._graph, words=words)

    def vectors(self, sentences: Sequence[str]) -> Floats:
        """Vectors (n, dim) of sentences with at least one known word; unknown and surplus words are left out."""
        return np.stack([self._run(self.vocabulary.ids(s, self.max_words)) for s in sentences])

    def encode(self, sentence: str) -> Query:
        """The query of a person's sentence; for unknown words the nearest known ones are taken.

        Raises:
            InputError: the sentence is empty or too long, or no word of it is known or near a known one.
        """
        if len(sentence) > LONGEST_TEXT:
            raise InputError(
                f"the query is {len(sentence):,} characters long; describe one moment in at most {self.max_words} words"
            )
        tokens = tokenize(sentence)
        if not tokens:
            raise InputError("the query has no words; say what happens, for example: a person opens a door")
        if len(tokens) > 2 * self.max_words:  # before any unknown word is looked up
            raise self._too_long(len(tokens))
        known, unknown = [], []
        for token in tokens:
            if token in self.vocabulary:
                known.append(token)
            elif (found := UnknownWord(token, self._nearest(token))) not in unknown:
                unknown.append(found)
                known += [found.used] if found.used else []
        if not known:
            named = ", ".join(u.word for u in unknown[:5])
            raise InputError(f"the model knows no word of the query, nor one near it ({named}); use other words")
        if len(known) > self.max_words:
            raise self._too_long(len(known))
        ids = self.vocabulary.ids(" ".join(known), self.max_words)
        return Query(sentence, tuple(known), tuple(unknown), self._run(ids))

    def _too_long(self, count: int) -> InputError:
        return InputError(f"the query has {count} words, this model reads at most {self.max_words}; say it shorter")

    def _nearest(self, word: str) -> str | None:
        if word not in self._nearest_words:
            if len(self._nearest_words) >= CACHED_WORDS:
                self._nearest_words.clear()
            self._nearest_words[word] = None if word.isdigit() else self._search_nearest(word)
        return self._nearest_words[word]

    def _search_nearest(self, word: str) -> str | None:
        try:
            near = nearest_known(word, self.vocabulary.words, count=1)
        except InputError:  # no word vectors installed: spelling is all there is
            import difflib

            near = difflib.get_close_matches(word, self.vocabulary.words, 1, cutoff=0.7)
        return near[0] if near else None
