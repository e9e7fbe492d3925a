"""Queries composed of a sentence, example moments, and exclusions.

Sentences and moments have vectors in one space, so they can be added: q + a like - b unlike - c without. Each of the
four is scaled to length 1 before, and their sum to the length of a sentence's vector, which keeps the scale of scores.
Several moments, or several words, count together as one: the direction of the sum of their unit vectors (Rocchio's
relevance feedback).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cfmr.errors import InputError
from cfmr.index.base import Index
from cfmr.index.codec import Floats
from cfmr.index.text_encoder import Query, TextEncoder, UnknownWord
from cfmr.moments.span_reader import Readout

#: How much moments and words count beside a sentence of weight 1 (docs/search.md says how they were chosen).
LIKE, UNLIKE, WITHOUT = 0.3, 0.2, 0.5
MAX_EXAMPLES = 50  # moments, and words, of one query
_LEAST = 1e-3  # length of a sum of unit vectors below which it has no direction
_STRETCH = re.compile(r"(?P<video>.+)@(?P<start>[\d:.]+)-(?P<end>[\d:.]+)", re.DOTALL)
_CLOCK = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?|\.\d+)")
_MINUS = re.compile(r'(?:^|(?<=\s))-(?:"(?P<quoted>[^"]+)"|(?P<word>[^\s"-]\S*))')


@dataclass(frozen=True, slots=True)
class Stretch:
    """A span of a video in seconds, given as an example."""

    video: str
    start: float
    end: float

    def __str__(self) -> str:
        return f"{self.video}@{self.start:g}-{self.end:g}"


@dataclass(frozen=True, slots=True)
class ComposedQuery:
    """A sentence with examples and exclusions.

    Attributes:
        sentence: what happens; may be empty if `like` is not.
        without: excluded words or sentences.
        like, unlike: example moments, and excluded moments.
    """

    sentence: str = ""
    without: tuple[str, ...] = ()
    like: tuple[Stretch, ...] = ()
    unlike: tuple[Stretch, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether it is a sentence and nothing else."""
        return not (self.without or self.like or self.unlike)

    def __str__(self) -> str:
        words = [f'-"{words}"' if " " in words else f"-{words}" for words in self.without]
        examples = [*(f"+{one}" for one in self.like), *(f"-{one}" for one in self.unlike)]
        return " ".join([self.sentence, *words, *examples]).strip()


EMPTY = ComposedQuery()


def parse_stretch(text: str, option: str = "--like") -> Stretch:
    """VIDEO@START-END, in seconds or as 1:02:03.5. Raises InputError for anything else."""
    found = _STRETCH.fullmatch(text)
    times = [_CLOCK.fullmatch(found[side]) for side in ("start", "end")] if found else []
    if found is None or None in times:
        raise InputError(
            f"{option} {text[:200]}: write it as VIDEO@START-END, for example kitchen@12.5-18 or film@1:02-1:09"
        )
    start, end = (
        sum(float(part or 0) * unit for part, unit in zip(one.groups(), (3600, 60, 1), strict=True))
        for one in times
        if one
    )
    if not start < end:
        raise InputError(f"{option} {text[:200]}: it ends before it begins")
    return Stretch(found["video"], start, end)


def is_stretch(text: str) -> bool:
    """Whether a text is written as VIDEO@START-END."""
    return _STRETCH.fullmatch(text) is not None


def split_minus(text: str) -> tuple[str, tuple[str, ...]]:
    """A sentence as people type it, and the words that stand behind a minus: `a dog -cat -"a red car"`.

    A minus counts where a word begins with it; that in "slow-motion" does not.
    """
    without = tuple(dict.fromkeys(" ".join((one["quoted"] or one["word"]).split()) for one in _MINUS.finditer(text)))
    return " ".join(_MINUS.sub(" ", text).split()) if without else text, tuple(filter(None, without))


