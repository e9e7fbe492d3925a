"""Searching: the moments of a sentence, its curve over a video, and what this server has."""

import contextlib
import functools
import time
from collections.abc import Sequence
from typing import Annotated

import anyio
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from cfmr.errors import InputError
from cfmr.search.own_labels import said_alike
from cfmr.search.retriever import Moment, SearchResult
from cfmr.server.context import AppState, Sentence, State, VideoName
from cfmr.server.problems import Problem
from cfmr.server.stores.labels import Label

EXAMPLES = 6
UNREAD = 20  # files that could not be read, of which the status tells
AROUND = 2.5  # seconds before and after a label that are shown where the model has no moment there
LOOKED_AT = 5  # moments of a label's video of which one may be around it

router = APIRouter(tags=["search"])


class OwnLabel(BaseModel):
    """A label that says what the query says."""

    id: str
    sentence: str
    author: str
    glance: float
    exact: bool = Field(description="it has the same words, in any order and form, and no others")


class FoundMoment(BaseModel):
    """A moment, in seconds of its video."""

    video: str
    start: float
    end: float
    score: float
    duration: float = Field(description="length of the video")
    watchable: bool = Field(description="whether the video file is there")
    label: OwnLabel | None = Field(
        default=None, description="the label by whose text it was found, whatever the model thinks"
    )


class UnknownWordAnswer(BaseModel):
    """A word that is not in the model, and the one that was searched for instead."""

    word: str
    used: str | None


class SearchAnswer(BaseModel):
    """Moments: first those of labels that say the same, then the best of the model."""

    sentence: str
    moments: list[FoundMoment]
    unknown: list[UnknownWordAnswer]
    convincing: bool | None = Field(description="whether anything scores as true matches do; null without a threshold")
    threshold: float | None = Field(description="that score, chosen on validation; null where none could be")
    videos: int = Field(description="how many videos were searched")
    encode_ms: float = Field(description="for turning the sentence into numbers")
    search_ms: float = Field(description="for comparing them with all moments")
    total_ms: float = Field(description="for the whole request inside the server")


class GlanceAnswer(BaseModel):
    """A label of this video."""

    id: str
    sentence: str
    glance: float
    author: str


class CurveAnswer(BaseModel):
    """How well each point in time of a video fits a sentence."""

    video: str
    duration: float
    times: list[float]
    scores: list[float]
    known: list[tuple[float, float]] = Field(description="where it is known to happen")
    labels: list[GlanceAnswer] = Field(description="what people said of this video")


class UnreadAnswer(BaseModel):
    """A file that could not be read, and why."""

    video: str
    reason: str


class StatusAnswer(BaseModel):
    """What this server has."""

    ready: bool = Field(description="whether there is a model to search with")
    model: str
    videos: int
    indexed: int
    seconds: float = Field(description="of all indexed videos")
    labels: int
    examples: list[str] = Field(description="sentences worth a try")
    folders: list[str] = Field(description="from which folders may be imported")
    folder: str = Field(description="the folder of the videos")
    reads: bool = Field(description="whether the server reads what is in the folder by itself")
    reachable: bool = Field(description="whether the folder is there")
    unread: list[UnreadAnswer] = Field(description="some of the files that could not be read")
    unread_total: int
    max_upload: int


@router.get("/status")
def status(state: State) -> StatusAnswer:
    """What this server has."""
    indexed = state.models.videos
    unread = state.settings.place.unread()
    return StatusAnswer(
        ready=state.models.ready,
        model=state.models.current.id,
        videos=len(state.names()),
        indexed=len(indexed),
        seconds=sum(video.duration for video in indexed.values()),
        labels=sum(state.labels.counts().values()),
        examples=state.ground_truth.examples(indexed, EXAMPLES),
        folders=[str(folder) for folder in state.settings.folders],
        folder=str(state.library.folder),
        reads=state.settings.place.own,
        reachable=state.library.reachable(),
        unread=[UnreadAnswer(video=video, reason=reason) for video, reason in list(unread.items())[:UNREAD]],
        unread_total=len(unread),
        max_upload=state.settings.max_upload,
    )


@router.get("/search")
async def search(
    q: Sentence,
    state: State,
    top: Annotated[int, Query(ge=1, le=100)] = 5,
    video: Annotated[list[str] | None, Query(max_length=100, description="search only in these")] = None,
    contains: Annotated[str, Query(max_length=500, description="only in videos whose name has this in it")] = "",
    min_score: Annotated[float | None, Query(allow_inf_nan=False, description="leave out what is below")] = None,
) -> SearchAnswer:
    """The moments that a sentence describes."""
    how = functools.partial(_search, state, q, top, video, contains, min_score)
    return await anyio.to_thread.run_sync(how, limiter=state.searching)


