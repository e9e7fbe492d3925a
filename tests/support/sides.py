"""The ways in which the published model is computed, seen from one side: numpy in, numpy out."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from cfmr.config import CFMRLoss, CFMRSizes
from cfmr.models.cfmr.batches import Batch

SIDES = ["pytorch plain", "pytorch fast", "mindspore"]
Arrays = dict[str, np.ndarray]


@dataclass
class Step:
    """What a training step computes. n training anchors, V words, L positions of a sentence."""

    anchors: np.ndarray  # B n, K, d
    text: np.ndarray  # B, K, d
    negatives: np.ndarray  # 2, B, K, d
    ref: np.ndarray | None  # B, K, d
    best: np.ndarray  # B
    total: float
    parts: dict[str, float]
    norms: dict[str, float]  # of gradients, by parameter
    logits: Arrays = field(default_factory=dict)  # where they are all computed


class Side:
    """A model with the given parameters, computed in one of SIDES; the test is skipped where that is not installed."""

    def __init__(self, name: str, sizes: CFMRSizes, loss: CFMRLoss, frames: int, parameters: Arrays) -> None:
        pytest.importorskip(name.split()[0].replace("pytorch", "torch"))
        self.name, self.sizes = name, sizes
        use_ref = loss.use_ref_words_rec or loss.use_ref_words_sam
        vocabulary = len(parameters["fc_comp.weight"])
        if name == "mindspore":
            from cfmr.models import mindspore as models
            from cfmr.models.cfmr.mindspore import losses, model

            models.use_device("CPU")
        else:
            from cfmr.models import pytorch as models  # type: ignore[no-redef]
            from cfmr.models.cfmr.pytorch import losses, model  # type: ignore[no-redef]
        self.criterion = losses.Criterion(loss)
        self.model: Any = model.CFMR(sizes, vocabulary, frames, use_ref)
        models.load_parameters(self.model, parameters)

    def step(self, batch: Batch, progress: float) -> Step:
        return self._mindspore_step(batch, progress) if self.name == "mindspore" else self._torch_step(batch, progress)

    def _torch_step(self, batch: Batch, progress: float) -> Step:
        from cfmr.models.cfmr.pytorch import reference as plain

        self.model.train()
        self.model.zero_grad()
        whole = plain.forward(self.model, batch, progress) if self.name == "pytorch plain" else None
        outputs = whole.outputs if whole else self.model(batch, progress)
        losses = self.criterion(outputs)
        losses.total.backward()
        gradients = {name: parameter.grad for name, parameter in self.model.named_parameters()}
        names = ("text", "anchor", "negative", "ref") if whole else ()
        return Step(
            anchors=array(outputs.anchor_concepts.flatten(0, 1)),
            text=array(outputs.text_concepts),
            negatives=array(outputs.negative_concepts),
            ref=None if outputs.ref_concepts is None else array(outputs.ref_concepts),
            best=array(outputs.best),
            total=losses.total.item(),
            parts={name: value.item() for name, value in losses.parts.items()},
            norms={name: 0.0 if value is None else value.norm().item() for name, value in gradients.items()},
            logits={name: array(getattr(whole, f"{name}_logits")) for name in names},
        )

    def _mindspore_step(self, batch: Batch, progress: float) -> Step:
        import mindspore as ms

        kept: dict[str, Any] = {}

        def forward() -> Any:
            kept["outputs"] = self.model(batch, progress)
            kept["losses"] = self.criterion(kept["outputs"])
            return kept["losses"].total

        self.model.set_train(True)
        parameters = self.model.checkpoint_parameters()
        _, gradients = ms.value_and_grad(forward, None, ms.ParameterTuple(list(parameters.values())))()
        outputs, losses = kept["outputs"], kept["losses"]
        anchors = outputs.anchor_concepts.asnumpy()
        return Step(
            anchors=anchors.reshape(-1, *anchors.shape[2:]),
            text=outputs.text_concepts.asnumpy(),
            negatives=outputs.negative_concepts.asnumpy(),
            ref=None if outputs.ref_concepts is None else outputs.ref_concepts.asnumpy(),
            best=outputs.best,
            total=float(losses.total.asnumpy()),
            parts={name: float(value.asnumpy()) for name, value in losses.parts.items()},
            norms={
                name: float(np.linalg.norm(value.asnumpy())) for name, value in zip(parameters, gradients, strict=True)
            },
        )

    def encode(self, frames: np.ndarray, words: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """All F clips (B, F, frame_dim), word vectors and lengths -> concepts (B A, K, d) and (B, K, d)."""
        kept = frames[:, self.model.kept_clips]
        if self.name == "mindspore":
            from mindspore import Tensor

            self.model.set_train(False)
            video = self.model.encode_video(Tensor(kept)).asnumpy()
            text = self.model.encode_text(Tensor(words), lengths).asnumpy()
            return video.reshape(-1, *video.shape[2:]), text
        import torch

        from cfmr.models.cfmr.pytorch import reference as plain

        self.model.eval()
        with torch.inference_mode():
            if self.name == "pytorch plain":
                video = plain.encode_video_offline(self.model, torch.from_numpy(frames))
                text = plain.encode_text_online(self.model, torch.from_numpy(words), torch.from_numpy(lengths))
            else:
                video = self.model.encode_video(torch.from_numpy(kept))
                text = self.model.encode_text(torch.from_numpy(words), lengths)
        return array(video.flatten(0, 1)), array(text)


def array(tensor: Any) -> np.ndarray:
    return tensor.detach().numpy()
