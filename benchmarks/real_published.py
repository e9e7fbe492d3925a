"""The published model on real features of real videos, on the folds of `real.py`.

    python benchmarks/real_published.py --data FOLDER --vectors glove.pkl --work DIR [--epochs 12] [--folds 2 3]

For each fold the published model is trained on the glances of the other folds with the configuration of Charades-STA
that is shipped (learning rate, widths in training, grid of retrieval), except for a tenth of the training videos. It is
measured twice: with its own grid after the last epoch, and with what the glances of that tenth prefer, as CFMR-Dense
chooses how it reads: of all epochs and of grids of other widths, those under which the glances are likeliest, each
anchor as likely as the softmax of its score, a glance anywhere in it. Spans are read for measuring only.

A run that is broken off goes on with its last whole epoch; what was measured is kept in DIR as JSON and not measured
again. It takes a minute or two of one core an epoch.
"""

import argparse
import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from real import SHOWN, VIDEOS, configuration, row, video_recall
from safetensors.numpy import load_file, save_file

from cfmr.config import CFMRConfig, parse_config
from cfmr.data.annotations import Annotation, load_annotations
from cfmr.models import pytorch as models
from cfmr.models.cfmr.pytorch.model import CFMR
from cfmr.models.checkpoint import Checkpoint
from cfmr.models.dense.selection import log_likelihoods
from cfmr.models.encode import Encoded, encode
from cfmr.progress import silent
from cfmr.training import pytorch as training
from cfmr.training.data import load_data
from cfmr.training.evaluation import constant_answer, evaluate
from cfmr.training.run import RunDirectory

OWN = Path(__file__).parent.parent / "config/charades/i3d.json"
WIDEST = (0.15, 0.2, 0.25, 0.3, 0.35, 0.45, 0.6)  # of a grid
NUMBER = (1, 3)  # of its widths
CENTRES = (8, 16, 32)
SHARPNESS = (1.0, 2.0, 4.0, 8.0)  # of the softmax over the anchors of a video


@dataclass(frozen=True)
class Grid:
    """Anchors that are compared with a sentence."""

    guass_center_num: int
    guass_width_num: int
    width_thresh: float


GRIDS = [Grid(*values) for values in itertools.product(CENTRES, NUMBER, WIDEST)]


class Run(training.CFMRTrainer):
    """One training, which keeps the weights of every epoch."""

    def __init__(self, config: CFMRConfig, directory: Path, seed: int) -> None:
        data = load_data(config, "validation", seed)
        options = training.RunOptions(seed, "validation", "cpu")
        super().__init__(config, RunDirectory(directory), data, options, training.ProcessGroup())
        if self.directory.last.exists():
            self.resume(Checkpoint.load(self.directory.last), str(self.directory.last))

    def weights(self, epoch: int) -> Path:
        return self.directory.path / f"weights-{epoch}.safetensors"

    def _save_epoch(self, line: dict[str, Any]) -> None:
        self.directory.path.mkdir(parents=True, exist_ok=True)
        save_file(self.parameters(), self.weights(self.epoch))
        super()._save_epoch(line)
        print(f"  epoch {self.epoch}: {line['seconds']} s", flush=True)

    def loaded(self, epoch: int, grid: Grid | None = None) -> CFMR:
        """The model after an epoch, with its own or another grid."""
        sizes = self.config.model.config.model_copy(update={} if grid is None else vars(grid))
        shape = self.config.model.model_copy(update={"config": sizes})
        model = CFMR.from_config(self.config.model_copy(update={"model": shape}), len(self.data.vocabulary))
        models.load_parameters(model, load_file(self.weights(epoch)))
        return model.eval()

    def encoded(self, rows: Sequence[Annotation], epoch: int, grid: Grid | None = None) -> Encoded:
        words = self.config.dataset.max_num_words
        return encode(self.loaded(epoch, grid), list(rows), self.data.features, self.data.vocabulary, words)

    def worth(self, epoch: int, grid: Grid) -> float:
        """Mean log-likelihood of the glances that were held out."""
        rows = self.data.validation
        found = self.encoded(rows, epoch, grid)
        return max(float(log_likelihoods(densities(rows, found, sharpness)).mean()) for sharpness in SHARPNESS)

    def chosen(self) -> tuple[int, Grid]:
        """Epoch and grid that the held-out glances prefer: of the own grid the epoch, and of that epoch the grid."""
        sizes = self.config.model.config
        own = Grid(sizes.guass_center_num, sizes.guass_width_num, sizes.width_thresh)
        epoch = max(range(1, self.epoch + 1), key=lambda number: self.worth(number, own))
        return epoch, max([own, *GRIDS], key=lambda grid: self.worth(epoch, grid))

    def measured(self, rows: Sequence[Annotation], epoch: int, grid: Grid | None = None) -> dict[str, float]:
        """Within a video, and which video is found."""
        found = self.encoded(rows, epoch, grid)
        within = evaluate(self.cfmr, list(rows), found)
        figures = {name: within[name] for name in SHOWN} | video_recall(found, [row.video for row in rows])
        return figures | {"epoch": epoch}


