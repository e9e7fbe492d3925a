"""Present labels in memory, since every search and list looks at them; what was added is read, not all anew."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from cfmr.data.annotations import Annotation
from cfmr.search.own_labels import SaidAlike, Sayings


@dataclass(frozen=True, slots=True)
class Label:
    """One state of a label.

    Attributes:
        id: of the label, the same in all its states.
        revision: counts the states from 1.
        annotation: what is said; `absent` where it does not happen at that second, which makes it a negative label.
        author: who said it last.
        at: when.
        deleted: whether it is taken back.
        held_out: whether it only ever checks what was learned. One label in five is, as they come, and it stays so; a
            sentence said again of a video is on the side where it was.
    """

    id: str
    revision: int
    annotation: Annotation
    author: str
    at: datetime
    deleted: bool = False
    held_out: bool = False


class PresentLabels:
    """The newest states of all labels at one time. Never changes; `with_more` makes another.

    Attributes:
        states: how many states there were in all.
        labels: those that are not deleted, the newest first.
    """

    def __init__(self, newest: dict[str, Label], labels: Sequence[Label], states: int, sayings: Sayings) -> None:
        self._newest, self._sayings = newest, sayings
        self.labels, self.states = tuple(labels), states

    @classmethod
    def of(cls, newest: Iterable[Label]) -> "PresentLabels":
        """From the newest states, deleted ones too."""
        by_id = {label.id: label for label in newest}
        there = sorted((label for label in by_id.values() if not label.deleted), key=_age)
        return cls(by_id, there, sum(label.revision for label in by_id.values()), Sayings())

    def with_more(self, states: Iterable[Label]) -> "PresentLabels":
        """With states that were written since; ones that are known already change nothing."""
        changed: dict[str, Label] = {}
        for label in states:
            known = changed.get(label.id) or self._newest.get(label.id)
            if known is None or known.revision < label.revision:
                changed[label.id] = label
        if not changed:
            return self
        before = [label for label in self.labels if label.id not in changed]
        fresh = sorted((label for label in changed.values() if not label.deleted), key=_age)
        there = [*fresh, *before]
        if fresh and before and _age(fresh[-1]) > _age(before[0]):
            there.sort(key=_age)
        # every state has a number of its own, from 1 on
        added = sum(one.revision - (self._newest[i].revision if i in self._newest else 0) for i, one in changed.items())
        return PresentLabels({**self._newest, **changed}, there, self.states + added, self._sayings)

    @cached_property
    def by_video(self) -> dict[str, list[Label]]:
        """Labels of each video, the newest first."""
        return _grouped((label.annotation.video, label) for label in self.labels)

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many labels of what happens each video has."""
        return dict(Counter(label.annotation.video for label in self.labels if not label.annotation.absent))

    @cached_property
    def negative(self) -> int:
        """How many of the labels are negative."""
        return sum(label.annotation.absent for label in self.labels)

    @cached_property
    def held_out(self) -> int:
        """How many labels are held out."""
        return sum(label.held_out for label in self.labels)

    @cached_property
    def _by_sentence(self) -> dict[str, list[Label]]:
        grouped = _grouped((label.annotation.sentence, label) for label in self.labels if not label.annotation.absent)
        self._sayings.add(grouped)
        return grouped

    def said_alike(self, query: str) -> list[tuple[Label, SaidAlike]]:
        """Labels that say what a query says, or nearly; exact ones first, then by likeness, the newest first."""
        by_sentence = self._by_sentence
        found = self._sayings.alike(query)
        pairs = [(label, one) for one in found for label in by_sentence.get(one.sentence, ())]
        return sorted(pairs, key=lambda pair: (not pair[1].exact, -pair[1].likeness, _age(pair[0])))


def _age(label: Label) -> tuple[float, str]:
    return -label.at.timestamp(), label.id


def _grouped(pairs: Iterable[tuple[str, Label]]) -> dict[str, list[Label]]:
    groups: dict[str, list[Label]] = {}
    for key, label in pairs:
        groups.setdefault(key, []).append(label)
    return groups
