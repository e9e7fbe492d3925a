"""A text encoder's ONNX graph with weights of 8 bits, where that finds the same moments."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cfmr.index.graph_weights import Precision, input_reaches, quantize, weight_layers
from cfmr.index.text_encoder import GRAPH, Floats
from cfmr.models.onnx_graph import ONE_ROW

SHARE = 0.995  # of sentences whose first moment must survive quantisation
SET = 3072  # moments of which one comes first: among few, two are seldom so near that 8 bits swap them
MOST_LAYERS = 32  # graphs with more matrices than this are quantised as a whole or not at all
PROBED = 300  # sentences by which the harm of quantising one matrix is estimated
RIVALS = 20  # moments of a sentence, the best, of which another may come first
TOLERANCE = 1e-5  # between the graph and the model, times the largest number of a vector where that is above 1
WHOLE, SMALL, PROBE = "whole.onnx", "small.onnx", "probe.onnx"
Read = Callable[[str, int], Floats]  # vectors (n, dim) of the first n sentences, by the graph of a name

#: Forms of a matrix that multiplies several rows, the fastest first, each with what it costs more than that: for each
#: weight, and once. The unit is what blocks cost more for a weight.
SEVERAL_ROWS = [
    (Precision.COLUMNS, 0.0, 0),
    (Precision.EVEN, 0.0, 1 << 13),
    (Precision.BLOCKS, 1.0, 1 << 13),
    (Precision.FLOAT, 2.5, 0),
]
SINGLE_ROW = [(Precision.BLOCKS, 0.0, 0), (Precision.FLOAT, 1.0, 0)]


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


def choose_precision(folder: Path, target: str, read: Read, truth: Floats, moments: Floats) -> dict[str, Any]:
    """Of WHOLE in a folder and the same with weights of 8 bits, keep the fastest that answers alike.

    Where the fastest answers otherwise too often, matrices get more precise, one step at a time, until enough answers
    are alike: first those whose step mends most for its cost.

    Args:
        target: name of the one that is kept.
        truth: the model's vectors (n, dim) of the sentences that `read` reads.
        moments: vectors (m, dim) that they are to find.

    Returns:
        what was measured, for the card of the index.
    """
    whole, small, probe = (folder / name for name in (WHOLE, SMALL, PROBE))
    difference = float(np.abs(read(WHOLE, len(truth)) - truth).max())
    layers = [name for name, _ in weight_layers(whole)]
    if 1 < len(layers) <= MOST_LAYERS:
        chosen, reached = _Choice(folder, read, truth, moments).fastest_alike()
    else:
        quantize(whole, small)
        chosen, reached = (
            dict.fromkeys(layers, Precision.COLUMNS),
            top1_agreement(truth, read(SMALL, len(truth)), moments),
        )
    enough = reached >= SHARE
    (small if enough else whole).replace(folder / target)
    for path in (whole, small, probe):
        path.unlink(missing_ok=True)
    few = sum(kind is not Precision.FLOAT for kind in chosen.values())
    return {
        "largest_difference": difference,
        "quantised": enough,
        "quantised_layers": [few if enough else 0, len(layers)],
        "same_first_quantised": round(reached, 4),
        "sentences": len(truth),
    }


def top1_agreement(truth: Floats, other: Floats, moments: Floats) -> float:
    """Share of queries (n, dim) for which two encoders find the same first of SET moments, in all sets of (m, dim)."""
    sets = np.array_split(moments, max(1, round(len(moments) / SET)))
    return float(np.mean([(truth @ one.T).argmax(1) == (other @ one.T).argmax(1) for one in sets]))


class _Choice:
    """Which precision each matrix of a graph gets, see `choose_precision`."""

    def __init__(self, folder: Path, read: Read, truth: Floats, moments: Floats) -> None:
        self._folder, self._read, self._truth, self._moments = folder, read, truth, moments
        whole = folder / WHOLE
        self._reaches = input_reaches(whole, folder / PROBE, lambda: read(PROBE, PROBED))
        self._ladders = {
            name: [
                (kind, each * size + more)
                for kind, each, more in (SINGLE_ROW if name.startswith(ONE_ROW) else SEVERAL_ROWS)
            ]
            for name, size in weight_layers(whole)
        }

    def fastest_alike(self) -> tuple[Mapping[str, Precision], float]:
        """The precision of each matrix after as few steps as it takes to answer alike, written to SMALL, and the share
        that does. After all steps every matrix is in floats."""
        chosen = fastest = {name: ladder[0][0] for name, ladder in self._ladders.items()}
        if (reached := self._same(SMALL, fastest)) >= SHARE:
            return fastest, reached
        steps = self._steps()
        chosen, too_few, enough = dict(steps), 0, len(steps)
        while enough - too_few > 1:  # the more steps, the more first moments are the same
            tried = (too_few + enough) // 2
            trial = {**fastest, **dict(steps[:tried])}
            if (share := self._same(PROBE, trial)) >= SHARE:
                enough, reached, chosen = tried, share, trial
                (self._folder / PROBE).replace(self._folder / SMALL)
            else:
                too_few = tried
        return chosen, reached

    def _write(self, name: str, precision: Mapping[str, Precision]) -> None:
        quantize(self._folder / WHOLE, self._folder / name, precision, self._reaches)

    def _same(self, name: str, precision: Mapping[str, Precision]) -> float:
        self._write(name, precision)
        return top1_agreement(self._truth, self._read(name, len(self._truth)), self._moments)

    def _steps(self) -> list[tuple[str, Precision]]:
        """Steps to a greater precision of each matrix: what helps most for its cost comes first."""
        few = self._truth[:PROBED]
        scores = few @ self._moments.T
        rivals = min(RIVALS, scores.shape[1])
        best = np.argpartition(scores, -rivals, axis=1)[:, -rivals:]

        def harm(name: str, kind: Precision) -> float:
            """By how much the best moments of a sentence move against each other."""
            self._write(PROBE, {name: kind})
            moved = np.take_along_axis(self._read(PROBE, len(few)) @ self._moments.T - scores, best, axis=1)
            return float(moved.var(axis=1).mean())

        steps = list[tuple[float, str, Precision]]()
        for name, ladder in self._ladders.items():
            harms = [*(harm(name, kind) for kind, _ in ladder[:-1]), 0.0]  # floats do none
            at = 0
            while at < len(ladder) - 1:  # a kind that a later one mends more for its cost is left out
                helps = [(harms[at] - harms[i]) / (ladder[i][1] - ladder[at][1]) for i in range(at + 1, len(ladder))]
                at += 1 + int(np.argmax(helps))
                steps.append((max(helps), name, ladder[at][0]))
        return [(name, kind) for _, name, kind in sorted(steps, key=lambda step: -step[0])]
