"""Gaussian temporal anchors: centres, widths, weights over time, spans (Method, Gaussian temporal anchors).

Times are fractions of a video. Everything is float32 numpy, so that every backend shares it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.config import CFMRSizes

Array = NDArray[np.float32]

NARROWEST = 0.01  # no bell is narrower, whatever the width
NO_WEIGHT = 1e-8  # clips of less weight are cut: together they move a concept by about 1e-6
WEIGHT_FLOOR = 1e-10  # the original adds it to every weight


def num_positions(max_num_frames: int) -> int:
    """T, how many clips of a video the model looks at."""
    return max_num_frames // 4


def kept_clips(max_num_frames: int) -> NDArray[np.int64]:
    """Indices (T + 1,) of the clips the video encoder reads; the last slot repeats the last clip.

    The original meant that slot for its learned `vid_pred_vec` and reads the clip before it (Method, Video concepts).
    """
    last = np.float32(max_num_frames - 1)
    kept = _linspace(np.float32(0), last, num_positions(max_num_frames)).astype(np.int64)
    return np.append(kept, max_num_frames - 1)


def _linspace(first: np.float32, last: np.float32, steps: int) -> Array:
    # float32 and filled from both ends: a double-precision linspace would truncate to another clip here and there
    if steps == 1:
        return np.array([first], np.float32)
    step = np.float32((last - first) / np.float32(steps - 1))
    index = np.arange(steps)
    rising = first + step * index.astype(np.float32)
    falling = last - step * (steps - 1 - index).astype(np.float32)
    return np.where(index < steps // 2, rising, falling).astype(np.float32)


def training_widths(sizes: CFMRSizes) -> Array:
    """Widths (n,) of the anchors laid around a glance."""
    steps = np.arange(1, sizes.guass_width_num_training + 1, dtype=np.float32)
    return (steps * np.float32(sizes.width_thresh_training) / np.float32(sizes.guass_width_num_training)).astype(
        np.float32
    )


def retrieval_anchors(sizes: CFMRSizes) -> tuple[Array, Array]:
    """Centres (A,) and widths (A,): all centres of the first width come first, then the next width."""
    return anchor_grid(sizes.guass_center_num, sizes.guass_width_num, sizes.width_thresh)


def anchor_grid(centre_count: int, width_count: int, widest: float) -> tuple[Array, Array]:
    """As `retrieval_anchors`, of a grid given by its numbers."""
    centres = _linspace(np.float32(0), np.float32(1), centre_count)
    steps = np.arange(1, width_count + 1, dtype=np.float32)
    widths = (steps * np.float32(widest) / np.float32(width_count)).astype(np.float32)
    return np.tile(centres, len(widths)), np.repeat(widths, len(centres))


def spans(centres: Array, widths: Array) -> Array:
    """The moments (..., 2) that anchors stand for, within [0, 1]."""
    start, end = np.maximum(centres - widths / 2, 0), np.minimum(centres + widths / 2, 1)
    return np.stack([start, end], axis=-1).astype(np.float32)


def bells(centres: Array, stds: Array, positions: int) -> Array:
    """Weights (..., positions) over linspace(0, 1), each bell scaled so that its largest value is 1."""
    time = _linspace(np.float32(0), np.float32(1), positions)
    squared = ((time - centres[..., None]) / stds[..., None]) ** 2 / 2
    return np.asarray(np.exp(-(squared - squared.min(-1, keepdims=True))), np.float32)


def anchor_stds(widths: Array, sigma: float) -> Array:
    """Standard deviations of the anchors' bells."""
    return (np.maximum(widths, np.float32(NARROWEST)) / np.float32(sigma)).astype(np.float32)


def anchor_weights(centres: Array, widths: Array, sigma: float, positions: int) -> Array:
    """Weights (..., T + 1) of anchors; the last slot's is 0."""
    weights = bells(centres, anchor_stds(widths, sigma), positions)
    return np.concatenate([weights, np.zeros_like(weights[..., :1])], axis=-1)


def negative_weights(
    centres: Array, widths: Array, sizes: CFMRSizes, positions: int, progress: float
) -> tuple[Array, Array]:
    """Weights (..., T + 1) of the left and right negatives of anchors; they cover the last slot too.

    Args:
        progress: epoch / max_epoch; the negatives move towards the anchor as it grows.
    """
    reach = np.float32(min(progress, 1.0) ** sizes.gamma * 0.5)
    left = (np.maximum(centres - widths / 2, 0) * reach).astype(np.float32)
    right = (1 - np.maximum(1 - centres - widths / 2, 0) * reach).astype(np.float32)
    narrow = sizes.sigma / 2
    return (
        bells(left, anchor_stds(left, narrow), positions + 1),
        bells(right, anchor_stds(1 - right, narrow), positions + 1),
    )


def anchor_relevance(
    spans: NDArray[np.float64], scores: NDArray[np.floating[Any]], times: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What anchors say of points in time: the mean score of those that cover a point, narrow and central ones first.

    Args:
        spans: (n, 2) seconds.
        scores: (n,).
        times: (m,) seconds, increasing; points that no anchor covers take the nearest one's score.
    """
    centre, half = spans.mean(1), np.maximum((spans[:, 1] - spans[:, 0]) / 2, 1e-6)
    total, weight = np.zeros(len(times)), np.zeros(len(times))
    low, high = np.searchsorted(times, spans[:, 0]), np.searchsorted(times, spans[:, 1], side="right")
    for i in range(len(spans)):  # long videos have thousands of anchors, each covering few points
        points = slice(low[i], high[i])
        near = np.maximum(1 - np.abs(times[points] - centre[i]) / half[i], 1e-3) / half[i]
        total[points] += near * scores[i]
        weight[points] += near
    covered = weight > 0
    if not covered.any():
        return np.full(len(times), float(np.mean(scores)))
    return np.interp(times, times[covered], total[covered] / weight[covered])
