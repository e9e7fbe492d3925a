"""Answers against the truth: every measure of the field that a file of answers can be given, in percent.

The field's own scripts give the same figures to the last digit; docs/formats.md says which script gives which.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.data.layouts.predictions import Answers, Prediction, Submission, read_answers
from cfmr.data.layouts.queries import Query, match_answers, read_queries
from cfmr.errors import InputError
from cfmr.moments import average_precision, collection, highlights, rejection, several
from cfmr.moments.metrics import DEPTHS, rounded

Floats = NDArray[np.float64]

RECALL_THRESHOLDS = (0.3, *average_precision.THRESHOLDS)
SHOWN_PRECISIONS = (0.5, 0.75)
LENGTHS = {"short": (0.0, 10.0), "middle": (10.0, 30.0), "long": (30.0, 150.0)}  # seconds, of QVHighlights' windows


def score(
    truth: Sequence[Query], answers: Answers, source: str, thresholds: Sequence[float] = rejection.THRESHOLDS
) -> dict[str, float]:
    """Figures of a file of answers.

    Args:
        truth: the sentences.
        answers: to all of them.
        source: what to call the answers in messages.
        thresholds: scores up to which an answer is taken as "nothing fits" (only where the truth has such sentences).

    Returns:
        by name, rounded to two decimals; NDCG to four, as it is not in percent.

    Raises:
        InputError: sentences are not answered, or answered that are not asked; a video is not that of the truth.
    """
    if isinstance(answers, Submission):
        return score_submission(truth, answers, source)
    return score_predictions(truth, answers, source, thresholds)


def score_file(truth: str | Path, answers: str | Path) -> dict[str, float]:
    """Figures of a file of answers on an annotation file; see `score`."""
    return score(read_queries(truth), read_answers(answers), str(answers))


# --- within one video each --------------------------------------------------------------------------------------------


def score_predictions(
    truth: Sequence[Query], answers: Sequence[Prediction], source: str, thresholds: Sequence[float]
) -> dict[str, float]:
    """Figures of prediction jsonl; see `score`."""
    match_answers(truth, [answer.qid for answer in answers], source)
    by_qid = {answer.qid: answer for answer in answers}
    pairs = [(query, by_qid[query.qid]) for query in truth]
    for query, answer in pairs:
        if answer.video is not None and answer.video != query.video:
            raise InputError(f"{source}: qid {query.qid!r} is of {answer.video}, in the truth of {query.video}")
    known = [(query, answer) for query, answer in pairs if query.windows is not None]
    if not known:
        raise InputError(f"{source}: the truth knows no moment of any sentence, so nothing can be measured")
    measures: dict[str, float] = {}
    matching = [(_spans(query), answer.windows) for query, answer in known if query.windows]
    if matching:
        measures |= _window_measures(matching)
        if len(matching) < len(known) or any(len(spans) > 1 for spans, _ in matching):
            measures |= several.several_measures(matching)
    measures |= _highlight_measures(known, source)
    if len(matching) < len(known):
        measures |= _rejection_measures(known, thresholds)
    return rounded(measures)


def _spans(query: Query) -> Floats:
    return np.array(query.windows, np.float64).reshape(-1, 2)


def _window_measures(pairs: Sequence[tuple[Floats, Floats]]) -> dict[str, float]:
    """R@n, mIoU and mAP of sentences that have moments."""
    overlaps = [_overlaps(windows, spans) for spans, windows in pairs]
    measures: dict[str, float] = {}
    for depth in DEPTHS:
        best = np.array([overlap[:depth].max(initial=0.0) for overlap in overlaps])
        measures |= {f"R@{depth},IoU={m}": 100 * float((best >= m).mean()) for m in RECALL_THRESHOLDS}
        measures[f"R@{depth},mIoU"] = 100 * float(best.mean())
    precision = _mean_precision(pairs)
    measures["mAP"] = 100 * float(precision.mean())
    for threshold in SHOWN_PRECISIONS:
        measures[f"mAP,IoU={threshold}"] = 100 * float(precision[average_precision.THRESHOLDS.index(threshold)])
    return measures | _by_length(pairs)


def _overlaps(windows: Floats, spans: Floats) -> Floats:
    """IoU of every answer with the true window that it overlaps most, (k,).

    The union is taken from the first start to the last end, which is the same where windows overlap and rounds as the
    field's scripts do.
    """
    a, b = windows[:, None, :2], spans[None]
    common = np.maximum(0, np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0]))
    whole = np.maximum(a[..., 1], b[..., 1]) - np.minimum(a[..., 0], b[..., 0])
    overlap = np.divide(common, whole, out=np.zeros_like(common), where=whole != 0)
    return np.asarray(overlap.max(1, initial=0.0))


def _mean_precision(pairs: Sequence[tuple[Floats, Floats]]) -> Floats:
    return np.asarray(
        np.mean([average_precision.average_precision(windows, spans) for spans, windows in pairs], axis=0)
    )


def _by_length(pairs: Sequence[tuple[Floats, Floats]]) -> dict[str, float]:
    """mAP among sentences with windows of some length, of which only those windows count."""
    measures = {}
    for name, (least, most) in LENGTHS.items():
        chosen = []
        for spans, windows in pairs:
            lengths = spans[:, 1] - spans[:, 0]
            inside = spans[(lengths > least) & (lengths <= most)]
            if len(inside):
                chosen.append((inside, windows))
        if chosen:
            measures[f"mAP,{name}"] = 100 * float(_mean_precision(chosen).mean())
    return measures


def _highlight_measures(pairs: Sequence[tuple[Query, Prediction]], source: str) -> dict[str, float]:
    """HIT@1 and mAP of clips, where the truth rates clips and the answers score them."""
    rated = [(query, answer.saliency) for query, answer in pairs if query.clip_ids]
    if not rated or any(scores is None or not len(scores) for _, scores in rated):
        return {}
    measures = {}
    for name, least in highlights.LEVELS.items():
        hits, precisions = [], []
        for query, scores in rated:
            assert scores is not None
            good = _ratings(query, source) >= least
            hits.append(highlights.hit(scores, good))
            precisions.append(highlights.highlight_precision(scores, good))
        measures[f"HIT@1,{name}"] = 100 * float(np.mean(hits))
        measures[f"HL-mAP,{name}"] = 100 * float(np.mean(np.concatenate(precisions)))
    return measures


def _ratings(query: Query, source: str) -> Floats:
    if query.duration is None:
        raise InputError(f"{source}: the truth of qid {query.qid!r} rates clips of a video without a duration")
    try:
        return highlights.clip_ratings(query.duration, query.clip_ids, query.saliency)
    except ValueError as error:
        raise InputError(f"{source}: the truth of qid {query.qid!r}: {error}") from None


def _rejection_measures(pairs: Sequence[tuple[Query, Prediction]], thresholds: Sequence[float]) -> dict[str, float]:
    """Whether a system knows that nothing fits, over all sentences."""
    matches = np.array([bool(query.windows) for query, _ in pairs])
    scores = np.array([existence(answer) for _, answer in pairs])
    area = rejection.auroc(matches, scores)
    measures = {} if area is None else {"AUROC": 100 * area}
    for threshold in thresholds:
        f1, accuracy = rejection.rejection(matches, scores, threshold)
        sets = rejection.set_measures(
            [answer.windows for _, answer in pairs],
            [_spans(query) for query, _ in pairs],
            (scores <= threshold).tolist(),
        )
        measures |= {f"Rej-F1@{threshold:g}": 100 * f1, f"Rej-Acc@{threshold:g}": 100 * accuracy}
        measures |= {f"{name},score>{threshold:g}": value for name, value in sets.items()}
    return measures


def existence(answer: Prediction) -> float:
    """How sure an answer is that anything fits: what it says of that, or else its best window's score; 0 if none."""
    if answer.exist is not None:
        return answer.exist
    return float(answer.windows[:, 2].max(initial=-np.inf)) if len(answer.windows) else 0.0


