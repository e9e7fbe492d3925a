"""Searching: the moments of a sentence, its curve over a video, and what this server has."""

import asyncio
import functools
import time
from collections.abc import Sequence
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, Field
from pydantic_core import to_json

from cfmr.errors import InputError
from cfmr.index.location import is_address
from cfmr.search.composed import MAX_EXAMPLES, ComposedQuery, parse_stretch, split_minus
from cfmr.search.own_labels import OwnLabel
from cfmr.search.retriever import MAX_TOP, Moment, SearchResult, is_of_label, labelled_moments
from cfmr.server.context import AppState, Seconds, State, VideoName
from cfmr.server.problems import Problem

EXAMPLES = 6
UNREAD = 20  # files that could not be read, of which the status tells
MOST_CHOSEN = 500  # videos that a search may be limited to
SHORT = 100  # moments; a search for more may take long, as one of an index elsewhere may, and is waited for by nobody

router = APIRouter(tags=["search"])

Examples = Annotated[list[str] | None, Query(max_length=MAX_EXAMPLES, description="moments, each as VIDEO@START-END")]


async def composed(  # a coroutine, so that no thread is taken for it
    q: Annotated[str, Query(max_length=2000, description="a sentence; a minus excludes a word")] = "",
    like: Examples = None,
    unlike: Examples = None,
) -> ComposedQuery:
    """What is asked for. Raises InputError for what is no moment."""
    sentence, without = split_minus(q)
    alike = [parse_stretch(one, "like") for one in like or ()]
    others = [parse_stretch(one, "unlike") for one in unlike or ()]
    return ComposedQuery(sentence, without, tuple(alike), tuple(others))


Composed = Annotated[ComposedQuery, Depends(composed)]


class OwnLabelAnswer(BaseModel):
    """A label whose text matches the query."""

    id: str
    sentence: str
    author: str
    glance: float
    exact: bool = Field(description="whether it has exactly the same words, in any order and form")


class FoundMoment(BaseModel):
    """A moment, in seconds of its video."""

    video: str
    start: float
    end: float
    score: float
    duration: float = Field(description="length of the video")
    watchable: bool = Field(description="whether the video file is there")
    label: OwnLabelAnswer | None = Field(
        default=None, description="the label whose text matched, regardless of the model's score"
    )


class UnknownWordAnswer(BaseModel):
    """A word unknown to the model, and the one searched for instead."""

    word: str
    used: str | None


class SearchAnswer(BaseModel):
    """Moments: first those of labels whose text matches, then the best of the model."""

    sentence: str
    without: list[str] = Field([], description="words of the query that stood behind a minus")
    moments: list[FoundMoment]
    more: bool = Field(False, description="whether there are further moments, from offset + top on")
    unknown: list[UnknownWordAnswer]
    convincing: bool | None = Field(description="whether anything scores as true matches do; null without a threshold")
    threshold: float | None = Field(
        description="threshold of the score, chosen on validation data; null if there is none"
    )
    videos: int = Field(description="number of videos searched")
    encode_ms: float = Field(description="time for encoding the sentence")
    search_ms: float = Field(description="time for the search")
    total_ms: float = Field(description="time for the whole request within the server")


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
    """A file that could not be read, and the reason."""

    video: str
    reason: str


class StatusAnswer(BaseModel):
    """State of the server and its videos."""

    ready: bool = Field(description="whether there is a model to search with")
    model: str
    videos: int
    indexed: int
    seconds: float = Field(description="total duration of all indexed videos")
    labels: int
    examples: list[str] = Field(description="example sentences")
    folders: list[str] = Field(description="from which folders may be imported")
    folder: str = Field(description="the folder of the videos")
    reads: bool = Field(description="whether the server reads what is in the folder by itself")
    reachable: bool = Field(description="whether the folder is there")
    unread: list[UnreadAnswer] = Field(description="some of the files that could not be read")
    unread_total: int
    max_upload: int


@router.get("/status")
def status(state: State) -> StatusAnswer:
    """State of the server and its videos."""
    indexed = state.models.videos
    unread = state.settings.place.unread()
    return StatusAnswer(
        ready=state.models.ready,
        model=state.models.current.id,
        videos=len(state.names()),
        indexed=len(indexed),
        seconds=sum(video.duration for video in indexed.values()),
        labels=len(state.labels.present().labels),
        examples=state.ground_truth.examples(indexed, EXAMPLES),
        folders=[str(folder) for folder in state.settings.folders],
        folder=str(state.library.folder),
        reads=state.settings.place.own,
        reachable=state.library.reachable(),
        unread=[UnreadAnswer(video=video, reason=reason) for video, reason in list(unread.items())[:UNREAD]],
        unread_total=len(unread),
        max_upload=state.settings.max_upload,
    )


@router.get("/search", response_model=SearchAnswer)
async def search(
    query: Composed,
    state: State,
    top: Annotated[int, Query(ge=1, le=1000)] = 5,
    offset: Annotated[int, Query(ge=0, lt=MAX_TOP, description="number of best moments to skip")] = 0,
    video: Annotated[list[str] | None, Query(max_length=MOST_CHOSEN, description="search only in these videos")] = None,
    contains: Annotated[str, Query(max_length=500, description="only in videos whose name contains this")] = "",
    min_score: Annotated[
        float | None, Query(allow_inf_nan=False, description="leave out moments with a lower score")
    ] = None,
) -> Response:
    """The moments that a sentence describes.

    The query may include example moments and excluded moments.
    """
    how = functools.partial(_answered, state, query, (offset, offset + top), video, contains, min_score)
    if offset + top <= SHORT and not is_address(state.models.current.index):
        # one after the other: threads that compute at once only take the interpreter's lock from each other
        body = await asyncio.get_running_loop().run_in_executor(state.short, how)
    else:
        body = await anyio.to_thread.run_sync(how, limiter=state.searching)
    return Response(body, media_type="application/json")  # it was made here: no check is needed


