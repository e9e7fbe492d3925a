"""Masking weights of words by part of speech (Method, Inputs)."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.errors import InputError

# --- masking weights --------------------------------------------------------------------------------------------------


def masking_weights(tokens: Sequence[str]) -> NDArray[np.float32]:
    """How likely each word is to be masked: softmax over 2 for nouns, verbs, adjectives, adverbs and 1 for others.

    Returns:
        (len(tokens),) float32 that sum to 1 (Method, Inputs).
    """
    scores = np.array([2.0 if tag.startswith(("NN", "VB", "JJ", "RB")) else 1.0 for tag in _tags(tokens)])
    weights = np.exp(scores)
    return np.asarray(weights / weights.sum() if len(tokens) else weights, np.float32)


def _tags(tokens: Sequence[str]) -> list[str]:
    """Penn Treebank tags, by the tagger that textblob carries with its lexicon."""
    if not tokens:
        return []
    return [tag for _, tag in _tagger().find_tags(list(tokens))]


@cache
def _tagger() -> Any:
    try:
        from textblob.en import parser
    except ImportError as error:
        raise InputError("masking weights need textblob; install cfmr[train]") from error
    return parser
