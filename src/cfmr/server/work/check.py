"""The job that looks at all labels again: which are likely wrong, and what more of them are worth."""

import json
from pathlib import Path
from typing import Any

from cfmr.config import DenseConfig, load_config
from cfmr.data.annotations import Annotation, load_annotations, save_annotations
from cfmr.errors import InputError
from cfmr.files.atomic import make_directory, read_json, write_json
from cfmr.models.dense.clips import ClipSet
from cfmr.models.dense.fit import DenseFit
from cfmr.models.dense.selection import first_reader
from cfmr.progress import TrainingProgress
from cfmr.server.context import AppState
from cfmr.server.stores.jobs import JobContext
from cfmr.server.stores.labels import Label
from cfmr.server.work.basis import Basis, basis_of
from cfmr.server.work.learn import base_config, read_labelled
from cfmr.training.data import load_data
from cfmr.training.label_check import DoubtfulLabel, LabelCheck, check_labels

FOUND = "label-check.json"  # in the workspace: what the last look found
MOST = 100  # doubtful labels that are kept
SEED = 8


def check_all_labels(state: AppState, job: JobContext, arguments: dict[str, Any]) -> dict[str, Any]:
    """Job: look at all labels with fits that have not seen them.

    Raises:
        InputError: there are no labels.
        StepFailedError, CancelledError: what was found before stays.
    """
    labels = state.labels.all()
    if not any(not label.annotation.absent for label in labels):
        raise InputError("there are no labels to check")
    basis = basis_of(state)
    read = read_labelled(state, job, basis, {label.annotation.video for label in labels})
    labels = [label for label in labels if label.annotation.video in read]
    folder = make_directory(job.folder / "check")
    ordered = _write(state, folder, labels, basis)
    job.run("train", "--config-path", folder / "config.json", "--log", folder, "--page-check", stage="Checking labels")
    own = sum(label is not None and not label.annotation.absent for label in ordered)
    found = _read(folder / "found.json", ordered) | {"own": own}
    write_json(state.settings.workspace / FOUND, found)
    count = len(found["doubtful"])
    job.say(f"{count} label{'' if count == 1 else 's'} to review" if count else "No label looks wrong", 1.0)
    return {"doubtful": count}


def _write(state: AppState, folder: Path, labels: list[Label], basis: Basis) -> list[Label | None]:
    """Write what is looked at. Returns the label of each row; None of rows of the first model's training."""
    value, base = base_config(state, basis)
    original = load_annotations(base["train_data"]) if "train_data" in base else []
    positive = [label for label in labels if not label.annotation.absent]
    negative = [label for label in labels if label.annotation.absent]
    rows: list[Annotation] = [*(label.annotation for label in positive), *original]
    save_annotations(folder / "labels.json", [*rows, *(label.annotation for label in negative)])
    value["dataset"] |= {
        "train_data": str(folder / "labels.json"),
        "feature_path": str(basis.features),
        "val_data": None,
        "test_data": "",
    }
    write_json(folder / "config.json", value)
    return [*positive, *([None] * len(original)), *negative]


def check_written(folder: Path, told: TrainingProgress) -> None:
    """What the job does in a process of its own: look at the labels written to a folder, leave `found.json` there.

    Raises:
        InputError: rows or features cannot be used.
    """
    config = load_config(folder / "config.json")
    assert isinstance(config, DenseConfig)
    data = load_data(config, "last", SEED)
    known = [row for row in data.negatives if data.vocabulary.ids(row.sentence, config.dataset.max_num_words)]
    number_of = {id(row): number for number, row in enumerate(data.negatives)}
    rows = ClipSet(
        data.training,
        data.features,
        data.vocabulary,
        max_num_words=config.dataset.max_num_words,
        negatives=known,
    )
    fit = DenseFit(rows, SEED, first_reader(rows.glances, rows.seconds[rows.videos]))
    found = check_labels(fit, told)
    count = len(data.training)
    numbers = [*range(count), *(count + number_of[id(row)] for row in known)]
    write_json(folder / "found.json", _as_json(found, numbers, count))


def _as_json(found: LabelCheck, numbers: list[int], labels: int) -> dict[str, Any]:
    def doubtful(one: DoubtfulLabel) -> dict[str, Any]:
        second = None if one.second is None else round(one.second, 2)
        return {"row": numbers[one.row], "density": round(one.density, 4), "second": second}

    points = [[point.labels, point.found, point.of] for point in found.points]
    return {"labels": labels, "points": points, "doubtful": [doubtful(one) for one in found.doubtful]}


def _read(path: Path, labels: list[Label | None]) -> dict[str, Any]:
    found: dict[str, Any] = read_json(path)
    doubtful = [
        {"id": label.id, "revision": label.revision, "second": one["second"]}
        for one in found["doubtful"]
        if (label := labels[one["row"]]) is not None
    ]
    return found | {"doubtful": doubtful[:MOST]}


def last_check(state: AppState) -> dict[str, Any] | None:
    """What the last look found; None where nobody has looked, or the file is damaged."""
    try:
        found = json.loads((state.settings.workspace / FOUND).read_text(encoding="utf-8"))
        return found if isinstance(found, dict) and {"labels", "points", "doubtful"} <= found.keys() else None
    except (OSError, ValueError):
        return None
