"""The published model with one change each, on Charades-STA's annotations with simulated features.

    python benchmarks/leads.py --data SHARED --work DIR [--lead published again average ...] [--seed 7]

Data, features and DIR are those of `accuracy.py --part published`. Every lead is one training of eight epochs from the
same weights, with the same batches and masked words as `again`, the unchanged model; of each the epoch is the best on
the test file, as there. `average`, `mean` and `self_training` start from what `again` leaves behind. Every run can be
broken off and goes on; its result is kept in DIR/results. What is printed is Markdown. None of these figures is a
benchmark's: the features are simulated.
"""

import argparse
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from accuracy import PLACES, PUBLISHED_EPOCHS, Bench, head, patched, row, video_recall
from rich.console import Console
from rich.progress import Progress
from safetensors.numpy import load_file, save_file
from torch import Tensor

from cfmr.config import CFMRConfig
from cfmr.models import pytorch as models
from cfmr.models.cfmr.batches import Batch
from cfmr.models.cfmr.layout import sinusoids
from cfmr.models.cfmr.losses import Losses
from cfmr.models.cfmr.pytorch import model as published
from cfmr.models.cfmr.pytorch.losses import Criterion
from cfmr.models.cfmr.pytorch.model import CFMR, Outputs, Packing, TextEncoder, VideoEncoder, to_tensor
from cfmr.models.checkpoint import Checkpoint
from cfmr.models.encode import Encoded, encode, encode_sentences
from cfmr.moments.anchors import anchor_weights
from cfmr.training import pytorch as training
from cfmr.training.data import build_vocabulary, load_data
from cfmr.training.evaluation import evaluate
from cfmr.training.run import RunDirectory

SHOWN = ("R@1,IoU=0.5", "R@1,IoU=0.7", "R@1,mIoU", "R@5,IoU=0.5", "R@5,IoU=0.7")
VIDEOS = ("video R@1", "video R@10", "one scale: video R@1", "one scale: video R@10")
LAST = ("R@1,IoU=0.5", "R@1,mIoU")  # shown of the last epoch too, which nobody chose

BANK = 512  # training sentences that say what a video scores by chance
SPREAD_POWER = 3  # of the mean of powers that the spread of their scores is
USUAL_SHARE = 0.05  # of the square of the usual spread, in that of a video's own


class Lead(training.CFMRTrainer):
    """A run of the published model, and where a subclass changes it."""

    model_class: type[CFMR] = CFMR
    criterion_class: type[Criterion] = Criterion
    keys: ClassVar[dict[str, Any]] = {}  # other values of the configuration

    def __init__(self, config: CFMRConfig, directory: Path, seed: int) -> None:
        data = load_data(config, "test", seed)
        options = training.RunOptions(seed, "test", "cpu")
        with patched(training, "CFMR", self.model_class):
            super().__init__(config, RunDirectory(directory), data, options, training.ProcessGroup())
        self.criterion = self.criterion_class(config.loss)
        if self.directory.last.exists():
            self.resume(Checkpoint.load(self.directory.last), str(self.directory.last))


# --- changes of the model ---------------------------------------------------------------------------------------------


class WithToken(CFMR):
    """The last slot holds the learned `vid_pred_vec`, not the last clip once more."""

    def project_clips(self, clips: Tensor) -> Tensor:
        token = self.vid_pred_vec.expand(len(clips), 1, -1)
        return super().project_clips(torch.cat([clips[:, :-1], token], dim=1))


class LearnedToken(Lead):
    model_class = WithToken


class OtherEncoders(CFMR):
    """Encoders of other classes, which have the same parameters."""

    video_class: type[VideoEncoder]
    text_class: type[TextEncoder]

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.vid_encoder = self.video_class(self.sizes.Transformers, self.sizes.num_concept)
        self.txt_encoder = self.text_class(self.sizes.Transformers, self.sizes.num_concept)


class VideoBothWays(VideoEncoder):
    def _encode(self, *args: Any) -> Tensor:
        with patched(published, "causal_bias", lambda length: np.zeros((length, length), np.float32)):
            return super()._encode(*args)


class TextBothWays(TextEncoder):
    def forward(self, words: Tensor, packing: Packing) -> Tensor:
        with patched(published, "causal_bias", lambda length: packing.padding_bias()):
            return super().forward(words, packing)


class LooksBothWays(OtherEncoders):
    """Every position of a video and of a sentence sees all others. The reconstructor still predicts the next word."""

    video_class, text_class = VideoBothWays, TextBothWays


class BothWays(Lead):
    model_class = LooksBothWays


