"""The jobs that make videos searchable: features, and their place in a model's index."""

from pathlib import Path
from typing import Any

from cfmr.data.features import FeatureStore
from cfmr.errors import InputError
from cfmr.index.embedded.reader import read_card
from cfmr.index.location import is_address
from cfmr.server.context import AppState
from cfmr.server.problems import Problem
from cfmr.server.stores.jobs import JobContext
from cfmr.server.stores.models import Model


def is_behind(state: AppState, model: Model) -> bool:
    """Whether there are features of videos that the model's index lacks."""
    if (model.checkpoint is None and clip_checkpoint(model) is None) or not state.features.exists():
        return False
    indexed = {video.id for video in state.models.open(model).videos()}
    with FeatureStore(state.features) as features:
        return not indexed.issuperset(features.videos)


def index_videos(state: AppState, model: Model, job: JobContext) -> None:
    """Add to a model's index what has features. Raises Problem if its checkpoint is not known."""
    source, checkpoint = "--checkpoint", model.checkpoint
    if (clip := clip_checkpoint(model)) is not None:
        source, checkpoint = "--zero-shot", clip
    if checkpoint is None:
        raise Problem(409, "the checkpoint of this index is not known; start the server with --checkpoint")
    job.say("Indexing")
    job.run(
        *("index", source, checkpoint, "--features", state.features),
        *("--out", model.index, "--videos", state.library.folder),
        stage="Indexing",
    )


def clip_checkpoint(model: Model) -> Path | None:
    """The CLIP checkpoint of an index made without training; None for any other."""
    if is_address(model.index):
        return None
    try:
        said = read_card(model.index).get("zero_shot")
    except InputError:
        return None
    return None if said is None else Path(str(said))


def update_and_serve(state: AppState, job: JobContext, arguments: dict[str, Any]) -> dict[str, Any]:
    """Job: add to a model's index what came in since it was made, and serve it."""
    model = state.models.model(arguments["model"])
    index_videos(state, model, job)
    return {"served": state.models.switch(model.id).id}


def extract_videos(state: AppState, job: JobContext) -> None:
    """Features of everything in the folder that has none yet."""
    extractor: tuple[str, ...] = ()
    if state.features.exists():
        with FeatureStore(state.features) as features:
            name = str(features.attributes.get("extractor", ""))
        extractor = ("--extractor", name) if name else ()
        clip = next(filter(None, map(clip_checkpoint, state.models.models())), None)
        if clip is not None and name.partition("/")[0] == "clip":
            extractor = (*extractor, "--weights", str(clip))
    job.say("Reading videos")
    job.run("extract", state.library.folder, *extractor, "--out", state.features, stage="Reading videos")


def add_videos(state: AppState, job: JobContext, _: dict[str, Any]) -> dict[str, Any]:
    """Job: features of new videos, and their rows in the served index."""
    state.library.refresh()
    extract_videos(state, job)
    if not state.models.ready:
        job.say("Ready to be labelled")
        return {"videos": len(state.library.files())}
    index_videos(state, state.models.current, job)
    state.models.reload()
    job.say(f"{len(state.models.videos)} videos can be searched")
    return {"videos": len(state.models.videos)}
