"""The job that trains a model on labels, indexes with it, and compares it with the current one."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from cfmr.config import preset
from cfmr.data.annotations import load_annotations, save_annotations
from cfmr.data.features import FeatureStore
from cfmr.errors import InputError
from cfmr.files.atomic import read_json, write_json
from cfmr.index.workspace import REMOVED
from cfmr.server.context import AppState
from cfmr.server.stores.jobs import JobContext
from cfmr.server.stores.labels import Label, negatives_of, normalized_sentence, split_held_out
from cfmr.server.stores.models import Model, Retriever
from cfmr.server.work.basis import Basis, basis_of
from cfmr.server.work.compare import compare
from cfmr.server.work.index import extract_videos

WORTH_WHILE = 10  # labels from which on a model finds clearly more than what is known before the first one


TRIAL = "trial/index"  # in a model's folder: the index of the model that has not seen the held-out labels


class LearnRequest(BaseModel):
    """How to learn."""

    with_original: bool = Field(True, description="also train on what the present model was trained on")
    fits: Annotated[int, Field(ge=1, le=16)] | None = Field(None, description="side by side in the model; default: 3")
    serve: Literal["better", "always", "never"] = Field(
        "better", description="when to use the new model: if it finds no fewer held-out labels, or whatever it finds"
    )


class Learned(BaseModel):
    """What came of learning."""

    model: str
    served: bool = Field(description="whether the new model is in use")
    improved: int = Field(0, description="held-out labels whose first moment is right now and was not before")
    worse: int = Field(0, description="held-out labels whose first moment was right before and is not now")


def learn_from_labels(state: AppState, job: JobContext, arguments: dict[str, Any]) -> dict[str, Any]:
    """Job: train on labels and on earlier training data, index with that model, compare on held-out labels.

    Compared is a model that has not seen the held-out labels; kept is one that has learned from all of them.

    Raises:
        InputError: there are no labels to learn from.
        StepFailedError, CancelledError: nothing of the model is left.
    """
    how = LearnRequest(**arguments)
    labels = state.labels.all()
    training, held_out = split_held_out(labels)
    if not training:
        raise InputError("there are no labels to learn from any more")
    basis = basis_of(state)
    read = read_labelled(state, job, basis, {label.annotation.video for label in labels})
    labels = [label for label in labels if label.annotation.video in read]
    training, held_out = split_held_out(labels)
    if not training:
        raise InputError("the videos of all labels are gone; label some that are there")
    folder = state.models.new_folder()
    try:
        write_training_job(state, how, folder, labels, basis)
        job.say("Preparing to train")
        written = ("--config-path", folder / "config.json", "--log", folder)
        job.run("train", *written, "--page-videos", state.library.folder, stage="Learning")
        job.say("Comparing on held-out labels", 1.0)
        comparison: dict[str, Any] = {}
        if (folder / TRIAL).exists():
            comparison = compare(_current(state), state.models.open(Model(folder.name, folder / TRIAL, None)), held_out)
        for left in (folder / "trial" / "run", folder / "run" / "last"):  # only a broken-off run needs them
            shutil.rmtree(left, ignore_errors=True)
        state.models.keep(folder, len(training) + len(held_out), comparison, basis.name)
        result, message = decide(state, how, folder.name, comparison)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    job.say(message, 1.0)
    return result.model_dump()


def _current(state: AppState) -> Retriever | None:
    """What the new model is compared with: the served one, as it was before it learned from held-out labels."""
    if not state.models.ready:
        return None
    current = state.models.current
    trial = state.models.folder / current.id / TRIAL
    return state.models.open(Model(current.id, trial, None)) if trial.exists() else state.models.retriever


def decide(state: AppState, how: LearnRequest, name: str, comparison: dict[str, Any]) -> tuple[Learned, str]:
    """Serve the new model if it is to be, and say so, and why."""
    first = not state.models.ready
    listed = comparison.get("labels", [])
    improved = sum(one["hit_after"] and not one["hit_before"] for one in listed) if not first else 0
    worse = sum(one["hit_before"] and not one["hit_after"] for one in listed) if not first else 0
    better = bool(comparison) and found_labels(comparison["after"]) >= found_labels(comparison["before"])
    served = first or how.serve == "always" or (how.serve == "better" and better)  # nothing can be worse than none
    if served:
        state.models.switch(name)
    changed = f"of {len(listed)} held-out labels, {improved} improved and {worse} got worse"
    if first or (served and not comparison):
        message = "The model is in use"
    elif not comparison:
        message = "The model is ready to use; there is no held-out label to say whether it is better"
    else:
        message = f"The new model is {'in use' if served else 'ready, but not in use'}: {changed}"
    return Learned(model=name, served=served, improved=improved, worse=worse), message


def found_labels(hits: Mapping[str, Any] | None) -> int:
    """How often held-out labels were found, by every way of counting together."""
    return 0 if hits is None else int(hits["first"]) + int(hits["several"]) + int(hits["everywhere"])


def read_labelled(state: AppState, job: JobContext, basis: Basis, videos: set[str]) -> set[str]:
    """Those of the labelled videos that have features; what has none and is in the folder is read for it."""
    missing = videos - _read(basis.features)
    state.library.refresh()
    there = sorted(missing & state.library.files().keys())
    if there or not basis.features.exists():
        extract_videos(state, job, basis, there if basis.features.exists() else ())  # the first reading is of all
    return videos & _read(basis.features)


def _read(path: Path) -> set[str]:
    if not path.exists():
        return set()
    with FeatureStore(path) as features:
        return set(features.videos)


def write_training_job(state: AppState, how: LearnRequest, folder: Path, labels: Sequence[Label], basis: Basis) -> None:
    """Write what `fitting` reads: the current model's configuration with other data.

    Held-out labels are not in `train.json`, nor are rows of the original training file that say the same.
    """
    value, base = base_config(state, basis)
    data = value["dataset"]
    training, held_out = split_held_out(labels)
    secret = {(row.video, normalized_sentence(row.sentence)) for row in held_out}
    original = load_annotations(base["train_data"]) if how.with_original and "train_data" in base else []
    validation = load_annotations(base["val_data"]) if original and "val_data" in base else []
    rows = [row for row in [*training, *original] if (row.video, normalized_sentence(row.sentence)) not in secret]
    negatives = negatives_of(labels)
    save_annotations(folder / "train.json", [*rows, *negatives])
    everything = [*(label.annotation for label in labels), *original] if held_out else [*rows, *negatives]
    save_annotations(folder / "all.json", everything)
    save_annotations(folder / "held-out.json", held_out)
    save_annotations(folder / "unseen.json", [*held_out, *validation])
    write_json(folder / REMOVED, sorted(state.removed()))
    data |= {
        "train_data": str(folder / "train.json"),
        "feature_path": str(basis.features),
        "val_data": None,
        "test_data": "",
    }
    if how.fits is not None:
        value["train"]["num_fits"] = how.fits
    write_json(folder / "config.json", value)


def base_config(state: AppState, basis: Basis) -> tuple[dict[str, Any], dict[str, Path]]:
    """The configuration to learn with, and the annotation files of the first model that are there.

    It is that of the model the server was started with if that is a CFMR-Dense, which learns more from few labels, and
    of these features; else the preset, for features as they are.

    Raises:
        InputError: the checkpoint is damaged.
    """
    checkpoint = state.settings.checkpoint
    own: Any = {} if checkpoint is None else read_json(checkpoint / "config.json")
    if checkpoint is not None and not _is_configuration(own):
        raise InputError(f"{checkpoint / 'config.json'}: not the configuration of a model")
    if basis.name is not None:  # what the first model was trained on has no such features
        own = {}
    value = own if own.get("model", {}).get("name") == "CFMR-Dense" else _first_config(state, basis)
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


def _first_config(state: AppState, basis: Basis) -> dict[str, Any]:
    """The preset of CFMR-Dense, as wide as the features are."""
    value = preset("dense", state.settings.workspace).model_dump()
    with FeatureStore(basis.features) as features:
        width = features.read(features.videos[0]).shape[1]
    value["dataset"]["frame_dim"] = width
    value["dataset"]["dataset"] = "labels"
    if basis.weights is not None:
        value["train"]["prior_checkpoint"] = str(basis.weights)
    return value