@router.get("/curve")
def curve(q: Sentence, video: VideoName, state: State) -> CurveAnswer:
    """How well each point in time of a video fits a sentence, and what is known of it."""
    facts = state.facts(video)
    times, scores = state.models.retriever.curve(q, video)
    said = [
        GlanceAnswer(id=label.id, sentence=label.annotation.sentence, glance=glance, author=label.author)
        for label in state.labels.all(video, limit=500)
        if (glance := label.annotation.glance) is not None
    ]
    return CurveAnswer(
        video=video,
        duration=facts.duration,
        times=[round(float(t), 3) for t in times],
        scores=[round(float(s), 5) for s in scores],
        known=state.ground_truth.spans(video, q),
        labels=said,
    )


def _selection(state: AppState, video: list[str] | None, contains: str) -> list[str] | None:
    """The videos to search in; None for all of them. A name that is given in full means just that video.

    Raises:
        Problem: there is no such video.
    """
    for name in video or ():
        state.facts(name)
    part = contains.strip()
    if not part:
        return video or None
    indexed = state.models.videos
    found = [part] if part in indexed else [name for name in state.names_with(part) if name in indexed]
    if not found:
        raise Problem(404, f"no searchable video has “{part[:100]}” in its name")
    return found if not video else sorted({*found} & {*video})


def _search(
    state: AppState, q: str, top: int, video: list[str] | None, contains: str, min_score: float | None
) -> SearchAnswer:
    began = time.perf_counter()
    chosen = _selection(state, video, contains)
    own = labelled_moments(state, q, chosen, top)
    try:
        result = state.models.retriever.search(q, top=top, videos=chosen, min_score=min_score)
    except InputError:
        if not own:
            raise
        result = SearchResult(q, (), (), None, None, 0.0, 0.0)  # the model reads no word of it, but someone said it
    others = [moment for moment in result if not any(_is_same(moment, one) for one in own)]
    return SearchAnswer(
        sentence=result.sentence,
        moments=[*own, *(_found(moment, state) for moment in others)][:top],
        unknown=[UnknownWordAnswer(word=word.word, used=word.used) for word in result.unknown],
        convincing=result.has_match,
        threshold=result.threshold,
        videos=len(state.models.videos) if chosen is None else len(set(chosen)),
        encode_ms=round(result.encode_seconds * 1e3, 3),
        search_ms=round(result.search_seconds * 1e3, 3),
        total_ms=round((time.perf_counter() - began) * 1e3, 3),
    )


def labelled_moments(state: AppState, q: str, videos: Sequence[str] | None, top: int) -> list[FoundMoment]:
    """Moments of labels that say what a query says, exact ones first; held-out labels, too.

    A label is one second: the moment is the model's best one around it, or some seconds where it has none.

    Args:
        videos: look only at these; None for all.
        top: at most so many.
    """
    indexed = state.models.videos
    allowed = indexed.keys() if videos is None else indexed.keys() & set(videos)
    labels = [label for label in state.labels.present() if label.annotation.video in allowed]
    alike = said_alike(q, [label.annotation.sentence for label in labels])
    found: list[FoundMoment] = []
    for one in alike:
        label = labels[one.number]
        if len(found) < top and not any(_holds(moment, label) for moment in found):
            found.append(_labelled(state, label, one.exact))
    return found


def _labelled(state: AppState, label: Label, exact: bool) -> FoundMoment:
    said = label.annotation
    glance = said.glance or 0.0
    moment = Moment(said.video, max(glance - AROUND, 0.0), min(glance + AROUND, said.duration), 0.0, said.duration)
    with contextlib.suppress(InputError):  # the model reads no word of it
        best = state.models.retriever.search(said.sentence, top=LOOKED_AT, videos=[said.video])
        moment = next((one for one in best if one.start <= glance <= one.end), moment)
    own = OwnLabel(id=label.id, sentence=said.sentence, author=label.author, glance=glance, exact=exact)
    return _found(moment, state).model_copy(update={"label": own})


def _holds(moment: FoundMoment, label: Label) -> bool:
    said = label.annotation
    return moment.video == said.video and moment.start <= (said.glance or 0.0) <= moment.end


def _is_same(moment: Moment, own: FoundMoment) -> bool:
    """Whether a moment of the model is that of a label."""
    assert own.label is not None
    return moment.video == own.video and moment.start <= own.label.glance <= moment.end


def _found(moment: Moment, state: AppState) -> FoundMoment:
    return FoundMoment(
        video=moment.video,
        start=round(moment.start, 3),
        end=round(moment.end, 3),
        score=round(moment.score, 5),
        duration=moment.duration,
        watchable=state.watchable(moment.video),
    )
