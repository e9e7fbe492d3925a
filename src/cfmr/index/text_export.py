"""A text encoder's ONNX graph with weights of 8 bits, where that finds the same moments."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from cfmr.index.text_encoder import GRAPH, Floats

SHARE = 0.995  # of sentences whose first moment must survive quantisation
TOLERANCE = 1e-5  # between the graph and the model, times the largest number of a vector where that is above 1
WHOLE, SMALL = "whole.onnx", "small.onnx"


@dataclass(frozen=True, slots=True)
class TextCheck:
    """What an exported text encoder is judged on: sentences, and vectors (m, dim) of moments that they are to find."""

    sentences: Sequence[str]
    moments: Callable[[], Floats]


def keep_graph(
    folder: Path, card: dict[str, Any], read: Callable[[str], Floats], truth: Floats, check: TextCheck
) -> float:
    """Make GRAPH of WHOLE in a folder, and write into the card what was measured.

    Args:
        read: vectors (n, dim) of the sentences by the graph of a name.
        truth: the model's vectors (n, dim) of them.

    Returns:
        by how much the vectors differ from the model's, where that is too much; else 0.
    """
    card["text"] = choose_precision(folder, GRAPH, read, truth, check.moments())
    difference = float(card["text"]["largest_difference"])
    return 0.0 if difference <= TOLERANCE * max(1.0, float(np.abs(truth).max())) else difference


def quantize(source: Path, target: Path) -> None:
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


def choose_precision(
    folder: Path, target: str, read: Callable[[str], Floats], truth: Floats, moments: Floats
) -> dict[str, Any]:
    """Of WHOLE in a folder and the same with weights of 8 bits, keep the smaller if it answers alike.

    Args:
        target: name of the one that is kept.
        read: vectors (n, dim) of some sentences by the graph of a name.
        truth: the model's vectors (n, dim) of the same sentences.
        moments: vectors (m, dim) that they are to find.

    Returns:
        what was measured, for the card of the index.
    """
    whole, small = folder / WHOLE, folder / SMALL
    difference = float(np.abs(read(whole.name) - truth).max())
    quantize(whole, small)
    same = top1_agreement(truth, read(small.name), moments)
    (small if same >= SHARE else whole).replace(folder / target)
    whole.unlink(missing_ok=True)
    small.unlink(missing_ok=True)
    return {
        "largest_difference": difference,
        "quantised": same >= SHARE,
        "same_first_quantised": round(same, 4),
        "sentences": len(truth),
    }


def top1_agreement(truth: Floats, other: Floats, moments: Floats) -> float:
    """Share of queries (n, dim) for which two encoders find the same first of some moments (m, dim)."""
    return float(((truth @ moments.T).argmax(1) == (other @ moments.T).argmax(1)).mean())
