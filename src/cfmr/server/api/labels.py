"""Labels: one second of a video and a sentence."""

from datetime import datetime
from typing import Annotated, Literal

import anyio
from fastapi import APIRouter, Query, Request, Response
from pydantic import AfterValidator, BaseModel, Field

from cfmr.data.annotations import Annotation
from cfmr.data.vocabulary import tokenize
from cfmr.errors import InputError
from cfmr.handover.labels.rows import Given
from cfmr.handover.labels.write import LABEL_FORMATS, LABELS_BY_NAME, write_labels
from cfmr.handover.timecode import parse_fps
from cfmr.server.api.handover import files_described, files_response
from cfmr.server.context import AppState, State
from cfmr.server.label_videos import LabelVideos
from cfmr.server.problems import Problem
from cfmr.server.stores.label_import import Import
from cfmr.server.stores.labels import LONGEST_AUTHOR, LONGEST_SENTENCE, Label

ANONYMOUS = "someone"
LISTED_ROWS = 100  # refused ones that are named

router = APIRouter(tags=["labels"])


def _printable(text: str) -> str:
    text = " ".join(text.split())
    if not text.isprintable():
        raise ValueError("has characters that cannot be written")
    return text


def _said(sentence: str) -> str:
    if not tokenize(sentence):
        raise ValueError("has no words; describe what happens, for example: a person opens a door")
    return sentence


Said = Annotated[str, Field(max_length=LONGEST_SENTENCE), AfterValidator(_printable), AfterValidator(_said)]
Author = Annotated[str, Field(max_length=LONGEST_AUTHOR), AfterValidator(_printable)]
Glance = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
LabelId = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
Revision = Annotated[int, Field(ge=1, le=1_000_000)]


class NewLabel(BaseModel):
    """A sentence and one second of a video at which it happens, or does not happen; start and end are not needed."""

    video: Annotated[str, Field(min_length=1, max_length=500)]
    glance: Glance = Field(description="any second inside the moment")
    sentence: Said
    author: Author = ""
    absent: bool = Field(False, description="a negative label: it does not happen at that second")
    id: LabelId | None = Field(
        None, description="chosen by the client, so that a repeated request adds no second label"
    )


class ChangedLabel(BaseModel):
    """The fields to change. `revision` is the revision on which the change is based."""

    revision: Revision
    sentence: Said | None = None
    glance: Glance | None = None
    author: Author = ""


class UndoRequest(BaseModel):
    """The revision to undo."""

    revision: Revision
    current: Revision | None = Field(
        None, description="the revision that the label has now, where it is not the one to undo: of several, one by one"
    )
    author: Author = ""


class LabelAnswer(BaseModel):
    """A label."""

    id: str
    revision: int
    video: str
    glance: float | None
    sentence: str
    author: str
    at: datetime
    deleted: bool
    held_out: bool = Field(description="never trained on, but used to check what was learned")
    absent: bool = Field(description="a negative label: it does not happen at that second")


class LabelsAnswer(BaseModel):
    """One page of labels, newest first, and their total number."""

    total: int
    learn: int = Field(description="number of labels to learn from")
    held_out: int = Field(description="number of held-out labels")
    negative: int = Field(description="number of negative labels, which are also learned from")
    labels: list[LabelAnswer]


class RefusedRow(BaseModel):
    """A row that was not imported, and the reason."""

    row: int = Field(description="row number, counted from 1")
    reason: str


class ImportAnswer(BaseModel):
    """Result of an import."""

    added: int
    already: int = Field(description="number of rows that existed already as labels")
    refused: int = Field(0, description="number of invalid rows")
    reasons: list[RefusedRow] = Field([], description="of the first refused rows")


