"""Measures of finding all moments of a sentence, as GMR's evaluation has them: mR@k, mR+@k, mIoU@k, mIoU+@k.

The first k windows, in the order given, are matched one to one: each takes the true window left that it overlaps most.
The measures with a plus count what is found besides one moment, over the sentences that have several.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cfmr.moments.average_precision import THRESHOLDS
from cfmr.moments.metrics import iou

Floats = NDArray[np.float64]

DEPTHS = (1, 3, 5)


def matched_overlaps(overlap: Floats, least: float = 0.0) -> list[float]:
    """IoU of each window that is matched, in the order of the windows.

    Args:
        overlap: (k, g) IoU of predicted and true windows.
        least: windows whose best match overlaps less are not matched and leave it to the next.
    """
    free, found = overlap.copy(), []
    for row in free:
        best = int(row.argmax())
        if row[best] >= least:
            found.append(float(row[best]))
            free[:, best] = -1  # taken: below any `least`
    return found


def several_measures(pairs: Sequence[tuple[Floats, Floats]]) -> dict[str, float]:
    """mR@k and mIoU@k in percent over all sentences, mR+@k and mIoU+@k over those with several moments, if any.

    Args:
        pairs: of each sentence the true windows (g, 2), g >= 1, and the predicted ones (k, >= 2), best first.
    """
    overlaps = [iou(predicted[: max(DEPTHS), None, :2], truth[None]) for truth, predicted in pairs]
    several = [overlap for overlap in overlaps if overlap.shape[1] > 1]
    measures: dict[str, float] = {}
    for name, mean, over in (
        ("mR", _recall, overlaps),
        ("mR+", _further_recall, several),
        ("mIoU", _overlap, overlaps),
        ("mIoU+", _further_overlap, several),
    ):
        if over:
            measures |= {f"{name}@{depth}": _percent(mean, over, depth) for depth in DEPTHS}
    return measures


def _percent(of_sentence: Callable[[Floats], Floats], overlaps: Sequence[Floats], depth: int) -> float:
    """Mean over the sentences, then over the thresholds; this order rounds as the field's script does."""
    values = np.stack([of_sentence(overlap[:depth]) for overlap in overlaps], axis=1)  # thresholds, sentences
    return 100 * float(np.mean([np.mean(row) for row in values]))


def _recall(overlap: Floats) -> Floats:
    """Share of the moments that are found at each IoU threshold of mAP."""
    found = [len(matched_overlaps(overlap, least)) for least in THRESHOLDS]
    return np.asarray(np.array(found) / overlap.shape[1])


def _further_recall(overlap: Floats) -> Floats:
    found = [max(0, len(matched_overlaps(overlap, least)) - 1) for least in THRESHOLDS]
    return np.asarray(np.array(found) / (overlap.shape[1] - 1))


def _overlap(overlap: Floats) -> Floats:
    """Mean IoU of the matched windows, (1,); 0 if there is none."""
    return np.array([np.mean(matched_overlaps(overlap) or [0.0])])


def _further_overlap(overlap: Floats) -> Floats:
    """The same without the best of them."""
    return np.array([np.mean(sorted(matched_overlaps(overlap), reverse=True)[1:] or [0.0])])
