"""Answers to sentences: prediction jsonl (Moment-DETR and its kin, GMR) and submissions of TVR."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.data.layouts.qvhighlights import write
from cfmr.data.layouts.recognise import TITLES, Content, identifier, open_layout, take
from cfmr.data.layouts.row import Once, is_number
from cfmr.errors import InputError
from cfmr.files.atomic import replacing

Floats = NDArray[np.float64]
TASKS = ("VCMR", "SVMR", "VR")
MAX_NUMBER = 1 << 24  # of a video: single precision, in which TVR's evaluation compares them, confuses greater ones
DIGITS = 4  # as predictions are written, so that what is scored is what is in the file


@dataclass(frozen=True)
class Prediction:
    """The answer to one sentence in one video.

    Attributes:
        qid: names the sentence.
        windows: (k, 3) start, end in seconds and score, best first.
        saliency: (clips,) a score for every clip of two seconds; None where there is none.
        exist: how likely it is that anything fits; None where it is not said.
        video, sentence: as in the truth, where they are there.
    """

    qid: str | int
    windows: Floats
    saliency: Floats | None = None
    exist: float | None = None
    video: str | None = None
    sentence: str | None = None


@dataclass(frozen=True)
class Submission:
    """Answers over a collection, by task.

    Attributes:
        videos: number of each video.
        tasks: of VCMR (moments of any video), SVMR (of the right one), VR (videos): for each sentence by its desc_id
            (n, 4) number of the video, start, end and score, best first.
        sentences: by desc_id.
    """

    videos: Mapping[str, int]
    tasks: Mapping[str, Mapping[str | int, Floats]]
    sentences: Mapping[str | int, str] = field(default_factory=dict)


Answers = list[Prediction] | Submission


def read_answers(path: str | Path) -> Answers:
    """Read predictions or a submission, whichever the file holds.

    Raises:
        InputError: it is another file, cut off, or has an answer that makes no sense; the line is named.
    """
    content = open_layout(path)
    try:
        if content.layout == "predictions":
            return _predictions(content)
        if content.layout == "tvr-submission":
            return _submission(content.value)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    raise InputError(f"{path}: is {TITLES[content.layout]}, where {TITLES['predictions']} or a submission is expected")


# --- prediction jsonl -------------------------------------------------------------------------------------------------


def _predictions(content: Content) -> list[Prediction]:
    once, found = Once(), []
    for where, value in content.objects:
        qid = identifier(take(value, "qid", where), "qid", where)
        once(qid, "qid", where)
        saliency, exist = value.get("pred_saliency_scores"), value.get("pred_exist_score")
        found.append(
            Prediction(
                qid,
                _windows(value.get("pred_relevant_windows") or [], where),
                None if saliency is None else _numbers(saliency, "pred_saliency_scores", where),
                None if exist is None else float(_numbers([exist], "pred_exist_score", where)[0]),
                value.get("vid"),
                value.get("query"),
            )
        )
    return found


def _windows(value: Any, where: str) -> Floats:
    if not isinstance(value, list) or not all(isinstance(item, list) and len(item) in (2, 3) for item in value):
        raise ValueError(f"{where} has 'pred_relevant_windows' that are not [[start, end, score], ...]")
    rows = [_numbers([*item, 1.0][:3], "pred_relevant_windows", where) for item in value]
    windows = np.array(rows, np.float64).reshape(-1, 3)
    reversed_ = windows[windows[:, 1] < windows[:, 0]]
    if len(reversed_):
        start, end = reversed_[0, :2]
        raise ValueError(f"{where} has a window that ends at {end:g} s, before it starts at {start:g} s")
    return windows


def _numbers(value: Any, key: str, where: str) -> Floats:
    if not isinstance(value, list) or not all(map(is_number, value)):
        raise ValueError(f"{where} has '{key}' that are not all numbers")
    return np.array(value, np.float64)


def write_predictions(path: str | Path, predictions: Iterable[Prediction]) -> None:
    """Write prediction jsonl (beside, then renamed)."""
    write(path, map(_as_object, predictions))


def _as_object(prediction: Prediction) -> dict[str, Any]:
    value: dict[str, Any] = {
        "qid": prediction.qid,
        "query": prediction.sentence,
        "vid": prediction.video,
        "pred_relevant_windows": prediction.windows.tolist(),
    }
    if prediction.saliency is not None:
        value["pred_saliency_scores"] = prediction.saliency.tolist()
    if prediction.exist is not None:
        value["pred_exist_score"] = prediction.exist
    return {key: item for key, item in value.items() if item is not None}


def as_written(values: NDArray[np.floating[Any]]) -> Floats:
    """Numbers to the digits that files have."""
    return np.asarray(np.round(np.asarray(values, np.float64), DIGITS), np.float64)


# --- TVR submissions --------------------------------------------------------------------------------------------------


def _submission(value: dict[str, Any]) -> Submission:
    videos = value["video2idx"]
    if not isinstance(videos, dict) or not videos or not all(type(number) is int for number in videos.values()):
        raise ValueError("has a 'video2idx' that is not {video: number}")
    for name, number in videos.items():
        if not 0 <= number <= MAX_NUMBER:
            raise ValueError(f"has a 'video2idx' whose number of {name!r} is not between 0 and {MAX_NUMBER:,}")
    tasks = {task: value[task] for task in TASKS if task in value}
    if not tasks:
        raise ValueError(f"has none of {', '.join(TASKS)}")
    sentences: dict[str | int, str] = {}
    found = {task: _task(task, rows, sentences) for task, rows in tasks.items()}
    return Submission(videos, found, sentences)


def _task(task: str, rows: Any, sentences: dict[str | int, str]) -> dict[str | int, Floats]:
    if not isinstance(rows, list):
        raise ValueError(f"has a '{task}' that is no list")
    once, found = Once(), {}
    for number, row in enumerate(rows, 1):
        where = f"{task}, row {number}"
        if not isinstance(row, dict):
            raise ValueError(f"{where} is no object")
        qid = identifier(take(row, "desc_id", where), "desc_id", where)
        once(qid, "desc_id", where)
        answers = take(row, "predictions", where)
        if not isinstance(answers, list) or not all(isinstance(item, list) and len(item) >= 3 for item in answers):
            raise ValueError(f"{where} has 'predictions' that are not [[video, start, end, score], ...]")
        numbers = [_numbers([*item, 0.0][:4], "predictions", where) for item in answers]
        found[qid] = np.array(numbers, np.float64).reshape(-1, 4)
        sentences[qid] = str(row.get("desc", ""))
    return found


def write_submission(path: str | Path, submission: Submission) -> None:
    """Write a TVR submission (beside, then renamed)."""
    value: dict[str, Any] = {"video2idx": dict(submission.videos)}
    for task, answers in submission.tasks.items():
        value[task] = [
            {"desc_id": qid, "desc": submission.sentences.get(qid, ""), "predictions": _triples(rows)}
            for qid, rows in answers.items()
        ]
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, ensure_ascii=False) + "\n", encoding="utf-8")


def _triples(rows: Floats) -> Sequence[list[int | float]]:
    return [[int(video), start, end, score] for video, start, end, score in rows.tolist()]
