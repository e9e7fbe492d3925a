"""What moves in a stretch of video, as numbers: measured on small gray pictures with numpy.

A picture is covered by a grid of soft windows. In each, the motion between two pictures is fitted by least squares as a
shift, a growth and a turn (Lucas and Kanade, 1981, have the shift alone): so "to the left", "grows" and "spins" each
have a number of their own, and what such a motion does not explain (a blink, an entrance) has one too.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

GRID = (4, 5)  # windows down, across
_NOISE = 5.0  # gray levels that compression alone may change
_AT_ONCE = 8  # pairs of pictures that are fitted together: more would not stay in the processor's cache
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
    """Soft windows over pictures of one size.

    A window's weights are a product of one function of the row and one of the column, and so are its weighted sums of
    powers of the place within it; both are therefore two small matrix products.
    """

    def __init__(self, height: int, width: int) -> None:
        rows, columns = GRID
        self.count = rows * columns
        self.radius = 0.5 * float(np.hypot(height / rows, width / columns))
        self.y, self.down = self._axis(height, rows)  # (rows, height), (3 * rows, height)
        self.x, self.across = self._axis(width, columns)

    def _axis(self, length: int, count: int) -> tuple[Array, Array]:
        """Weights (count, length), and these times powers 0, 1 and 2 of the distance from the window's middle."""
        centres = (np.arange(count, dtype=np.float32) + 0.5) * length / count
        distance = (np.arange(length, dtype=np.float32) + 0.5 - centres[:, None]) / self.radius
        weights = np.exp(-2 * distance**2)
        weights /= weights.sum(axis=1, keepdims=True)
        return _single(weights), _single(np.concatenate([weights * distance**power for power in range(3)]))

    def mean(self, maps: Array) -> Array:
        """(..., height, width) -> (..., windows), each window's weighted mean."""
        pooled: Array = np.matmul(self.y, _by_rows(maps, self.x))
        return pooled.reshape(*maps.shape[:-2], -1)

    def moments(self, maps: Array) -> npt.NDArray[np.float64]:
        """(..., height, width) -> (3, 3, ..., windows): means of x**a y**b times the map at [a, b].

        x and y are right and down from the window's middle, in radii.
        """
        pooled = np.matmul(self.down, _by_rows(maps, self.across)).astype(np.float64)
        split = pooled.reshape(*maps.shape[:-2], 3, GRID[0], 3, GRID[1])
        moments: npt.NDArray[np.float64] = np.moveaxis(split, (-2, -4), (0, 1))
        return moments.reshape(3, 3, *maps.shape[:-2], self.count)


def _single(values: npt.NDArray[Any]) -> Array:
    return values.astype(np.float32)


def _by_rows(maps: Array, matrix: Array) -> Array:
    """Each row of (..., width) times the transposed (n, width), in one product."""
    product: Array = maps.reshape(-1, maps.shape[-1]) @ matrix.T
    return product.reshape(*maps.shape[:-1], -1)


def blur(maps: Array) -> Array:
    """(..., height, width) smoothed by 1 4 6 4 1 both ways; edges repeat."""
    height, width = maps.shape[-2:]
    blurred: Array = np.matmul(_smoothing(height), _by_rows(maps, _smoothing(width)))
    return blurred


@cache
def _smoothing(length: int) -> Array:
    """(length, length) that smooths a length."""
    places = np.arange(length)
    matrix = np.zeros((length, length), dtype=np.float32)
    for offset, weight in zip(range(-2, 3), (1, 4, 6, 4, 1), strict=True):
        np.add.at(matrix, (places, np.clip(places + offset, 0, length - 1)), np.float32(weight / 16))
    return matrix


def moving(change: Array) -> Array:
    """Where a change between two pictures is more than noise: 0 to 1, of `change`'s shape."""
    energy = blur(change * change)
    return energy / (energy + np.float32(_NOISE**2))


def fit_motion(first: Array, second: Array, windows: Windows) -> Fit:
    """Fit the motion from each of the (n, height, width) gray pictures `first` to its partner in `second`."""
    pieces = range(0, len(first), _AT_ONCE)
    fits = [_fit(first[at : at + _AT_ONCE], second[at : at + _AT_ONCE], windows) for at in pieces]
    return Fit(*(np.concatenate(parts) for parts in zip(*fits, strict=True)))


def _fit(first: Array, second: Array, windows: Windows) -> tuple[Array, Array, Array]:
    change = second - first
    weight = moving(change)
    matrix, target, energy = _equations(0.5 * (first + second), change, weight, windows)
    contrast = np.trace(matrix, axis1=-2, axis2=-1)[..., None, None] / 4
    stiff = (_STIFFNESS * contrast + 1.0) * np.eye(4)
    params = np.linalg.solve(matrix + stiff, target[..., None])[..., 0]
    explained = 2 * (params * target).sum(-1) - np.einsum("...i,...ij,...j", params, matrix, params)
    residual = np.clip(1 - explained / (energy + 1.0), 0, 1)
    return _single(params), energy, _single(residual)


def _slope(maps: Array, axis: int) -> Array:
    """The change from one row (axis 1) or column (2) to the next, as `np.gradient` has it."""
    slope = np.empty_like(maps)
    to, of = np.moveaxis(slope, axis, 0), np.moveaxis(maps, axis, 0)
    np.subtract(of[2:], of[:-2], out=to[1:-1])
    to[1:-1] *= np.float32(0.5)
    to[0], to[-1] = of[1] - of[0], of[-1] - of[-2]
    return slope


def _equations(
    mean: Array, change: Array, weight: Array, windows: Windows
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], Array]:
    """Least squares of `change` by shift, growth and turn about the middle of every window.

    Returns:
        (n, windows, 4, 4) and (n, windows, 4), and the energy (n, windows) of the change.
    """
    radius = np.float32(windows.radius)
    slope_y, slope_x = radius * _slope(mean, 1), radius * _slope(mean, 2)
    across, down = weight * slope_x, weight * slope_y
    products = np.empty((5, *mean.shape), dtype=np.float32)
    factors = (across, slope_x), (across, slope_y), (down, slope_y), (across, change), (down, change)
    for product, (one, other) in zip(products, factors, strict=True):
        np.multiply(one, other, out=product)
    # the slope along a growth is x slope_x + y slope_y, along a turn x slope_y - y slope_x
    moments = windows.moments(products)
    xx, xy, yy, xd, yd = (moments[:, :, number] for number in range(5))
    matrix = np.empty((*xx.shape[2:], 4, 4), dtype=np.float64)
    upper = {
        (0, 0): xx[0, 0], (0, 1): xy[0, 0], (0, 2): xx[1, 0] + xy[0, 1], (0, 3): xy[1, 0] - xx[0, 1],
        (1, 1): yy[0, 0], (1, 2): xy[1, 0] + yy[0, 1], (1, 3): yy[1, 0] - xy[0, 1],
        (2, 2): xx[2, 0] + 2 * xy[1, 1] + yy[0, 2], (2, 3): xy[2, 0] - xx[1, 1] + yy[1, 1] - xy[0, 2],
        (3, 3): yy[2, 0] - 2 * xy[1, 1] + xx[0, 2],
    }  # fmt: skip
    for (i, j), value in upper.items():
        matrix[..., i, j] = matrix[..., j, i] = value
    target = -np.stack([xd[0, 0], yd[0, 0], xd[1, 0] + yd[0, 1], yd[1, 0] - xd[0, 1]], axis=-1)
    return matrix, target, windows.mean(weight * change * change)


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
