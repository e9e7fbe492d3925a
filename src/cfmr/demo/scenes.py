"""The backgrounds of the demo world, drawn by code from a seed."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT = 320, 240
_SCALE = 2  # drawn at twice the size, then reduced: smooth edges
_W, _H = WIDTH * _SCALE, HEIGHT * _SCALE
RGB = tuple[int, int, int]


def _gradient(top: RGB, bottom: RGB, height: int = _H) -> Image.Image:
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    colours = (1 - rows) * np.array(top, np.float32) + rows * np.array(bottom, np.float32)
    return Image.fromarray(np.broadcast_to(colours, (height, _W, 3)).astype(np.uint8))


def _hills(draw: ImageDraw.ImageDraw, rng: np.random.Generator, base: float, swell: float, fill: RGB) -> None:
    x = np.arange(0, _W + 1, 4)
    phase, bend = rng.uniform(0, 2 * np.pi, 3), rng.uniform(0.5, 1.0, 3) * (1.0, 0.5, 0.25)
    y = base * _H - swell * _H * sum(
        b * np.sin(x / _W * 2 * np.pi * (i + 0.6) + p) for i, (b, p) in enumerate(zip(bend, phase, strict=True))
    )
    draw.polygon([(0, _H), *zip(x.tolist(), np.asarray(y).tolist(), strict=True), (_W, _H)], fill=fill)


def _meadow(rng: np.random.Generator) -> Image.Image:
    picture = _gradient((126, 190, 236), (214, 236, 246))
    draw = ImageDraw.Draw(picture)
    for _ in range(4):
        x, y = rng.uniform(0, _W), rng.uniform(0.05, 0.3) * _H
        for dx, r in ((-34, 18), (0, 28), (34, 20)):
            draw.ellipse((x + dx - r * 1.5, y - r, x + dx + r * 1.5, y + r), fill=(240, 247, 251))
    _hills(draw, rng, 0.66, 0.05, (150, 196, 116))
    _hills(draw, rng, 0.80, 0.03, (122, 178, 92))
    return picture


def _sea(rng: np.random.Generator) -> Image.Image:
    picture = _gradient((178, 216, 238), (226, 238, 244))
    horizon = int(_H * rng.uniform(0.36, 0.46))
    picture.paste(_gradient((66, 140, 178), (28, 92, 138), _H - horizon), (0, horizon))
    draw = ImageDraw.Draw(picture)
    for _ in range(60):
        y = rng.uniform(horizon + 8, _H)
        x, length = rng.uniform(0, _W), 10 + 40 * (y - horizon) / _H
        draw.line((x, y, x + length, y), fill=(118, 178, 204), width=3)
    return picture


def _desert(rng: np.random.Generator) -> Image.Image:
    picture = _gradient((244, 214, 166), (252, 236, 204))
    draw = ImageDraw.Draw(picture)
    for base, fill in ((0.60, (226, 186, 122)), (0.72, (214, 170, 104)), (0.86, (200, 154, 90))):
        _hills(draw, rng, base, 0.05, fill)
    return picture


def _night(rng: np.random.Generator) -> Image.Image:
    picture = _gradient((14, 16, 44), (52, 50, 96))
    draw = ImageDraw.Draw(picture)
    for x, y, r in zip(rng.uniform(0, _W, 90), rng.uniform(0, _H * 0.8, 90), rng.uniform(0.8, 2.4, 90), strict=True):
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(226, 226, 214))
    _hills(draw, rng, 0.88, 0.04, (22, 26, 40))
    return picture


def _wall(rng: np.random.Generator) -> Image.Image:
    picture = Image.new("RGB", (_W, _H), (176, 168, 160))
    draw = ImageDraw.Draw(picture)
    for row in range(_H // 40 + 1):
        for column in range(-1, _W // 80 + 1):
            x, y = column * 80 + (row % 2) * 40, row * 40
            tone = int(rng.integers(-14, 15))
            draw.rectangle((x + 2, y + 2, x + 77, y + 37), fill=(168 + tone, 102 + tone, 82 + tone))
    return picture


def _snow(rng: np.random.Generator) -> Image.Image:
    picture = _gradient((170, 190, 214), (222, 230, 240))
    draw = ImageDraw.Draw(picture)
    for peak in rng.uniform(0, _W, 4):
        top, half = rng.uniform(0.22, 0.42) * _H, rng.uniform(120, 200)
        draw.polygon([(peak - half, 0.72 * _H), (peak, top), (peak + half, 0.72 * _H)], fill=(146, 164, 190))
        draw.polygon(
            [
                (peak - half * 0.3, top + 0.3 * (0.72 * _H - top)),
                (peak, top),
                (peak + half * 0.3, top + 0.3 * (0.72 * _H - top)),
            ],
            fill=(238, 243, 248),
        )
    _hills(draw, rng, 0.70, 0.03, (226, 233, 242))
    return picture


def _room(rng: np.random.Generator) -> Image.Image:
    tone = int(rng.integers(-10, 11))
    picture = Image.new("RGB", (_W, _H), (206 + tone, 196 + tone, 172 + tone))
    draw = ImageDraw.Draw(picture)
    for x in range(0, _W, 32):
        draw.rectangle((x, 0, x + 15, _H), fill=(214 + tone, 205 + tone, 184 + tone))
    floor = int(0.74 * _H)
    for y in range(floor, _H, 26):
        shade = int(rng.integers(-10, 11))
        draw.rectangle((0, y, _W, y + 24), fill=(150 + shade, 108 + shade, 70 + shade))
    draw.rectangle((0, floor - 10, _W, floor), fill=(238, 234, 224))
    return picture


def _forest(rng: np.random.Generator) -> Image.Image:
    picture = _gradient((150, 186, 158), (96, 138, 104))
    draw = ImageDraw.Draw(picture)
    for depth, fill in ((0, (98, 128, 104)), (1, (70, 100, 78))):
        for x in rng.uniform(0, _W, 9):
            half = 9 + 7 * depth
            draw.rectangle((x - half, 0, x + half, (0.74 + 0.08 * depth) * _H), fill=fill)
    _hills(draw, rng, 0.82, 0.02, (84, 112, 62))
    return picture


#: A scene -> how it is drawn and the phrases that captions use for it.
SCENES: dict[str, tuple[Callable[[np.random.Generator], Image.Image], tuple[str, ...]]] = {
    "meadow": (_meadow, ("in the meadow", "on the grass")),
    "sea": (_sea, ("at sea", "over the ocean")),
    "desert": (_desert, ("in the desert", "among the dunes")),
    "night": (_night, ("at night", "under the night sky")),
    "wall": (_wall, ("in front of a brick wall", "by the wall")),
    "snow": (_snow, ("in the snow", "in the snowy mountains")),
    "room": (_room, ("in a room", "indoors")),
    "forest": (_forest, ("in the forest", "in the woods")),
}


def backdrop(scene: str, seed: int) -> Image.Image:
    """The scene's picture: RGB, WIDTH x HEIGHT. The same seed draws the same picture."""
    picture = SCENES[scene][0](np.random.default_rng(seed)).reduce(_SCALE)
    return picture.filter(ImageFilter.GaussianBlur(1.0))
