"""Learning from labels: a job that trains, indexes and compares; and serving what came out."""

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from cfmr.config import preset
from cfmr.data.annotations import Annotation, load_annotations, save_annotations
from cfmr.data.features import FeatureStore
from cfmr.errors import InputError
from cfmr.files.atomic import read_json, write_json
from cfmr.index.embedded.reader import read_card
from cfmr.index.location import is_address
from cfmr.search.retriever import Moment
from cfmr.server.context import Site
from cfmr.server.problems import Problem
from cfmr.server.stores.jobs import Job, Work
from cfmr.server.stores.labels import normal, split
from cfmr.server.stores.models import Model, Retriever

ENOUGH_VIDEOS = 10  # with fewer, holding videos out for validation costs more than it tells
SEVERAL = 5
COMPARED = 200  # held-out labels that are listed one by one
_EPOCH = re.compile(r"epoch (\d+): (.*)")


class LearnRequest(BaseModel):
    """How to learn."""

    with_original: bool = Field(True, description="also train on what the present model was trained on")
    epochs: Annotated[int, Field(ge=1, le=10_000)] | None = Field(None, description="of training; default: as before")


class OneCompared(BaseModel):
    """A held-out label: the best moment of its video before and after."""

    video: str
    sentence: str
    glance: float
    before: tuple[float, float] | None
    after: tuple[float, float] | None
    hit_before: bool
    hit_after: bool


class Hits(BaseModel):
    """How often the labelled second lies inside a found moment, of `of` held-out labels."""

    of: int
    first: int = Field(description="inside the best moment of the video")
    several: int = Field(description="inside one of the best five moments of the video")
    everywhere: int = Field(description="inside one of the best five moments of all videos")
    length: float = Field(description="mean length of the best moment in seconds: long ones hit by chance")


class ComparisonAnswer(BaseModel):
    """The served model and the new one, on labels that neither learned from."""

    before: Hits | None
    after: Hits
    labels: list[OneCompared]


class ModelAnswer(BaseModel):
    """A model that can be served."""

    id: str
    created: float = Field(description="seconds since 1970; 0 for the one the server was started with")
    labels: int = Field(description="how many it learned from")
    served: bool
    comparison: ComparisonAnswer | None


class JobAnswer(BaseModel):
    """Work in the background. Times are seconds since 1970."""

    id: str
    kind: str
    title: str
    state: str = Field(description="queued, running, done, failed or cancelled")
    message: str
    progress: float | None = Field(description="from 0 to 1; null where it is not known")
    created: float
    started: float | None
    finished: float | None
    result: dict[str, Any]


class LogAnswer(BaseModel):
    """A piece of a job's log, and where the next piece begins."""

    text: str
    offset: int


class SwitchAnswer(BaseModel):
    """The model served now; `job` is one that must end before the model asked for is."""

    served: str
    job: str | None = None


def job_answer(job: Job) -> JobAnswer:
    """A job as it is now."""
    return JobAnswer.model_validate(job, from_attributes=True)


def routes(site: Site) -> APIRouter:
    """Paths below /api."""
    api = APIRouter()
    site.jobs.bodies["learn"] = lambda work, how: learn_from_labels(site, LearnRequest(**how), work)
    site.jobs.bodies["switch"] = lambda work, to: bring_up_and_serve(site, site.served.model(to["model"]), work)

    @api.get("/jobs", tags=["jobs"])
    def jobs(limit: Annotated[int, Query(ge=1, le=200)] = 20) -> list[JobAnswer]:
        """What is and was done in the background, the newest first."""
        return [job_answer(job) for job in site.jobs.all()[:limit]]

    @api.get("/jobs/{job}", tags=["jobs"])
    def one_job(job: str) -> JobAnswer:
        """A job as it is now."""
        return job_answer(site.jobs.get(job))

    @api.get("/jobs/{job}/log", tags=["jobs"])
    def job_log(job: str, offset: Annotated[int, Query(ge=0, le=1 << 40)] = 0) -> LogAnswer:
        """What its commands printed, from a byte on."""
        text, following = site.jobs.log(job, offset)
        return LogAnswer(text=text, offset=following)

    @api.post("/jobs/{job}/cancel", tags=["jobs"])
    def cancel(job: str) -> JobAnswer:
        """Stop a job; what was served goes on being served."""
        return job_answer(site.jobs.cancel(job))

    @api.post("/learn", status_code=202, tags=["models"])
    def learn(how: LearnRequest) -> JobAnswer:
        """Train a model on the labels, in the background. It is served when someone says so."""
        check_ready(site)
        count = len(split(site.labels.all())[0])
        title = f"Learn from {count} label{'s' if count != 1 else ''}"
        return job_answer(site.jobs.start("learn", title, how.model_dump()))

    @api.get("/models", tags=["models"])
    def models() -> list[ModelAnswer]:
        """Every model that can be served, the newest first."""
        present = site.served.present.id
        return [
            ModelAnswer(
                id=model.id,
                created=model.created,
                labels=model.labels,
                served=model.id == present and site.served.ready,
                comparison=ComparisonAnswer(**model.comparison) if model.comparison else None,
            )
            for model in site.served.models()
        ]

    @api.post("/models/{model}/serve", tags=["models"])
    def serve(model: str) -> SwitchAnswer:
        """Search with this model from now on. If videos came in since it was indexed, they are indexed first."""
        chosen = site.served.model(model)
        if not is_behind(site, chosen):
            return SwitchAnswer(served=site.served.switch(chosen.id).id)
        title = f"Bring model {chosen.id} up to date and serve it"
        job = site.jobs.start("switch", title, {"model": chosen.id})
        return SwitchAnswer(served=site.served.present.id, job=job.id)

    return api


