"""Small videos, made for a test."""

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
