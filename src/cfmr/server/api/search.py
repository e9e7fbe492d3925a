"""Searching, and what is needed to watch what was found."""

import time
from pathlib import Path
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel, Field

from cfmr.console.format import clock
from cfmr.search.retriever import Moment
from cfmr.server.context import Seconds, Sentence, Site, VideoName
from cfmr.server.problems import Problem
from cfmr.server.stores.media import stream_response

EXAMPLES = 6
AT_ONCE = 2  # searches
DAY = {"cache-control": "private, max-age=86400"}


class FoundMoment(BaseModel):
    """A moment, in seconds of its video."""

    video: str
    start: float
    end: float
    score: float
    duration: float = Field(description="length of the video")
    watchable: bool = Field(description="whether the video file is there")


class UnknownWordAnswer(BaseModel):
    """A word that the model does not know, and the one that was taken for it."""

    word: str
    used: str | None


class SearchAnswer(BaseModel):
    """Moments, best first."""

    sentence: str
    moments: list[FoundMoment]
    unknown: list[UnknownWordAnswer]
    convincing: bool = Field(description="false where nothing scores as true matches do")
    threshold: float | None = Field(description="the score that was meant by that")
    videos: int = Field(description="how many videos were searched")
    encode_ms: float = Field(description="for turning the sentence into numbers")
    search_ms: float = Field(description="for comparing them with all moments")
    total_ms: float = Field(description="for the whole request inside the server")


class GlanceAnswer(BaseModel):
    """Someone said that this happens here."""

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


class StatusAnswer(BaseModel):
    """What this server has."""

    ready: bool = Field(description="whether there is a model to search with")
    model: str
    videos: int
    indexed: int
    seconds: float = Field(description="of all indexed videos")
    labels: int
    examples: list[str] = Field(description="sentences worth a try")
    folders: list[str] = Field(description="from where videos may be taken in")
    max_upload: int


class VideoAnswer(BaseModel):
    """A video."""

    video: str
    duration: float | None = Field(description="seconds; null where it has not been read yet")
    indexed: bool
    watchable: bool
    labels: int


class VideosAnswer(BaseModel):
    """Some of the videos, and how many there are."""

    total: int
    videos: list[VideoAnswer]


def _media(kind: str, *, partial: bool = False) -> dict[int | str, dict[str, Any]]:
    content = {"content": {kind: {"schema": {"type": "string", "format": "binary"}}}}
    found: dict[int | str, dict[str, Any]] = {200: {"description": "the file", **content}}
    return found | ({206: {"description": "the range asked for", **content}} if partial else {})


