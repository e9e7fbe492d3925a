"""The last answers to searches, kept until what they were made of changes."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")

MOST = 256


class RecentAnswers(Generic[Answer]):
    """Answers by what was asked. Safe to share between threads.

    Args:
        most: how many are kept; of more, those that were asked for least recently go.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, tuple[tuple[object, ...], Answer]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, asked: Hashable, made_of: tuple[object, ...]) -> Answer | None:
        """The answer, if it was made of the very same objects."""
        with self._lock:
            kept = self._kept.get(asked)
            if kept is None or any(one is not other for one, other in zip(kept[0], made_of, strict=True)):
                return None
            self._kept.move_to_end(asked)
            return kept[1]

    def keep(self, asked: Hashable, made_of: tuple[object, ...], answer: Answer) -> None:
        """Keep an answer, and the objects that it was made of."""
        with self._lock:
            self._kept[asked] = made_of, answer
            self._kept.move_to_end(asked)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
