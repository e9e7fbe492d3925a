"""Every format in which moments leave, by the ending of the file's name."""

import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePath

from cfmr.errors import InputError
from cfmr.handover.clips import Clip, Programme, make_programme
from cfmr.handover.edl import Marker, write_edl, write_markers
from cfmr.handover.fcpxml import write_fcpxml
from cfmr.handover.otio import write_otio
from cfmr.handover.playlists import write_ffmetadata, write_m3u, write_youtube
from cfmr.handover.subtitles import Cue, write_srt, write_vtt
from cfmr.handover.tables import write_csv, write_json
from cfmr.video.timing import Timing, read_timing

_LONGEST_NAME = 120  # bytes of a video's name in that of a file


@dataclass(frozen=True, slots=True)
class Wish:
    """How an export is wanted.

    Attributes:
        title: of the programme, where the format has one.
        fps: of its time line; None: what most of the files have.
        drop: drop-frame timecode at 29.97 and 59.94; None: as the files' own, else drop frame.
        read: reads a file's timing.
    """

    title: str = "cfmr"
    fps: Fraction | None = None
    drop: bool | None = None
    read: Callable[[Path], Timing] = read_timing


@dataclass(frozen=True, slots=True)
class Format:
    """A format of files.

    Attributes:
        name: by which it is asked for.
        suffix: of its files.
        title: for people.
        media_type: for browsers.
        write: makes the file's text of clips, and notes.
        of_one_video: its times are those of one video, so that each video has a file of its own.
    """

    name: str
    suffix: str
    title: str
    media_type: str
    write: Callable[[Sequence[Clip], Wish], tuple[str, tuple[str, ...]]]
    of_one_video: bool = False


def _plain(write: Callable[[Sequence[Clip]], str]) -> Callable[[Sequence[Clip], Wish], tuple[str, tuple[str, ...]]]:
    return lambda clips, _: (write(clips), ())


def _edited(write: Callable[[Programme], str]) -> Callable[[Sequence[Clip], Wish], tuple[str, tuple[str, ...]]]:
    def written(clips: Sequence[Clip], wish: Wish) -> tuple[str, tuple[str, ...]]:
        programme = make_programme(clips, wish.title, fps=wish.fps, drop=wish.drop, read=wish.read)
        return write(programme), programme.notes

    return written


def _cues(clips: Sequence[Clip]) -> list[Cue]:
    return [Cue(clip.start, clip.end, clip.text) for clip in sorted(clips, key=lambda clip: (clip.start, clip.end))]


def _markers(clips: Sequence[Clip], wish: Wish) -> tuple[str, tuple[str, ...]]:
    programme = make_programme(clips, wish.title, fps=wish.fps, drop=wish.drop, read=wish.read)
    spans = [(programme.rate.span(clip.start, clip.end), clip.text) for clip in clips]
    markers = [Marker(first, after - first, text) for (first, after), text in spans]
    return write_markers(markers, programme.rate, wish.title), programme.notes


FORMATS = (
    Format("csv", ".csv", "CSV table", "text/csv", _plain(write_csv)),
    Format("json", ".json", "JSON", "application/json", _plain(write_json)),
    Format("srt", ".srt", "SubRip subtitles", "application/x-subrip", _plain(lambda c: write_srt(_cues(c))), True),
    Format("vtt", ".vtt", "WebVTT subtitles", "text/vtt", _plain(lambda c: write_vtt(_cues(c))), True),
    Format("m3u", ".m3u8", "playlist for VLC", "application/vnd.apple.mpegurl", _plain(write_m3u)),
    Format("chapters", ".ffmeta", "chapters for ffmpeg", "text/plain", _plain(write_ffmetadata), True),
    Format("youtube", ".chapters.txt", "chapters for YouTube", "text/plain", _plain(write_youtube), True),
    Format("markers", ".markers.edl", "markers for DaVinci Resolve", "text/plain", _markers, True),
    Format("edl", ".edl", "CMX 3600 edit list", "text/plain", _edited(write_edl)),
    Format("fcpxml", ".fcpxml", "Final Cut Pro XML", "application/xml", _edited(write_fcpxml)),
    Format("otio", ".otio", "OpenTimelineIO", "application/json", _edited(write_otio)),
)
BY_NAME = {form.name: form for form in FORMATS}
_OTHER_SUFFIXES = {".m3u": "m3u"}


def format_of(path: str | PurePath) -> Format:
    """The format of a file by its name. Raises InputError that lists the endings."""
    name = PurePath(path).name.lower()
    for form in FORMATS:
        if name.endswith(form.suffix):
            return form
    for suffix, other in _OTHER_SUFFIXES.items():
        if name.endswith(suffix):
            return BY_NAME[other]
    known = ", ".join(f"{form.suffix} ({form.title})" for form in FORMATS)
    raise InputError(f"{path}: what it ends in tells the format, and this is none of {known}")


def export(clips: Sequence[Clip], form: Format, wish: Wish) -> tuple[dict[str, str], tuple[str, ...]]:
    """The files of an export: text by the video's name, or by "" where one file has all; and notes.

    Raises:
        InputError: there is no clip, a file is missing that the format needs, or the format cannot hold so many.
    """
    if not clips:
        raise InputError("there is no moment to export")
    if not form.of_one_video:
        text, notes = form.write(clips, wish)
        return {"": text}, notes
    files: dict[str, str] = {}
    said: list[str] = []
    for video in dict.fromkeys(clip.video for clip in clips):
        files[video], notes = form.write([clip for clip in clips if clip.video == video], wish)
        said += notes
    return files, tuple(said)


def file_names(videos: Sequence[str], stem: str, suffix: str) -> dict[str, str]:
    """A file's name for each video: the stem alone for a single one, else with the video's name after it."""
    if len(videos) == 1:
        return {videos[0]: f"{stem}{suffix}"}
    taken: dict[str, str] = {}
    for video in videos:
        name, number = safe_name(video), 1
        free = f"{stem}.{name}{suffix}"
        while free in taken.values():
            number += 1
            free = f"{stem}.{name}-{number}{suffix}"
        taken[video] = free
    return taken


def safe_name(video: str) -> str:
    """A video's name as part of a file's, in any system."""
    name = "".join(c if c.isalnum() or c in "-_." else "_" for c in video).strip(".") or "video"
    return name.encode()[:_LONGEST_NAME].decode(errors="ignore")


def zipped(files: dict[str, str]) -> bytes:
    """Texts by file name as a zip archive; the same texts give the same bytes."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text.encode("utf-8", "replace"), zipfile.ZIP_DEFLATED)
    return target.getvalue()
