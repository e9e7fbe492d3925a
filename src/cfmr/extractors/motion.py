"""What moves in a stretch of video, as numbers: measured on small gray pictures with numpy.

A picture is covered by a grid of soft windows. In each, the motion between two pictures is fitted by least squares as a
shift, a growth and a turn (Lucas and Kanade, 1981, have the shift alone): so "to the left", "grows" and "spins" each
have a number of their own, and what such a motion does not explain (a blink, an entrance) has one too.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

GRID = (4, 5)  # windows down, across
_NOISE = 5.0  # gray levels that compression alone may change
_STIFFNESS = 0.02  # share of a window's contrast that holds its fit back


@dataclass(frozen=True)
class Fit:
    """Motion between pairs of pictures in every window.

    Attributes:
        params: (n, windows, 4): right, down (in window radii), growth, clockwise turn (radians, about).
        energy: (n, windows): squared change, in squared gray levels.
        residual: (n, windows): the part of it that the motion leaves unexplained, 0 to 1.
    """

    params: Array
    energy: Array
    residual: Array


class Windows:
    """Soft windows over pictures of one size."""

    def __init__(self, height: int, width: int) -> None:
        rows, columns = GRID
        self.radius = 0.5 * float(np.hypot(height / rows, width / columns))
        self.y, self.centre_y = self._axis(height, rows)  # (rows, height)
        self.x, self.centre_x = self._axis(width, columns)  # (columns, width)
        self.across = (np.arange(width, dtype=np.float32) + 0.5) / self.radius
        self.down = (np.arange(height, dtype=np.float32) + 0.5) / self.radius

    def _axis(self, length: int, count: int) -> tuple[Array, Array]:
        centres = (np.arange(count, dtype=np.float32) + 0.5) * length / count
        distance = (np.arange(length, dtype=np.float32) + 0.5 - centres[:, None]) / self.radius
        weights = np.exp(-2 * distance**2)
        return _single(weights / weights.sum(axis=1, keepdims=True)), _single(centres / self.radius)

    def mean(self, maps: Array) -> Array:
        """(..., height, width) -> (..., windows), each window's weighted mean."""
        pooled: Array = np.matmul(self.y, np.matmul(maps, self.x.T))
        return pooled.reshape(*maps.shape[:-2], -1)


def _single(values: npt.NDArray[Any]) -> Array:
    return values.astype(np.float32)


def blur(maps: Array) -> Array:
    """(..., height, width) smoothed by 1 4 6 4 1 both ways; edges repeat."""
    for axis in (-1, -2):
        pad = [(0, 0)] * maps.ndim
        pad[axis] = (2, 2)
        wide = np.moveaxis(np.pad(maps, pad, mode="edge"), axis, -1)
        n = wide.shape[-1] - 4
        mixed = (wide[..., :n] + wide[..., 4:]) + 4 * (wide[..., 1 : n + 1] + wide[..., 3 : n + 3])
        mixed += 6 * wide[..., 2 : n + 2]
        maps = np.moveaxis(mixed * np.float32(1 / 16), -1, axis)
    return maps


def moving(change: Array) -> Array:
    """Where a change between two pictures is more than noise: 0 to 1, of `change`'s shape."""
    energy = blur(change * change)
    return energy / (energy + np.float32(_NOISE**2))


