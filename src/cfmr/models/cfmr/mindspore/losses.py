"""The published losses (Method, Losses, summed)."""

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops

from cfmr.models.cfmr.layout import Ints
from cfmr.models.cfmr.losses import SIDES, PublishedLosses
from cfmr.models.cfmr.mindspore.model import Outputs, normalize, rows_of


def concept_cosines(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of concept k of one side with concept k of the other: (..., K, d) twice -> (..., K)."""
    return (normalize(a) * normalize(b)).sum(-1)


class Criterion(PublishedLosses[Tensor, Ints]):
    """The losses on MindSpore; what each is stands in `PublishedLosses`."""

    def total(self, parts: list[Tensor]) -> Tensor:
        return ops.stack(parts).sum()

    def reconstruction(self, outputs: Outputs) -> dict[str, Tensor]:
        return {
            "reconstruction/text": self.config.alpha_2 * outputs.text_nll.mean(),
            "reconstruction/video": self.config.alpha_1 * _at_best(outputs.anchor_nll, outputs.best).mean(),
        }

    def multimodal_concept(self, outputs: Outputs) -> dict[str, Tensor]:
        text = outputs.text_concepts
        batch, anchors, concepts, width = outputs.anchor_concepts.shape
        listed = outputs.anchor_concepts.reshape(batch * anchors, concepts * width)
        positive = ops.stop_gradient(rows_of(listed, np.arange(batch) * anchors + outputs.best)).reshape(text.shape)
        near = concept_cosines(positive, text)

        def hinge(others: Tensor, margin: float) -> Tensor:
            return ops.relu(concept_cosines(ops.stop_gradient(others), text) - near + margin).sum(-1).mean()

        parts = {"concept/distance": ops.square(text - positive).mean()}
        for i, side in enumerate(SIDES[: len(outputs.negative_concepts)]):
            parts[f"concept/{side}"] = hinge(outputs.negative_concepts[i], self.config.margin_4)
        if self.config.use_ref_words_sam and outputs.ref_concepts is not None:
            parts["concept/ref"] = hinge(outputs.ref_concepts, self.config.margin_3)
        return parts

    def diversity(self, outputs: Outputs) -> dict[str, Tensor]:
        return {
            "diversity/video": _redundancy(outputs.anchor_concepts).mean(),
            "diversity/text": _redundancy(outputs.text_concepts).mean(),
        }

    def intra_video(self, outputs: Outputs) -> dict[str, Tensor]:
        positive = _at_best(outputs.anchor_nll, outputs.best)
        weight = self.config.alpha_1
        parts = {}
        for i, side in enumerate(SIDES[: len(outputs.negative_nll)]):
            parts[f"intra_video/{side}"] = (
                weight * ops.relu(positive - outputs.negative_nll[i] + self.config.margin_2).mean()
            )
        if self.config.use_ref_words_rec and outputs.ref_nll is not None:
            parts["intra_video/ref"] = weight * ops.relu(positive - outputs.ref_nll + self.config.margin_1).mean()
        return parts


def _at_best(nll: Tensor, best: Ints) -> Tensor:
    """(n, B), (B,) -> (B,)."""
    chosen = np.arange(nll.shape[0])[:, None] == best
    return (nll * Tensor(chosen.astype(np.float32))).sum(0)


def _redundancy(concepts: Tensor) -> Tensor:
    """||I - C C^T||_F^2 of normalised concepts: (..., K, d) -> (...)."""
    unit = normalize(concepts)
    gram = ops.matmul(unit, unit.swapaxes(-1, -2))
    return ops.square(ops.eye(gram.shape[-1], dtype=ms.float32) - gram).sum((-1, -2))
