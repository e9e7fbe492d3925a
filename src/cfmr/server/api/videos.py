"""Videos: which there are, what is needed to watch them, and taking new ones in."""

import os
import shutil
from collections import Counter
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from cfmr.console.format import clock
from cfmr.files.atomic import make_directory
from cfmr.index.folder import drop_videos
from cfmr.server.api.jobs import JobAnswer, job_answer
from cfmr.server.context import AppState, Seconds, State, VideoName
from cfmr.server.problems import Problem
from cfmr.server.stores.catalog import STATES, Entry, Sort, in_order
from cfmr.server.stores.catalog import State as VideoState
from cfmr.server.stores.media import stream_response
from cfmr.server.stores.sheets import INTERVALS
from cfmr.server.stores.videos import ARRIVING, arriving, check_video, clean_name, videos_below
from cfmr.server.work.curate import candidates
from cfmr.server.work.watch import TITLE
from cfmr.video.files import shown

PREVIEWED = 200  # files that a preview names
MOST_SHEETS = 200_000  # of one video: more than a week at the shortest interval
SPARE = 64 << 20  # bytes that uploads leave free
LOOK = 4 << 20  # bytes that come between two looks at the disk
DAY = {"cache-control": "private, max-age=86400"}

router = APIRouter(tags=["videos"])


class AddedAnswer(BaseModel):
    """A video that has been added; it can be searched when the job is finished."""

    video: str
    already: bool = Field(False, description="whether a video with the same content was there before")
    job: JobAnswer


class FolderRequest(BaseModel):
    """A folder on the server's machine."""

    folder: Annotated[str, Field(min_length=1, max_length=4000)]


class PreviewedFile(BaseModel):
    """A file that would be imported."""

    file: str = Field(description="its path within the folder")
    size: int
    already: str | None = Field(description="the video or file with the same content; it is not imported again")


class PreviewAnswer(BaseModel):
    """Preview of an import; whether a file is a video is checked during the import."""

    folder: str
    new: int
    already: int
    size: int = Field(description="total size of the new files in bytes")
    files: list[PreviewedFile] = Field(description="the first of them")


class VideoAnswer(BaseModel):
    """A video."""

    video: str
    folder: str = Field(description='within the folder of all videos; "" for that itself')
    state: VideoState = Field(
        description="queued or reading until it is searchable; damaged: it could not be read; copy: it has the content "
        "of another; gone: it has no file any more; removed: it was taken out of search"
    )
    reason: str = Field(description="why it could not be read, or the video that it is a copy of")
    duration: float | None = Field(description="seconds; null if it has not been read yet")
    date: datetime | None = Field(description="when its file was last written; null where there is none")
    size: int = Field(description="size of the file in bytes")
    indexed: bool
    watchable: bool
    labels: int


Name = Annotated[str, Field(min_length=1, max_length=500)]


class SomeVideos(BaseModel):
    """Videos by their names."""

    videos: Annotated[list[Name], Field(min_length=1, max_length=1000)]


class NewName(BaseModel):
    """New name of a video: its file name without folder and suffix."""

    video: Name
    name: Annotated[str, Field(min_length=1, max_length=200)]


class FolderCount(BaseModel):
    """A folder, and the number of videos in and below it."""

    folder: str
    videos: int


class TimingAnswer(BaseModel):
    """Times of the frames of a video."""

    fps: float = Field(description="frames a second; the average, where the rate is variable")
    variable: bool = Field(description="whether frames are shown for unequal times")


class VideosAnswer(BaseModel):
    """One page of videos, and their total number."""

    total: int = Field(description="number of matching videos")
    seconds: float = Field(description="of all of them together, as far as they are read")
    states: dict[VideoState, int] = Field(description="number of matching videos in each state")
    present: bool = Field(description="false while a newer list is being computed: repeat the request in a moment")
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
    contains: Annotated[str, Query(max_length=500, description="part of the name, in any case")] = "",
    video: Annotated[str | None, Query(max_length=500, description="only the video of this name")] = None,
    folder: Annotated[str, Query(max_length=1000, description="only in this folder and its subfolders")] = "",
    in_state: Annotated[
        list[VideoState] | None, Query(alias="state", max_length=len(STATES), description="default: all except removed")
    ] = None,
    since: Annotated[date | None, Query(description="file written on this day (of UTC) or later")] = None,
    until: Annotated[date | None, Query(description="file written on this day or before")] = None,
    sort: Sort = "name",
    descending: bool = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=1_000_000_000)] = 0,
) -> VideosAnswer:
    """The videos that are indexed or in the folder."""
    listing = state.listing()
    found = listing.find(contains, folder, _midnight(since), _midnight(until, 1))
    if video is not None:
        found = [entry for entry in found if entry.video == video]
    wanted = set(in_state or STATES) - (set() if in_state else {"removed"})
    chosen = [entry for entry in found if entry.state in wanted]
    counts = state.labels.counts()
    ordered = in_order(chosen, sort, counts, descending=descending)
    return VideosAnswer(
        total=len(chosen),
        seconds=round(sum(entry.duration or 0.0 for entry in chosen), 3),
        states=Counter(entry.state for entry in found),
        present=listing.present,
        videos=[_video(entry, counts.get(entry.video, 0)) for entry in ordered[offset : offset + limit]],
    )


