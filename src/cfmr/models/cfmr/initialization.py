"""What the published model starts from: drawn by numpy, so that a seed means the same model on every backend."""

from collections.abc import Mapping
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from cfmr.models.checkpoint import Tensors

Shape = tuple[int, ...]


def initial_parameters(shapes: Mapping[str, Shape], seed: int) -> Tensors:
    """Parameters by their names in a checkpoint. Each depends on the seed, its name and its shape alone.

    They follow the distributions that the models are built with, which are the original's: Xavier's in attention,
    PyTorch's defaults in other linear layers, layer norms that change nothing, learned vectors of zeros.
    """
    return {name: _initial(name, shape, shapes, seed) for name, shape in shapes.items()}


def _initial(name: str, shape: Shape, shapes: Mapping[str, Shape], seed: int) -> NDArray[np.float32]:
    owner, _, last = name.rpartition(".")
    if "norm" in owner:
        return np.full(shape, last == "weight", np.float32)
    limit = _limit(owner, last, shape, shapes)
    return np.random.default_rng([seed, crc32(name.encode())]).uniform(-limit, limit, shape).astype(np.float32)


def _limit(owner: str, last: str, shape: Shape, shapes: Mapping[str, Shape]) -> float:
    """Values are uniform between this and its negative."""
    if last == "in_proj_weight" or (owner.endswith("out_proj") and last == "weight"):
        return float((6 / sum(shape)) ** 0.5)
    if last not in ("weight", "bias") or owner.endswith("out_proj"):
        return 0.0
    return float(shapes[f"{owner}.weight"][1] ** -0.5)