def compose(query: ComposedQuery, index: Index, encoder: TextEncoder, readout: Readout) -> Query:
    """The vector of a query.

    Raises:
        InputError: nothing is sought, or too much; the model cannot read a sentence; a video is not in the index, or a
            moment lies behind its end; what is sought and what it is not are the same.
    """
    if query.plain:
        return encoder.encode(query.sentence)
    _check(query)
    unknown = list[UnknownWord]()

    def of_words(sentence: str) -> Floats:
        read = encoder.encode(sentence)
        unknown.extend(word for word in read.unknown if word not in unknown)
        return read.vector

    def of_moment(stretch: Stretch) -> Floats:
        return moment_vector(index, stretch, readout)

    read = encoder.encode(query.sentence) if query.sentence else None
    length = encoder.usual_length if read is None else float(np.linalg.norm(read.vector))
    parts = [
        (1.0, [] if read is None else [read.vector]),
        (LIKE, [of_moment(one) for one in query.like]),
        (-UNLIKE, [of_moment(one) for one in query.unlike]),
        (-WITHOUT, [of_words(one) for one in query.without]),
    ]
    summed = sum((weight * _direction(vectors) for weight, vectors in parts if vectors), np.zeros(1))
    size = float(np.linalg.norm(summed))
    if size < _LEAST:
        raise InputError("what is sought and what it is not are the same, so nothing is left to search for")
    vector = np.asarray(summed * (length / size), np.float32)
    words = () if read is None else read.words
    return Query(query.sentence, words, (*(read.unknown if read else ()), *unknown), vector)


def _check(query: ComposedQuery) -> None:
    if not query.sentence and not query.like:
        raise InputError("say what happens, or give a moment that is like it; what it is not alone finds nothing")
    for examples in (query.without, query.like, query.unlike):
        if len(examples) > MAX_EXAMPLES:
            raise InputError(f"{len(examples)} examples in one query; {MAX_EXAMPLES} of a kind are the most")


def _direction(vectors: Sequence[Floats]) -> NDArray[np.float64]:
    """The sum of unit vectors (dim,), scaled to length 1; zeros where they cancel each other out."""
    summed = np.sum([np.asarray(v, np.float64) / max(float(np.linalg.norm(v)), 1e-12) for v in vectors], axis=0)
    length = float(np.linalg.norm(summed))
    return np.asarray(summed / length if length > _LEAST else np.zeros_like(summed))


def moment_vector(index: Index, stretch: Stretch, readout: Readout) -> Floats:
    """The vector (dim,) of a moment: that of the row whose span is most like it, or the mean over its clips.

    Raises:
        InputError: the video is not in the index, or ends before the moment begins.
    """
    duration = index.video(stretch.video).duration
    if not 0 <= stretch.start < min(stretch.end, duration):
        raise InputError(f"{stretch}: the video is {duration:g} s long; choose a moment within it")
    spans, vectors = index.vectors(stretch.video)
    common = np.minimum(spans[:, 1], stretch.end) - np.maximum(spans[:, 0], stretch.start)
    common = np.maximum(common, 0.0)
    if readout == "anchors":
        union = np.maximum(spans[:, 1], stretch.end) - np.minimum(spans[:, 0], stretch.start)
        return np.asarray(vectors[int(np.argmax(common / np.maximum(union, 1e-9)))], np.float32)
    weights = (
        common
        if common.any()
        else (np.abs(spans.mean(1) - stretch.start) <= np.abs(spans.mean(1) - stretch.start).min())
    )
    return np.asarray(np.average(vectors, axis=0, weights=weights), np.float32)


def shows_example(query: ComposedQuery) -> Callable[[str, float, float], bool]:
    """Whether a stretch of a video is one of the query's own examples: those are known and no answers."""
    known: dict[str, list[tuple[float, float]]] = {}
    for one in (*query.like, *query.unlike):
        known.setdefault(one.video, []).append((one.start, one.end))

    def shows(video: str, start: float, end: float) -> bool:
        middle = (start + end) / 2
        return any(low <= middle <= high or start <= (low + high) / 2 <= end for low, high in known.get(video, ()))

    return shows
