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

FRAMES_PER_CLIP = 6
MARGIN = 6  # frames before the first clip and after the last that `describe` looks at
_SEEN = 3  # the frame of a clip around which one looks for what moves
#: Pairs of frames of a clip, a twelfth, a half and a whole second apart: what is quick shows in the first, what is slow
#: in the last.
_LAGS = (
    ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6)),
    ((-1, 5), (1, 7)),
    ((-3, 9),),
)
_FAINT = 1.0  # energy of a window at which its motion counts half
_USUAL = np.array([0.05, 0.05, 0.02, 0.02], dtype=np.float32)  # parameters at which squashing has reached a half

_WINDOW_DIM = 4 * len(_LAGS) + 2
OVERALL_DIM = len(_LAGS) * (8 + 8 + 8 + 4 + 4 + 2)
DIM = OVERALL_DIM + GRID[0] * GRID[1] * _WINDOW_DIM


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
        self.count = rows * columns
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
    matrix, target = _equations(0.5 * (first + second), change, weight, windows)
    contrast = np.trace(matrix, axis1=-2, axis2=-1)[..., None, None] / 4
    stiff = (_STIFFNESS * contrast + 1.0) * np.eye(4)
    params = np.linalg.solve(matrix + stiff, target[..., None])[..., 0]
    energy = windows.mean(weight * change * change)
    explained = 2 * (params * target).sum(-1) - np.einsum("...i,...ij,...j", params, matrix, params)
    residual = np.clip(1 - explained / (energy + 1.0), 0, 1)
    return Fit(_single(params), energy, _single(residual))


def _equations(
    mean: Array, change: Array, weight: Array, windows: Windows
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Least squares of `change` by shift, growth and turn in every window: (n, windows, 4, 4) and (n, windows, 4)."""
    radius = np.float32(windows.radius)
    slope_y, slope_x = (radius * np.gradient(mean, axis=axis) for axis in (1, 2))
    grow = windows.across * slope_x + windows.down[:, None] * slope_y
    turn = windows.across * slope_y - windows.down[:, None] * slope_x
    basis = slope_x, slope_y, grow, turn
    matrix = np.empty((len(mean), windows.count, 4, 4), dtype=np.float64)
    target = np.empty((len(mean), windows.count, 4), dtype=np.float64)
    for i, one in enumerate(basis):
        weighted = weight * one
        target[..., i] = -windows.mean(weighted * change)
        for j, other in enumerate(basis[: i + 1]):
            matrix[..., i, j] = matrix[..., j, i] = windows.mean(weighted * other)
    # growth and turn about the middle of the window, not of the picture
    shift = np.tile(np.eye(4), (windows.count, 1, 1))
    y, x = (axis.ravel() for axis in np.meshgrid(windows.centre_y, windows.centre_x, indexing="ij"))
    shift[:, 2, 0], shift[:, 2, 1] = -x, -y
    shift[:, 3, 0], shift[:, 3, 1] = y, -x
    return shift @ matrix @ shift.swapaxes(-1, -2), (shift @ target[..., None])[..., 0]


def describe(gray: npt.NDArray[np.uint8]) -> tuple[Array, Array]:
    """Describe the motion in consecutive clips.

    Args:
        gray: (MARGIN + clips * FRAMES_PER_CLIP + MARGIN, height, width).

    Returns:
        (clips, DIM): for each of three lags the strongest, the average and the energy's average over windows of right,
            down, growth, clockwise turn, of their opposites, and of either; how much moves and how much of it no motion
            explains. Then every window's own four for each lag, how much moves in it, and how much is unexplained.
        (clips, height, width): where something moves, 0 to 1.
    """
    frames = blur(gray.astype(np.float32))
    windows = Windows(*gray.shape[1:])
    clips = (len(gray) - 2 * MARGIN) // FRAMES_PER_CLIP
    starts = MARGIN + FRAMES_PER_CLIP * np.arange(clips)
    overall: list[Array] = []
    params: list[Array] = []
    gates: list[Array] = []
    blanks: list[Array] = []
    for pairs in _LAGS:
        first, second = (starts[:, None] + np.array([pair[side] for pair in pairs]) for side in (0, 1))
        fit = fit_motion(frames[first.ravel()], frames[second.ravel()], windows)
        shape = (clips, len(pairs), -1)
        energy = fit.energy.reshape(shape)
        gate = energy / (energy + np.float32(_FAINT))
        blank = gate * fit.residual.reshape(shape)
        moved = (fit.params / (np.abs(fit.params) + _USUAL)).reshape(*shape[:2], -1, 4) * gate[..., None]
        params.append(moved.mean(axis=1))
        gates.append(gate.mean(axis=1))
        blanks.append(blank.mean(axis=1))
        overall += _overall(params[-1], np.abs(moved).mean(axis=1), np.sqrt(energy.mean(axis=1)))
        overall += [gates[-1].mean(axis=1)[:, None], blanks[-1].mean(axis=1)[:, None]]
    own = [*params, _mean(gates)[..., None], _mean(blanks)[..., None]]
    described = np.concatenate([*overall, np.concatenate(own, axis=-1).reshape(clips, -1)], axis=1)
    return described, _where(frames, starts)


def _overall(signed: Array, size: Array, strength: Array) -> list[Array]:
    """Over the windows of a clip: signed, unsigned (clips, windows, 4), strength (clips, windows)."""
    share = (strength / (strength.sum(axis=1, keepdims=True) + np.float32(5.0)))[..., None]
    signs = np.concatenate([np.maximum(signed, 0), np.maximum(-signed, 0)], axis=-1)
    pooled = [signs.max(axis=1), signs.mean(axis=1), (signs * share).sum(axis=1)]
    return [*pooled, size.max(axis=1), (size * share).sum(axis=1)]


def _where(frames: Array, starts: npt.NDArray[np.int64]) -> Array:
    """Where something moves: any change counts; one that was not there before and is not afterwards counts more.

    The latter is where a thing is now; a change between two frames is also where it was, or will be.
    """
    anywhere = [
        moving(frames[starts + second] - frames[starts + first])
        for pairs in _LAGS[:2]
        for first, second in pairs[:: max(len(pairs) // 2, 1)]
    ]
    now = frames[starts + _SEEN]
    before, after = (blur((now - frames[starts + _SEEN + lag]) ** 2) for lag in (-FRAMES_PER_CLIP, FRAMES_PER_CLIP))
    lasting: Array = np.minimum(before, after)
    return _mean([_mean(anywhere), _single(lasting / (lasting + np.float32(_NOISE**2)))])


def _mean(arrays: list[Array]) -> Array:
    return np.asarray(sum(arrays) / np.float32(len(arrays)), dtype=np.float32)
