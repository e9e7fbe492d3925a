"""Writes own_tiny.json and own_tiny.npz: python tests/parity/make_fixture.py

Computed by the plain path from random weights, so that the fast path is held to something where no other fixture is.
"""

import json
from pathlib import Path

import numpy as np
import torch

from cfmr.config import CFMRLoss, CFMRSizes
from cfmr.models.cfmr.batches import Batch
from cfmr.models.cfmr.pytorch import reference as plain
from cfmr.models.cfmr.pytorch.losses import Criterion
from cfmr.models.cfmr.pytorch.model import CFMR
from cfmr.moments.anchors import kept_clips, retrieval_anchors, spans, training_widths

HERE = Path(__file__).parent
NAMES = {
    "reconstruction/text": "(1) txt_rec_loss:",
    "reconstruction/video": "(2) vid_rec_loss:",
    "concept/distance": "(1) pos_mse_loss",
    "concept/left": "(2) samilarity_loss_1",
    "concept/right": "(3) samilarity_loss_2",
    "concept/ref": "(4) ref_samilarity_loss",
    "diversity/video": "(1) vid_div_loss",
    "diversity/text": "(2) txt_div_loss",
    "intra_video/left": "(1) hinge_loss_neg1",
    "intra_video/right": "(2) hinge_loss_neg2",
    "intra_video/ref": "(3) hinge_loss_ref",
}
SIZES = {
    "frames_input_size": 6,
    "words_input_size": 5,
    "hidden_size": 8,
    "use_negative": True,
    "sigma": 9,
    "gamma": 0.5,
    "dropout": 0.0,
    "Transformers": {"d_model": 8, "num_heads": 2, "num_decoder_layers1": 3, "num_decoder_layers2": 3, "dropout": 0.0},
    "num_concept": 3,
    "guass_width_num_training": 3,
    "width_thresh_training": 0.5,
    "guass_center_num": 5,
    "guass_width_num": 2,
    "width_thresh": 0.4,
}
LOSS = {f"margin_{i}": 0.1 * i for i in range(1, 5)} | {
    "use_ref_words_rec": True,
    "use_ref_words_sam": True,
    "alpha_1": 1.5,
    "alpha_2": 0.5,
}
VOCABULARY, FRAMES, EPOCHS = 9, 96, 10


def main() -> None:
    rng = np.random.default_rng(3)
    torch.manual_seed(3)
    sizes, loss = CFMRSizes(**SIZES), CFMRLoss(**LOSS)
    model = CFMR(sizes, VOCABULARY, FRAMES, use_ref=True)
    with torch.no_grad():
        for vector in (model.mask_vec, model.start_vec, model.txt_pred_vec):
            vector.normal_()
    lengths = np.array([4, 6, 1])
    words = np.zeros((3, 8, 5), np.float32)
    ids = np.zeros((3, 6), np.int64)
    for row, length in enumerate(lengths):
        words[row, 1 : length + 1] = rng.standard_normal((length, 5))
        ids[row, :length] = rng.integers(1, VOCABULARY, length)
    masked = np.zeros((3, 8), np.uint8)
    masked[[0, 1, 1, 2], [2, 1, 5, 1]] = 1
    inputs = {
        "frames_feat": rng.standard_normal((3, FRAMES, 6)).astype(np.float32),
        "words_id": ids,
        "words_feat": words,
        "words_len": lengths,
        "glance": np.array([0.02, 0.45, 0.9], np.float32),
        "masked_words": masked,
        "epoch": np.array(4),
    }
    frames = inputs["frames_feat"]
    batch = Batch(
        clips=frames[:, kept_clips(FRAMES)],
        words=words[:, 1:-1],
        word_ids=ids,
        lengths=lengths,
        glances=inputs["glance"],
        masked=masked[:, 1:-1].astype(bool),
        videos=np.arange(3),
        durations=np.ones(3, np.float32),
    )
    result = plain.forward(model, batch, 4 / EPOCHS)
    losses = Criterion(loss)(result.outputs)
    losses.total.backward()
    arrays = {f"in/{name}": value for name, value in inputs.items()}
    arrays |= {f"param/{name}": numpy(value) for name, value in model.named_parameters()}
    arrays |= {
        f"grad_norm/{name}": np.array(value.grad.norm().item())
        for name, value in model.named_parameters()
        if value.grad is not None
    }
    arrays |= training_arrays(result) | loss_arrays(losses, loss.alpha_1)
    widths = training_widths(sizes)
    arrays["train/width"], arrays["train/center"] = np.tile(widths, 3), np.repeat(batch.glances, len(widths))
    arrays |= evaluation_arrays(model.eval(), batch, frames)
    np.savez_compressed(HERE / "own_tiny.npz", **arrays)
    description = {"model": SIZES, "loss": LOSS, "max_epoch": EPOCHS, "vocab_size": VOCABULARY}
    (HERE / "own_tiny.json").write_text(json.dumps(description, indent=1) + "\n")


def training_arrays(result: plain.PlainOutputs) -> dict[str, np.ndarray]:
    outputs = result.outputs
    return {
        "train/pos_vid_concepts": numpy(outputs.anchor_concepts.flatten(0, 1)),
        "train/txt_concepts": numpy(outputs.text_concepts),
        "train/neg_vid_concepts_1": numpy(result.negative_concepts[0].flatten(0, 1)),
        "train/neg_vid_concepts_2": numpy(result.negative_concepts[1].flatten(0, 1)),
        "train/ref_concept": numpy(outputs.ref_concepts),
        "train/words_logit": numpy(result.text_logits),
        "train/ref_words_logit": numpy(result.ref_logits),
        "train/pos_words_logit": numpy(result.anchor_logits.flatten(0, 1)),
        "train/neg_words_logit_1": numpy(result.negative_logits[0].flatten(0, 1)),
        "train/neg_words_logit_2": numpy(result.negative_logits[1].flatten(0, 1)),
    }


def loss_arrays(losses, alpha_1: float) -> dict[str, np.ndarray]:
    arrays = {"loss/total": np.array(losses.total.item())}
    for group, title in (
        ("reconstruction", "reconstruction"),
        ("concept", "multimodal_concept"),
        ("diversity", "diversity"),
        ("intra_video", "intra_video"),
    ):
        parts = {name: part.item() for name, part in losses.parts.items() if name.startswith(group)}
        arrays[f"loss/{title}"] = np.array(sum(parts.values()))
        scale = alpha_1 if group == "intra_video" else 1.0
        arrays |= {f"loss_part/{NAMES[name]}": np.array(value / scale) for name, value in parts.items()}
    return arrays


def evaluation_arrays(model: CFMR, batch: Batch, frames: np.ndarray) -> dict[str, np.ndarray]:
    with torch.inference_mode():
        video = plain.encode_video_offline(model, torch.from_numpy(frames))
        text = plain.encode_text_online(model, torch.from_numpy(batch.words), torch.from_numpy(batch.lengths))
        scores = torch.stack([plain.similarity(v, t) for v, t in zip(video, text, strict=True)])
    centres, widths = retrieval_anchors(model.sizes)
    return {
        "eval/vid_concepts": numpy(video.flatten(0, 1)),
        "eval/txt_concepts": numpy(text),
        "eval/similarity": numpy(scores),
        "eval/center": np.tile(centres, len(video)),
        "eval/width": np.tile(widths, len(video)),
        "eval/spans": np.tile(spans(centres, widths), (len(video), 1, 1)),
    }


def numpy(value: torch.Tensor) -> np.ndarray:
    return value.detach().numpy()


if __name__ == "__main__":
    main()
