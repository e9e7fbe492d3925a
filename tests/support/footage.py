"""Small videos, made for a test."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

LEVELS = range(20, 240, 10)


def write_video(
    path: Path,
    times: list[float],
    levels: list[int] | None = None,
    size: tuple[int, int] = (64, 48),
    sound: bool = False,
    last: float = 0.1,
    **options: str,
) -> Path:
    """A video whose frames are of one gray each, shown from the given times on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = levels or [LEVELS[number % len(LEVELS)] for number in range(len(times))]
    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=10)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.options = {"bf": "0", **options}
        stream.codec_context.time_base = Fraction(1, 1000)
        audio = target.add_stream("aac", rate=48_000, layout="mono") if sound else None
        ends = [*times[1:], times[-1] + last]
        lengths = {round(time * 1000): end - time for time, end in zip(times, ends, strict=True)}
        packets = []
        for time, level in zip(times, levels, strict=True):
            picture = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), level, np.uint8))
            picture.pts, picture.time_base = round(time * 1000), Fraction(1, 1000)
            packets += stream.encode(picture)
        for packet in [*packets, *stream.encode(None)]:
            packet.duration = round(lengths[round(packet.pts * packet.time_base * 1000)] / packet.time_base)
            target.mux(packet)
        if audio is not None:
            wave = np.sin(np.arange(int(ends[-1] * 48_000)) / 20)[None].astype(np.float32)
            piece = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            piece.sample_rate, piece.pts, piece.time_base = 48_000, 0, Fraction(1, 48_000)
            target.mux(audio.encode(piece))
            target.mux(audio.encode(None))
    return path


def write_film(
    path: Path,
    codec: str = "libx264",
    frames: int = 50,
    rate: int = 25,
    size: tuple[int, int] = (64, 48),
    pixels: str = "yuv420p",
    sound: str | None = None,
    shift: float = 0.0,
    colours: dict[str, int] | None = None,
    level: int | None = None,
    stamps: Callable[[av.Packet], None] | None = None,
    gap: tuple[int, int] = (0, 0),
    setup: Callable[[av.VideoStream], None] | None = None,
    **options: str,
) -> Path:
    """A film of a steady rate, whose frames are of one gray each, as a muxer of FFmpeg writes it.

    Args:
        shift: seconds added to all stamps.
        colours: marks, such as color_range.
        level: one gray for all frames, as it is stored.
        gap: from which frame on all come later, and by how many frames.
        setup: changes the stream of pictures before it is begun.
        stamps: changes the stamps of a packet of pictures before it is written.
        options: of the encoder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as target:
        stream = target.add_stream(codec, rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        stream.options = options
        for name, value in (colours or {}).items():
            setattr(stream.codec_context, name, value)
        if setup is not None:
            setup(stream)
        audio = target.add_stream(sound, rate=44_100, layout="mono") if sound else None
        packets = []
        for number in range(frames):
            picture = av.VideoFrame(*size, "gray")
            picture.planes[0].update(bytes([LEVELS[number % len(LEVELS)]]) * picture.planes[0].buffer_size)
            if level is not None:
                picture = av.VideoFrame(*size, pixels)
                for plane, value in zip(picture.planes, (level, 128, 128), strict=True):
                    plane.update(bytes([value]) * plane.buffer_size)
            later = gap[1] if number >= gap[0] else 0
            picture.pts, picture.time_base = number + later + round(shift * rate), Fraction(1, rate)
            packets += stream.encode(picture)
        packets += stream.encode(None)
        if stamps is not None:
            for packet in packets:
                stamps(packet)
        if audio is not None:
            packets += _tone(audio, (frames + gap[1]) / rate, shift)
        for packet in sorted(packets, key=lambda packet: float(packet.dts * packet.time_base)):
            target.mux(packet)
    return path


def _tone(stream: av.AudioStream, seconds: float, shift: float) -> list[av.Packet]:
    kind = stream.codec_context.format.name
    wave = (np.sin(np.arange(int(seconds * 44_100)) / 20) * (0.5 if kind.startswith("flt") else 10_000))[None]
    wave = wave.astype(np.float32 if kind.startswith("flt") else np.int16)
    piece = av.AudioFrame.from_ndarray(wave, format=kind, layout="mono")
    piece.sample_rate, piece.pts, piece.time_base = 44_100, round(shift * 44_100), Fraction(1, 44_100)
    return [*stream.encode(piece), *stream.encode(None)]


def join(path: Path, *parts: Path) -> Path:
    """Files put one after the other, as recorders and `cat` do."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def as_mp4(source: Path, target: Path) -> Path:
    """Another file's pictures as an MP4, which browsers play."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        pictures = given.streams.video[0]
        stream = made.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = pictures.width // 2 * 2, pictures.height // 2 * 2, "yuv420p"
        stream.codec_context.time_base = pictures.time_base
        for picture in given.decode(pictures):
            frame = picture.reformat(stream.width, stream.height, "yuv420p")
            frame.pts, frame.time_base = picture.pts, pictures.time_base
            made.mux(stream.encode(frame))
        made.mux(stream.encode(None))
    return target