def densities(rows: Sequence[Annotation], found: Encoded, sharpness: float) -> np.ndarray:
    """Density of each row's glance under the anchors of its video."""
    dense = []
    for annotation, sentence in zip(rows, found.sentences, strict=True):
        vectors, spans = found.videos[annotation.video]
        scores = sharpness * (vectors @ sentence)
        share = np.exp(scores - scores.max())
        glance = min(max((annotation.glance or 0.0) / annotation.duration, 0.0), 1.0)
        inside = (spans[:, 0] <= glance) & (glance <= spans[:, 1])
        dense.append(float((share * inside / np.maximum(spans[:, 1] - spans[:, 0], 1e-3)).sum() / share.sum()))
    return np.array(dense)


def published(features: Path, vectors: Path, train: Path, test: Path, epochs: int) -> CFMRConfig:
    """What is shipped for Charades-STA, with this data."""
    value = json.loads(OWN.read_text())
    usual = configuration(features, vectors, train, test).dataset
    named = ("dataset", "feature_path", "frame_dim", "train_data", "vocab_path", "vocab_size")
    value["dataset"] |= {name: getattr(usual, name) for name in named} | {"val_data": None, "test_data": ""}
    value["model"]["config"]["frames_input_size"] = usual.frame_dim
    value["train"]["max_num_epochs"] = epochs
    config = parse_config(value, OWN.name)
    assert isinstance(config, CFMRConfig)
    return config


def measure(config: CFMRConfig, path: Path, test: Path, seed: int) -> dict[str, Any]:
    """Train, or go on training, and measure twice."""
    began = time.monotonic()
    run = Run(config, path, seed)
    run.run(silent)
    rows = load_annotations(test, spans=True)
    own = run.measured(rows, run.epoch)
    epoch, grid = run.chosen()
    chosen = run.measured(rows, epoch, grid)
    return {"own": own, "chosen": chosen, "grid": vars(grid), "seconds": time.monotonic() - began}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--vectors", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--folds", type=int, nargs="*", help="only these")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    (features,) = options.data.glob("*.hdf5")
    rows = json.loads((options.data / "rows.json").read_text())
    fold_of = json.loads((options.data / "folds.json").read_text())
    folds = options.folds or sorted(set(fold_of.values()))
    own, chosen, constants, keys = [], [], [], (*SHOWN, *VIDEOS, "SumR", "epoch")
    for fold in folds:
        kept = options.work / f"published-{fold}-{options.epochs}.json"
        train, test = options.work / f"train-{fold}-0.json", options.work / f"test-{fold}.json"
        train.write_text(json.dumps([[v, length, None, *rest] for v, length, _, *rest in rows if fold_of[v] != fold]))
        test.write_text(json.dumps([one for one in rows if fold_of[one[0]] == fold]))
        if not kept.exists():
            config = published(features, options.vectors, train, test, options.epochs)
            found = measure(config, options.work / f"published-{fold}", test, options.seed)
            kept.write_text(json.dumps(found))
        found = json.loads(kept.read_text())
        own.append(found["own"])
        chosen.append(found["chosen"])
        constants.append(constant_answer(load_annotations(test, spans=True)))
        print(f"fold {fold}: glances prefer epoch {found['chosen']['epoch']} and {found['grid']}", flush=True)
    print("\n| | " + " | ".join(keys) + " |\n|" + "---|" * (len(keys) + 1))
    print(row("best constant answer", constants, keys))
    print(row(f"published model, its own settings, {options.epochs} epochs", own, keys))
    print(row("published model, epoch and grid chosen by held-out glances", chosen, keys))


if __name__ == "__main__":
    main()
