"""Handing moments over to other programs: a file of any format, or all clips in one archive."""

import functools
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

import anyio
from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, BaseModel, Field

from cfmr.handover.clips import Clip
from cfmr.handover.export import BY_NAME, FORMATS, Wish, export, file_names, safe_name, zipped
from cfmr.handover.timecode import parse_fps
from cfmr.server.context import AppState, State
from cfmr.server.problems import Problem
from cfmr.server.stores.archives import Make, stream_zip
from cfmr.server.stores.media import LONGEST_CUT

MOST = 1000  # moments of an export
MOST_CLIPS, LONGEST_CLIPS = 100, 1800.0  # of an archive, and the seconds of all together
ZIP = "application/zip"

Texts = Literal["csv", "json", "srt", "vtt", "m3u", "chapters", "youtube", "markers"]
FormatName = Texts | Literal["edl", "fcpxml", "otio", "clips"]

router = APIRouter(tags=["search"])


def _rate(text: str) -> str:
    parse_fps(text)
    return text


class ExportedMoment(BaseModel):
    """A span of a video, in seconds."""

    video: Annotated[str, Field(min_length=1, max_length=500)]
    start: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
    end: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
    text: Annotated[str, Field(max_length=2000, description="what happens")] = ""
    score: Annotated[float | None, Field(allow_inf_nan=False)] = None


class ExportRequest(BaseModel):
    """Moments in the order of the file, and its format."""

    format: Literal[
        "csv", "json", "srt", "vtt", "m3u", "chapters", "youtube", "markers", "edl", "fcpxml", "otio", "clips"
    ]
    moments: Annotated[list[ExportedMoment], Field(min_length=1, max_length=MOST)]
    title: Annotated[str, Field(max_length=200)] = "cfmr"
    fps: Annotated[str, Field(max_length=20), AfterValidator(_rate)] | None = Field(
        None, description="frame rate of an edit list: 25, 29.97, 30000/1001; null: what most of the videos have"
    )
    drop: bool | None = Field(None, description="drop-frame timecode at 29.97 and 59.94; null: as the files, else drop")


def files_described(media_types: Iterable[str]) -> dict[int | str, dict[str, Any]]:
    """The answer of a route that sends a file of one of these types, or an archive of several."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    kinds = sorted({*media_types, ZIP})
    return {
        200: {
            "description": "the file; a zip archive where each video has one of its own",
            "content": {kind: {"schema": {}} if kind == "application/json" else binary for kind in kinds},
        }
    }


@router.post("/export", response_class=Response, responses=files_described(form.media_type for form in FORMATS))
async def export_moments(what: ExportRequest, state: State) -> Response:
    """Export moments as a file for another program, or their clips as a streamed archive."""
    clips = await anyio.to_thread.run_sync(_clips, what, state)
    if what.format == "clips":
        _check_lengths(clips)
        return StreamingResponse(stream_zip(_cuts(clips, state)), media_type=ZIP, headers=attached("clips.zip"))
    return await anyio.to_thread.run_sync(_written, what, clips, state)


def attached(name: str) -> dict[str, str]:
    """Headers of a file that is downloaded."""
    return {"content-disposition": f'attachment; filename="{name}"'}


def files_response(files: dict[str, str], stem: str, suffix: str, media_type: str) -> Response:
    """One text as it is, several in an archive; `files` are by video, or under "" where one has all."""
    if len(files) == 1:
        (text,) = files.values()
        return Response(text.encode("utf-8", "replace"), media_type=media_type, headers=attached(f"{stem}{suffix}"))
    names = file_names(list(files), stem, suffix)
    body = zipped({names[video]: text for video, text in files.items()})
    return Response(body, media_type=ZIP, headers=attached(f"{stem}{suffix}.zip"))


def _clips(what: ExportRequest, state: AppState) -> list[Clip]:
    """Raises Problem for a video that is not there, or a stretch that is none."""
    facts = {video: state.facts(video) for video in dict.fromkeys(moment.video for moment in what.moments)}
    clips = []
    for number, moment in enumerate(what.moments, 1):
        video = facts[moment.video]
        end = min(moment.end, video.duration)
        if end <= moment.start:
            raise Problem(422, f"moment {number} is no stretch of {moment.video}, which is {video.duration:g} s long")
        clips.append(Clip(video.name, moment.start, end, moment.text, moment.score, video.duration, video.path))
    return clips


def _written(what: ExportRequest, clips: list[Clip], state: AppState) -> Response:
    form = BY_NAME[what.format]
    fps = None if what.fps is None else parse_fps(what.fps)
    files, _ = export(clips, form, Wish(what.title or "cfmr", fps, what.drop, state.media.timing))
    return files_response(files, "moments", form.suffix, form.media_type)


def _check_lengths(clips: list[Clip]) -> None:
    total = sum(clip.end - clip.start for clip in clips)
    if len(clips) > MOST_CLIPS or total > LONGEST_CLIPS or any(c.end - c.start > LONGEST_CUT for c in clips):
        raise Problem(
            422,
            f"an archive holds {MOST_CLIPS} clips of {LONGEST_CUT:.0f} s at most, together {LONGEST_CLIPS / 60:.0f} "
            f"minutes; these are {len(clips)} of {total / 60:.1f} minutes",
        )
    for clip in clips:
        if clip.path is None:
            raise Problem(404, f"{clip.video}: there is no such video in the folder")


def _cuts(clips: list[Clip], state: AppState) -> Iterator[tuple[str, Make]]:
    for rank, clip in enumerate(clips, 1):
        assert clip.path is not None
        name = f"{rank:02d}-{safe_name(clip.video)}-{clip.start:.1f}-{clip.end:.1f}.mp4"
        yield name, functools.partial(state.media.cut, clip.path, clip.start, clip.end)
