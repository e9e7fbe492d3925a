"""Below which score nothing matches, chosen on annotated videos."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.data.annotations import Annotation
from cfmr.errors import InputError
from cfmr.index.location import GivenLocation
from cfmr.index.open import open_writer, parse_location
from cfmr.search.retriever import MomentRetriever

SENTENCES = 500
Scores = NDArray[np.float64]


def threshold(matching: Scores, other: Scores) -> tuple[float, float]:
    """The score that tells apart best, and how well: the mean of both kinds' shares on their side of it.

    Args:
        matching: best scores where there is something to find.
        other: best scores where there is nothing.
    """
    edges = np.unique(np.concatenate([matching, other]))
    between = np.concatenate([edges[:1] - 1e-6, (edges[1:] + edges[:-1]) / 2])
    right = (matching[None] >= between[:, None]).mean(1) / 2 + (other[None] < between[:, None]).mean(1) / 2
    best = int(right.argmax())
    return float(between[best]), float(right[best])


def measured(retriever: MomentRetriever, rows: Sequence[Annotation]) -> dict[str, Any]:
    """Thresholds for one video and for the collection.

    "video": best score in the sentence's own video against that in another one. "collection": best score over all
    videos against that over all but the sentence's own.
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
    video, video_right = threshold(np.array(own), np.array(other))
    collection, collection_right = threshold(np.array(everywhere), np.array(elsewhere))
    return {
        "thresholds": {"video": video, "collection": collection},
        "threshold_accuracy": {"video": round(video_right, 4), "collection": round(collection_right, 4)},
        "threshold_sentences": len(rows),
    }


def calibrate_index(path: GivenLocation, annotations: Sequence[Annotation]) -> Mapping[str, Any]:
    """Choose the thresholds of an index on annotated videos that are in it, and write them into it.

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
    metrics = measured(retriever, rows[::step][:SENTENCES])
    with open_writer(parse_location(path), create=False) as writer:
        for name, value in metrics.items():
            writer.set_metric(name, value)
        writer.commit(tidy=False)
    return metrics


def _readable(retriever: MomentRetriever, sentence: str) -> bool:
    try:
        retriever.encode(sentence)
    except InputError:
        return False
    return True
