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
MOST_LAYERS = 32  # graphs with more matrices than this are quantised as a whole or not at all
PROBED = 100  # sentences by which the harm of quantising one matrix is estimated
TOLERANCE = 1e-5  # between the graph and the model, times the largest number of a vector where that is above 1
WHOLE, SMALL, PROBE = "whole.onnx", "small.onnx", "probe.onnx"
Read = Callable[[str, int], Floats]  # vectors (n, dim) of the first n sentences, by the graph of a name


@dataclass(frozen=True, slots=True)
class TextCheck:
    """What an exported text encoder is judged on: sentences, and vectors (m, dim) of moments that they are to find."""

    sentences: Sequence[str]
    moments: Callable[[], Floats]


def keep_graph(folder: Path, card: dict[str, Any], read: Read, truth: Floats, check: TextCheck) -> float:
    """Make GRAPH of WHOLE in a folder, and write into the card what was measured.

    Args:
        truth: the model's vectors (n, dim) of the sentences that `read` reads.

    Returns:
        by how much the vectors differ from the model's, where that is too much; else 0.
    """
    card["text"] = choose_precision(folder, GRAPH, read, truth, check.moments())
    difference = float(card["text"]["largest_difference"])
    return 0.0 if difference <= TOLERANCE * max(1.0, float(np.abs(truth).max())) else difference


def quantize(source: Path, target: Path, layers: Sequence[str] = ()) -> None:
    """Write the graph at `source` again with weights of 8 bits, one scale a column; of these layers, or of all."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.disable(logging.WARNING)  # it recommends an optimisation that this graph has had
    try:
        quantize_dynamic(
            source,
            target,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,  # 7 bits: processors without VNNI add pairs of products in 16, which 8 overflow
            nodes_to_quantize=list(layers),
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
    finally:
        logging.disable(logging.NOTSET)


def choose_precision(folder: Path, target: str, read: Read, truth: Floats, moments: Floats) -> dict[str, Any]:
    """Of WHOLE in a folder and the same with weights of 8 bits, keep the smallest that answers alike.

    Where all layers in 8 bits answer otherwise too often, as many as can be are: those that move the vectors least for
    their size come first.

    Args:
        target: name of the one that is kept.
        truth: the model's vectors (n, dim) of the sentences that `read` reads.
        moments: vectors (m, dim) that they are to find.

    Returns:
        what was measured, for the card of the index.
    """
    whole, small, probe = folder / WHOLE, folder / SMALL, folder / PROBE
    difference = float(np.abs(read(WHOLE, len(truth)) - truth).max())

    def same(graph: Path) -> float:
        return top1_agreement(truth, read(graph.name, len(truth)), moments)

    quantize(whole, small)
    reached, layers = same(small), [name for name, _ in weight_layers(whole)]
    count = len(layers)
    if reached < SHARE and 1 < len(layers) <= MOST_LAYERS:
        order = _least_harmful(whole, probe, read, truth)
        count, too_many = 0, len(layers)
        while too_many - count > 1:  # the more layers, the fewer first moments survive
            tried = (count + too_many) // 2
            quantize(whole, probe, order[:tried])
            if (share := same(probe)) >= SHARE:
                count, reached = tried, share
                probe.replace(small)
            else:
                too_many = tried
    (small if reached >= SHARE else whole).replace(folder / target)
    for path in (whole, small, probe):
        path.unlink(missing_ok=True)
    return {
        "largest_difference": difference,
        "quantised": reached >= SHARE,
        "quantised_layers": [count if reached >= SHARE else 0, len(layers)],
        "same_first_quantised": round(reached, 4),
        "sentences": len(truth),
    }


def weight_layers(path: Path) -> list[tuple[str, int]]:
    """Nodes of a graph that multiply with a matrix of weights, and how many numbers that has."""
    graph = onnx.load(path).graph
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in graph.initializer if len(tensor.dims) == 2}
    nodes = (node for node in graph.node if node.op_type in ("MatMul", "Attention"))
    return [(node.name, sizes[node.input[1]]) for node in nodes if node.name and node.input[1] in sizes]


def _least_harmful(whole: Path, probe: Path, read: Read, truth: Floats) -> list[str]:
    """Layers in the order in which 8 bits cost the least for what they save."""
    harm = {}
    for name, size in weight_layers(whole):
        quantize(whole, probe, [name])
        few = truth[:PROBED]
        harm[name] = float(np.square(read(probe.name, len(few)) - few).mean()) / size
    return sorted(harm, key=harm.__getitem__)


def top1_agreement(truth: Floats, other: Floats, moments: Floats) -> float:
    """Share of queries (n, dim) for which two encoders find the same first of some moments (m, dim)."""
    return float(((truth @ moments.T).argmax(1) == (other @ moments.T).argmax(1)).mean())