def routes(site: Site) -> APIRouter:
    """Paths below /api."""
    api = APIRouter(tags=["search"])
    searches = anyio.CapacityLimiter(AT_ONCE)

    @api.get("/status")
    def status() -> StatusAnswer:
        """What this server has."""
        indexed = site.served.videos
        return StatusAnswer(
            ready=site.served.ready,
            model=site.served.present.id,
            videos=len(site.names()),
            indexed=len(indexed),
            seconds=sum(video.duration for video in indexed.values()),
            labels=sum(site.labels.counts().values()),
            examples=site.known.examples(indexed, EXAMPLES),
            folders=[str(folder) for folder in site.settings.folders],
            max_upload=site.settings.max_upload,
        )

    @api.get("/search")
    async def search(
        q: Sentence,
        top: Annotated[int, Query(ge=1, le=100)] = 5,
        video: Annotated[list[str] | None, Query(max_length=100, description="search only in these")] = None,
        min_score: Annotated[float | None, Query(allow_inf_nan=False, description="leave out what is below")] = None,
    ) -> SearchAnswer:
        """The moments that a sentence describes."""
        # a search is about a millisecond of arithmetic: more at once than there are cores only hold each other up
        return await anyio.to_thread.run_sync(_search, site, q, top, video, min_score, limiter=searches)

    @api.get("/curve")
    def curve(q: Sentence, video: VideoName) -> CurveAnswer:
        """How well each point in time of a video fits a sentence, and what is known of it."""
        facts = site.facts(video)
        times, scores = site.served.retriever.curve(q, video)
        said = [
            GlanceAnswer(id=label.id, sentence=label.annotation.sentence, glance=glance, author=label.author)
            for label in site.labels.all(video, limit=500)
            if (glance := label.annotation.glance) is not None
        ]
        return CurveAnswer(
            video=video,
            duration=facts.duration,
            times=[round(float(t), 3) for t in times],
            scores=[round(float(s), 5) for s in scores],
            known=site.known.spans(video, q),
            labels=said,
        )

    @api.get("/videos")
    def videos(
        contains: Annotated[str, Query(max_length=500, description="in the name, any case")] = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0, le=1_000_000_000)] = 0,
    ) -> VideosAnswer:
        """The videos that are indexed or in the folder, by name."""
        names = [name for name in site.names() if contains.casefold() in name.casefold()]
        counts = site.labels.counts()
        return VideosAnswer(
            total=len(names),
            videos=[_video(name, site, counts.get(name, 0)) for name in names[offset : offset + limit]],
        )

    @api.get("/videos/next")
    def next_video(after: Annotated[str, Query(max_length=500, description="not this one")] = "") -> VideoAnswer:
        """A video to label: the one with the fewest labels that follows `after`, going round."""
        counts = site.labels.counts()
        names = [name for name in site.names() if site.watchable(name)]
        if not names:
            raise Problem(404, "there are no videos yet")
        later = [n for n in names if n > after] + [n for n in names if n <= after]
        chosen = min((n for n in later if n != after or len(names) == 1), key=lambda n: counts.get(n, 0))
        return _video(chosen, site, counts.get(chosen, 0))

    @api.get("/stream", response_class=Response, responses=_media("video/mp4", partial=True))
    @api.head("/stream", include_in_schema=False)
    def stream(video: VideoName, request: Request) -> Response:
        """The file of a video; ranges are understood."""
        return stream_response(request, site.file(video))

    @api.get("/thumbnail", response_class=FileResponse, responses=_media("image/jpeg"))
    async def thumbnail(
        video: VideoName, t: Seconds = 0.0, width: Annotated[int, Query(ge=1, le=640)] = 320
    ) -> Response:
        """What is on the screen at a time."""
        place = await site.media.still(await anyio.to_thread.run_sync(site.file, video), t, width)
        return FileResponse(place, media_type="image/jpeg", headers=DAY)

    @api.get("/clip", response_class=FileResponse, responses=_media("video/mp4"))
    async def clip(video: VideoName, start: Seconds, end: Seconds) -> Response:
        """A stretch of a video as a file of its own, cut on exact times; MP4 whatever the source was."""
        place = await site.media.cut(await anyio.to_thread.run_sync(site.file, video), start, end)
        name = f"{Path(video).name} {clock(start)}-{clock(end)}.mp4".replace(":", ".")
        return FileResponse(place, media_type="video/mp4", filename=name)

    return api


def _search(site: Site, q: str, top: int, video: list[str] | None, min_score: float | None) -> SearchAnswer:
    began = time.perf_counter()
    retriever = site.served.retriever
    for name in video or ():
        site.facts(name)
    result = retriever.search(q, top=top, videos=video or None, min_score=min_score)
    return SearchAnswer(
        sentence=result.sentence,
        moments=[_found(moment, site) for moment in result],
        unknown=[UnknownWordAnswer(word=word.word, used=word.used) for word in result.unknown],
        convincing=result.has_match,
        threshold=result.threshold,
        videos=len(set(video)) if video else len(site.served.videos),
        encode_ms=round(result.encode_seconds * 1e3, 3),
        search_ms=round(result.search_seconds * 1e3, 3),
        total_ms=round((time.perf_counter() - began) * 1e3, 3),
    )


def _found(moment: Moment, site: Site) -> FoundMoment:
    return FoundMoment(
        video=moment.video,
        start=round(moment.start, 3),
        end=round(moment.end, 3),
        score=round(moment.score, 5),
        duration=moment.duration,
        watchable=site.watchable(moment.video),
    )


def _video(name: str, site: Site, labels: int) -> VideoAnswer:
    indexed = site.served.videos.get(name)
    return VideoAnswer(
        video=name,
        duration=indexed.duration if indexed else None,
        indexed=indexed is not None,
        watchable=site.watchable(name),
        labels=labels,
    )