def _midnight(day: date | None, later: int = 0) -> float | None:
    """When a day begins, or one some days later, in seconds since 1970."""
    if day is None:
        return None
    return datetime.combine(day, time(), UTC).timestamp() + later * 86400


@router.get("/videos/folders")
def folders(state: State) -> list[FolderCount]:
    """Folders of the videos."""
    return [FolderCount(folder=folder, videos=count) for folder, count in state.listing().folders.items()]


@router.get("/videos/next")
def next_video(
    state: State, after: Annotated[str, Query(max_length=500, description="video to exclude")] = ""
) -> VideoAnswer:
    """The next video to label: the one with the fewest labels that follows `after`, cyclically."""
    counts = state.labels.counts()
    there = [entry for entry in state.listing().entries if entry.watchable and entry.state != "removed"]
    if not there:
        raise Problem(404, "there are no videos yet")
    later = [e for e in there if e.video > after] + [e for e in there if e.video <= after]
    chosen = min((e for e in later if e.video != after or len(there) == 1), key=lambda e: counts.get(e.video, 0))
    return _video(chosen, counts.get(chosen.video, 0))


@router.get("/stream", response_class=Response, responses=_media("video/mp4", partial=True))
@router.head("/stream", include_in_schema=False)
def stream(video: VideoName, request: Request, state: State) -> Response:
    """The file of a video; range requests are supported."""
    return stream_response(request, state.file(video))


@router.get("/timing")
def timing(video: VideoName, state: State) -> TimingAnswer:
    """Times of the frames of a video, for stepping from frame to frame."""
    found = state.media.timing(state.file(video))
    return TimingAnswer(fps=round(float(found.fps), 6), variable=found.variable)


@router.get("/thumbnail", response_class=FileResponse, responses=_media("image/jpeg"))
async def thumbnail(
    video: VideoName, state: State, t: Seconds = 0.0, width: Annotated[int, Query(ge=1, le=640)] = 320
) -> Response:
    """A still picture at a given time."""
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
    interval: Annotated[float, Query(description="seconds between pictures", json_schema_extra=_INTERVALS)],
    number: Annotated[int, Query(ge=0, le=MOST_SHEETS, description="number of the sheet; 0 begins at 0 s")] = 0,
) -> Response:
    """A sheet of 25 pictures in five rows, 160 x 90 pixels each, from the middle of 25 intervals."""
    source = await anyio.to_thread.run_sync(state.file, video)
    place = await anyio.to_thread.run_sync(state.media.sheets.get, source, interval, number)
    if place is None:
        return Response(status_code=202, headers={"cache-control": "no-store", "retry-after": "1"})
    return FileResponse(place, media_type="image/jpeg", headers=DAY)


@router.get("/clip", response_class=FileResponse, responses=_media("video/mp4"))
async def clip(video: VideoName, start: Seconds, end: Seconds, state: State) -> Response:
    """A span of a video as an MP4 file, cut at exact times."""
    place = await state.media.cut(await anyio.to_thread.run_sync(state.file, video), start, end)
    name = f"{Path(video).name} {clock(start)}-{clock(end)}.mp4".replace(":", ".")
    return FileResponse(place, media_type="video/mp4", filename=name)


