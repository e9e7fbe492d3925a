"""Videos: which there are, what is needed to watch them, and taking new ones in."""

import os
import shutil
from pathlib import Path
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from cfmr.console.format import clock
from cfmr.errors import InputError
from cfmr.files.atomic import make_directory
from cfmr.index.folder import remove_videos
from cfmr.server.api.jobs import JobAnswer, job_answer
from cfmr.server.context import AppState, Seconds, State, VideoName
from cfmr.server.problems import Problem
from cfmr.server.stores.media import stream_response
from cfmr.server.stores.sheets import INTERVALS
from cfmr.server.stores.videos import ARRIVING, arriving, check_video, clean_name, videos_below
from cfmr.server.work.watch import TITLE

MOST_FILES = 10_000  # of one folder
MOST_SHEETS = 200_000  # of one video: more than a week at the shortest interval
SPARE = 64 << 20  # bytes that uploads leave free
LOOK = 4 << 20  # bytes that come between two looks at the disk
DAY = {"cache-control": "private, max-age=86400"}

router = APIRouter(tags=["videos"])


class AddedAnswer(BaseModel):
    """A video that is in the folder now; it can be searched when the job is done."""

    video: str
    already: bool = Field(False, description="whether a video with the same content was there before")
    job: JobAnswer


class FolderRequest(BaseModel):
    """A folder on the server's machine."""

    folder: Annotated[str, Field(min_length=1, max_length=4000)]


class FolderAnswer(BaseModel):
    """What was imported, and what was refused and why."""

    added: list[str]
    already: list[str] = Field([], description="videos with the same content that were there before")
    refused: dict[str, str]
    job: JobAnswer | None


class VideoAnswer(BaseModel):
    """A video."""

    video: str
    duration: float | None = Field(description="seconds; null where it has not been read yet")
    indexed: bool
    watchable: bool
    labels: int


class NamedVideo(BaseModel):
    """A video by its name."""

    video: Annotated[str, Field(min_length=1, max_length=500)]


class TimingAnswer(BaseModel):
    """How the frames of a video lie in time."""

    fps: float = Field(description="frames a second; the average, where the rate is variable")
    variable: bool = Field(description="whether frames are shown for unequal times")


class VideosAnswer(BaseModel):
    """Some of the videos, and how many there are."""

    total: int
    videos: list[VideoAnswer]


def _media(kind: str, *, partial: bool = False) -> dict[int | str, dict[str, Any]]:
    content = {"content": {kind: {"schema": {"type": "string", "format": "binary"}}}}
    found: dict[int | str, dict[str, Any]] = {200: {"description": "the file", **content}}
    return found | ({206: {"description": "the range asked for", **content}} if partial else {})


_INTERVALS: dict[str, Any] = {"enum": list(INTERVALS)}
_BODY = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}, "required": True}


@router.get("/videos")
def videos(
    state: State,
    contains: Annotated[str, Query(max_length=500, description="in the name, any case")] = "",
    video: Annotated[str | None, Query(max_length=500, description="only the one of this name")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=1_000_000_000)] = 0,
) -> VideosAnswer:
    """The videos that are indexed or in the folder, by name."""
    names = [name for name in state.names_with(contains) if video in (None, name)]
    counts = state.labels.counts()
    return VideosAnswer(
        total=len(names),
        videos=[_video(name, state, counts.get(name, 0)) for name in names[offset : offset + limit]],
    )


@router.get("/videos/next")
def next_video(
    state: State, after: Annotated[str, Query(max_length=500, description="not this one")] = ""
) -> VideoAnswer:
    """A video to label: the one with the fewest labels that follows `after`, going round."""
    counts = state.labels.counts()
    names = [name for name in state.names() if state.watchable(name)]
    if not names:
        raise Problem(404, "there are no videos yet")
    later = [n for n in names if n > after] + [n for n in names if n <= after]
    chosen = min((n for n in later if n != after or len(names) == 1), key=lambda n: counts.get(n, 0))
    return _video(chosen, state, counts.get(chosen, 0))


@router.get("/stream", response_class=Response, responses=_media("video/mp4", partial=True))
@router.head("/stream", include_in_schema=False)
def stream(video: VideoName, request: Request, state: State) -> Response:
    """The file of a video; ranges are understood."""
    return stream_response(request, state.file(video))


@router.get("/timing")
def timing(video: VideoName, state: State) -> TimingAnswer:
    """How the frames of a video lie in time, so that a player can go from one to the next."""
    found = state.media.timing(state.file(video))
    return TimingAnswer(fps=round(float(found.fps), 6), variable=found.variable)


@router.get("/thumbnail", response_class=FileResponse, responses=_media("image/jpeg"))
async def thumbnail(
    video: VideoName, state: State, t: Seconds = 0.0, width: Annotated[int, Query(ge=1, le=640)] = 320
) -> Response:
    """What is on the screen at a time."""
    place = await state.media.still(await anyio.to_thread.run_sync(state.file, video), t, width)
    return FileResponse(place, media_type="image/jpeg", headers=DAY)


