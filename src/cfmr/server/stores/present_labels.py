"""Present labels in memory, since every search and list looks at them; what was added is read, not all anew."""

import threading
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cfmr.data.annotations import Annotation
from cfmr.files.memory import collector_paused
from cfmr.search.own_labels import SaidAlike, Sayings

FEW = 64  # changes that are put in their places one by one


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


Groups = dict[str, list[Label]]  # each with the newest first


class PresentLabels:
    """The newest states of all labels at one time. Never changes; `with_more` makes another that shares what it can.

    Attributes:
        states: how many states there were in all.
        labels: those that are not deleted, the newest first.
        by_video: the same of each video.
        held_out: how many labels are held out.
        negative: how many are negative.
    """

    def __init__(
        self, newest: dict[str, Label], labels: Sequence[Label], states: int, by_video: Groups, sayings: "_Said"
    ) -> None:
        self._newest, self._said = newest, sayings
        self.labels, self.states, self.by_video = labels, states, by_video
        self.held_out = sum(label.held_out for label in labels)
        self._absent = Counter(label.annotation.video for label in labels if label.annotation.absent)
        self.negative = self._absent.total()

    @classmethod
    def of(cls, newest: Iterable[Label]) -> "PresentLabels":
        """From the newest states, deleted ones too."""
        by_id = {label.id: label for label in newest}
        there = sorted((label for label in by_id.values() if not label.deleted), key=_age)
        states = sum(label.revision for label in by_id.values())
        return cls(by_id, there, states, _grouped(there, _video), _Said(there))

    def with_more(self, states: Iterable[Label]) -> "PresentLabels":
        """With states that were written since; ones that are known already change nothing."""
        changed: dict[str, Label] = {}
        for label in states:
            known = changed.get(label.id) or self._newest.get(label.id)
            if known is None or known.revision < label.revision:
                changed[label.id] = label
        if not changed:
            return self
        known_before = [self._newest[i] for i in changed if i in self._newest]
        gone = [label for label in known_before if not label.deleted]
        fresh = sorted((label for label in changed.values() if not label.deleted), key=_age)
        # every state has a number of its own, from 1 on
        added = sum(one.revision for one in changed.values()) - sum(one.revision for one in known_before)
        return PresentLabels(
            {**self._newest, **changed},
            _updated(self.labels, gone, fresh),
            self.states + added,
            _regrouped(self.by_video, gone, fresh, _video),
            self._said.changed(gone, fresh),
        )

    @property
    def counts(self) -> Mapping[str, int]:
        """How many labels of what happens each video has."""
        if not self._absent:
            return {video: len(labels) for video, labels in self.by_video.items()}
        counted = ((video, len(labels) - self._absent[video]) for video, labels in self.by_video.items())
        return {video: count for video, count in counted if count}

    def said_alike(self, query: str) -> list[tuple[Label, SaidAlike]]:
        """Labels that say what a query says, or nearly; exact ones first, then by likeness, the newest first."""
        by_sentence, sayings = self._said.looked_up()
        pairs = [(label, one) for one in sayings.alike(query) for label in by_sentence.get(one.sentence, ())]
        return sorted(pairs, key=lambda pair: (not pair[1].exact, -pair[1].likeness, _age(pair[0])))


class _Said:
    """Labels of what happens by their sentences, which are worked out at the first search."""

    def __init__(self, labels: Iterable[Label], by_sentence: Groups | None = None, sayings: Sayings | None = None):
        self._labels, self._by_sentence = labels, by_sentence
        self._sayings = sayings or Sayings()
        self._lock = threading.Lock()

    def looked_up(self) -> tuple[Groups, Sayings]:
        """Labels of each sentence, and the sentences; some of these may have no label any more."""
        if self._by_sentence is None:
            with self._lock:  # one thread does it, the others wait for that
                if self._by_sentence is None:
                    with collector_paused():
                        grouped = _grouped(_positive(self._labels), _sentence)
                        self._sayings.add(grouped)
                    self._by_sentence = grouped
        return self._by_sentence, self._sayings

    def changed(self, gone: Sequence[Label], fresh: Sequence[Label]) -> "_Said":
        """After some labels went and others came."""
        by_sentence, sayings = self.looked_up()
        gone, fresh = _positive(gone), _positive(fresh)
        self._sayings.add(map(_sentence, fresh))
        return _Said((), _regrouped(by_sentence, gone, fresh, _sentence), sayings)


def _age(label: Label) -> tuple[float, str]:
    return -label.at.timestamp(), label.id


def _positive(labels: Iterable[Label]) -> list[Label]:
    """Those of what happens."""
    return [label for label in labels if not label.annotation.absent]


def _video(label: Label) -> str:
    return label.annotation.video


def _sentence(label: Label) -> str:
    return label.annotation.sentence


def _grouped(labels: Iterable[Label], key: Callable[[Label], str]) -> Groups:
    groups: Groups = {}
    for label in labels:
        groups.setdefault(key(label), []).append(label)
    return groups


def _updated(labels: Sequence[Label], gone: Sequence[Label], fresh: Sequence[Label]) -> list[Label]:
    """Labels by age, without some of them and with others (by age, too)."""
    if len(gone) > FEW:
        ids = {label.id for label in gone}
        left = [label for label in labels if label.id not in ids]
    else:
        left = list(labels)
        for label in gone:
            del left[bisect_left(left, _age(label), key=_age)]
    if not fresh or not left or _age(fresh[-1]) < _age(left[0]):
        return [*fresh, *left]
    if len(fresh) > FEW:
        return sorted([*fresh, *left], key=_age)
    for label in fresh:
        insort(left, label, key=_age)
    return left


def _regrouped(groups: Groups, gone: Sequence[Label], fresh: Sequence[Label], key: Callable[[Label], str]) -> Groups:
    """Groups without some labels and with others; those that nothing changes are shared."""
    less, more = _grouped(gone, key), _grouped(fresh, key)
    found = dict(groups)
    for name in {*less, *more}:
        found[name] = _updated(groups.get(name, []), less.get(name, []), more.get(name, []))
        if not found[name]:
            del found[name]
    return found
