"""Jobs: what runs in the background, its log, and stopping it."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from cfmr.server.context import State
from cfmr.server.stores.jobs import Job

router = APIRouter(tags=["jobs"])


class JobAnswer(BaseModel):
    """Work in the background. Times are seconds since 1970."""

    id: str
    kind: str
    title: str
    state: str = Field(description="queued, running, done, failed or cancelled")
    message: str
    progress: float | None = Field(description="from 0 to 1; null if unknown")
    left: float | None = Field(description="seconds until the current stage is finished; null if unknown")
    created: float
    started: float | None
    finished: float | None
    result: dict[str, Any]


class LogAnswer(BaseModel):
    """Part of a job's log, and the offset of the next part."""

    text: str
    offset: int


def job_answer(job: Job) -> JobAnswer:
    """A job as it is now."""
    return JobAnswer.model_validate(job, from_attributes=True)


@router.get("/jobs")
def jobs(state: State, limit: Annotated[int, Query(ge=1, le=200)] = 20) -> list[JobAnswer]:
    """Running, queued and finished background jobs, newest first."""
    return [job_answer(job) for job in state.jobs.all()[:limit]]


@router.get("/jobs/{job}")
def one_job(job: str, state: State) -> JobAnswer:
    """A job as it is now."""
    return job_answer(state.jobs.get(job))


@router.get("/jobs/{job}/log")
def job_log(job: str, state: State, offset: Annotated[int, Query(ge=0, le=1 << 40)] = 0) -> LogAnswer:
    """Output of a job's commands, from a byte offset on."""
    text, following = state.jobs.log(job, offset)
    return LogAnswer(text=text, offset=following)


@router.post("/jobs/{job}/cancel")
def cancel(job: str, state: State) -> JobAnswer:
    """Stop a job; the model in use stays the same."""
    return job_answer(state.jobs.cancel(job))
