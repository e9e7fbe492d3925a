"""The job that trains a model on labels, indexes with it, and compares it with the current one."""

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from cfmr.config import preset
from cfmr.data.annotations import Annotation, load_annotations, save_annotations
from cfmr.data.features import FeatureStore
from cfmr.errors import InputError
from cfmr.files.atomic import read_json, write_json
from cfmr.search.calibrate import calibrate_index
from cfmr.server.context import AppState
from cfmr.server.stores.jobs import JobContext
from cfmr.server.stores.labels import normalized_sentence, split_held_out
from cfmr.server.stores.models import Model
from cfmr.server.work.compare import compare
from cfmr.server.work.index import extract_videos, index_videos

ENOUGH_VIDEOS = 10  # with fewer, holding videos out for validation costs more than it tells
ENOUGH_SENTENCES = 20  # with fewer, a threshold is chance
CALIBRATED = 200  # sentences at most: the server searches them itself


class LearnRequest(BaseModel):
    """How to learn."""

    with_original: bool = Field(True, description="also train on what the present model was trained on")
    fits: Annotated[int, Field(ge=1, le=16)] | None = Field(None, description="side by side in the model; default: 3")


def learn_from_labels(state: AppState, job: JobContext, arguments: dict[str, Any]) -> dict[str, Any]:
    """Job: train on labels and on earlier training data, index with that model, compare on held-out labels.

    Raises:
        InputError: there are no labels to learn from.
        StepFailedError, CancelledError: nothing of the model is left.
    """
    how = LearnRequest(**arguments)
    training, held_out = split_held_out(state.labels.all())
    if not training:
        raise InputError("there are no labels to learn from any more")
    read = read_labelled(state, job, {row.video for row in [*training, *held_out]})
    training, held_out = ([row for row in rows if row.video in read] for rows in (training, held_out))
    if not training:
        raise InputError("the videos of all labels are gone; label some that are there")
    folder = state.models.new_folder()
    try:
        run = write_training_job(state, how, folder, training, held_out)
        job.say("Preparing to train")
        job.run(
            *("train", "--config-path", run.config, "--tag", "run", "--log", folder, "--select", run.select),
            stage="Training",
        )
        shutil.rmtree(folder / "run" / "last", ignore_errors=True)  # only a broken-off run needs it
        model = Model(folder.name, folder / "index", folder / "run" / "checkpoint")
        index_videos(state, model, job)
        job.say("Choosing the score threshold")
        choose_threshold(model, run, held_out)
        job.say("Comparing on held-out labels")
        before = state.models.retriever if state.models.ready else None
        comparison = compare(before, state.models.open(model), held_out)
        state.models.keep(folder, len(training), comparison)
        first = not state.models.ready
        if first:  # there is nothing that it could be worse than
            state.models.switch(folder.name)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    job.say("The model is in use" if first else "The model is ready to use", 1.0)
    return {"model": folder.name}


def read_labelled(state: AppState, job: JobContext, videos: set[str]) -> set[str]:
    """Those of the labelled videos that have features; what has none and is in the folder is read for it."""
    missing = videos - _read(state)
    state.library.refresh()
    there = sorted(missing & state.library.files().keys())
    if there or not state.features.exists():
        extract_videos(state, job, there)
    return videos & _read(state)


def _read(state: AppState) -> set[str]:
    if not state.features.exists():
        return set()
    with FeatureStore(state.features) as features:
        return set(features.videos)


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """A training about to begin: its configuration, how its epoch is chosen, and how many there are."""

    config: Path
    select: str
    epochs: int
    validation: Path | None


def choose_threshold(model: Model, run: TrainingJob, held_out: Sequence[Annotation]) -> None:
    """Choose the score below which nothing matches, on sentences that were not trained on, where there are enough."""
    rows = [*held_out, *(load_annotations(run.validation) if run.validation else ())]
    if len(rows) < ENOUGH_SENTENCES or len({row.video for row in rows}) < 2:
        return
    with contextlib.suppress(InputError):  # too few of them can be searched: then there is no threshold
        calibrate_index(model.index, rows[:CALIBRATED])


def write_training_job(
    state: AppState, how: LearnRequest, folder: Path, labels: Sequence[Annotation], held_out: Sequence[Annotation]
) -> TrainingJob:
    """Write what `cfmr train` reads: the current model's configuration with other data.

    Held-out labels are in none of it, nor are rows of the original training file that say the same.
    """
    value, base = base_config(state)
    data = value["dataset"]
    secret = {(row.video, normalized_sentence(row.sentence)) for row in held_out}
    rows = [row for row in labels if (row.video, normalized_sentence(row.sentence)) not in secret]
    before = base.get("train_data") if how.with_original else None
    if before is not None:
        rows += [
            row for row in load_annotations(before) if (row.video, normalized_sentence(row.sentence)) not in secret
        ]
    save_annotations(folder / "train.json", rows)
    save_annotations(folder / "held-out.json", held_out)
    data |= {"train_data": str(folder / "train.json"), "feature_path": str(state.features)}
    select = "validation"
    if before is not None and "val_data" in base:
        data["val_data"] = str(base["val_data"])
    else:
        data["val_data"] = None
        select = "validation" if len({row.video for row in rows}) >= ENOUGH_VIDEOS else "last"
    data["test_data"] = str(base.get("test_data", ""))
    if how.fits is not None:
        value["train"]["num_fits"] = how.fits
    write_json(folder / "config.json", value)
    return TrainingJob(folder / "config.json", select, int(value["train"]["num_fits"]), base.get("val_data"))


def base_config(state: AppState) -> tuple[dict[str, Any], dict[str, Path]]:
    """The configuration to learn with, and the annotation files of the first model that are there.

    It is that of the model the server was started with if that is a CFMR-Dense, which learns more from few labels; else
    the preset, for features as they are.

    Raises:
        InputError: the checkpoint is damaged.
    """
    checkpoint = state.settings.checkpoint
    own: Any = {} if checkpoint is None else read_json(checkpoint / "config.json")
    if checkpoint is not None and not _is_configuration(own):
        raise InputError(f"{checkpoint / 'config.json'}: not the configuration of a model")
    value = own if own.get("model", {}).get("name") == "CFMR-Dense" else _first_config(state)
    found: dict[str, Path] = {}
    for key in ("train_data", "val_data", "test_data"):
        named = own.get("dataset", {}).get(key)
        if isinstance(named, str) and named:
            places = [Path(named), state.settings.index.parent / "annotations" / Path(named).name]
            there = [place.resolve() for place in places if place.is_file()]
            if there:
                found[key] = there[0]
    return value, found


def _is_configuration(value: Any) -> bool:
    sections = ("dataset", "train", "model")
    return isinstance(value, dict) and all(isinstance(value.get(key), dict) for key in sections)


def _first_config(state: AppState) -> dict[str, Any]:
    """The preset of CFMR-Dense, as wide as the features are."""
    value = preset("dense", state.settings.workspace).model_dump()
    with FeatureStore(state.features) as features:
        width = features.read(features.videos[0]).shape[1]
    value["dataset"]["frame_dim"] = width
    value["dataset"]["dataset"] = "labels"
    return value