def fit_motion(first: Array, second: Array, windows: Windows) -> Fit:
    """Fit the motion from each of the (n, height, width) gray pictures `first` to its partner in `second`."""
    change = second - first
    weight = moving(change)
    mean = 0.5 * (first + second)
    radius = np.float32(windows.radius)
    slope_y, slope_x = (0.5 * radius * np.gradient(mean, axis=axis) * 2 for axis in (1, 2))
    grow = windows.across * slope_x + windows.down[:, None] * slope_y
    turn = windows.across * slope_y - windows.down[:, None] * slope_x
    basis = np.stack([slope_x, slope_y, grow, turn])  # 4, n, height, width
    weighted = basis * weight
    upper = np.triu_indices(4)
    products = windows.mean(np.stack([weighted[i] * basis[j] for i, j in zip(*upper, strict=True)]))  # 10, n, windows
    right = windows.mean(-weighted * change)  # 4, n, windows
    matrix = np.empty((*right.shape[1:], 4, 4), dtype=np.float64)
    for product, i, j in zip(products, *upper, strict=True):
        matrix[..., i, j] = matrix[..., j, i] = product
    target = np.moveaxis(right, 0, -1).astype(np.float64)
    # growth and turn about the middle of the window, not of the picture
    centre = np.stack(np.meshgrid(windows.centre_y, windows.centre_x, indexing="ij"), -1).reshape(-1, 2)
    shift = np.tile(np.eye(4), (len(centre), 1, 1))
    shift[:, 2, 0], shift[:, 2, 1] = -centre[:, 1], -centre[:, 0]
    shift[:, 3, 0], shift[:, 3, 1] = centre[:, 0], -centre[:, 1]
    matrix = shift @ matrix @ shift.swapaxes(-1, -2)
    target = (shift @ target[..., None])[..., 0]
    contrast = np.trace(matrix, axis1=-2, axis2=-1)[..., None, None] / 4
    stiff = (_STIFFNESS * contrast + 1.0) * np.eye(4)
    params = np.linalg.solve(matrix + stiff, target[..., None])[..., 0]
    energy = windows.mean(weight * change * change)
    explained = 2 * (params * target).sum(-1) - np.einsum("...i,...ij,...j", params, matrix, params)
    residual = np.clip(1 - explained / (energy + 1.0), 0, 1)
    return Fit(params.astype(np.float32), energy, residual.astype(np.float32))


FRAMES_PER_CLIP = 6
MARGIN = 3  # frames before the first clip and after the last that `describe` looks at
_SHORT = ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6))  # pairs of frames of a clip: what is quick shows here
_LONG = ((-2, 4), (0, 6), (2, 8))  # half a second apart: what is slow shows here
_FAINT = 10.0  # energy of a window at which its motion counts half
_USUAL = np.array([0.1, 0.1, 0.05, 0.05], dtype=np.float32)  # parameters at which squashing has reached a half

_PER_LAG = 4 + 4 + 2  # of a window: signed, unsigned, how much moves, how much of it is unexplained
WINDOW_DIM = 2 * _PER_LAG + 1
_OVERALL = 2 * (8 + 8 + 4 + 2)
DIM = GRID[0] * GRID[1] * WINDOW_DIM + _OVERALL


def describe(gray: npt.NDArray[np.uint8]) -> tuple[Array, Array]:
    """Describe the motion in consecutive clips.

    Args:
        gray: (MARGIN + clips * FRAMES_PER_CLIP + MARGIN, height, width).

    Returns:
        (clips, DIM): every window's motion, and the strongest and the average of the whole picture.
        (clips, height, width): where something moves, 0 to 1.
    """
    frames = blur(gray.astype(np.float32))
    windows = Windows(*gray.shape[1:])
    clips = (len(gray) - 2 * MARGIN) // FRAMES_PER_CLIP
    parts: list[Array] = []
    overall: list[Array] = []
    where = np.zeros((clips, *gray.shape[1:]), dtype=np.float32)
    for pairs in (_SHORT, _LONG):
        starts = MARGIN + FRAMES_PER_CLIP * np.arange(clips)[:, None]
        first, second = (starts + np.array([pair[side] for pair in pairs]) for side in (0, 1))
        fit = fit_motion(frames[first.ravel()], frames[second.ravel()], windows)
        shape = (clips, len(pairs), -1)
        gate = (fit.energy / (fit.energy + np.float32(_FAINT))).reshape(shape)
        params = fit.params / (np.abs(fit.params) + _USUAL)
        params = params.reshape(clips, len(pairs), -1, 4) * gate[..., None]
        blank = gate * fit.residual.reshape(shape)
        mean = params.mean(axis=1)  # clips, windows, 4
        size = np.abs(params).mean(axis=1)
        parts += [mean, size, gate.mean(axis=1)[..., None], blank.mean(axis=1)[..., None]]
        if pairs is _SHORT:
            parts.append((gate.max(axis=1) - gate.mean(axis=1))[..., None])  # of a jerk
        signs = np.concatenate([np.maximum(mean, 0), np.maximum(-mean, 0)], axis=-1)
        overall += [signs.max(axis=1), signs.mean(axis=1), size.max(axis=1)]
        overall += [gate.mean(axis=(1, 2))[:, None], blank.mean(axis=(1, 2))[:, None]]
        change = frames[second.ravel()] - frames[first.ravel()]
        where += moving(change).reshape(clips, len(pairs), *gray.shape[1:]).mean(axis=1) / 2
    described = np.concatenate([np.concatenate(parts, axis=-1).reshape(clips, -1), *overall], axis=1)
    return described, where
