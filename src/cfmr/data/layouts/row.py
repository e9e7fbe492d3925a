"""One moment of one sentence, as any layout has it."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Row(NamedTuple):
    """A row of our own format with where it was found.

    Attributes:
        where: its place in its file, "line 3".
        values: `[video, duration, span, sentence, glance, qid]` as found; shorter rows lack the last ones.
        extra: what the layout says of the sentence beside: clip_ids and saliency, relevance, type.
    """

    where: str
    values: Any
    extra: Mapping[str, Any] = NOTHING


def is_number(value: Any) -> bool:
    """Whether something read from JSON is a finite number; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number larger than any float
        return False


class Once:
    """Makes sure that a sentence's identifier is there once."""

    def __init__(self) -> None:
        self._seen: dict[str | int, str] = {}

    def __call__(self, qid: str | int, key: str, where: str) -> None:
        """Raise ValueError that names both places."""
        if qid in self._seen:
            raise ValueError(f"{where} has {key} {qid!r}, which {self._seen[qid]} has already")
        self._seen[qid] = where
