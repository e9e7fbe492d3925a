"""Questions: the most useful ones to answer next, and labels to review."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from cfmr.server.api.jobs import JobAnswer, job_answer
from cfmr.server.api.labels import LabelAnswer, label_answer
from cfmr.server.context import State
from cfmr.server.problems import Problem
from cfmr.server.stores.labels import LONGEST_SENTENCE
from cfmr.server.work.check import last_check
from cfmr.server.work.propose import MOST_SENTENCES, propose
from cfmr.training.label_check import CurvePoint, expected_gain

NEXT = 20  # labels of which it is said what they are expected to bring

router = APIRouter(tags=["labels"])

Sentence = Annotated[str, Field(max_length=LONGEST_SENTENCE)]


class Skipped(BaseModel):
    """What to exclude from questions."""

    video: Annotated[str, Field(max_length=500)]
    sentence: Sentence


class QuestionsRequest(BaseModel):
    """Sentences to ask about besides those of labels, and skipped questions."""

    sentences: Annotated[list[Sentence], Field(max_length=MOST_SENTENCES)] = []
    skipped: Annotated[list[Skipped], Field(max_length=2000)] = []
    count: Annotated[int, Field(ge=1, le=50)] = 10


class QuestionAnswer(BaseModel):
    """Does this happen at this second? Yes adds a label, no a negative label; see `POST /api/labels`."""

    video: str
    second: float = Field(description="the most likely second within the moment")
    sentence: str
    start: float
    end: float
    chance: float = Field(description="probability of a yes according to the model")


class WorthAnswer(BaseModel):
    """The label curve: how many of the other labels a fit finds that has not seen them."""

    labels: int = Field(description="number of labels when they were checked")
    found: float = Field(description="share of unseen labels that lie inside the first moment of their video now")
    gain: float = Field(description="what the next `more` labels are expected to add to it")
    more: int
    points: list[tuple[int, int, int]] = Field(description="the curve: labels learned from, labels found, of how many")


class QuestionsAnswer(BaseModel):
    """Questions, most useful first. `worth` is null until labels have been checked."""

    questions: list[QuestionAnswer]
    worth: WorthAnswer | None


class DoubtfulAnswer(BaseModel):
    """A label that is likely wrong."""

    label: LabelAnswer
    second: float | None = Field(
        description="where fits that have not seen it would put it; null of a negative label, which they doubt"
    )


class CheckAnswer(BaseModel):
    """Result of the last label check."""

    checked: bool = Field(description="whether labels were ever checked")
    worth: WorthAnswer | None
    doubtful: list[DoubtfulAnswer] = Field(
        description="most doubtful first; labels changed since the check are left out"
    )


@router.post("/questions")
def questions(asked: QuestionsRequest, state: State) -> QuestionsAnswer:
    """The most informative questions. Sentences without any known word are left out."""
    skipped = [(one.video, one.sentence) for one in asked.skipped]
    found = propose(state, asked.sentences, skipped, asked.count)
    return QuestionsAnswer(
        questions=[
            QuestionAnswer(
                video=one.video,
                second=round(one.second, 2),
                sentence=one.sentence,
                start=round(one.start, 3),
                end=round(one.end, 3),
                chance=round(one.chance, 4),
            )
            for one in found
        ],
        worth=_worth(state, last_check(state)),
    )


@router.get("/labels/check")
def checked(state: State) -> CheckAnswer:
    """Labels that are likely wrong according to the last check."""
    found = last_check(state)
    if found is None:
        return CheckAnswer(checked=False, worth=None, doubtful=[])
    present = {label.id: label for label in state.labels.present().labels}
    doubtful = [
        DoubtfulAnswer(label=label_answer(label), second=one["second"])
        for one in found["doubtful"]
        if (label := present.get(one["id"])) is not None and label.revision == one["revision"]
    ]
    return CheckAnswer(checked=True, worth=_worth(state, found), doubtful=doubtful)


@router.post("/labels/check", status_code=202)
def check(state: State) -> JobAnswer:
    """Check all labels in the background, with fits that have not seen them."""
    if state.jobs.busy("check"):
        raise Problem(409, "labels are being checked already; wait for the end of that, or cancel it")
    if not any(not label.annotation.absent for label in state.labels.present().labels):
        raise Problem(409, "there are no labels to check yet")
    return job_answer(state.jobs.start("check", "Checking labels", {}))


def _worth(state: State, found: dict[str, Any] | None) -> WorthAnswer | None:
    if found is None:
        return None
    points = [CurvePoint(*point) for point in found["points"]]
    present = state.labels.present()
    since = max(len(present.labels) - present.negative - int(found.get("own", 0)), 0)
    expected = expected_gain(points, int(found["labels"]) + since, NEXT)
    if expected is None:
        return None
    share, gain = expected
    return WorthAnswer(
        labels=int(found["labels"]), found=round(share, 4), gain=round(gain, 4), more=NEXT, points=found["points"]
    )
