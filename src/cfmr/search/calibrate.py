"""Below which score nothing matches: chosen on annotated videos, or so that random words rarely reach it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.data.annotations import Annotation
from cfmr.data.vocabulary import FUNCTION_WORDS, tokenize
from cfmr.errors import InputError
from cfmr.index.location import GivenLocation
from cfmr.index.open import open_writer, parse_location
from cfmr.moments import rejection
from cfmr.search.retriever import MomentRetriever

SENTENCES = 500
RANDOM_SENTENCES = 200
ABSENT = 200  # names of things that are not there, at most
#: Share of random words that shall find nothing. Most are absent from a collection, fewer than from one video.
REJECTED = {"video": 0.9, "collection": 0.8}
Scores = NDArray[np.float64]


def cross_checked(matching: Scores, other: Scores) -> tuple[float, float]:
    """The threshold, and how often it is right on sentences that it was not chosen on.

    On the twenty sentences that it was chosen on, a threshold is right for 59 % where scores say nothing at all. So
    each half judges the threshold of the other half.
    """
    halves = [(matching[start::2], other[start::2]) for start in (0, 1)]
    rights = [0.5]
    if all(len(scores) for half in halves for scores in half):
        chosen = [rejection.best_threshold(*half)[0] for half in halves]
        rights = [
            float((yes >= score).mean() + (no < score).mean()) / 2
            for score, (yes, no) in zip(chosen, reversed(halves), strict=True)
        ]
    return rejection.best_threshold(matching, other)[0], float(np.mean(rights))


def auroc(matching: Scores, other: Scores) -> float:
    """How often a score of `matching` is above one of `other`; equal ones count half. NaN where a kind is missing."""
    kinds = np.repeat([True, False], [len(matching), len(other)])
    area = rejection.auroc(kinds, np.concatenate([matching, other]))
    return math.nan if area is None else area


def absent_sentences(rows: Sequence[Annotation], names: Sequence[str]) -> list[str]:
    """Sentences of what is hardly there: names of things, alone or in the place of a word of a sentence.

    Args:
        rows: whose sentences are changed.
        names: of things that nobody has said of these videos.
    """
    rng = np.random.default_rng(1)
    found = []
    for number, name in enumerate(names):
        words = tokenize(rows[number % len(rows)].sentence)
        telling = [at for at, word in enumerate(words) if word not in FUNCTION_WORDS]
        if number % 2 and telling:
            words[int(rng.choice(telling))] = name
            found.append(" ".join(words))
        else:
            found.append(name)
    return found


def measured(retriever: MomentRetriever, rows: Sequence[Annotation], absent: Sequence[str] = ()) -> dict[str, Any]:
    """Thresholds for one video and for the collection.

    "video": best score in the sentence's own video against that in another one. "collection": best score over all
    videos against that of sentences of what is not there; where no such sentences are given, against that over all
    videos but the sentence's own. That is much harder, since other videos may show the same: "left_out" of the AUROC.

    Args:
        absent: sentences of what is not there.
    """
    names = [v.id for v in retriever.videos()]
    rng = np.random.default_rng(0)
    own, other, everywhere, elsewhere = [], [], [], []
    for row in rows:
        others = [n for n in names if n != row.video]
        scores = {}
        for name, selection in (("own", [row.video]), ("other", [str(rng.choice(others))]), ("rest", others)):
            result = retriever.search(row.sentence, top=1, videos=selection)
            scores[name] = float(result.best or 0.0)
        own.append(scores["own"])
        other.append(scores["other"])
        everywhere.append(max(scores["own"], scores["rest"]))
        elsewhere.append(scores["rest"])
    nowhere = [retriever.search(sentence, top=1).best or 0.0 for sentence in absent if _readable(retriever, sentence)]
    sides = {
        "video": (np.array(own), np.array(other)),
        "collection": (np.array(everywhere), np.array(nowhere or elsewhere)),
    }
    found = {scope: cross_checked(*scores) for scope, scores in sides.items()}
    areas = sides | {"left_out": (np.array(everywhere), np.array(elsewhere))}
    return {
        "thresholds": {scope: score for scope, (score, _) in found.items()},
        "threshold_accuracy": {scope: round(right, 4) for scope, (_, right) in found.items()},
        "threshold_auroc": {scope: round(auroc(*scores), 4) for scope, scores in areas.items()},
        "threshold_rejects": None,
        "threshold_sentences": len(rows),
        "threshold_absent": len(nowhere),
    }


def calibrate_on_random_words(path: GivenLocation, sentences: Sequence[str]) -> Mapping[str, Any]:
    """Choose the thresholds of an index that has no annotations, and write them into it.

    Args:
        sentences: that the index can read, of words taken at random.

    Returns:
        what was measured, as it is in the index's metrics.
    """
    retriever = MomentRetriever.load(path)
    names = [v.id for v in retriever.videos()]
    rng = np.random.default_rng(0)

    def reached(scope: str, sentence: str) -> float:
        videos = [str(rng.choice(names))] if scope == "video" else None
        return retriever.search(sentence, top=1, videos=videos).best or 0.0

    metrics = {
        "thresholds": {
            scope: float(np.quantile([reached(scope, sentence) for sentence in sentences], share))
            for scope, share in REJECTED.items()
        },
        "threshold_accuracy": None,
        "threshold_auroc": None,
        "threshold_rejects": dict(REJECTED),
        "threshold_sentences": len(sentences),
        "threshold_absent": 0,
    }
    _write_metrics(path, metrics)
    return metrics


def calibrate_index(
    path: GivenLocation, annotations: Sequence[Annotation], absent: Sequence[str] = ()
) -> Mapping[str, Any]:
    """Choose the thresholds of an index on annotated videos that are in it, and write them into it.

    Args:
        absent: names of things that nobody has said of these videos; see `measured`.

    Returns:
        what was measured, as it is in the index's metrics.

    Raises:
        InputError: fewer than two of the videos are in the index.
    """
    retriever = MomentRetriever.load(path)
    names = {v.id for v in retriever.videos()}
    rows = [row for row in annotations if row.video in names and _readable(retriever, row.sentence)]
    if len({row.video for row in rows}) < 2:
        raise InputError(f"{path}: calibration needs sentences of at least two videos of the index, found {len(rows)}")
    step = max(1, len(rows) // SENTENCES)
    asked = rows[::step][:SENTENCES]
    metrics = measured(retriever, asked, absent_sentences(asked, absent[:ABSENT]))
    _write_metrics(path, metrics)
    return metrics


def thresholds_of(path: GivenLocation) -> Mapping[str, Any]:
    """What was measured when the thresholds of an index were chosen; empty where none were."""
    metrics = MomentRetriever.load(path).index.metrics
    return {name: value for name, value in metrics.items() if name.startswith("threshold")}


def keep_thresholds(path: GivenLocation, metrics: Mapping[str, Any]) -> None:
    """Write thresholds into an index that were measured on another, whose scores are comparable."""
    if metrics:
        _write_metrics(path, metrics)


def _write_metrics(path: GivenLocation, metrics: Mapping[str, Any]) -> None:
    with open_writer(parse_location(path), create=False) as writer:
        for name, value in metrics.items():
            writer.set_metric(name, value)
        writer.commit(tidy=False)


def _readable(retriever: MomentRetriever, sentence: str) -> bool:
    try:
        retriever.encode(sentence)
    except InputError:
        return False
    return True