def check_ready(site: Site) -> None:
    """Raises Problem if there is nothing to learn from, or learning goes on already."""
    if site.jobs.busy("learn"):
        raise Problem(409, "it is learning already; wait for the end, or cancel that")
    if not split(site.labels.all())[0]:
        raise Problem(409, "there are no labels to learn from yet")


def is_behind(site: Site, model: Model) -> bool:
    """Whether there are features of videos that the model's index lacks."""
    if (model.checkpoint is None and clip_checkpoint(model) is None) or not site.features.exists():
        return False
    indexed = {video.id for video in site.served.open(model).videos()}
    with FeatureStore(site.features) as features:
        return not indexed.issuperset(features.videos)


def index_videos(site: Site, model: Model, work: Work) -> None:
    """Add to a model's index what has features. Raises Problem if its checkpoint is not known."""
    source, checkpoint = "--checkpoint", model.checkpoint
    if (clip := clip_checkpoint(model)) is not None:
        source, checkpoint = "--zero-shot", clip
    if checkpoint is None:
        raise Problem(409, "the checkpoint of this index is not known; start the server with --checkpoint")
    work.say("indexing")
    work.run(
        *("index", source, checkpoint, "--features", site.features),
        *("--out", model.index, "--videos", site.library.folder),
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


def bring_up_and_serve(site: Site, model: Model, work: Work) -> dict[str, Any]:
    """The job: add to a model's index what came in since, and serve it."""
    index_videos(site, model, work)
    return {"served": site.served.switch(model.id).id}


def extract_videos(site: Site, work: Work) -> None:
    """Features of everything in the folder that has none yet."""
    extractor: tuple[str, ...] = ()
    if site.features.exists():
        with FeatureStore(site.features) as features:
            name = str(features.attributes.get("extractor", ""))
        extractor = ("--extractor", name) if name else ()
        clip = next(filter(None, map(clip_checkpoint, site.served.models())), None)
        if clip is not None and name.partition("/")[0] == "clip":
            extractor = (*extractor, "--weights", str(clip))
    work.say("reading videos")
    work.run("extract", site.library.folder, *extractor, "--out", site.features, read=_extraction)


def _extraction(line: str) -> tuple[str, float | None] | None:
    found = re.search(r"(\d+)\s*(?:/|of)\s*(\d+)", line)
    if found is None or int(found[2]) == 0:
        return None
    return f"reading videos: {found[1]} of {found[2]}", min(int(found[1]) / int(found[2]), 1.0)


def learn_from_labels(site: Site, how: LearnRequest, work: Work) -> dict[str, Any]:
    """The job: train on labels and what was trained on before, index with that, compare on held-out labels."""
    training, held_out = split(site.labels.all())
    if not training:
        raise InputError("there are no labels to learn from any more")
    videos = {row.video for row in [*training, *held_out]}
    if not site.features.exists() or not _has_all(site.features, videos):
        extract_videos(site, work)
    folder = site.served.new_folder()
    try:
        run = write_run(site, how, folder, training, held_out)
        work.say("starting to train", 0.0)
        work.run(
            *("train", "--config-path", run.config, "--tag", "run", "--log", folder, "--select", run.select),
            read=_training(run.epochs),
        )
        shutil.rmtree(folder / "run" / "last", ignore_errors=True)  # only a broken-off run needs it
        model = Model(folder.name, folder / "index", folder / "run" / "checkpoint")
        index_videos(site, model, work)
        work.say("comparing on held-out labels")
        before = site.served.retriever if site.served.ready else None
        comparison = compare(before, site.served.open(model), held_out)
        site.served.keep(folder, len(training), comparison)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    work.say("ready to be served", 1.0)
    return {"model": folder.name}


def _has_all(path: Path, videos: set[str]) -> bool:
    with FeatureStore(path) as features:
        return videos.issubset(features.videos)


def _training(epochs: int) -> Callable[[str], tuple[str, float] | None]:
    def read(line: str) -> tuple[str, float] | None:
        found = _EPOCH.match(line)
        if found is None:
            return None
        return f"epoch {found[1]} of {epochs}: {found[2].strip()}", min(int(found[1]) / epochs, 1.0)

    return read


@dataclass(frozen=True, slots=True)
class Run:
    """A training about to begin: its configuration, how its epoch is chosen, and how many there are."""

    config: Path
    select: str
    epochs: int


def write_run(
    site: Site, how: LearnRequest, folder: Path, labels: Sequence[Annotation], held_out: Sequence[Annotation]
) -> Run:
    """Write what `cfmr train` reads: the present model's configuration with other data.

    Held-out labels are in none of it, nor are rows of the original training file that say the same.
    """
    value, base = base_config(site)
    data = value["dataset"]
    secret = {(row.video, normal(row.sentence)) for row in held_out}
    rows = [row for row in labels if (row.video, normal(row.sentence)) not in secret]
    before = base.get("train_data") if how.with_original else None
    if before is not None:
        rows += [row for row in load_annotations(before) if (row.video, normal(row.sentence)) not in secret]
    save_annotations(folder / "train.json", rows)
    save_annotations(folder / "held-out.json", held_out)
    data |= {"train_data": str(folder / "train.json"), "feature_path": str(site.features)}
    select = "validation"
    if before is not None and "val_data" in base:
        data["val_data"] = str(base["val_data"])
    else:
        data["val_data"] = None
        select = "validation" if len({row.video for row in rows}) >= ENOUGH_VIDEOS else "last"
    data["test_data"] = str(base.get("test_data", ""))
    if how.epochs is not None:
        value["train"]["max_num_epochs"] = how.epochs
    write_json(folder / "config.json", value)
    return Run(folder / "config.json", select, int(value["train"]["max_num_epochs"]))


def base_config(site: Site) -> tuple[dict[str, Any], dict[str, Path]]:
    """The configuration to learn with, and the annotation files of the first model that are there.

    It is that of the model the server was started with if that is a CFMR-Dense, which learns more from few labels; else
    that of the demo's, for features as they are.

    Raises:
        InputError: the checkpoint is damaged.
    """
    checkpoint = site.settings.checkpoint
    own: Any = {} if checkpoint is None else read_json(checkpoint / "config.json")
    if checkpoint is not None and not _is_configuration(own):
        raise InputError(f"{checkpoint / 'config.json'}: not the configuration of a model")
    value = own if own.get("model", {}).get("name") == "CFMR-Dense" else _first_config(site)
    found: dict[str, Path] = {}
    for key in ("train_data", "val_data", "test_data"):
        named = own.get("dataset", {}).get(key)
        if isinstance(named, str) and named:
            places = [Path(named), site.settings.index.parent / "annotations" / Path(named).name]
            there = [place.resolve() for place in places if place.is_file()]
            if there:
                found[key] = there[0]
    return value, found


def _is_configuration(value: Any) -> bool:
    sections = ("dataset", "train", "model")
    return isinstance(value, dict) and all(isinstance(value.get(key), dict) for key in sections)


def _first_config(site: Site) -> dict[str, Any]:
    """The demo's configuration of CFMR-Dense, as wide as the features are."""
    value = preset("dense", site.settings.workspace).model_dump()
    with FeatureStore(site.features) as features:
        width = features.read(features.videos[0]).shape[1]
    value["dataset"]["frame_dim"] = value["model"]["config"]["frames_input_size"] = width
    value["dataset"]["dataset"] = "labels"
    return value


def compare(before: Retriever | None, after: Retriever, held_out: Sequence[Annotation]) -> dict[str, Any]:
    """How two models do on labels that neither of them learned from.

    Returns:
        a `ComparisonAnswer`; empty where no label is held out.
    """
    rows = [row for row in held_out if row.glance is not None]
    if not rows:
        return {}
    old = [_tried(before, row) for row in rows] if before is not None else []
    new = [_tried(after, row) for row in rows]
    listed = [
        OneCompared(
            video=row.video,
            sentence=row.sentence,
            glance=row.glance or 0.0,
            before=old[at].best if old else None,
            after=new[at].best,
            hit_before=bool(old) and old[at].first,
            hit_after=new[at].first,
        )
        for at, row in enumerate(rows[:COMPARED])
    ]
    answer = ComparisonAnswer(before=_hits(old) if old else None, after=_hits(new), labels=listed)
    return answer.model_dump()


@dataclass(frozen=True, slots=True)
class _Tried:
    """What one model found for one label."""

    best: tuple[float, float] | None = None
    first: bool = False
    several: bool = False
    everywhere: bool = False


def _tried(retriever: Retriever, row: Annotation) -> _Tried:
    def inside(moment: Moment) -> bool:
        return moment.video == row.video and moment.start <= (row.glance or 0.0) <= moment.end

    try:
        there = retriever.search(row.sentence, top=SEVERAL, videos=[row.video])
        anywhere = retriever.search(row.sentence, top=SEVERAL)
    except InputError:  # the video is not in this index, or no word of the sentence is known
        return _Tried()
    best = there[0] if len(there) else None
    return _Tried(
        best=None if best is None else (round(best.start, 3), round(best.end, 3)),
        first=best is not None and inside(best),
        several=any(map(inside, there)),
        everywhere=any(map(inside, anywhere)),
    )


def _hits(tried: Sequence[_Tried]) -> Hits:
    lengths = [one.best[1] - one.best[0] for one in tried if one.best is not None]
    return Hits(
        of=len(tried),
        first=sum(one.first for one in tried),
        several=sum(one.several for one in tried),
        everywhere=sum(one.everywhere for one in tried),
        length=round(sum(lengths) / len(lengths), 2) if lengths else 0.0,
    )
