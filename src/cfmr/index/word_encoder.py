"""Sentences to query vectors where the model reads words of a vocabulary."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.data.vocabulary import FUNCTION_WORDS, Vocabulary, foreign_language, intended_word, same_word, tokenize
from cfmr.data.word_vectors import WordVectors
from cfmr.errors import InputError
from cfmr.files.atomic import read_json
from cfmr.index.files import damaged, map_array
from cfmr.index.graph_run import open_graph, run_graph
from cfmr.index.text_encoder import GRAPH, LONGEST_TEXT, Query, UnknownWord

Floats = NDArray[np.float32]

WORDS, VECTORS = "words.json", "words.npy"
NO_VECTORS = WordVectors([], np.zeros((0, 1), np.float32))
SAMPLED_WORDS = 16  # whose vectors say how long those of sentences are
CACHED_WORDS = 10_000  # unknown words of which it is kept what they were read as


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
        self._read_as: dict[str, str | None] = {}  # unknown words looked up before

    @cached_property
    def _session(self) -> Any:
        return open_graph(self._graph)

    def warm_up(self) -> None:
        """Load the graph now rather than at the first sentence."""
        self._run([1])

    @cached_property
    def usual_length(self) -> float:
        """Median length of the vectors of some words."""
        ids = np.unique(np.linspace(1, len(self.vocabulary.words), num=SAMPLED_WORDS).astype(int)).tolist()
        return float(np.median([np.linalg.norm(self._run([number])) for number in ids]))

    def _run(self, ids: Sequence[int]) -> Floats:
        words = np.asarray(self.vocabulary.vectors[ids], np.float32)[None]
        return run_graph(self._session, self._graph, words=words)

    def vectors(self, sentences: Sequence[str]) -> Floats:
        """Vectors (n, dim) of sentences with at least one known word; unknown and surplus words are left out."""
        return np.stack([self._run(self.vocabulary.ids(s, self.max_words)) for s in sentences])

    def encode(self, sentence: str) -> Query:
        """The query of a person's sentence.

        An unknown word is read as a known form or spelling of the same word, or left out; never as another word,
        however near. Function words ("the", "of") that the model does not know are left out without a word.

        Raises:
            InputError: the sentence is empty or too long, or no word of it that has a meaning of its own is known.
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
        known, unknown = self._read(tokens)
        telling = [word for word in known if word not in FUNCTION_WORDS]
        if not known or (unknown and not telling):
            raise self._nothing_known(tokens, unknown)
        if len(telling) <= len(unknown) and (language := foreign_language(tokens)):
            raise InputError(f"the query seems to be in {language}; this model reads English, so nothing was searched")
        if len(known) > self.max_words:
            raise self._too_long(len(known))
        ids = self.vocabulary.ids(" ".join(known), self.max_words)
        return Query(sentence, tuple(known), tuple(unknown), self._run(ids))

    def _read(self, tokens: Sequence[str]) -> tuple[list[str], list[UnknownWord]]:
        """The known words, in their order, and what became of the others."""
        known, unknown = list[str](), list[UnknownWord]()
        for token in tokens:
            if token in self.vocabulary:
                known.append(token)
            elif token not in FUNCTION_WORDS:
                found = UnknownWord(token, self._known_form(token))
                unknown += [] if found in unknown else [found]
                known += [found.used] if found.used else []
        return known, unknown

    def _nothing_known(self, tokens: Sequence[str], unknown: Sequence[UnknownWord]) -> InputError:
        named = ", ".join(one.word for one in unknown[:5]) or " ".join(tokens[:5])
        language = foreign_language(tokens)
        hint = f"it seems to be in {language}, and this model reads English" if language else "try other words"
        return InputError(f"this model knows no word of the query ({named}); {hint}")

    def _too_long(self, count: int) -> InputError:
        return InputError(f"the query has {count} words, this model reads at most {self.max_words}; say it shorter")

    def _known_form(self, word: str) -> str | None:
        if word not in self._read_as:
            if len(self._read_as) >= CACHED_WORDS:
                self._read_as.clear()
            self._read_as[word] = None if word.isdigit() else self._search_known_form(word)
        return self._read_as[word]

    _same_word = staticmethod(same_word)

    def _search_known_form(self, word: str) -> str | None:
        try:
            return self._same_word(word, self.vocabulary.words)
        except InputError:  # no word vectors are installed
            return self._same_word(word, self.vocabulary.words, NO_VECTORS)


class NameEncoder(SentenceEncoder):
    """A text encoder whose vocabulary has every form of its words: another form is another word ("green", "greens")."""

    _same_word = staticmethod(intended_word)
