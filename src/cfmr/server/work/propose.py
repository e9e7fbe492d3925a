"""Which questions to put to a person next: sentences that are looked for, each at a second where it may happen."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from cfmr.data.vocabulary import tokenize
from cfmr.data.word_vectors import load_word_vectors
from cfmr.errors import InputError
from cfmr.search.retriever import Moment
from cfmr.server.context import AppState
from cfmr.server.stores.labels import normalized_sentence
from cfmr.server.stores.present_labels import Label
from cfmr.training.questions import chances_of, choose_questions, remaining_variance, sentence_vectors

MOST_SENTENCES = 200  # that are looked for; each takes a search
PLACES = 8  # of a sentence that may be asked about: its best moments
MOST_LABELS = 20_000  # that are looked at, the newest
WEIGHED = 1500  # of them whose sentences count, the newest: a thousand more would take seconds
PATIENCE = 2.0  # seconds after which no further sentence is searched for: of ten thousand videos a few will do


@dataclass(frozen=True, slots=True)
class Question:
    """Whether a sentence happens at a second of a video.

    Attributes:
        start, end: of the moment that the model found there.
        chance: that the answer is yes, as far as the model knows.
    """

    video: str
    second: float
    sentence: str
    start: float
    end: float
    chance: float


def propose(
    state: AppState, sentences: Sequence[str], skipped: Iterable[tuple[str, str]], count: int
) -> list[Question]:
    """The most useful questions, the best first; none twice, and none that a label answers.

    Args:
        sentences: that are looked for, besides those of labels.
        skipped: videos and sentences that shall not be asked about.
        count: how many at most.

    Raises:
        Problem: nothing can be searched yet.
    """
    labels = list(state.labels.present().labels[:MOST_LABELS])
    answered = _Answered(labels, skipped)
    asked = list(islice(_distinct([*sentences, *(one.annotation.sentence for one in labels)]), MOST_SENTENCES))
    candidates, began = list[Question](), time.monotonic()
    for sentence in asked:
        candidates += _candidates(state, sentence, answered)
        if candidates and time.monotonic() - began > PATIENCE:
            break
    if not candidates:
        return []
    chosen = _most_useful(candidates, [label for label in labels if not label.annotation.absent], count)
    return [_at_the_peak(state, one) for one in chosen]


def _distinct(sentences: Iterable[str]) -> Iterator[str]:
    seen = set()
    for sentence in sentences:
        said = normalized_sentence(sentence)
        if said and said not in seen:
            seen.add(said)
            yield sentence


class _Answered:
    """What need not be asked: of a video that is known to show a sentence, or where a label says that it does not."""

    def __init__(self, labels: Iterable[Label], skipped: Iterable[tuple[str, str]]) -> None:
        self._known = {(video, normalized_sentence(sentence)) for video, sentence in skipped}
        self._denied: dict[tuple[str, str], list[float]] = {}
        for label in labels:
            a = label.annotation
            key = a.video, normalized_sentence(a.sentence)
            if a.absent:
                self._denied.setdefault(key, []).append(a.glance or 0.0)
            else:
                self._known.add(key)

    def has(self, moment: Moment, sentence: str) -> bool:
        key = moment.video, normalized_sentence(sentence)
        denied = self._denied.get(key, ())
        return key in self._known or any(moment.start <= second <= moment.end for second in denied)


def _candidates(state: AppState, sentence: str, answered: _Answered) -> list[Question]:
    try:
        found = list(state.models.retriever.search(sentence, top=PLACES))
    except InputError:  # the model knows no word of it
        return []
    found = [one for one in found if one.label is None]  # what labels found is answered
    chances = chances_of([one.score for one in found]).tolist()
    watchable = state.watchable_of(one.video for one in found)
    return [
        Question(one.video, (one.start + one.end) / 2, sentence, one.start, one.end, chance)
        for one, chance in zip(found, chances, strict=True)
        if not answered.has(one, sentence) and one.video in watchable
    ]


def _most_useful(candidates: Sequence[Question], labels: Sequence[Label], count: int) -> list[Question]:
    known = [label.annotation for label in labels[:WEIGHED]]
    vectors = sentence_vectors(_means([*(one.sentence for one in candidates), *(a.sentence for a in known)]))
    names = [*(one.video for one in candidates), *(a.video for a in known)]
    numbers = np.unique(names, return_inverse=True)[1]
    first = len(candidates)
    left = remaining_variance(vectors[:first], numbers[:first], vectors[first:], numbers[first:])
    chances = np.array([one.chance for one in candidates])
    return [candidates[i] for i in choose_questions(left, chances, count)]


def _means(sentences: Sequence[str]) -> NDArray[np.float32]:
    return np.stack([_mean(sentence) for sentence in sentences])


@lru_cache(maxsize=2 * MOST_LABELS)
def _mean(sentence: str) -> NDArray[np.float32]:
    """Mean word vector of a sentence; zeros of one without a known word."""
    vectors = load_word_vectors()
    words = [word for word in tokenize(sentence) if word in vectors]
    return vectors.of(words).mean(axis=0) if words else np.zeros(vectors.dim, np.float32)


def _at_the_peak(state: AppState, one: Question) -> Question:
    """Asked where the curve of its moment is highest."""
    times, scores = state.models.retriever.curve(one.sentence, one.video)
    inside = (times >= one.start) & (times <= one.end)
    if not inside.any():
        return one
    return replace(one, second=float(times[inside][scores[inside].argmax()]))