class VideoWithPositions(VideoEncoder):
    def last_positions(self, clips: Tensor, weights: np.ndarray) -> Tensor:
        return super().last_positions(clips + to_tensor(sinusoids(*clips.shape[1:]), clips.device), weights)


class TextWithPositions(TextEncoder):
    def forward(self, words: Tensor, packing: Packing) -> Tensor:
        table = to_tensor(sinusoids(packing.longest, words.shape[-1]), words.device)
        return super().forward(words + packing.pack(table.expand(len(packing.lengths), -1, -1)), packing)


class KnowsPositions(OtherEncoders):
    """The reconstructor's sinusoids are added to what either encoder reads."""

    video_class, text_class = VideoWithPositions, TextWithPositions


class Positions(Lead):
    model_class = KnowsPositions


# --- changes of what is learned from ----------------------------------------------------------------------------------


class WithHardNegative(CFMR):
    """A third negative takes the place and the losses of the whole video (`ref`), which Charades-STA's does not use.

    It is a bell as wide as p*, over another glance of the same video outside p*, the farthest at first and the nearest
    in the end; where there is none it stands beside p*, and comes nearer.
    """

    FROM = 0.25  # progress up to which there are the published negatives only
    glances_of: dict[int, np.ndarray]
    batch: Batch

    def forward(self, batch: Batch, progress: float) -> Outputs:
        self.batch, self.use_ref = batch, progress > self.FROM
        return super().forward(batch, progress)

    def _other_weights(self, glances: np.ndarray, widths: np.ndarray, progress: float) -> np.ndarray:
        weights = super()._other_weights(glances, widths, progress)
        if self.use_ref:
            grown = (progress - self.FROM) / (1 - self.FROM)
            rows = zip(self.batch.videos, glances, widths, strict=True)
            centres = np.array([self._hard(*row, grown) for row in rows], np.float32)
            weights[:, -1] = anchor_weights(centres, widths, self.sizes.sigma, self.positions)
        return weights

    def _hard(self, video: int, glance: float, width: float, grown: float) -> float:
        others = self.glances_of[video]
        away = np.abs(others - glance)
        order = np.argsort(-away)[: int((away > width / 2).sum())]
        if len(order):
            return float(others[order[round(grown * (len(order) - 1))]])
        side = 1 if glance < 0.5 else -1
        return float(np.clip(glance + side * width * (2 - grown), 0, 1))


class HardNegatives(Lead):
    model_class = WithHardNegative
    keys: ClassVar[dict[str, Any]] = {"use_ref_words_rec": True, "use_ref_words_sam": True}

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        videos, glances = self.training.videos, self.training.glances
        self.cfmr.glances_of = {int(video): glances[videos == video] for video in np.unique(videos)}


class AcrossVideos(Criterion):
    """Adds a softmax over the batch: a sentence's concepts against p* of all videos, and p* against all sentences."""

    TEMPERATURE = 0.1
    videos: Tensor

    def multimodal_concept(self, outputs: Outputs) -> dict[str, Tensor]:
        text, rows = F.normalize(outputs.text_concepts, dim=-1), torch.arange(len(outputs.best))
        video = F.normalize(outputs.anchor_concepts[rows, outputs.best], dim=-1)
        scores = torch.einsum("ikd,jkd->ij", text, video) / text.shape[1] / self.TEMPERATURE
        same = (self.videos[:, None] == self.videos) & (rows[:, None] != rows)
        scores = scores.masked_fill(same, -torch.inf)
        contrast = (F.cross_entropy(scores, rows) + F.cross_entropy(scores.T, rows)) / 2
        return super().multimodal_concept(outputs) | {"concept/batch": contrast}


class Contrast(Lead):
    criterion: AcrossVideos
    criterion_class = AcrossVideos

    def _losses(self, batch: Batch, progress: float) -> tuple[Losses[Tensor], float]:
        self.criterion.videos = torch.from_numpy(batch.videos)
        return super()._losses(batch, progress)


class MoreScales(Lead):
    """Six training widths instead of three, and a retrieval grid of 16 centres and 6 widths instead of 8 and 3."""

    keys: ClassVar[dict[str, Any]] = {
        "guass_width_num_training": 6,
        "width_thresh_training": 0.66,
        "guass_center_num": 16,
        "guass_width_num": 6,
        "width_thresh": 0.6,
    }


# --- changes of the course --------------------------------------------------------------------------------------------


