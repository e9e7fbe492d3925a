"""The jobs that make videos searchable: features, and their place in a model's index."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cfmr.data.features import FeatureStore
from cfmr.errors import InputError
from cfmr.index.folder import zero_shot_source
from cfmr.index.workspace import REMOVED
from cfmr.server.context import AppState
from cfmr.server.problems import Problem
from cfmr.server.stores.jobs import JobContext
from cfmr.server.stores.models import Model
from cfmr.server.work.basis import Basis, basis_of
from cfmr.server.work.watch import note_read, snapshot


def is_behind(state: AppState, model: Model) -> bool:
    """Whether there are features of videos that the model's index lacks."""
    path = model.features or state.features
    if (model.checkpoint is None and clip_checkpoint(model) is None) or not path.exists():
        return False
    indexed = {video.id for video in state.models.open(model).videos()}
    with FeatureStore(path) as features:
        return not indexed.issuperset(set(features.videos) - state.removed())


def index_videos(state: AppState, model: Model, job: JobContext) -> None:
    """Add to a model's index what has features. Raises Problem if its checkpoint is not known."""
    source, checkpoint = "--checkpoint", model.checkpoint
    if (clip := clip_checkpoint(model)) is not None:
        source, checkpoint = "--zero-shot", clip
    if checkpoint is None:
        raise Problem(409, "the checkpoint of this index is not known; start the server with --checkpoint")
    job.say("Indexing")
    removed = state.settings.workspace / REMOVED
    job.run(
        *("index", source, checkpoint, "--features", model.features or state.features),
        *("--out", model.index, "--videos", state.library.folder),
        *(("--leave-out", removed) if removed.exists() else ()),
        stage="Indexing",
    )


def clip_checkpoint(model: Model) -> Path | None:
    """What an index without training was made with: a CLIP checkpoint, or the built-in model; None for any other."""
    try:
        return zero_shot_source(model.index)
    except InputError:
        return None


def update_and_serve(state: AppState, job: JobContext, arguments: dict[str, Any]) -> dict[str, Any]:
    """Job: add to a model's index what came in since it was made, and serve it."""
    model = state.models.model(arguments["model"])
    index_videos(state, model, job)
    return {"served": state.models.switch(model.id).id}


def extract_videos(state: AppState, job: JobContext, basis: Basis, only: Iterable[str] = ()) -> None:
    """Features of what is in the folder and has none yet: of these videos, or of all."""
    extractor: tuple[str, ...] = ()
    if basis.features.exists():
        with FeatureStore(basis.features) as features:
            name = str(features.attributes.get("extractor", ""))
        extractor = ("--extractor", name) if name else ()
        if basis.weights is not None and name.partition("/")[0] == "clip":
            extractor = (*extractor, "--weights", str(basis.weights))
    job.say("Reading videos")
    chosen = (part for video in only for part in ("--video", video))
    job.run("extract", state.library.folder, *chosen, *extractor, "--out", basis.features, stage="Reading videos")


def add_videos(state: AppState, job: JobContext, _: dict[str, Any]) -> dict[str, Any]:
    """Job: features of new videos, and their rows in the served index."""
    state.library.refresh()
    if state.settings.place.own:
        return _read_folder(state, job)
    extract_videos(state, job, basis_of(state))
    if not state.models.ready:
        job.say("Ready to be labelled")
        return {"videos": len(state.library.files())}
    index_videos(state, state.models.current, job)
    state.models.reload()
    job.say(f"{len(state.models.videos)} videos can be searched")
    return {"videos": len(state.models.videos)}


def _read_folder(state: AppState, job: JobContext) -> dict[str, Any]:
    """Features and rows in one run; each video can be searched soon after it is read."""
    files = _files(state)
    if not files:
        job.say(f"No videos in {state.library.folder} yet")
        return {"videos": 0}
    seen, features = snapshot(files), state.settings.place.served().features
    job.say("Reading videos")
    _read_into_workspace(state, job)
    note_read(features, seen)
    state.models.reload()
    return _say_how_many(state, job)


def use_checkpoint(state: AppState, job: JobContext, arguments: dict[str, Any]) -> dict[str, Any]:
    """Job: read the folder with a CLIP-like checkpoint, and let that answer; the model before answers until then."""
    name = str(arguments["name"])
    state.library.refresh()
    files = _files(state)
    if not files:
        raise InputError(f"there are no videos in {state.library.folder} yet, so there is nothing to read")
    seen = snapshot(files)
    job.say("Reading videos")
    _read_into_workspace(state, job, "--zero-shot", name)
    model = state.models.switch(name)
    note_read(model.features or state.features, seen)
    return {"served": model.id} | _say_how_many(state, job)


def _files(state: AppState) -> dict[str, Path]:
    folder = state.library.folder
    if not state.library.reachable():
        raise InputError(f"{folder}: the folder cannot be reached; its videos are read when it is back")
    return state.library.files()


def _read_into_workspace(state: AppState, job: JobContext, *more: str) -> None:
    place = state.settings.place
    job.run("index", "--in", place.videos, "--workspace", place.root, *more, stage="Reading videos")


def _say_how_many(state: AppState, job: JobContext) -> dict[str, Any]:
    count = len(state.models.videos)
    job.say(f"{count:,} {'videos' if count != 1 else 'video'} can be searched")
    return {"videos": count}
