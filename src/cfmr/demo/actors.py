"""The actors of the demo world: what they are called, and their pictures.

An actor is a glyph of the Font Awesome font that the package ``fonticon-fontawesome6`` carries (SIL Open Font License),
coloured, shaded from above and outlined like a sticker, so that it stands out on every scene.
"""

from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import as_file, files

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

#: A kind of actor -> its glyph and the nouns that captions use for it.
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "ball": ("\uf434", ("ball", "basketball")),
    "bird": ("\uf4ba", ("bird", "dove", "pigeon")),
    "boat": ("\ue445", ("boat", "sailboat", "yacht")),
    "car": ("\uf5e4", ("car", "automobile")),
    "bicycle": ("\uf206", ("bicycle", "bike")),
    "airplane": ("\uf072", ("airplane", "plane", "jet")),
    "fish": ("\uf578", ("fish",)),
    "cat": ("\uf6be", ("cat", "kitten")),
    "horse": ("\uf6f0", ("horse", "pony")),
    "spider": ("\uf717", ("spider", "tarantula")),
    "tree": ("\uf1bb", ("tree", "pine", "fir")),
    "umbrella": ("\uf0e9", ("umbrella", "parasol")),
    "guitar": ("\uf7a6", ("guitar",)),
    "star": ("\uf005", ("star",)),
    "clock": ("\uf017", ("clock", "watch")),
    "robot": ("\uf544", ("robot", "android")),
    "cup": ("\uf7b6", ("cup", "mug")),
    "key": ("\uf084", ("key",)),
}

#: A colour -> its RGB and the adjectives that captions use for it.
COLOURS: dict[str, tuple[tuple[int, int, int], tuple[str, ...]]] = {
    "red": ((214, 32, 38), ("red", "crimson", "scarlet")),
    "orange": ((247, 134, 18), ("orange",)),
    "yellow": ((250, 217, 30), ("yellow", "golden")),
    "green": ((34, 153, 62), ("green", "emerald")),
    "blue": ((30, 84, 208), ("blue", "azure")),
    "purple": ((128, 48, 168), ("purple", "violet")),
    "white": ((244, 244, 240), ("white", "ivory")),
    "black": ((34, 34, 38), ("black",)),
}

MASTER = 224  # longest side of an actor's master picture, pixels; every picture in a video is a smaller copy
_OUTLINE = 13  # width of the sticker's rim at that size
_LIGHT_RIM, _DARK_RIM = (250, 250, 246), (52, 52, 60)


@dataclass(frozen=True, slots=True)
class Actor:
    """One actor of a video: a kind, a colour, and whether it looks the other way."""

    kind: str
    colour: str
    mirrored: bool = False


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont:
    with as_file(files("fonticon_fa6") / "fonts" / "Font Awesome 6 Free-Solid-900.otf") as path:
        return ImageFont.truetype(path, MASTER)


def _glyph(kind: str) -> Image.Image:
    """The glyph's coverage, cropped, scaled so that its longest side fits inside the rim of a MASTER square."""
    canvas = Image.new("L", (2 * MASTER, 2 * MASTER))
    ImageDraw.Draw(canvas).text((MASTER, MASTER), KINDS[kind][0], font=_font(), fill=255, anchor="mm")
    glyph = canvas.crop(canvas.getbbox())
    scale = (MASTER - 2 * _OUTLINE) / max(glyph.size)
    glyph = glyph.resize((round(glyph.width * scale), round(glyph.height * scale)), Image.Resampling.LANCZOS)
    square = Image.new("L", (MASTER, MASTER))
    square.paste(glyph, ((MASTER - glyph.width) // 2, (MASTER - glyph.height) // 2))
    return square


def _without_holes(mask: Image.Image) -> Image.Image:
    """The mask with everything filled that the outside cannot reach: windows, eyes, spokes."""
    free = np.asarray(mask) <= 96
    reached = np.zeros_like(free)
    reached[0, 0] = free[0, 0]
    while True:
        grown = reached.copy()
        grown[1:] |= reached[:-1]
        grown[:-1] |= reached[1:]
        grown[:, 1:] |= reached[:, :-1]
        grown[:, :-1] |= reached[:, 1:]
        grown &= free
        if (grown == reached).all():
            return ImageChops.lighter(mask, Image.fromarray(np.where(reached, 0, 255).astype(np.uint8)))
        reached = grown


@cache
def _shape(kind: str) -> tuple[Image.Image, Image.Image]:
    """An actor's glyph and the rim of the sticker around it, whatever the colour."""
    glyph = _glyph(kind)
    rim = _without_holes(glyph).filter(ImageFilter.MaxFilter(2 * (_OUTLINE // 2) + 1))
    return glyph, rim.filter(ImageFilter.GaussianBlur(1.5))


@cache
def picture(kind: str, colour: str, mirrored: bool = False) -> Image.Image:
    """The master picture of an actor: RGBA, MASTER x MASTER."""
    glyph, rim = _shape(kind)
    rgb = np.array(COLOURS[colour][0], dtype=np.float32)
    light = np.linspace(1.0, -1.0, MASTER, dtype=np.float32)[:, None, None]
    towards = np.where(light > 0, np.float32(255), np.float32(0))
    body = rgb + (towards - rgb) * np.abs(light) * np.where(light > 0, np.float32(0.28), np.float32(0.30))
    body_picture = Image.fromarray(np.broadcast_to(body, (MASTER, MASTER, 3)).astype(np.uint8))
    sticker = Image.new("RGB", (MASTER, MASTER), _DARK_RIM if colour == "white" else _LIGHT_RIM)
    sticker.paste(body_picture, mask=glyph)
    sticker.putalpha(rim)
    return sticker.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else sticker
