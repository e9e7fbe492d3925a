"""The published losses (Method, Losses, summed)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from cfmr.models.cfmr.losses import SIDES, PublishedLosses
from cfmr.models.cfmr.pytorch.model import Outputs


def concept_cosines(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of concept k of one side with concept k of the other: (..., K, d) twice -> (..., K)."""
    return (F.normalize(a, dim=-1) * F.normalize(b, dim=-1)).sum(-1)


class Criterion(PublishedLosses[Tensor, Tensor]):
    """The losses on PyTorch; what each is stands in `PublishedLosses`."""

    def total(self, parts: list[Tensor]) -> Tensor:
        return torch.stack(parts).sum()

    def reconstruction(self, outputs: Outputs) -> dict[str, Tensor]:
        return {
            "reconstruction/text": self.config.alpha_2 * outputs.text_nll.mean(),
            "reconstruction/video": self.config.alpha_1 * _at_best(outputs.anchor_nll, outputs.best).mean(),
        }

    def multimodal_concept(self, outputs: Outputs) -> dict[str, Tensor]:
        text = outputs.text_concepts
        positive = outputs.anchor_concepts[torch.arange(len(text), device=text.device), outputs.best].detach()
        near = concept_cosines(positive, text)

        def hinge(others: Tensor, margin: float) -> Tensor:
            return F.relu(concept_cosines(others.detach(), text) - near + margin).sum(-1).mean()

        parts = {"concept/distance": F.mse_loss(text, positive)}
        for side, negative in zip(SIDES, outputs.negative_concepts, strict=False):
            parts[f"concept/{side}"] = hinge(negative, self.config.margin_4)
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
        for side, negative in zip(SIDES, outputs.negative_nll, strict=False):
            parts[f"intra_video/{side}"] = weight * F.relu(positive - negative + self.config.margin_2).mean()
        if self.config.use_ref_words_rec and outputs.ref_nll is not None:
            parts["intra_video/ref"] = weight * F.relu(positive - outputs.ref_nll + self.config.margin_1).mean()
        return parts


def _at_best(nll: Tensor, best: Tensor) -> Tensor:
    """(n, B), (B,) -> (B,)."""
    return nll.gather(0, best[None])[0]


def _redundancy(concepts: Tensor) -> Tensor:
    """||I - C C^T||_F^2 of normalised concepts: (..., K, d) -> (...)."""
    unit = F.normalize(concepts, dim=-1)
    gram = unit @ unit.transpose(-1, -2)
    return (torch.eye(gram.shape[-1], device=gram.device) - gram).square().sum((-1, -2))
