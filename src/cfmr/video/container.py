"""Opening the file of a video, and choosing what in it is the film."""

import contextlib
import os
import struct
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


_BOXES = 1000  # of a file that are looked at; whole films have less than ten


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
    except av.error.ArgumentError as error:
        raise InputError(f"{path}: is not a video") from error
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a video ({reason_of(error)})") from error
    container.flags &= ~av.container.Flags.gen_pts.value  # what it makes up would stand for what the file says
    return container


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


def holds_another_film(path: Path) -> bool:
    """Whether an MP4 or MOV has two films one after the other, of which FFmpeg reads the first alone.

    Films in fragments are read on in, and may repeat their header.
    """
    films = 0
    with contextlib.suppress(OSError, struct.error), open(path, "rb") as file:
        place, size = 0, os.fstat(file.fileno()).st_size
        for _ in range(_BOXES):
            file.seek(place)
            length, kind = struct.unpack(">I4s", file.read(8))
            if length == 1:
                (length,) = struct.unpack(">Q", file.read(8))
            if kind == b"moof":
                return False
            films += kind == b"moov"
            place += length
            if length < 8 or place >= size:
                break
    return films > 1


def reason_of(error: BaseException) -> str:
    """What FFmpeg says of an error, in one line."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).split("\n")[0]
