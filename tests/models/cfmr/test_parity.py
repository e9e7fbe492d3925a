"""The original release's numbers, from its own inputs and weights.

Each fixture is a pair NAME.json (sizes, losses) and NAME.npz: inputs in/*, parameters param/*, and what the original
computed from them. The folder is CFMR_PARITY_DIR, ../shared/parity by default; one fixture of the project's own,
computed by the plain path, is always there.
"""

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cfmr.config import CFMRLoss, CFMRSizes
from cfmr.models.cfmr.batches import Batch
from cfmr.moments.anchors import kept_clips, retrieval_anchors, spans, training_widths
from tests.support.sides import SIDES, Side, Step

HERE = Path(__file__).resolve().parents[2]
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


@dataclass(frozen=True, eq=False)
class Fixture:
    """What the original was given, and what it computed."""

    arrays: dict[str, np.ndarray]
    sizes: CFMRSizes
    loss: CFMRLoss
    batch: Batch
    progress: float

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        return {name.removeprefix("param/"): v for name, v in self.arrays.items() if name.startswith("param/")}

    def at_best(self, values: np.ndarray, best: np.ndarray) -> np.ndarray:
        """(B n, ...) -> (B, ...) at p*."""
        return values.reshape(len(best), -1, *values.shape[1:])[np.arange(len(best)), best]


@pytest.fixture(scope="module", params=FIXTURES, ids=lambda path: path.stem)
def fixture(request: pytest.FixtureRequest) -> Fixture:
    path: Path = request.param
    description = json.loads(path.with_suffix(".json").read_text())
    arrays = dict(np.load(path))
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
    sizes, loss = CFMRSizes(**description["model"]), CFMRLoss(**description["loss"])
    return Fixture(arrays, sizes, loss, batch, float(arrays["in/epoch"]) / description["max_epoch"])


@cache
def side_of(name: str, fixture: Fixture) -> Side:
    return Side(name, fixture.sizes, fixture.loss, fixture.arrays["in/frames_feat"].shape[1], fixture.parameters)


@cache
def step_of(name: str, fixture: Fixture) -> Step:
    return side_of(name, fixture).step(fixture.batch, fixture.progress)


all_sides = pytest.mark.parametrize("side", SIDES)


@all_sides
def test_concepts_are_the_originals(fixture: Fixture, side: str) -> None:
    arrays, step = fixture.arrays, step_of(side, fixture)
    close(step.anchors, arrays["train/pos_vid_concepts"], 1e-5)
    close(step.text, arrays["train/txt_concepts"], 1e-5)
    assert len(step.negatives) == 2
    for number, negative in enumerate(step.negatives, 1):
        close(negative, fixture.at_best(arrays[f"train/neg_vid_concepts_{number}"], step.best), 1e-5)
    if fixture.loss.use_ref_words_rec or fixture.loss.use_ref_words_sam:
        close(step.ref, arrays["train/ref_concept"], 1e-5)


def test_logits_are_the_originals(fixture: Fixture) -> None:
    arrays, logits = fixture.arrays, step_of("pytorch plain", fixture).logits
    counted = np.arange(arrays["in/words_id"].shape[1]) <= arrays["in/words_len"][:, None]  # the rest is never read
    close(logits["text"][counted], arrays["train/words_logit"][counted], 1e-4)
    close(logits["ref"][counted], arrays["train/ref_words_logit"][counted], 1e-4)
    rows = np.repeat(counted, logits["anchor"].shape[1], axis=0)

    def listed(values: np.ndarray) -> np.ndarray:
        return values.reshape(-1, *values.shape[-2:])[rows]

    close(listed(logits["anchor"]), arrays["train/pos_words_logit"][rows], 1e-4)
    for number, values in enumerate(logits["negative"], 1):
        close(listed(values), arrays[f"train/neg_words_logit_{number}"][rows], 1e-4)


@all_sides
def test_every_loss_and_every_part_is_the_originals(fixture: Fixture, side: str) -> None:
    step = step_of(side, fixture)
    weight = fixture.loss.alpha_1
    for name, value in step.parts.items():
        expected = float(fixture.arrays[f"loss_part/{LOSS_PARTS[name]}"])
        if name.startswith("intra_video"):  # the original notes these parts before weighting them
            expected *= weight
        assert value == pytest.approx(expected, rel=1e-5), name
    for group in ("reconstruction", "diversity", "intra_video"):
        value = sum(part for name, part in step.parts.items() if name.startswith(group))
        assert value == pytest.approx(float(fixture.arrays[f"loss/{group}"]), rel=1e-5), group
    concept = sum(part for name, part in step.parts.items() if name.startswith("concept"))
    assert concept == pytest.approx(float(fixture.arrays["loss/multimodal_concept"]), rel=1e-5)
    assert step.total == pytest.approx(float(fixture.arrays["loss/total"]), rel=1e-5)


@all_sides
def test_every_gradient_has_the_originals_norm(fixture: Fixture, side: str) -> None:
    norms = step_of(side, fixture).norms
    assert norms.keys() == fixture.parameters.keys()
    for name, norm in norms.items():
        expected = fixture.arrays.get(f"grad_norm/{name}")
        assert norm == pytest.approx(0.0 if expected is None else float(expected), rel=1e-3, abs=1e-7), name


def test_training_anchors_are_the_originals(fixture: Fixture) -> None:
    widths = training_widths(fixture.sizes)
    np.testing.assert_allclose(np.tile(widths, len(fixture.batch)), fixture.arrays["train/width"], atol=1e-6)
    np.testing.assert_allclose(np.repeat(fixture.batch.glances, len(widths)), fixture.arrays["train/center"], atol=1e-6)


def test_retrieval_anchors_and_spans_are_the_originals(fixture: Fixture) -> None:
    centres, widths = retrieval_anchors(fixture.sizes)
    count = len(fixture.batch)
    np.testing.assert_allclose(np.tile(centres, count), fixture.arrays["eval/center"], atol=1e-6)
    np.testing.assert_allclose(np.tile(widths, count), fixture.arrays["eval/width"], atol=1e-6)


@all_sides
def test_evaluation_ranks_as_the_original_does(fixture: Fixture, side: str) -> None:
    batch, arrays = fixture.batch, fixture.arrays
    this = side_of(side, fixture)
    video, text = this.encode(arrays["in/frames_feat"], batch.words, batch.lengths)
    close(video, arrays["eval/vid_concepts"], 1e-5)
    close(text, arrays["eval/txt_concepts"], 1e-5)
    anchors = spans(*retrieval_anchors(fixture.sizes))
    for i, expected in enumerate(arrays["eval/similarity"]):
        vectors, _ = this.model.video_vectors(arrays["in/frames_feat"][i])
        scores = vectors @ this.model.text_vectors(batch.words[[i]], batch.lengths[[i]])[0]
        np.testing.assert_allclose(scores, expected, atol=1e-4)
        own = video.reshape(len(text), -1, *text.shape[1:])[i]
        close((normalized(own) * normalized(text[i])).sum((-1, -2)), expected, 1e-4)
        order = np.argsort(-scores, kind="stable")
        assert order.tolist() == np.argsort(-expected, kind="stable").tolist()
        np.testing.assert_allclose(anchors, arrays["eval/spans"][i], atol=1e-6)


def normalized(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def close(found: Any, expected: np.ndarray, tolerance: float) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
