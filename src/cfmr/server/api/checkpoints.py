"""Vision-language checkpoints that are known by name: which are here, downloading one, and using it."""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from cfmr.extractors.hub import arrived, is_available
from cfmr.extractors.known_checkpoints import INSTALL, KNOWN, KnownCheckpoint, is_installed, known_checkpoint
from cfmr.server.api.jobs import JobAnswer, job_answer
from cfmr.server.api.models import SwitchAnswer, serve
from cfmr.server.context import AppState, State
from cfmr.server.problems import Problem

router = APIRouter(tags=["checkpoints"])


class CheckpointAnswer(BaseModel):
    """A published checkpoint, and what can be done with it here."""

    name: str
    repository: str
    size: int = Field(description="size of the download in bytes")
    licence: str = Field(description="licence of the weights, as stated by the repository")
    languages: str = Field(description="of its sentences")
    here: bool = Field(description="whether all of it is on the server's disk, so that it can be used")
    arrived: int = Field(description="bytes of an interrupted download, from which the next one resumes")
    downloadable: bool = Field(description="whether the package that downloads is installed")
    missing: list[str] = Field(description="missing packages that are needed to use it")
    install: str = Field(description="the command that installs them")
    fetching: str | None = Field(description="the job that downloads it")
    reading: str | None = Field(description="the job that reads the videos with it")
    read: bool = Field(description="whether the videos were read with it, so that it can be used at once")
    served: bool = Field(description="whether it answers")


@router.get("/checkpoints")
def checkpoints(state: State) -> list[CheckpointAnswer]:
    """Checkpoints known by name; none if the server was started with an index."""
    return [_answer(known, state) for known in KNOWN] if state.settings.place.own else []


@router.post("/checkpoints/{name}/fetch", status_code=202)
def fetch(name: str, state: State) -> JobAnswer:
    """Download a checkpoint in the background; an interrupted download is resumed."""
    _known(name, state)
    running = _job(state, "fetch", name)
    if running is not None:
        return job_answer(state.jobs.get(running))
    if not is_available():
        raise Problem(409, f"{name}: downloading needs huggingface_hub; {INSTALL}")
    return job_answer(state.jobs.start("fetch", f"Downloading {name}", {"name": name}))


@router.post("/checkpoints/{name}/use")
def use(name: str, state: State) -> SwitchAnswer:
    """Search with a checkpoint. The videos are read with it first; the current model answers until that is finished."""
    known = _known(name, state)
    if any(model.id == name for model in state.models.models()):
        return serve(name, state)
    if not is_installed(known):
        raise Problem(409, f"{name}: not downloaded yet, or no longer complete; download it first")
    if missing := known.missing():
        raise Problem(409, f"{name}: needs {' and '.join(missing)}; {INSTALL}")
    job = _job(state, "use", name) or state.jobs.start("use", f"Reading videos with {name}", {"name": name}).id
    return SwitchAnswer(served=state.models.current.id, job=job)


def _known(name: str, state: AppState) -> KnownCheckpoint:
    """Raises Problem if there is none of this name, or the server reads no folder."""
    if not state.settings.place.own:
        raise Problem(409, "this server was started with --index; start it with a folder of videos to use checkpoints")
    if name not in (known.name for known in KNOWN):
        raise Problem(404, "there is no such checkpoint")
    return known_checkpoint(name)


def _job(state: AppState, kind: str, name: str) -> str | None:
    """The job of a kind that waits or runs for a checkpoint."""
    jobs = (job for job in state.jobs.all() if job.kind == kind and not job.over and job.arguments.get("name") == name)
    return next((job.id for job in jobs), None)


def _answer(known: KnownCheckpoint, state: AppState) -> CheckpointAnswer:
    here = is_installed(known)
    return CheckpointAnswer(
        name=known.name,
        repository=known.repository,
        size=known.size,
        licence=known.licence,
        languages=known.languages,
        here=here,
        arrived=0 if here else arrived(known),
        downloadable=is_available(),
        missing=known.missing(),
        install=INSTALL,
        fetching=_job(state, "fetch", known.name),
        reading=_job(state, "use", known.name),
        read=any(model.id == known.name for model in state.models.models()),
        served=state.models.current.id == known.name,
    )