@router.get("/curve")
def curve(
    query: Composed, video: VideoName, state: State, start: Seconds | None = None, end: Seconds | None = None
) -> CurveAnswer:
    """Relevance over time of a video or a part of it, with its labels and annotations."""
    facts = state.facts(video)
    part = None if start is None and end is None else (start or 0.0, facts.duration if end is None else end)
    times, scores = state.models.retriever.curve(_plainly(query), video, part=part)
    said = [
        GlanceAnswer(id=label.id, sentence=label.annotation.sentence, glance=glance, author=label.author)
        for label in state.labels.all(video, limit=500)
        if not label.annotation.absent and (glance := label.annotation.glance) is not None
    ]
    return CurveAnswer(
        video=video,
        duration=facts.duration,
        times=[round(float(t), 3) for t in times],
        scores=[round(float(s), 5) for s in scores],
        known=state.ground_truth.spans(video, query.sentence),
        labels=said,
    )


def _plainly(query: ComposedQuery) -> str | ComposedQuery:
    return query.sentence if query.plain else query


def _selection(state: AppState, video: list[str] | None, contains: str) -> list[str] | None:
    """The videos to search in; None for all of them. A name that is given in full means just that video.

    Raises:
        Problem: there is no such video.
    """
    indexed = state.models.videos
    for name in video or ():
        if name not in indexed:
            state.facts(name)
    part = contains.strip()
    if not part:
        return video or None
    found = [part] if part in indexed else [name for name in state.names_with(part) if name in indexed]
    if not found:
        raise Problem(404, f"no searchable video has “{part[:100]}” in its name")
    return found if not video else sorted({*found} & {*video})


def _answered(
    state: AppState,
    query: ComposedQuery,
    page: tuple[int, int],
    video: list[str] | None,
    contains: str,
    min_score: float | None,
) -> bytes:
    """The answer of a moment ago, if nothing has changed since; else a new one. As JSON, see `SearchAnswer`."""
    began = time.perf_counter()
    chosen = _selection(state, video, contains)
    asked = query, page, None if chosen is None else tuple(chosen), min_score
    made_of = state.models.videos, state.labels.present(), state.library.facts()
    known = not is_address(state.models.current.index)  # of an index elsewhere only a search tells that it changed
    answer: bytes | None = state.answered.get(asked, made_of) if known else None
    took = {"encode_ms": 0.0, "search_ms": 0.0}
    if answer is None:
        found, took = _search(state, query, slice(*page), chosen, min_score)
        answer = to_json(found)
        state.answered.keep(asked, made_of, answer)
    took["total_ms"] = (time.perf_counter() - began) * 1e3
    return answer[:-1] + b"," + to_json({name: round(ms, 3) for name, ms in took.items()})[1:]


def _search(
    state: AppState, query: ComposedQuery, page: slice, chosen: list[str] | None, min_score: float | None
) -> tuple[dict[str, Any], dict[str, float]]:
    """A `SearchAnswer` without the times it took, and those: pydantic would check what was made here."""
    top = min(page.stop + 1, MAX_TOP)  # one more says whether there is a next page
    own = _labelled_moments(state, query, chosen, top) if query.sentence else []
    try:
        result = state.models.retriever.search(_plainly(query), top=top, videos=chosen, min_score=min_score)
    except InputError:
        if not own or not query.plain:
            raise
        # the model reads no word of it, but someone said it
        result = SearchResult(query.sentence, (), (), None, None, 0.0, 0.0)
    others = (moment for moment in result if not any(is_of_label(moment, one) for one in own)) if own else result
    listed = [*own, *others]
    shown = listed[page]
    watchable = state.watchable_of(moment.video for moment in shown)
    found = {
        "sentence": result.sentence,
        "without": query.without,
        "moments": [_found(moment, moment.video in watchable) for moment in shown],
        "more": len(listed) > page.stop,
        "unknown": [{"word": word.word, "used": word.used} for word in result.unknown],
        "convincing": result.has_match,
        "threshold": result.threshold,
        "videos": len(state.models.videos) if chosen is None else len(set(chosen)),
    }
    return found, {"encode_ms": result.encode_seconds * 1e3, "search_ms": result.search_seconds * 1e3}


def _labelled_moments(state: AppState, query: ComposedQuery, videos: Sequence[str] | None, top: int) -> list[Moment]:
    """Moments of labels that say what a query says; held-out labels, too.

    Args:
        videos: look only at these; None for all.
    """
    pairs = state.labels.present().said_alike(query.sentence)
    if not pairs:
        return []
    alike = (
        OwnLabel(label.id, said.video, said.duration, said.sentence, said.glance or 0.0, label.author, one.exact)
        for label, one in pairs
        for said in [label.annotation]
    )
    indexed = state.models.videos
    allowed = [indexed[name] for name in (indexed if videos is None else set(videos) & indexed.keys())]
    return labelled_moments(query, alike, allowed, top, state.models.retriever.search)


def _found(moment: Moment, watchable: bool) -> dict[str, Any]:
    """A `FoundMoment`."""
    label = moment.label
    return {
        "video": moment.video,
        "start": round(moment.start, 3),
        "end": round(moment.end, 3),
        "score": round(moment.score, 5),
        "duration": moment.duration,
        "watchable": watchable,
        "label": None if label is None else {name: getattr(label, name) for name in OwnLabelAnswer.model_fields},
    }
