"""Where CFMR's sequences lie: windows of a video, packed sentences, masks, positions; numpy, for every backend.

All of it follows from lengths and anchors, which are numpy arrays. A backend sees the indices and biases made here.

Shapes: B sentences, N rows (anchors of videos, or positions of packed sentences), S slots of a video, P positions of a
window, L positions of the longest sentence.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cfmr.config import CFMRSizes
from cfmr.moments.anchors import NO_WEIGHT, WEIGHT_FLOOR, Array, negative_weights

Ints = NDArray[np.int64]


# --- windows of a video -----------------------------------------------------------------------------------------------


class WindowGroup(NamedTuple):
    """Windows that are computed together, padded to one length."""

    rows: Ints  # n, which of the bells
    starts: Ints  # n, first slot of each window
    length: int


def windows(weights: Array, step: int) -> list[WindowGroup]:
    """Group bells (N, S) by the length of the stretch where they count; each is in one group.

    The last slot belongs to no window: it is always computed.

    Args:
        step: lengths within a group differ by less than this.
    """
    inner = weights[:, :-1] > NO_WEIGHT
    slots = inner.shape[1]
    first = inner.argmax(1)
    length = np.where(inner.any(1), slots - inner[:, ::-1].argmax(1) - first, 1)
    ceiling = -(-length // step)
    groups = []
    for size in np.unique(ceiling):
        rows = np.flatnonzero(ceiling == size)
        longest = int(length[rows].max())
        groups.append(WindowGroup(rows, np.minimum(first[rows], slots - longest), longest))
    return groups


def ungrouped(groups: list[WindowGroup]) -> Ints:
    """Where each bell's result stands when those of the groups follow each other, (N,)."""
    return np.argsort(np.concatenate([group.rows for group in groups]))


def window_slots(group: WindowGroup, slots: int) -> Ints:
    """The slots (n, P) of a group's windows: `length` neighbours and the last one."""
    last = np.full((len(group.starts), 1), slots - 1)
    return np.concatenate([group.starts[:, None] + np.arange(group.length), last], axis=1)


def weight_bias(weights: Array, slots: Ints) -> Array:
    """Bells (n, S) at slots (n, P) as what is added to attention scores, (n, 1, 1, P)."""
    return np.log(np.take_along_axis(weights, slots, 1) + WEIGHT_FLOOR, dtype=np.float32)[:, None, None, :]


def other_weights(
    sizes: CFMRSizes, glances: Array, widths: Array, positions: int, progress: float, *, use_ref: bool
) -> Array:
    """Weights (B, 0 to 3, S) of what p* is compared with: the left and right negative, and the whole video.

    Args:
        glances: centres (B,) of p*.
        widths: of p*, (B,).
        progress: epoch / max_epoch.
        use_ref: whether a loss reads the whole video.
    """
    kinds: list[Array] = []
    if sizes.use_negative:
        kinds += negative_weights(glances, widths, sizes, positions, progress)
    if use_ref:
        kinds.append(np.ones((len(glances), positions + 1), np.float32))
    return np.stack(kinds, axis=1) if kinds else np.zeros((len(glances), 0, positions + 1), np.float32)


# --- sentences of different lengths -----------------------------------------------------------------------------------


class Packing:
    """Where the positions of sequences of different lengths stand when written one after the other.

    Attributes:
        lengths: (B,).
        longest: L.
        valid: (B, L), which positions exist.
        rows: (N,), the positions that exist, in the padded layout.
        first: (B,), where each sequence begins in the packed layout.
        last: (B,), where it ends.
        padded: (B, L), where each position stands in the packed layout; 0 behind a sequence's end.
    """

    def __init__(self, lengths: Ints) -> None:
        self.lengths, self.longest = lengths, int(lengths.max())
        position = np.arange(self.longest)
        self.valid = position < lengths[:, None]
        self.rows = np.flatnonzero(self.valid)
        self.first = np.cumsum(lengths) - lengths
        self.last = self.first + lengths - 1
        self.padded = np.where(self.valid, self.first[:, None] + position, 0)

    def padding_bias(self, masked: float = -np.inf) -> Array:
        """(B, 1, 1, L), `masked` behind a sequence's end."""
        return np.where(self.valid, np.float32(0), np.float32(masked))[:, None, None]

    def means(self) -> Array:
        """(N, B): values of positions times this are the means of the sequences."""
        sequence = np.repeat(np.arange(len(self.lengths)), self.lengths)
        return np.asarray(np.eye(len(self.lengths)) / self.lengths[:, None], np.float32)[sequence]


# --- what both have ---------------------------------------------------------------------------------------------------


def causal_bias(length: int, masked: float = -np.inf) -> Array:
    """(L, L), `masked` where a position would look ahead."""
    return np.triu(np.full((length, length), masked, np.float32), 1)


def sinusoids(positions: int, width: int) -> Array:
    """(positions, width): half sines, half cosines; position 0 is all zeros (Method, Semantic reconstructor)."""
    half = width // 2
    frequency = np.exp(np.arange(half, dtype=np.float32) * np.float32(-(np.log(10000) / (half - 1))))
    angle = np.arange(positions, dtype=np.float32)[:, None] * frequency
    table = np.concatenate([np.sin(angle), np.cos(angle)], axis=1)
    table[0] = 0
    return np.asarray(table, np.float32)
