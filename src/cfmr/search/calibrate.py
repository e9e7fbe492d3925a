"""Below which score nothing matches, chosen on annotated videos."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cfmr.data.annotations import Annotation
from cfmr.errors import InputError
from cfmr.index.location import Place
from cfmr.index.open import open_writer
from cfmr.moments.rejection import best_threshold
from cfmr.search.retriever import MomentRetriever

SENTENCES = 500


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
    video, video_right = best_threshold(np.array(own), np.array(other))
    collection, collection_right = best_threshold(np.array(everywhere), np.array(elsewhere))
    return {
        "thresholds": {"video": video, "collection": collection},
        "threshold_accuracy": {"video": round(video_right, 4), "collection": round(collection_right, 4)},
        "threshold_sentences": len(rows),
    }


def calibrate_index(path: Place, annotations: Sequence[Annotation]) -> Mapping[str, Any]:
    """Choose the thresholds of an index on annotated videos that are in it, and write them into it.

    Raises:
        InputError: fewer than two of the videos are in the index.
    """
    retriever = MomentRetriever.load(path)
    names = {v.id for v in retriever.videos()}
    rows = [row for row in annotations if row.video in names and _readable(retriever, row.sentence)]
    if len({row.video for row in rows}) < 2:
        raise InputError(f"{path}: calibration needs sentences of at least two videos of the index, found {len(rows)}")
    step = max(1, len(rows) // SENTENCES)
    notes = measured(retriever, rows[::step][:SENTENCES])
    with open_writer(path) as writer:
        writer.note(notes)
        writer.commit(tidy=False)
    return notes


def _readable(retriever: MomentRetriever, sentence: str) -> bool:
    try:
        retriever.encode(sentence)
    except InputError:
        return False
    return True