class Again(Lead):
    """The unchanged model. Keeps the weights of every epoch and a moving average of them, and the run after epoch 4."""

    DECAY = 0.99  # a step; an epoch has 94

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        found = self.moving(self.directory.path, self.epoch)
        start = load_file(found) if found.exists() else self.parameters()
        self.average = {name: torch.from_numpy(np.array(value)) for name, value in start.items()}

    @staticmethod
    def weights(run: Path, epoch: int) -> Path:
        return run / f"weights-{epoch}.safetensors"

    @staticmethod
    def moving(run: Path, epoch: int) -> Path:
        return run / f"average-{epoch}.safetensors"

    def train_step(self, batch: Batch, progress: float) -> dict[str, float]:
        parts = super().train_step(batch, progress)
        state = self.model.state_dict()
        torch._foreach_lerp_(list(self.average.values()), [state[name] for name in self.average], 1 - self.DECAY)
        return parts

    def _save_epoch(self, line: dict[str, Any], progress: Progress) -> None:
        save_file(self.parameters(), self.weights(self.directory.path, self.epoch))
        save_file({n: v.numpy() for n, v in self.average.items()}, self.moving(self.directory.path, self.epoch))
        super()._save_epoch(line, progress)
        if self.epoch == SelfTraining.AFTER:
            beside = self.directory.path / "half"
            shutil.rmtree(beside, ignore_errors=True)
            for name in ("checkpoint", "last"):
                shutil.copytree(self.directory.path / name, beside / name)


class SelfTraining(Lead):
    """From epoch 5 on, the middle of the model's own best answer that contains the glance takes the glance's place."""

    AFTER = 4

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.given = self.training.glances

    def start_epoch(self, epoch: int) -> None:
        if epoch > self.AFTER:
            encoded = self._encode(self.data.training)
            self.training.glances = np.array(
                [
                    self._middle(encoded.videos[row.video], sentence, glance)
                    for row, sentence, glance in zip(self.data.training, encoded.sentences, self.given, strict=True)
                ],
                np.float32,
            )
            print(f"glances moved by {np.abs(self.training.glances - self.given).mean():.3f} of the video on average")
        super().start_epoch(epoch)

    @staticmethod
    def _middle(video: tuple[np.ndarray, np.ndarray], sentence: np.ndarray, glance: float) -> float:
        vectors, spans = video
        holds = (spans[:, 0] <= glance) & (glance <= spans[:, 1])
        if not holds.any():
            return glance
        return float(spans[np.where(holds, vectors @ sentence, -np.inf).argmax()].mean())


TRAINED: dict[str, tuple[str, type[Lead]]] = {
    "again": ("unchanged, from the weights that all below start from", Again),
    "self_training": ("glances moved to the middle of its own answers, from epoch 5", SelfTraining),
    "token": ("a learned token in the video's last slot", LearnedToken),
    "both_ways": ("attention in both directions", BothWays),
    "positions": ("sinusoids added to clips and words", Positions),
    "hard_negatives": ("a third negative, harder with the epochs", HardNegatives),
    "contrast": ("contrast between the videos of a batch", Contrast),
    "more_scales": ("6 training widths up to 0.66, grid of 16 centres and 6 widths up to 0.6", MoreScales),
}


# --- measuring --------------------------------------------------------------------------------------------------------


