"""From a script to a video file: frames composed with Pillow, encoded as H.264 with PyAV."""

from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw

from cfmr.demo.actors import Actor, picture
from cfmr.demo.events import Pose
from cfmr.demo.scenes import HEIGHT, WIDTH, backdrop
from cfmr.demo.script import FRAMES_PER_SECOND, Appearance, Script

_FADE = 0.25  # seconds in which an actor comes out of nothing, or goes back to it
_ANGLE = 4  # degrees; pictures are kept for multiples of this
_KEYFRAMES = 24  # frames from one to the next, so that a player seeks at once


@lru_cache(maxsize=2048)
def _sprite(actor: Actor, size: int, angle: int) -> Image.Image:
    master = picture(actor.kind, actor.colour, actor.mirrored)
    small = master.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return small.rotate(angle, Image.Resampling.BILINEAR, expand=True) if angle else small


@lru_cache(maxsize=256)
def _halo(size: int) -> Image.Image:
    """A warm light around an actor of this size, twice as wide."""
    axis = np.linspace(-1, 1, 2 * size, dtype=np.float32)
    distance = np.hypot(axis[:, None], axis[None, :])
    light = np.empty((2 * size, 2 * size, 4), np.uint8)
    light[..., :3] = (255, 246, 170)
    light[..., 3] = (255 * np.clip(1.6 * (1 - distance), 0, 1)).astype(np.uint8)
    return Image.fromarray(light)


@lru_cache(maxsize=256)
def _cage(size: int) -> Image.Image:
    """Bars before an actor of this size."""
    cage = Image.new("RGBA", (2 * size, 2 * size))
    draw, thick = ImageDraw.Draw(cage), max(2, size // 9)
    for x in np.linspace(thick, 2 * size - 2 * thick, 6):
        draw.rectangle((x, 0, x + thick, 2 * size), fill=(60, 62, 70, 255))
        draw.line((x + thick / 3, 0, x + thick / 3, 2 * size), fill=(150, 154, 164, 255), width=max(1, thick // 4))
    for y in (0, 2 * size - 2 * thick):
        draw.rectangle((0, y, 2 * size, y + 2 * thick), fill=(60, 62, 70, 255))
    return cage.resize((round(1.16 * size), round(1.16 * size)), Image.Resampling.LANCZOS)


def _paste(frame: Image.Image, sprite: Image.Image, pose: Pose, opacity: float) -> None:
    mask = sprite.getchannel("A")
    if opacity < 1:
        mask = mask.point([round(opacity * v) for v in range(256)])
    frame.paste(sprite, (round(pose.x - sprite.width / 2), round(pose.y - sprite.height / 2)), mask)


def _draw(frame: Image.Image, appearance: Appearance, time: float) -> None:
    pose = appearance.pose(time)
    opacity = min((time - appearance.shows) / _FADE, (appearance.hides - time) / _FADE, 1.0)
    at_edge = (appearance.shows <= 0 and time < _FADE) or any(
        act.event.kind in ("enters", "leaves") and act.event.start <= time < act.event.end for act in appearance.acts
    )
    if at_edge and appearance.shows <= time < appearance.hides:
        opacity = 1.0
    if opacity <= 0 or not pose.visible:
        return
    size = max(8, round(appearance.size * pose.scale))
    if pose.effect == "glow":
        _paste(frame, _halo(size), pose, opacity)
    _paste(frame, _sprite(appearance.actor, size, round(pose.angle / _ANGLE) * _ANGLE % 360), pose, opacity)
    if pose.effect == "cage":
        _paste(frame, _cage(size), pose, opacity)


def draw_frame(script: Script, time: float, scenery: Image.Image | None = None) -> Image.Image:
    """The picture at a time in seconds: RGB, 320 x 240. `scenery` saves drawing the script's backdrop again."""
    frame = (backdrop(script.scene, script.backdrop) if scenery is None else scenery).copy()
    for appearance in script.appearances:
        if appearance.shows <= time < appearance.hides:
            _draw(frame, appearance, time)
    return frame


def render(script: Script, path: Path) -> None:
    """Write the script's video: H.264 in MP4, 320 x 240, 12 frames a second. The same script gives the same bytes."""
    scenery = backdrop(script.scene, script.backdrop)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"preset": "ultrafast", "crf": "23", "g": str(_KEYFRAMES)}
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, FRAMES_PER_SECOND)
        for number in range(round(script.duration * FRAMES_PER_SECOND)):
            picture_ = draw_frame(script, number / FRAMES_PER_SECOND, scenery)
            frame = av.VideoFrame.from_ndarray(np.asarray(picture_), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FRAMES_PER_SECOND)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
