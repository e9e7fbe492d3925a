"""The original release's numbers, from its own inputs and weights.

Each fixture is a pair NAME.json (sizes, losses) and NAME.npz: inputs in/*, parameters param/*, and what the original
computed from them. The folder is CFMR_PARITY_DIR, ../shared/parity by default; one fixture of the project's own,
computed by the plain path, is always there.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cfmr.anchors import kept_clips, retrieval_anchors, spans, training_widths
from cfmr.batches import Batch
from cfmr.config import CFMRLoss, CFMRSizes

torch = pytest.importorskip("torch")

from cfmr.backends.pytorch import plain  # noqa: E402
from cfmr.backends.pytorch.losses import Criterion  # noqa: E402
from cfmr.backends.pytorch.model import CFMR  # noqa: E402

HERE = Path(__file__).parent
FOLDERS = [HERE / "parity", Path(os.environ.get("CFMR_PARITY_DIR", HERE.parents[1] / "shared/parity"))]
FIXTURES = sorted(path for folder in FOLDERS for path in folder.glob("*.npz"))

LOSS_PARTS = {
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


@dataclass
class Fixture:
    """Arrays of a fixture and a model with its parameters."""

    arrays: dict[str, np.ndarray]
    loss: CFMRLoss
    model: CFMR
    batch: Batch
    progress: float

    def at_best(self, values: np.ndarray, best: np.ndarray) -> np.ndarray:
        """(B n, ...) -> (B, ...) at p*."""
        return values.reshape(len(best), -1, *values.shape[1:])[np.arange(len(best)), best]


@pytest.fixture(scope="module", params=FIXTURES, ids=lambda path: path.stem)
def fixture(request: pytest.FixtureRequest) -> Fixture:
    path: Path = request.param
    description = json.loads(path.with_suffix(".json").read_text())
    arrays = dict(np.load(path))
    sizes, loss = CFMRSizes(**description["model"]), CFMRLoss(**description["loss"])
    frames, glances = arrays["in/frames_feat"], arrays["in/glance"]
    batch = Batch(
        clips=frames[:, kept_clips(frames.shape[1])],
        words=arrays["in/words_feat"][:, 1:-1],
        word_ids=arrays["in/words_id"],
        lengths=arrays["in/words_len"],
        glances=glances,
        masked=arrays["in/masked_words"][:, 1:-1].astype(bool),
        videos=np.arange(len(glances)),
        durations=np.ones(len(glances), np.float32),
    )
    model = CFMR(sizes, description["vocab_size"], frames.shape[1], loss.use_ref_words_rec or loss.use_ref_words_sam)
    parameters = {k.removeprefix("param/"): torch.from_numpy(v) for k, v in arrays.items() if k.startswith("param/")}
    model.load_state_dict(parameters)
    return Fixture(arrays, loss, model, batch, float(arrays["in/epoch"]) / description["max_epoch"])


def run(fixture: Fixture, path: str) -> Any:
    fixture.model.train()
    fixture.model.zero_grad()
    if path == "plain":
        return plain.forward(fixture.model, fixture.batch, fixture.progress)
    return fixture.model(fixture.batch, fixture.progress)


def outputs_of(result: Any) -> Any:
    return getattr(result, "outputs", result)


both_paths = pytest.mark.parametrize("path", ["plain", "fast"])


@both_paths
def test_concepts_are_the_originals(fixture: Fixture, path: str) -> None:
    arrays, outputs = fixture.arrays, outputs_of(run(fixture, path))
    best = outputs.best.numpy()
    close(outputs.anchor_concepts.flatten(0, 1), arrays["train/pos_vid_concepts"], 1e-5)
    close(outputs.text_concepts, arrays["train/txt_concepts"], 1e-5)
    for side, negative in enumerate(outputs.negative_concepts, 1):
        close(negative, fixture.at_best(arrays[f"train/neg_vid_concepts_{side}"], best), 1e-5)
    if outputs.ref_concepts is not None:
        close(outputs.ref_concepts, arrays["train/ref_concept"], 1e-5)


def test_logits_are_the_originals(fixture: Fixture) -> None:
    arrays, result = fixture.arrays, run(fixture, "plain")
    counted = np.arange(arrays["in/words_id"].shape[1]) <= arrays["in/words_len"][:, None]  # the rest is never read
    anchors = result.anchor_logits.shape[1]
    close(result.text_logits[counted], arrays["train/words_logit"][counted], 1e-4)
    close(result.ref_logits[counted], arrays["train/ref_words_logit"][counted], 1e-4)
    rows = np.repeat(counted, anchors, axis=0)
    close(result.anchor_logits.flatten(0, 1)[rows], arrays["train/pos_words_logit"][rows], 1e-4)
    for side, logits in enumerate(result.negative_logits, 1):
        close(logits.flatten(0, 1)[rows], arrays[f"train/neg_words_logit_{side}"][rows], 1e-4)


@both_paths
def test_every_loss_and_every_part_is_the_originals(fixture: Fixture, path: str) -> None:
    losses = Criterion(fixture.loss)(outputs_of(run(fixture, path)))
    weight = fixture.loss.alpha_1
    for name, value in losses.parts.items():
        expected = float(fixture.arrays[f"loss_part/{LOSS_PARTS[name]}"])
        if name.startswith("intra_video"):  # the original notes these parts before weighting them
            expected *= weight
        assert value.item() == pytest.approx(expected, rel=1e-5), name
    for group in ("reconstruction", "diversity", "intra_video"):
        value = sum(part.item() for name, part in losses.parts.items() if name.startswith(group))
        assert value == pytest.approx(float(fixture.arrays[f"loss/{group}"]), rel=1e-5), group
    concept = sum(part.item() for name, part in losses.parts.items() if name.startswith("concept"))
    assert concept == pytest.approx(float(fixture.arrays["loss/multimodal_concept"]), rel=1e-5)
    assert losses.total.item() == pytest.approx(float(fixture.arrays["loss/total"]), rel=1e-5)


@both_paths
def test_every_gradient_has_the_originals_norm(fixture: Fixture, path: str) -> None:
    Criterion(fixture.loss)(outputs_of(run(fixture, path))).total.backward()
    for name, parameter in fixture.model.named_parameters():
        expected = fixture.arrays.get(f"grad_norm/{name}")
        norm = 0.0 if parameter.grad is None else parameter.grad.norm().item()
        assert norm == pytest.approx(0.0 if expected is None else float(expected), rel=1e-3, abs=1e-7), name


def test_training_anchors_are_the_originals(fixture: Fixture) -> None:
    widths = training_widths(fixture.model.sizes)
    np.testing.assert_allclose(np.tile(widths, len(fixture.batch)), fixture.arrays["train/width"], atol=1e-6)
    np.testing.assert_allclose(np.repeat(fixture.batch.glances, len(widths)), fixture.arrays["train/center"], atol=1e-6)


def test_retrieval_anchors_and_spans_are_the_originals(fixture: Fixture) -> None:
    centres, widths = retrieval_anchors(fixture.model.sizes)
    count = len(fixture.batch)
    np.testing.assert_allclose(np.tile(centres, count), fixture.arrays["eval/center"], atol=1e-6)
    np.testing.assert_allclose(np.tile(widths, count), fixture.arrays["eval/width"], atol=1e-6)


@both_paths
def test_evaluation_ranks_as_the_original_does(fixture: Fixture, path: str) -> None:
    model, batch, arrays = fixture.model.eval(), fixture.batch, fixture.arrays
    words, lengths = torch.from_numpy(batch.words), torch.from_numpy(batch.lengths)
    with torch.inference_mode():
        if path == "plain":
            video = plain.encode_video_offline(model, torch.from_numpy(arrays["in/frames_feat"]))
            text = plain.encode_text_online(model, words, lengths)
        else:
            video, text = model.encode_video(torch.from_numpy(batch.clips)), model.encode_text(words, lengths)
    close(video.flatten(0, 1), arrays["eval/vid_concepts"], 1e-5)
    close(text, arrays["eval/txt_concepts"], 1e-5)
    anchors = spans(*retrieval_anchors(model.sizes))
    for i, expected in enumerate(arrays["eval/similarity"]):
        vectors, _ = model.video_vectors(arrays["in/frames_feat"][i])
        scores = vectors @ model.text_vectors(batch.words[[i]], batch.lengths[[i]])[0]
        np.testing.assert_allclose(scores, expected, atol=1e-4)
        close(plain.similarity(video[i], text[i]), expected, 1e-4)
        order = np.argsort(-scores, kind="stable")
        assert order.tolist() == np.argsort(-expected, kind="stable").tolist()
        np.testing.assert_allclose(anchors, arrays["eval/spans"][i], atol=1e-6)


def close(found: Any, expected: np.ndarray, tolerance: float) -> None:
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=0, atol=tolerance)
