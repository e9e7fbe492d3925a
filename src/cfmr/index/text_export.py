"""A text encoder's ONNX graph with weights of 8 bits, where that finds the same moments."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from cfmr.models.onnx_graph import Floats

SHARE = 0.995  # of sentences whose first moment must survive quantisation


def quantise(source: Path, target: Path) -> None:
    """Write the graph at `source` again with weights of 8 bits, one scale a column."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.disable(logging.WARNING)  # it recommends an optimisation that this graph has had
    try:
        quantize_dynamic(
            source,
            target,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,  # 7 bits: processors without VNNI add pairs of products in 16, which 8 overflow
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
    finally:
        logging.disable(logging.NOTSET)


def keep_smaller(
    folder: Path, target: str, read: Callable[[str], Floats], truth: Floats, moments: Floats
) -> dict[str, Any]:
    """Of `whole.onnx` in a folder and the same with weights of 8 bits, keep the smaller if it answers alike.

    Args:
        target: name of the one that is kept.
        read: vectors (n, dim) of some sentences by the graph of a name.
        truth: the model's vectors (n, dim) of the same sentences.
        moments: vectors (m, dim) that they are to find.

    Returns:
        what was measured, for the card of the index.
    """
    whole, small = folder / "whole.onnx", folder / "small.onnx"
    difference = float(np.abs(read(whole.name) - truth).max())
    quantise(whole, small)
    same = same_first(truth, read(small.name), moments)
    (small if same >= SHARE else whole).replace(folder / target)
    whole.unlink(missing_ok=True)
    small.unlink(missing_ok=True)
    return {
        "largest_difference": difference,
        "quantised": same >= SHARE,
        "same_first_quantised": round(same, 4),
        "sentences": len(truth),
    }


def same_first(truth: Floats, other: Floats, moments: Floats) -> float:
    """Share of queries (n, dim) for which two encoders find the same first of some moments (m, dim)."""
    return float(((truth @ moments.T).argmax(1) == (other @ moments.T).argmax(1)).mean())