@router.get("/labels")
def labels(
    state: State,
    video: Annotated[str | None, Query(max_length=500, description="only of this video")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    offset: Annotated[int, Query(ge=0, le=1_000_000_000)] = 0,
) -> LabelsAnswer:
    """Labels, newest first."""
    present = state.labels.present()
    found = present.labels if video is None else present.by_video.get(video, [])
    held_out = present.held_out if video is None else sum(label.held_out for label in found)
    negative = present.negative if video is None else sum(label.annotation.absent for label in found)
    return LabelsAnswer(
        total=len(found),
        learn=len(found) - held_out - negative,
        held_out=held_out,
        negative=negative,
        labels=[label_answer(label) for label in found[offset : offset + limit]],
    )


@router.post("/labels", status_code=201)
def add(label: NewLabel, state: State) -> LabelAnswer:
    """Add a label."""
    facts = state.facts(label.video)
    annotation = Annotation(label.video, facts.duration, label.sentence, label.glance, None, absent=label.absent)
    _check_time(annotation)
    return label_answer(state.labels.add(annotation, label.author or ANONYMOUS, label.id))


@router.patch("/labels/{label}")
def change(label: LabelId, to: ChangedLabel, state: State) -> LabelAnswer:
    """Change the sentence, the time or both."""
    if to.glance is not None:
        now = state.labels.get(label).annotation
        _check_time(Annotation(now.video, now.duration, now.sentence, to.glance, now.span))
    author = to.author or ANONYMOUS
    return label_answer(state.labels.change(label, to.revision, author, sentence=to.sentence, glance=to.glance))


@router.delete("/labels/{label}")
def delete(
    label: LabelId,
    state: State,
    revision: Annotated[int, Query(ge=1, le=1_000_000)],
    author: Annotated[str, Query(max_length=LONGEST_AUTHOR)] = "",
) -> LabelAnswer:
    """Delete a label; undo restores it."""
    return label_answer(state.labels.delete(label, revision, _printable_author(author)))


@router.post("/labels/{label}/undo")
def undo(label: LabelId, back: UndoRequest, state: State) -> LabelAnswer:
    """Undo a revision: a deleted label is restored, a new one is removed."""
    return label_answer(state.labels.undo(label, back.revision, back.author or ANONYMOUS, current=back.current))


_BODY = {
    "content": {
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        "application/json": {"schema": {"type": "array", "items": {}, "description": "an annotation file"}},
    },
    "required": True,
}


@router.get(
    "/labels/export", response_class=Response, responses=files_described(form.media_type for form in LABEL_FORMATS)
)
def export(
    state: State,
    video: Annotated[str | None, Query(max_length=500)] = None,
    form: Annotated[
        Literal["json", "csv", "srt", "vtt", "elan", "label-studio", "via", "markers"],
        Query(alias="format", description="json: rows [video, duration, [start, end] or null, sentence, glance]"),
    ] = "json",
) -> Response:
    """All labels, or those of a video, as a file for training or for another tool."""
    chosen = LABELS_BY_NAME[form]
    labels = [label.annotation for label in reversed(state.labels.all(video))]
    annotations = [a for a in labels if chosen.negatives or not a.absent]
    if not annotations and form != "json":
        raise Problem(404, "there are no labels to export")
    try:
        files = write_labels(annotations, chosen, LabelVideos(state))
    except ValueError as error:
        raise Problem(422, f"{chosen.title} counts frames, and {error}") from None
    return files_response(files, "labels", chosen.suffix, chosen.media_type)


@router.post("/labels/import", openapi_extra={"requestBody": _BODY})
async def take_in(
    request: Request,
    state: State,
    name: Annotated[
        str, Query(min_length=1, max_length=500, description="of the file; subtitles are of the video of that name")
    ] = "the file",
    video: Annotated[str | None, Query(max_length=500, description="that all of it is about")] = None,
    fps: Annotated[
        str | None, Query(max_length=20, description="in which frames are counted, if not the video's")
    ] = None,
    author: Annotated[str, Query(max_length=LONGEST_AUTHOR)] = "",
) -> ImportAnswer:
    """Import labels from a file of any known format. Existing labels and invalid rows are skipped."""
    content = await request.body()
    return await anyio.to_thread.run_sync(_take_in, state, content, name, video or None, fps, author)


def _take_in(
    state: AppState, content: bytes, name: str, video: str | None, fps: str | None, author: str
) -> ImportAnswer:
    try:
        rate = None if not fps else parse_fps(fps)
    except ValueError as error:
        raise Problem(422, f"fps: {error}") from None
    given = Given(LabelVideos(state), name, video, rate)
    wanted = Import(content, given, _printable_author(author), check_row)
    found = state.imports.run(state.labels, wanted, state.names())
    reasons = [RefusedRow(row=one.row, reason=one.reason) for one in found.refused[:LISTED_ROWS]]
    return ImportAnswer(added=found.added, already=found.already, refused=len(found.refused), reasons=reasons)


def _printable_author(author: str) -> str:
    try:
        return _printable(author) or ANONYMOUS
    except ValueError as error:
        raise InputError(f"author {error}") from None


def _check_time(annotation: Annotation) -> None:
    if annotation.glance is not None and annotation.glance > annotation.duration + 0.1:
        raise Problem(422, f"{annotation.glance:g} s is after the end of the video, which is {annotation.duration:g} s")


def check_row(annotation: Annotation) -> None:
    """Raises ValueError saying what is wrong with an imported label."""
    _said(_printable(annotation.sentence))
    if len(annotation.sentence) > LONGEST_SENTENCE:
        raise ValueError(f"has a sentence of {len(annotation.sentence)} characters; the limit is {LONGEST_SENTENCE}")


def label_answer(label: Label) -> LabelAnswer:
    """A label as the API returns it."""
    a = label.annotation
    return LabelAnswer(
        id=label.id,
        revision=label.revision,
        video=a.video,
        glance=a.glance,
        sentence=a.sentence,
        author=label.author,
        at=label.at,
        deleted=label.deleted,
        held_out=label.held_out,
        absent=a.absent,
    )
