"""Still pictures and clips cut out of a video file."""

import heapq
import io
import math
import os
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import takewhile
from typing import Any

import av
import numpy as np

from cfmr.errors import InputError
from cfmr.files.atomic import replacing
from cfmr.video.colours import Colours
from cfmr.video.decode import Frame, Video

_TICKS = 90_000  # time base of what `cut` writes
_TALLEST = 4096  # pixels of a still; more than 65,500 are no JPEG
_LARGE = 1920 * 1088  # pixels


def thumbnail(path: str | os.PathLike[str], time: float, width: int = 320) -> bytes:
    """JPEG of what is on the screen at `time` seconds (the last frame, if the video is shorter).

    Raises:
        InputError: not a video, or nothing in it can be read.
    """
    from PIL import Image as Picture

    with Video(path) as video:
        frame = next(video.frames(fps=1.0, start=max(time, 0.0)), None)
        if frame is None:
            raise InputError(f"{path}: holds no frame that can be read")
        target = io.BytesIO()
        own_width, own_height = frame.size
        width = max(min(width, own_width * _TALLEST // own_height), 1)
        Picture.fromarray(frame.rgb(width=width)).save(target, "JPEG", quality=85)
        return target.getvalue()


def cut(path: str | os.PathLike[str], start: float, end: float, out: str | os.PathLike[str]) -> None:
    """Write the stretch [start, end) in seconds as an MP4 (H.264, AAC where there is sound) that any browser plays.

    The cut is exact: it begins with the frame on the screen at `start`, and is encoded anew, upright.

    Raises:
        InputError: not a video, end before start, start beyond the end, or `out` cannot be written.
    """
    if not (math.isfinite(start) and math.isfinite(end) and 0 <= start < end):
        raise InputError(f"{path}: cannot cut from {start} s to {end} s; the start must come before the end")
    with Video(path) as video, Video(path) as sound:
        frames = video.frames(start=start)
        first = next(frames, None)
        frames = takewhile(lambda frame: frame.time < end, frames)
        if first is None or video.end <= start:
            raise InputError(f"{path}: has nothing to cut at {start:.1f} s; it is {video.end:.1f} s long")
        first = replace(first, time=min(first.time, start))  # what comes first is shown until it begins
        with replacing(out) as temporary:
            target = av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"})
            with target:
                pictures = _encoded_pictures(target, video, first, frames, start, end)
                sounds = _encoded_sound(target, sound, start, end)
                for _, _, packet in heapq.merge(pictures, sounds, key=lambda entry: entry[:2]):
                    target.mux(packet)


_Packets = Iterator[tuple[float, int, Any]]  # seconds, which stream, packet


def _encoded_pictures(
    target: Any, video: Video, first: Frame, rest: Iterator[Frame], start: float, end: float
) -> _Packets:
    rate = Fraction(1 / video.step).limit_denominator(1001)
    stream = target.add_stream("libx264", rate=rate if 1 <= rate <= 240 else 25)
    width, height = (max(size // 2 * 2, 2) for size in first.size)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    # without B-frames a packet's duration is its frame's, so the file ends exactly where the cut does
    stream.options = {"crf": "21", "preset": "veryfast", "bf": "0"}
    if width * height > _LARGE:  # what the encoder looks ahead costs memory
        stream.options |= {"rc-lookahead": "0", "sliced-threads": "1"}
    context = stream.codec_context
    context.time_base, context.thread_count = Fraction(1, _TICKS), 2
    colours = Colours.of(first.picture)
    context.color_range, context.colorspace = colours.range, colours.matrix
    context.color_trc, context.color_primaries = colours.transfer, colours.primaries
    return _encode_pictures(stream, first, rest, start, end, (width, height), colours)


def _encode_pictures(
    stream: Any,
    first: Frame,
    rest: Iterator[Frame],
    start: float,
    end: float,
    size: tuple[int, int],
    colours: Colours,
) -> _Packets:
    frame: Frame | None = first
    del first
    lengths: dict[int, int] = {}
    begin = -1
    while frame is not None:
        following = next(rest, None)
        picture = colours.yuv420p(frame, size)
        begin = max(round((max(frame.time, start) - start) * _TICKS), begin + 1)
        stop = round(((end if following is None else following.time) - start) * _TICKS)
        picture.pts, picture.dts, picture.time_base = begin, None, Fraction(1, _TICKS)
        lengths[begin] = max(stop - begin, 1)
        picture.pict_type = 0  # the encoder's choice, not the source's
        yield from _lasting(stream.encode(picture), lengths)
        frame = following
    yield from _lasting(stream.encode(None), lengths)


def _lasting(packets: list[Any], lengths: dict[int, int]) -> _Packets:
    for packet in packets:
        ticks = round(packet.pts * packet.time_base * _TICKS)
        packet.duration = round(lengths.pop(ticks, 1) / _TICKS / packet.time_base)
        yield float(packet.dts * packet.time_base), 0, packet


def _encoded_sound(target: Any, source: Video, start: float, end: float) -> _Packets:
    if not source.sounds:
        return iter(())
    context = source.sounds[0].codec_context
    rate = context.sample_rate
    if not rate:
        return iter(())
    rate = rate if rate in (22_050, 24_000, 32_000, 44_100, 48_000) else 48_000
    layout = "mono" if context.channels == 1 else "stereo"
    stream = target.add_stream("aac", rate=rate, layout=layout)
    return _encode_sound(stream, source, rate, layout, start, end)


def _encode_sound(stream: Any, source: Video, rate: int, layout: str, start: float, end: float) -> _Packets:
    first, last = round(start * rate), round(end * rate)  # in samples since the start of the file
    position = None
    for time, frame in _resampled(source, rate, layout, start):
        begin = round(time * rate)
        if position is not None and abs(begin - position) < rate // 10:
            begin = position  # rounding of the container's clock, not a gap
        position = begin + frame.samples
        if begin >= last:
            break
        samples = frame.to_ndarray()[:, max(first - begin, 0) : last - begin]
        if samples.shape[1] == 0:
            continue
        piece = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
        piece.sample_rate, piece.time_base, piece.pts = rate, Fraction(1, rate), max(begin, first) - first
        yield from _timed(1, stream.encode(piece))
    yield from _timed(1, stream.encode(None))


def _resampled(source: Video, rate: int, layout: str, start: float) -> Iterator[tuple[float, Any]]:
    """Sound from shortly before `start`, as planar floats."""
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)
    for time, piece in source.sound(max(start - 1, 0)):
        shift = time - piece.time
        for frame in resampler.resample(piece):
            if frame.pts is not None:
                yield frame.time + shift, frame


def _timed(which: int, packets: list[Any]) -> _Packets:
    for packet in packets:
        yield float((packet.dts or 0) * packet.time_base), which, packet
