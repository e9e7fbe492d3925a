"""Opening the file of a video, and choosing what in it is the film."""

import contextlib
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from cfmr.errors import InputError

#: Formats that carry their pictures themselves. Playlists, which FFmpeg would follow to other files and hosts, do not;
#: nor do text and single pictures, which it would "play".
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf,flv,live_flv,ogg,mxf,gxf,nut,wtv,dv,rm,ivf,"
    "m4v,h264,hevc,obu,av1,vc1,gif,apng,mjpeg,dhav,amv,nuv,nsv,yuv4mpegpipe"
)


HEADLESS = (
    "breaks off before the header that an MP4 has at its end ('moov'), so nothing in it can be read; copy it again, or "
    "have the camera repair it"
)
_BOXES = 20_000  # of a file that are looked at; whole films have less than ten, those in fragments two a fragment
_FIRST = frozenset((b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp"))


def open_file(path: Path) -> Any:
    """Open a file of this machine for reading; whatever it is called, and whatever is in it, nothing else is opened.

    Raises:
        InputError: there is none, or it is no video.
    """
    try:
        if not path.exists():
            raise InputError(f"{path}: no such file")
        # without the protocol's name a colon in a file's name would make an address of it
        options = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
        container: Any = av.open(f"file:{path}", metadata_errors="ignore", options=options)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{path}: {_why_not(path, error)}") from error
    if not container.streams.video and has_no_header(path):
        container.close()
        raise InputError(f"{path}: {HEADLESS}")
    container.flags &= ~av.container.Flags.gen_pts.value  # what it makes up would stand for what the file says
    return container


def _why_not(path: Path, error: BaseException) -> str:
    if has_no_header(path):
        return HEADLESS
    if isinstance(error, av.error.ArgumentError):
        return "is not a video"
    return f"cannot be read as a video ({reason_of(error)})"


def has_no_header(path: Path) -> bool:
    """Whether it is an MP4 or MOV that was written only in part: what tells how to read it is written last."""
    found = boxes_of(path)
    return found.broken_off and not found.films


def film_of(container: Any) -> Any:
    """The stream that a player shows: the one marked as default, then the largest; cover pictures are none.

    Raises:
        InputError: there is none; the message does not name the file.
    """
    kinds = av.stream.Disposition
    streams = [s for s in container.streams.video if not s.disposition & (kinds.attached_pic | kinds.timed_thumbnails)]
    films = [s for s in streams if s.frames != 1] or streams  # a single picture beside a film is its cover
    if not films:
        raise InputError("is not a video")
    readable = [s for s in films if s.codec_context is not None]
    if not readable:
        raise InputError("its video is of a kind that cannot be decoded")

    def worth(stream: Any) -> tuple[bool, bool, int]:
        size = stream.codec_context.width * stream.codec_context.height
        return not stream.disposition & kinds.still_image, bool(stream.disposition & kinds.default), size

    return max(readable, key=worth)


@dataclass(frozen=True, slots=True)
class Boxes:
    """What lies at the top of an MP4 or MOV.

    Attributes:
        films: how many whole headers of a film. FFmpeg reads the pictures of the first alone, unless they lie in
            fragments.
        fragments: how many pieces that follow a header.
        broken_off: whether the last one ends behind the end of the file.
    """

    films: int = 0
    fragments: int = 0
    broken_off: bool = False


def boxes_of(path: Path) -> Boxes:
    """Look at the boxes of an MP4 or MOV, the first thousand or so; none where it is no such file."""
    films = fragments = place = 0
    with contextlib.suppress(OSError, struct.error), open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        for _ in range(_BOXES):
            file.seek(place)
            length, kind = struct.unpack(">I4s", file.read(8))
            if length == 1:
                (length,) = struct.unpack(">Q", file.read(8))
            if not kind.isalnum() or (place == 0 and kind not in _FIRST):
                break
            place += length
            if place > size:
                return Boxes(films, fragments, broken_off=True)
            films += kind == b"moov"
            fragments += kind == b"moof"
            if length < 8 or place == size:
                break
    return Boxes(films, fragments)


def reason_of(error: BaseException) -> str:
    """What FFmpeg says of an error, in one line."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).split("\n")[0]
