"""How a video's frames lie in time: what an edit list has to know of a file."""

import os
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise
from typing import Any

from cfmr.video.decode import Video

_LOOKED_AT = 240  # pictures
_UNEVEN = 0.25  # of the usual distance of two pictures; containers that count milliseconds are 0.06 off at 60 a second


@dataclass(frozen=True, slots=True)
class Timing:
    """The frames of a file.

    Attributes:
        duration: seconds.
        fps: frames a second; the average, where the rate is variable.
        variable: whether frames are shown for unequal times, as phones and screen recorders write them.
        timecode: of the first frame, as the camera wrote it; None where the file has none.
        width, height: as displayed.
        channels: of sound; 0 for a silent file.
    """

    duration: float
    fps: Fraction
    variable: bool = False
    timecode: str | None = None
    width: int = 0
    height: int = 0
    channels: int = 0


def read_timing(path: str | os.PathLike[str]) -> Timing:
    """Read how a video's frames lie in time; one of them is decoded.

    Raises:
        InputError: no such file, or it is no video.
    """
    with Video(path) as video:
        info, timecode, sounds = video.info(), video.timecode, video.sounds
        channels = sounds[0].codec_context.channels if sounds else 0
        stamps = _stamps(video)
    gaps = sorted(after - before for before, after in pairwise(stamps))
    usual = gaps[len(gaps) // 2] if gaps else 0.0
    variable = usual > 0 and gaps[-1] - gaps[0] > _UNEVEN * usual
    measured = (len(stamps) - 1) / (stamps[-1] - stamps[0]) if usual > 0 else 25.0
    fps = Fraction(info.fps or measured).limit_denominator(1001)
    if variable and info.fps:  # matroska tells a usual rate, and nothing of the others
        fps = Fraction(measured).limit_denominator(1001)
    return Timing(info.duration, max(fps, Fraction(1)), variable, timecode, info.width, info.height, channels)


def _stamps(video: Video) -> list[float]:
    """When the first pictures are shown, in order."""
    packets: Any = (p for p in video.packets() if p.stream.type == "video" and p.pts is not None)
    return sorted({float(p.pts * p.time_base) for p in islice(packets, _LOOKED_AT)})