class Leads:
    """The leads measured on one data set with one seed."""

    def __init__(self, bench: Bench, seed: int) -> None:
        self.bench, self.seed = bench, seed

    def run_of(self, name: str) -> Path:
        return self.bench.work / f"{self.bench.place.name}-lead-{name}-{self.seed}"

    def config(self, **keys: Any) -> CFMRConfig:
        config = self.bench.config(self.bench.place.published, max_num_epochs=PUBLISHED_EPOCHS, **keys)
        assert isinstance(config, CFMRConfig)
        return config

    def trained(self, name: str) -> dict[str, Any]:
        """Train a lead to its end and measure the epoch that is best on the test file."""
        kind, run = TRAINED[name][1], self.run_of(name)
        half = self.run_of("again") / "half"
        if kind is SelfTraining and half.exists() and not run.exists():
            shutil.copytree(half, run)  # up to there nothing differs
        lead = kind(self.config(**kind.keys), run, self.seed)
        figures = lead.run(Console())
        result = self.measure(lead.cfmr) | {"epoch": figures["epoch"]} | of_last(lead.lines[-1]["test"])
        if kind is MoreScales:
            published_grid = ("guass_center_num", "guass_width_num", "width_thresh")
            sizes = self.config().model.config
            lead.cfmr.sizes = lead.cfmr.sizes.model_copy(update={key: getattr(sizes, key) for key in published_grid})
            result["published grid"] = self.measure(lead.cfmr)
        return result

    def published(self) -> dict[str, Any]:
        """The baseline, read from its run."""
        run = self.bench.work / f"{self.bench.place.name}-published-{self.seed}"
        checkpoint = Checkpoint.load(run / "checkpoint")
        last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
        model = models.restore(checkpoint)
        assert isinstance(model, CFMR)
        return self.measure(model) | {"epoch": checkpoint.state["epoch"]} | of_last(last["test"])

    def averaged(self, kind: str) -> dict[str, Any]:
        """Averages over the weights of `again`; which is chosen as the epoch is, by mIoU on the test file."""
        run = self.run_of("again")
        if not Again.moving(run, PUBLISHED_EPOCHS).exists():
            raise SystemExit("an average needs --lead again first")
        best: dict[str, Any] = {}
        for last in range(4, PUBLISHED_EPOCHS + 1):
            model = self.loaded(run, last, kind)
            figures = evaluate(model, self.bench.test, self.encode(model))
            if not best or figures["R@1,mIoU"] > best["R@1,mIoU"]:
                best = figures | {"epoch": last}
        return best | of_last(figures) | self.measure(self.loaded(run, best["epoch"], kind))

    def loaded(self, run: Path, last: int, kind: str) -> CFMR:
        files = [Again.moving(run, last)]
        if kind == "mean":
            files = [Again.weights(run, epoch) for epoch in range(last - 2, last + 1)]
        states = [load_file(file) for file in files]
        model = CFMR.from_config(self.config(), len(build_vocabulary(self.config(), self.bench.training)))
        models.load_parameters(model, {name: np.mean([state[name] for state in states], 0) for name in states[0]})
        return model.eval()

    def encode(self, model: CFMR) -> Encoded:
        words = build_vocabulary(self.config(), self.bench.training)
        return encode(model, self.bench.test, self.bench.store, words, self.config().dataset.max_num_words)

    def measure(self, model: CFMR) -> dict[str, Any]:
        """Within one video, and which video is found, as scores are and on one scale."""
        encoded = self.encode(model)
        chosen = np.random.default_rng(0).permutation(len(self.bench.training))[:BANK]
        sentences = [self.bench.training[i].sentence for i in chosen]
        words = build_vocabulary(self.config(), self.bench.training)
        bank = encode_sentences(model, sentences, words, self.config().dataset.max_num_words)
        scores, others = (
            np.stack([(vectors @ asked.T).max(0) for vectors, _ in encoded.videos.values()], axis=1)
            for asked in (encoded.sentences, bank)
        )
        own = [list(encoded.videos).index(annotation.video) for annotation in self.bench.test]
        spread = (np.abs(others - others.mean(0)) ** SPREAD_POWER).mean(0) ** (1 / SPREAD_POWER)
        level = (scores - others.mean(0)) / np.sqrt(spread**2 + USUAL_SHARE * (spread**2).mean())
        as_is, on_one_scale = video_recall(scores, own), video_recall(level, own)
        found = as_is | {f"one scale: {key}": value for key, value in on_one_scale.items()}
        return evaluate(model, self.bench.test, encoded) | found


def of_last(figures: dict[str, float]) -> dict[str, float]:
    """Some figures of the last epoch, under names of their own."""
    return {f"last epoch: {key}": figures[key] for key in LAST}


def measures(leads: Leads) -> dict[str, tuple[str, Callable[[], dict[str, Any]]]]:
    """Every row of the table: what it is called, and how it is measured."""
    trained = {name: (label, partial(leads.trained, name)) for name, (label, _) in TRAINED.items()}
    return {
        "published": ("published model, the run of `accuracy.py`", leads.published),
        "again": trained.pop("again"),
        "average": ("moving average of its weights, 0.99 a step", partial(leads.averaged, "moving")),
        "mean": ("mean of its weights of three epochs, that one the last", partial(leads.averaged, "mean")),
        **trained,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--lead", nargs="+", help="all, if not given")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    place = next(place for place in PLACES if place.name == "charades")
    bench = Bench(place, options.data, options.work)
    rows = measures(Leads(bench, options.seed))
    if unknown := set(options.lead or ()) - set(rows):
        parser.error(f"--lead {' '.join(sorted(unknown))}: known are {' '.join(rows)}")
    keys = (*SHOWN, *VIDEOS, "epoch", *(f"last epoch: {key}" for key in LAST))
    print(head(f"seed {options.seed}", keys))
    for name in options.lead or rows:
        label, measure = rows[name]
        result = bench.kept(f"lead-{name}-{options.seed}", measure)
        print(row(label, [result], keys), flush=True)
        if "published grid" in result:
            print(row("the same, read with the published grid", [result["published grid"]], keys), flush=True)


if __name__ == "__main__":
    main()
