"""Which labels of an import are there already: the same sentence at about the same time of a video."""

import math
from collections import defaultdict
from itertools import product

from cfmr.data.annotations import Annotation

SAME_TIME = 0.05  # seconds; formats that count frames round by 0.042 at most
Said = tuple[str, str]  # video and normalized sentence


class LabelledMoments:
    """Moments that are labelled, in cells as wide as times may differ: with many, looking takes no longer."""

    def __init__(self) -> None:
        self._spans: defaultdict[tuple[Said, int, int], list[tuple[float, float]]] = defaultdict(list)
        self._points: dict[tuple[Said, int], tuple[float, float]] = {}  # the first and the last glance in a cell
        self._glances: dict[tuple[Said, int], tuple[float, float]] = {}  # of spans and points

    def add(self, said: Said, annotation: Annotation) -> None:
        """Remember a label."""
        glance = annotation.glance or 0.0
        _widen(self._glances, said, glance)
        if annotation.span is None:
            _widen(self._points, said, glance)
        else:
            start, end = annotation.span
            self._spans[said, _cell(start), _cell(end)].append((start, end))

    def has(self, said: Said, annotation: Annotation) -> bool:
        """Whether such a label is remembered: with the same span; or with the same glance, where one has no span."""
        glance = annotation.glance or 0.0
        if annotation.span is None:
            return _near(self._glances, said, glance)
        start, end = annotation.span
        return _near(self._points, said, glance) or any(
            abs(start - one) < SAME_TIME and abs(end - other) < SAME_TIME
            for by, along in product((-1, 0, 1), repeat=2)
            for one, other in self._spans.get((said, _cell(start) + by, _cell(end) + along), ())
        )


def _cell(time: float) -> int:
    return math.floor(time / SAME_TIME)


def _widen(cells: dict[tuple[Said, int], tuple[float, float]], said: Said, time: float) -> None:
    first, last = cells.get((said, _cell(time)), (time, time))
    cells[said, _cell(time)] = min(first, time), max(last, time)


def _near(cells: dict[tuple[Said, int], tuple[float, float]], said: Said, time: float) -> bool:
    near = (cells.get((said, _cell(time) + by), ()) for by in (-1, 0, 1))
    return any(abs(time - other) < SAME_TIME for ends in near for other in ends)