@router.get(
    "/sheet",
    response_class=Response,
    responses=_media("image/jpeg") | {202: {"description": "it is being made: ask again in half a second"}},
)
async def sheet(
    video: VideoName,
    state: State,
    interval: Annotated[float, Query(description="seconds from one to the next", json_schema_extra=_INTERVALS)],
    number: Annotated[int, Query(ge=0, le=MOST_SHEETS, description="0 for the sheet that begins at 0 s")] = 0,
) -> Response:
    """25 small pictures in five rows, 160 x 90 pixels each: what is on the screen in the middle of 25 intervals."""
    source = await anyio.to_thread.run_sync(state.file, video)
    place = await anyio.to_thread.run_sync(state.media.sheets.get, source, interval, number)
    if place is None:
        return Response(status_code=202, headers={"cache-control": "no-store", "retry-after": "1"})
    return FileResponse(place, media_type="image/jpeg", headers=DAY)


@router.get("/clip", response_class=FileResponse, responses=_media("video/mp4"))
async def clip(video: VideoName, start: Seconds, end: Seconds, state: State) -> Response:
    """A stretch of a video as a file of its own, cut on exact times; MP4 whatever the source was."""
    place = await state.media.cut(await anyio.to_thread.run_sync(state.file, video), start, end)
    name = f"{Path(video).name} {clock(start)}-{clock(end)}.mp4".replace(":", ".")
    return FileResponse(place, media_type="video/mp4", filename=name)


@router.post("/videos", status_code=201, openapi_extra={"requestBody": _BODY})
async def upload(
    request: Request,
    state: State,
    name: Annotated[str, Query(min_length=1, max_length=500, description="file name, like holiday.mp4")],
) -> AddedAnswer:
    """Upload a video as the body. Anything else is refused."""
    clean_name(name)
    arrived = await _receive(request, make_directory(state.settings.workspace / ARRIVING), state)
    try:
        async with state.checking:
            video, already = await anyio.to_thread.run_sync(_keep, state, arrived, name)
    finally:
        arrived.unlink(missing_ok=True)
    return AddedAnswer(video=video, already=already, job=start_adding(state))


@router.post("/videos/folder", status_code=202)
def folder(what: FolderRequest, state: State) -> FolderAnswer:
    """Import every video of a folder on the server, by hard link on the same disk, else by copy."""
    added: list[str] = []
    already: list[str] = []
    refused: dict[str, str] = {}
    for path in videos_below(what.folder, state.settings.folders)[:MOST_FILES]:
        if path.resolve().is_relative_to(state.library.folder):
            continue
        try:
            video, there = _link(state, path)
            (already if there else added).append(video)
        except (Problem, InputError) as error:
            refused[path.name] = error.detail if isinstance(error, Problem) else str(error)
    return FolderAnswer(added=added, already=already, refused=refused, job=start_adding(state) if added else None)


@router.post("/videos/index", status_code=202)
def index(state: State) -> JobAnswer:
    """Make searchable what is in the folder and is not yet."""
    return start_adding(state)


@router.get("/videos/removed")
def removed(state: State) -> list[str]:
    """Videos that were removed from search, by name."""
    return sorted(state.removed())


@router.post("/videos/remove", status_code=204)
def remove(what: NamedVideo, state: State) -> None:
    """Remove a video from search: from the index of every model. Its file and its labels stay."""
    remove_videos(state.settings.place, [what.video])
    state.models.reload()


@router.post("/videos/restore", status_code=202)
def restore(what: NamedVideo, state: State) -> JobAnswer:
    """Make a removed video searchable again."""
    state.settings.place.restore([what.video])
    return start_adding(state)


def start_adding(state: AppState) -> JobAnswer:
    """Put the job in the queue, unless one waits there already."""
    return job_answer(state.jobs.start("add", TITLE if state.settings.place.own else "Indexing new videos"))


async def _receive(request: Request, folder: Path, state: AppState) -> Path:
    """Write a body to a file. Raises Problem if the disk has no room, or the client goes away."""
    path = arriving(folder)
    try:
        async with await anyio.open_file(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            left = 0  # bytes that may come before looking at the disk again, which other uploads fill too
            async for piece in request.stream():
                left -= len(piece)
                if left < 0:
                    await file.flush()
                    if shutil.disk_usage(folder).free < SPARE + LOOK + len(piece):
                        raise Problem(507, "the disk is full")
                    left = LOOK
                await file.write(piece)
    except ClientDisconnect:
        path.unlink(missing_ok=True)
        raise Problem(400, "the upload broke off") from None
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _keep(state: AppState, arrived: Path, name: str) -> tuple[str, bool]:
    """Check a file that came in and move it to the folder; returns the video's name, and whether it was there."""
    check_video(arrived, name[:200])
    try:
        if (twin := state.library.twin(arrived)) is not None:
            return twin, True
        os.chmod(arrived, 0o644)
        return state.library.name_of(state.library.keep(arrived, name)), False
    except OSError as error:
        raise Problem(507, f"{name[:200]}: cannot be kept ({error.strerror or error})") from error


def _link(state: AppState, path: Path) -> tuple[str, bool]:
    try:
        if (twin := state.library.twin(path)) is not None:
            return twin, True
        check_video(path, path.name)
        return state.library.name_of(state.library.keep(path.resolve(), path.name)), False
    except OSError as error:
        raise InputError(f"{path.name}: cannot be copied ({error.strerror or error})") from error


def _video(name: str, state: AppState, labels: int) -> VideoAnswer:
    indexed = state.models.videos.get(name)
    return VideoAnswer(
        video=name,
        duration=indexed.duration if indexed else None,
        indexed=indexed is not None,
        watchable=state.watchable(name),
        labels=labels,
    )
