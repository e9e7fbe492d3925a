"""Models: training one on the labels, and choosing the one that answers."""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from cfmr.server.api.jobs import JobAnswer, job_answer
from cfmr.server.context import AppState, State
from cfmr.server.problems import Problem
from cfmr.server.stores.labels import split_held_out
from cfmr.server.work.compare import ComparisonAnswer
from cfmr.server.work.index import is_behind
from cfmr.server.work.learn import LearnRequest

router = APIRouter(tags=["models"])

MAX_NOTE = 200  # characters


class ModelAnswer(BaseModel):
    """A model that can be served."""

    id: str
    created: float = Field(description="seconds since 1970; 0 for the one the server was started with")
    labels: int = Field(description="how many it learned from")
    served: bool
    comparison: ComparisonAnswer | None
    basis: str | None = Field(description="the checkpoint whose features it has learned from; null: the first features")
    note: str = Field(description="what somebody wrote about it")


class Note(BaseModel):
    """What somebody writes about a model."""

    note: str = Field(max_length=MAX_NOTE)


class SwitchAnswer(BaseModel):
    """The model served now; `job` is one that must end before the model asked for is."""

    served: str
    job: str | None = None


@router.post("/learn", status_code=202)
def learn(how: LearnRequest, state: State) -> JobAnswer:
    """Train a model on the labels, in the background. The first one is used at once, later ones when chosen."""
    check_ready(state)
    count = len(split_held_out(state.labels.all())[0])
    title = f"Training on {count} label{'s' if count != 1 else ''}"
    return job_answer(state.jobs.start("learn", title, how.model_dump()))


@router.get("/models")
def models(state: State) -> list[ModelAnswer]:
    """Every model that can be served, the newest first."""
    current = state.models.current.id
    return [
        ModelAnswer(
            id=model.id,
            created=model.created,
            labels=model.labels,
            served=model.id == current and state.models.ready,
            comparison=ComparisonAnswer(**model.comparison) if model.comparison else None,
            basis=model.basis,
            note=model.note,
        )
        for model in state.models.models()
    ]


@router.post("/models/{model}/serve")
def serve(model: str, state: State) -> SwitchAnswer:
    """Use this model. Videos that were added since it was indexed are indexed first."""
    chosen = state.models.model(model)
    if not is_behind(state, chosen):
        return SwitchAnswer(served=state.models.switch(chosen.id).id)
    title = f"Indexing new videos with model {chosen.id}"
    job = state.jobs.start("switch", title, {"model": chosen.id})
    return SwitchAnswer(served=state.models.current.id, job=job.id)


@router.put("/models/{model}/note", status_code=204)
def annotate(model: str, body: Note, state: State) -> None:
    """Keep a note on a model that was trained or downloaded here; an empty one removes it."""
    state.models.annotate(model, " ".join(body.note.split()))


@router.delete("/models/{model}", status_code=204)
def delete(model: str, state: State) -> None:
    """Delete a model that is not in use. The labels it learned from stay."""
    state.models.delete(model)


def check_ready(state: AppState) -> None:
    """Raises Problem if there is nothing to learn from, or learning goes on already."""
    if state.jobs.busy("learn"):
        raise Problem(409, "a training is running already; wait for its end, or cancel it")
    if not split_held_out(state.labels.all())[0]:
        raise Problem(409, "there are no labels to learn from yet")
