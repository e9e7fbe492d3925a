"""Exact search that reads few rows: a bound on every row's score from a few numbers of it.

With orthonormal directions P, a vector v splits into its outline P'Pv and the rest. So does a query t, and

    |<v, t> - <Pv, Pt>| = |<v - P'Pv, t - P'Pt>| <= |v - P'Pv| |t - P'Pt|

Vectors of moments lie near few directions, so the bound is narrow: of thousands of rows some dozens can be among the
best, and only their scores are worked out. What is found is what scoring all rows finds.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cfmr.index.codec import BLOCK, Codec, Floats
from cfmr.index.files import FileRecord, damaged, map_array, write_array

Chosen = slice | NDArray[np.intp]  # of rows

OUTLINE, DIRECTIONS = "outline.npy", "directions.npy"
DIMENSIONS = 64  # numbers of an outline
LEAST_ROWS = 1024  # a segment of fewer rows is scored sooner than outlined
SAMPLED = 2048  # rows from which directions are found
ROUNDING = 1e-3  # what float arithmetic may add to the length of a rest, or to a score


@dataclass(frozen=True, slots=True)
class Outline:
    """Outlines of a segment's rows: `numbers` (n, p + 1), the length of the rest last; `directions` (p, dim)."""

    numbers: Floats
    directions: Floats

    @classmethod
    def of(cls, codec: Codec, rows: Floats, scales: Floats | None) -> "Outline":
        """Outlines of rows (n, d) with scales (n, K)."""
        some = np.linspace(0, len(rows) - 1, min(SAMPLED, len(rows))).astype(int)
        directions = _directions(codec.expand(rows[some], None if scales is None else scales[some]))
        project = codec.row_projection(directions)
        numbers = np.empty((len(rows), len(directions) + 1), np.float32)
        for low in range(0, len(rows), BLOCK):
            part = slice(low, low + BLOCK)
            here = None if scales is None else scales[part]
            numbers[part, :-1] = project(rows[part], here)
            whole = np.square(codec.expand(rows[part], here)).sum(1)
            rest = whole - np.square(numbers[part, :-1]).sum(1)
            numbers[part, -1] = np.sqrt(np.maximum(rest, 0) + ROUNDING**2)
        return cls(numbers, directions)

    def write(self, folder: Path) -> dict[str, FileRecord]:
        """Write it beside the rows of a segment; returns the files."""
        return {
            OUTLINE: write_array(folder / OUTLINE, [self.numbers], len(self.numbers)),
            DIRECTIONS: write_array(folder / DIRECTIONS, [self.directions], len(self.directions)),
        }

    @classmethod
    def open(cls, folder: Path) -> "Outline":
        """The outlines of a segment, mapped."""
        return cls(*(map_array(folder / name).view(np.ndarray) for name in (OUTLINE, DIRECTIONS)))

    def check(self, folder: Path, rows: int, dim: int) -> None:
        """Raise InputError if they are not those of so many rows that stand for vectors (dim,)."""
        numbers, directions = self.numbers, self.directions
        if directions.ndim != 2 or directions.shape[1] != dim or directions.dtype != np.float32:
            raise damaged(folder / DIRECTIONS, f"{directions.dtype} {directions.shape} instead of (p, {dim})")
        if numbers.shape != (rows, len(directions) + 1) or numbers.dtype != np.float32:
            raise damaged(folder / OUTLINE, f"{numbers.dtype} {numbers.shape} instead of {rows} outlines")

    def bounds(self, vector: Floats, rows: Chosen) -> tuple[Floats, Floats]:
        """What some rows about score with a query (dim,), and the most that they can score; (n,) each."""
        query = self.directions @ vector
        rest = np.sqrt(max(float(vector @ vector) - float(query @ query), 0.0)) + ROUNDING
        numbers = self.numbers[rows]
        both: Floats = numbers @ np.stack([np.append(query, np.float32(0)), np.append(query, np.float32(rest))], axis=1)
        return both[:, 0], both[:, 1]


def _directions(sample: Floats) -> Floats:
    """About the strongest directions (p, dim) of vectors (n, dim), orthonormal."""
    rng = np.random.default_rng(0)
    found = rng.standard_normal((sample.shape[1], min(DIMENSIONS, *sample.shape))).astype(np.float32)
    for _ in range(3):  # power iteration on the sample's second moments
        found = np.linalg.qr(sample.T @ (sample @ found))[0]
    return np.ascontiguousarray(found.T)