# --- over a collection ------------------------------------------------------------------------------------------------


def score_submission(truth: Sequence[Query], answers: Submission, source: str) -> dict[str, float]:
    """Figures of a submission over a collection; see `score`."""
    measures: dict[str, float] = {}
    gains: dict[str, float] = {}
    unknown = next((query.video for query in truth if not query.graded and query.video not in answers.videos), None)
    if unknown is not None:
        raise InputError(f"{source}: its video2idx has no video {unknown}, which the truth has")
    for task, found in answers.tasks.items():
        match_answers(truth, found, f"{source}, {task}", key="desc_id")
        if all(query.graded for query in truth):
            gains |= _graded(truth, found, answers.videos) if task == "VCMR" else {}
        else:
            measures |= _task(task, truth, found, answers.videos)
    if not measures and not gains:
        raise InputError(f"{source}: nothing in it can be measured with this truth")
    return rounded(measures) | {name: round(value, 4) for name, value in gains.items()}


def _task(
    task: str, truth: Sequence[Query], found: Mapping[str | int, Floats], videos: Mapping[str, int]
) -> dict[str, float]:
    if task == "VR":
        ranks = [_rank(found[query.qid], videos[query.video]) for query in truth]
        return collection.video_recalls(ranks)
    known = [query for query in truth if query.windows]
    if not known:
        return {}
    right, kinds = [], []
    for query in known:
        rows = found[query.qid][: collection.MAX_ANSWERS]
        met = collection.right_moments(rows, videos[query.video], _spans(query))
        if task == "SVMR":
            met = met[rows[:, 0] == videos[query.video]]
        right.append(met)
        kinds.append(query.kind)
    measures = collection.moment_recalls(right, task)
    for kind in sorted({kind for kind in kinds if kind is not None}):
        chosen = [met for met, of in zip(right, kinds, strict=True) if of == kind]
        measures |= {f"{name} ({kind})": v for name, v in collection.moment_recalls(chosen, task).items()}
    return measures


def _rank(rows: Floats, video: int) -> int | None:
    places = np.flatnonzero(rows[: collection.MAX_ANSWERS, 0] == video)
    return int(places[0]) + 1 if len(places) else None


def _graded(truth: Sequence[Query], found: Mapping[str | int, Floats], videos: Mapping[str, int]) -> dict[str, float]:
    name = {number: video for video, number in videos.items()}
    answers: dict[Any, list[tuple[str, float, float]]] = {
        qid: [(name.get(int(row[0]), ""), float(row[1]), float(row[2])) for row in rows[: collection.MAX_ANSWERS]]
        for qid, rows in found.items()
    }
    graded = {query.qid: [(m.video, m.start, m.end, m.relevance) for m in query.graded] for query in truth}
    return collection.ndcg_measures(answers, graded)
