"""Sentences to query vectors where the model reads tokens instead of words: CLIP's text side, in ONNX Runtime."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cfmr.data.vocabulary import tokenize
from cfmr.errors import InputError
from cfmr.files.reading import reading, require_regular
from cfmr.index.graph_run import open_graph, run_graph
from cfmr.index.text_encoder import GRAPH, LONGEST_TEXT, Floats, Query

TOKENIZER = "tokenizer.json"  # as the package `tokenizers` writes it
INPUT, OUTPUT = "tokens", "query"


class TokenEncoder:
    """The text encoder of an index built with CLIP. It knows every word, so none is ever replaced.

    Args:
        directory: holds the graph and the tokenizer.
        max_tokens: the most tokens the model reads, those of the beginning and the end counted.
    """

    def __init__(self, directory: Path, max_tokens: int, graph: str = GRAPH) -> None:
        self.max_tokens = max_tokens
        self._directory, self._graph = directory, directory / graph

    @cached_property
    def _session(self) -> Any:
        return open_graph(self._graph)

    @cached_property
    def _tokenizer(self) -> Any:
        try:
            from tokenizers import Tokenizer
        except ModuleNotFoundError as error:
            raise InputError(
                "this index was built with CLIP, whose sentences the package tokenizers reads; "
                "pip install 'cfmr[zero-shot]'"
            ) from error
        path = self._directory / TOKENIZER
        with reading(path, "a tokenizer", "build the index again"):
            require_regular(path)
            return Tokenizer.from_file(str(path))

    def warm_up(self) -> None:
        """Load graph and tokenizer now rather than at the first sentence."""
        self._run(self.ids("a person"))

    @property
    def usual_length(self) -> float:
        """Vectors of sentences have length 1."""
        return 1.0

    def ids(self, sentence: str) -> list[int]:
        """The tokens of a sentence, however many."""
        ids: list[int] = self._tokenizer.encode(sentence).ids
        return ids

    def _run(self, ids: Sequence[int]) -> Floats:
        return run_graph(self._session, self._graph, **{INPUT: np.asarray(ids, np.int64)[None]})

    def vectors(self, sentences: Sequence[str]) -> Floats:
        """Vectors (n, dim), of length 1, of sentences that are not too long."""
        return np.stack([self._run(self.ids(sentence)) for sentence in sentences])

    def encode(self, sentence: str) -> Query:
        """The query of a person's sentence.

        Raises:
            InputError: the sentence is empty or too long, or `tokenizers` is not installed.
        """
        if len(sentence) > LONGEST_TEXT:
            raise InputError(f"the query is {len(sentence):,} characters long; describe one moment in some words")
        words = tokenize(sentence)
        if not words:
            raise InputError("the query has no words; say what happens, for example: a person opens a door")
        ids = self.ids(sentence)
        if len(ids) > self.max_tokens:
            raise InputError(
                f"the query has {len(ids)} tokens (words and pieces of words), this model reads at most "
                f"{self.max_tokens}; say it shorter"
            )
        return Query(sentence, tuple(words), (), self._run(ids))