@router.post("/videos", status_code=201, openapi_extra={"requestBody": _BODY})
async def upload(
    request: Request,
    state: State,
    name: Annotated[str, Query(min_length=1, max_length=500, description="file name, like holiday.mp4")],
) -> AddedAnswer:
    """Upload a video as the request body. Anything else is refused."""
    clean_name(name)
    arrived = await _receive(request, make_directory(state.settings.workspace / ARRIVING), state)
    try:
        async with state.checking:
            video, already = await anyio.to_thread.run_sync(_keep, state, arrived, name)
        await anyio.to_thread.run_sync(_wanted_again, state, video)
    finally:
        arrived.unlink(missing_ok=True)
    return AddedAnswer(video=video, already=already, job=start_adding(state))


@router.post("/videos/folder/preview")
def preview(what: FolderRequest, state: State) -> PreviewAnswer:
    """Preview the import of a folder. Nothing is imported."""
    found = list(candidates(state, what.folder))
    fresh = [one for one in found if one.already is None]
    root = Path(what.folder).expanduser().resolve()
    return PreviewAnswer(
        folder=str(root),
        new=len(fresh),
        already=len(found) - len(fresh),
        size=sum(one.size for one in fresh),
        files=[
            PreviewedFile(file=shown(_within(one.path, root)), size=one.size, already=one.already)
            for one in sorted(found, key=lambda one: one.already is not None)[:PREVIEWED]
        ],
    )


@router.post("/videos/folder", status_code=202)
def folder(what: FolderRequest, state: State) -> JobAnswer:
    """Import every video of a folder on the server, by hard link on the same disk, else by copy, in the background."""
    videos_below(what.folder, state.settings.folders)
    return job_answer(state.jobs.start("import", "Importing videos", {"folder": what.folder}))


def _within(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path


@router.post("/videos/index", status_code=202)
def index(state: State) -> JobAnswer:
    """Read new videos of the folder and make them searchable."""
    return start_adding(state)


@router.post("/videos/remove", status_code=204)
def remove(what: SomeVideos, state: State) -> None:
    """Remove videos from the index of every model. Their files and labels are kept."""
    known = {entry.video: entry for entry in state.listing().entries if entry.state != "removed"}
    for name in what.videos:
        if name not in known:
            raise Problem(404, f"{name[:200]}: there is no such video")
    state.settings.place.remove(what.videos)
    drop_videos(state.settings.place, what.videos)
    state.models.reload()


@router.post("/videos/restore", status_code=202)
def restore(what: SomeVideos, state: State) -> JobAnswer:
    """Make removed videos searchable again."""
    state.settings.place.restore(what.videos)
    return start_adding(state)


@router.post("/videos/reread", status_code=202)
def reread(what: SomeVideos, state: State) -> JobAnswer:
    """Read videos again from their files."""
    for name in what.videos:
        state.file(name)
    return job_answer(state.jobs.start("reread", "Reading again", {"videos": what.videos}))


@router.post("/videos/rename", status_code=202)
def rename(what: NewName, state: State) -> JobAnswer:
    """Rename a video: its file, and its name in the index and in labels. It stays in its folder."""
    path = state.file(what.video)
    stem, _ = clean_name(f"{what.name}{path.suffix}")
    place = path.with_name(f"{stem}{path.suffix}")
    if place != path and place.exists():
        raise Problem(409, f"{stem[:80]}: there is a file of this name already; choose another")
    arguments = {"video": what.video, "name": stem}
    return job_answer(state.jobs.start("rename", "Renaming", arguments))


@router.post("/videos/delete", status_code=204)
def delete(what: SomeVideos, state: State) -> None:
    """Delete the files of videos and remove them from search. Their labels are kept. This cannot be undone."""
    files = {name: state.file(name) for name in what.videos}
    state.settings.place.remove(what.videos)
    drop_videos(state.settings.place, what.videos)
    for name, path in files.items():
        try:
            state.library.delete(path)
        except OSError as error:
            reason = error.strerror or error
            raise Problem(
                507, f"{name[:200]}: removed from search, but its file cannot be deleted ({reason})"
            ) from error
    state.models.reload()


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
        raise Problem(400, "the upload was interrupted") from None
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _wanted_again(state: AppState, video: str) -> None:
    """What was removed and is added again is to be found again."""
    if video in state.removed():
        state.settings.place.restore([video])


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


def _video(entry: Entry, labels: int) -> VideoAnswer:
    return VideoAnswer(
        video=entry.video,
        folder=entry.folder,
        state=entry.state,
        reason=entry.reason,
        duration=entry.duration,
        date=datetime.fromtimestamp(entry.date, UTC) if entry.date else None,
        size=entry.size,
        indexed=entry.indexed,
        watchable=entry.watchable,
        labels=labels,
    )
