"""Taking videos in: uploaded, or from a folder of this machine; and the job that makes them searchable."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from cfmr.errors import InputError
from cfmr.files.atomic import make_directory
from cfmr.server.api.models import JobAnswer, extract_videos, index_videos, job_answer
from cfmr.server.context import Site
from cfmr.server.problems import Problem
from cfmr.server.stores.jobs import Work
from cfmr.server.stores.videos import check_video, clean_name, videos_below

MOST_FILES = 10_000  # of one folder
SPARE = 64 << 20  # bytes that an upload leaves free


class AddedAnswer(BaseModel):
    """A video that is in the folder now; it can be searched when the job is done."""

    video: str
    job: JobAnswer


class FolderRequest(BaseModel):
    """A folder on the server's machine."""

    folder: Annotated[str, Field(min_length=1, max_length=4000)]


class FolderAnswer(BaseModel):
    """What was taken in, and what was refused and why."""

    added: list[str]
    refused: dict[str, str]
    job: JobAnswer | None


_BODY = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}, "required": True}


def routes(site: Site) -> APIRouter:
    """Paths below /api."""
    api = APIRouter(tags=["videos"])
    site.jobs.bodies["add"] = lambda work, _: add_videos(site, work)
    checks = anyio.Semaphore(2)

    @api.post("/videos", status_code=201, openapi_extra={"requestBody": _BODY})
    async def upload(
        request: Request,
        name: Annotated[str, Query(min_length=1, max_length=500, description="file name, like holiday.mp4")],
    ) -> AddedAnswer:
        """Take in a video, sent as the body; it is refused by name if it is none."""
        clean_name(name)
        arrived = await _receive(request, make_directory(site.settings.workspace / "arriving"), site)
        try:
            async with checks:
                place = await anyio.to_thread.run_sync(_keep, site, arrived, name)
        finally:
            arrived.unlink(missing_ok=True)
        return AddedAnswer(video=place, job=start_adding(site))

    @api.post("/videos/folder", status_code=202)
    def folder(what: FolderRequest) -> FolderAnswer:
        """Take in every video of a folder of this machine, by link where the disk is the same and else by copy."""
        added: list[str] = []
        refused: dict[str, str] = {}
        for path in videos_below(what.folder, site.settings.folders)[:MOST_FILES]:
            if path.resolve().is_relative_to(site.library.folder):
                continue
            try:
                added.append(_link(site, path))
            except (Problem, InputError) as error:
                refused[path.name] = error.detail if isinstance(error, Problem) else str(error)
        return FolderAnswer(added=added, refused=refused, job=start_adding(site) if added else None)

    @api.post("/videos/index", status_code=202)
    def index() -> JobAnswer:
        """Make searchable what is in the folder and is not yet."""
        return start_adding(site)

    return api


def start_adding(site: Site) -> JobAnswer:
    """Put the job in the queue, unless one waits there already."""
    return job_answer(site.jobs.start("add", "Make new videos searchable"))


def add_videos(site: Site, work: Work) -> dict[str, Any]:
    """The job: features of new videos, and their place in the index that is served."""
    site.library.refresh()
    extract_videos(site, work)
    if not site.served.ready:
        work.say("ready to be labelled")
        return {"videos": len(site.library.files())}
    index_videos(site, site.served.present, work)
    site.served.reload()
    work.say(f"{len(site.served.videos)} videos can be searched")
    return {"videos": len(site.served.videos)}


async def _receive(request: Request, folder: Path, site: Site) -> Path:
    """Write a body to a file. Raises Problem if the disk has no room, or the client goes away."""
    handle, name = tempfile.mkstemp(dir=folder, prefix="upload-")
    path = Path(name)
    try:
        async with await anyio.open_file(handle, "wb") as file:
            free = shutil.disk_usage(folder).free - SPARE
            async for piece in request.stream():
                free -= len(piece)
                if free < 0:
                    raise Problem(507, "the disk is full")
                await file.write(piece)
    except ClientDisconnect:
        path.unlink(missing_ok=True)
        raise Problem(400, "the upload broke off") from None
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _keep(site: Site, arrived: Path, name: str) -> str:
    """Check a file that came in and move it to the folder; returns the video's name."""
    check_video(arrived, name[:200])
    try:
        os.chmod(arrived, 0o644)
        return site.library.keep(arrived, name).stem
    except OSError as error:
        raise Problem(507, f"{name[:200]}: cannot be kept ({error.strerror or error})") from error


def _link(site: Site, path: Path) -> str:
    check_video(path, path.name)
    try:
        return site.library.keep(path.resolve(), path.name).stem
    except OSError as error:
        raise InputError(f"{path.name}: cannot be copied ({error.strerror or error})") from error
