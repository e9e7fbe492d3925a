"""CFMR-Dense on real features of real videos, cross-validated over folds of videos.

    python benchmarks/real.py --data FOLDER --vectors glove.pkl --work /tmp/real

FOLDER holds a feature file (*.hdf5), `rows.json`, rows of [video, duration, [start, end], sentence, glance], and
`folds.json`, {video: fold}. For each fold the model is trained on the glances of the other folds, with the one
configuration there is for every data set, and measured on the fold. Start and end of a moment are read for measuring
only: the training files do not contain them. `--clicks N ...` draws a label curve, `--without PART ...` leaves parts of
the model out, one after the other, `--alone PART ...` leaves all but one of a kind out, `--hold-out FILE` measures on
rows of videos that are in no fold, trained on all. What was measured is kept in `--work` and not measured again, so a
run that is broken off goes on.
"""

import argparse
import itertools
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cfmr.config import Config, DenseConfig, parse_config
from cfmr.data.annotations import load_annotations
from cfmr.data.features import FeatureStore
from cfmr.data.word_vectors import load_word_vectors
from cfmr.models.checkpoint import Checkpoint
from cfmr.models.dense import fit, objective, regression, selection, shares
from cfmr.models.dense.fit import DenseFit
from cfmr.models.dense.model import Dense, Projections
from cfmr.models.dense.objective import Batch
from cfmr.models.encode import Encoded, encode
from cfmr.moments import span_reader
from cfmr.moments.span_reader import SpanReader
from cfmr.training import dense
from cfmr.training.dense import DenseTrainer
from cfmr.training.evaluation import constant_answer, evaluate

SHOWN = ("R@1,IoU=0.3", "R@1,IoU=0.5", "R@1,IoU=0.7", "R@1,mIoU", "R@5,IoU=0.5", "R@5,IoU=0.7")
Switch = tuple[Any, str, Any]  # where a part is switched off, and by what value

batch_of, begun, adopted = DenseFit.batch, DenseFit.initial, DenseTrainer._earlier_model


def without_inputs(*names: str) -> Switch:
    """Batches in which some inputs are zero."""

    def batch(self: DenseFit, *args: Any) -> Batch:
        made = batch_of(self, *args)
        return replace(made, **{name: np.zeros_like(getattr(made, name)) for name in names})

    return DenseFit, "batch", batch


def without_video(self: DenseFit, number: int) -> Projections:
    """First projections without that of a video's mean, which stays zero where its inputs are."""
    made = begun(self, number)
    return replace(made, video=np.zeros_like(made.video))


def adopting(**changes: Callable[[DenseTrainer], Any]) -> Switch:
    """Runs that take from the whole model all that it has chosen but this."""

    def adopt(self: DenseTrainer, *args: Any) -> Dense:
        model = adopted(self, *args)
        for name, value in changes.items():
            setattr(self, name, value(self))
        return model

    return DenseTrainer, "_earlier_model", adopt


def unchosen(trainer: DenseTrainer) -> SpanReader:
    """How curves are read before any is looked at."""
    return selection.first_reader(trainer.rows.glances, trainer.rows.seconds[trainer.rows.videos])


PARTS: dict[str, list[Switch]] = {
    "regression": [(shares, "SHARES", np.zeros(1)), adopting(_regression_share=lambda _: 0.0)],
    "within": [(objective, "WITHIN", 0.0)],
    "across": [(objective, "ACROSS", 0.0)],
    "naming": [(objective, "NAMING", 0.0)],
    "dropout": [(fit, "DROPOUT", 0.0)],
    "own": [without_inputs("own")],  # looks of single words
    "place": [without_inputs("waves")],
    "video": [without_inputs("videos"), (DenseFit, "initial", without_video)],  # the clip beside its video's mean
    "smoothing": [(SpanReader, "window_in", lambda *_: 1)],
    "bell": [(fit, "BELL_SHARE", 0.0)],
    "located": [(fit, "LOCATED_BY", 0.0)],  # targets of the regression moved to what is most like the sentence
    "placed": [(regression, "NUM_PLACES", 0)],  # place within the regression
    "choosing": [adopting(_reader=unchosen)],  # of how curves are read
    "ends": [(span_reader, "_place_shares", lambda starts, *_: np.full(len(starts), 1 / len(starts)))],
    "near": [(span_reader, "NEAR_SHARE", 0.0)],
}
WHOLE = "whole"
ALONE: dict[str, list[str]] = {  # what is left out with it
    "fits": ["regression"],
    "within": ["across", "naming", "regression"],
    "across": ["within", "naming", "regression"],
    "naming": ["within", "across", "regression"],
}
ALONE_SWITCHES: dict[str, list[Switch]] = {"regression": [adopting(_regression_share=lambda _: 1.0)]}
VIDEOS = ("video R@1", "video R@5", "video R@10", "video R@100")


def configuration(features: Path, vectors: Path, train: Path, test: Path, fits: int = 3) -> Config:
    """Names where the data lies and nothing else."""
    with FeatureStore(features) as store:
        width = store.read(store.videos[0]).shape[1]
    dataset = {
        "dataset": "real",
        "feature_path": str(features),
        "vocab_size": 8000,
        "word_dim": load_word_vectors(str(vectors), {"the"}).dim,
        "frame_dim": width,
        "max_num_words": 20,
        "max_num_frames": 256,
        "train_data": str(train),
        "test_data": str(test),
        "vocab_path": str(vectors),
    }
    value = {"dataset": dataset, "model": {"name": "CFMR-Dense"}, "train": {"num_fits": fits}}
    return parse_config(value, "real.py")


def measure(config: Config, run: Path, seed: int, whole: Path | None = None) -> dict[str, float]:
    """Train and measure once; PRVR's SumR is the sum of the video recalls.

    Args:
        whole: a run from which is taken how moments are read and the regression's share; None: it is chosen.
    """
    began = time.monotonic()
    shutil.rmtree(run, ignore_errors=True)
    data = config.dataset.model_copy(
        update={"test_data": ""}
    )  # measured below, where no moments of other videos are read
    alone = config.model_copy(update={"dataset": data})
    assert isinstance(alone, DenseConfig)
    if whole is None:
        dense.train(alone, run, select="last", seed=seed)
    else:
        dense.train_finally(alone, run, whole / "checkpoint", seed=seed)
    fitted = time.monotonic() - began
    checkpoint = Checkpoint.load(run / "checkpoint")
    rows, model = load_annotations(config.dataset.test_data, spans=True), Dense.restore(checkpoint)
    encoded = encode(model, rows, FeatureStore(data.feature_path), checkpoint.vocabulary, data.max_num_words)
    figures = evaluate(model, rows, encoded)
    found = {name: figures[name] for name in SHOWN} | video_recall(encoded, [row.video for row in rows])
    return found | {"share": model.regression_share, "seconds": fitted}


def video_recall(encoded: Encoded, own: Sequence[str]) -> dict[str, float]:
    """How often, in percent, the right video is among the first, by the peaks of its curve; SumR is their sum."""
    peaks = np.stack([(vectors @ encoded.sentences.T).max(axis=0) for vectors, _ in encoded.videos.values()], axis=1)
    names = list(encoded.videos)
    right = peaks[np.arange(len(own)), [names.index(video) for video in own]]
    rank = (peaks > right[:, None]).sum(axis=1)
    found = {name: 100 * float((rank < int(name.split("@")[1])).mean()) for name in VIDEOS}
    return found | {"SumR": sum(found.values())}


def switches(name: str | None) -> list[Switch]:
    """Of "without PART" or "PART alone"."""
    if name in (None, WHOLE):
        return []
    assert name is not None
    kind, part = name.split(" ")
    if kind == "without":
        return PARTS[part]
    return ALONE_SWITCHES.get(part, []) + [switch for other in ALONE.get(part, []) for switch in PARTS[other]]


@contextmanager
def switched(changes: Sequence[Switch]) -> Iterator[None]:
    """The model with other constants or methods for a while."""
    with ExitStack() as stack:
        for where, name, value in changes:
            stack.callback(setattr, where, name, getattr(where, name))
            setattr(where, name, value)
        span_reader._cached_spans.cache_clear()
        stack.callback(span_reader._cached_spans.cache_clear)
        yield


class Kept:
    """Figures measured so far, a line each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.known = {line["name"]: line["figures"] for line in map(json.loads, lines)}

    def __call__(self, name: str, measured: Callable[[], dict[str, float]]) -> dict[str, float]:
        """Figures of a name, measured if they are not there yet."""
        if name not in self.known:
            self.known[name] = measured()
            with self.path.open("a") as file:
                file.write(json.dumps({"name": name, "figures": self.known[name]}) + "\n")
        return self.known[name]


def row(name: str, runs: list[dict[str, float]], keys: tuple[str, ...]) -> str:
    """A line of the table: the mean over folds, and the spread."""
    cells = []
    for key in keys:
        values = [run[key] for run in runs if key in run]
        spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
        cells.append(f"{np.mean(values):.1f}{spread}" if values else "-")
    return f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--vectors", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--clicks", type=int, nargs="*", default=[0], help="labels drawn at random; 0: all")
    parser.add_argument("--draws", type=int, default=1, help="of so many labels")
    parser.add_argument("--without", choices=PARTS, nargs="*", default=[], help="parts of the model to leave out")
    parser.add_argument("--alone", choices=[*ALONE, *ALONE_SWITCHES], nargs="*", default=[], help="parts left alone")
    parser.add_argument("--fits", type=int, default=3, help="side by side")
    parser.add_argument("--folds", type=int, nargs="*", help="only these")
    parser.add_argument("--hold-out", type=Path, help="rows of videos in no fold")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    (features,) = options.data.glob("*.hdf5")
    fold_of = json.loads((options.data / "folds.json").read_text())
    folds: list[int | None] = [None] if options.hold_out else options.folds or sorted(set(fold_of.values()))
    keys, began = (*SHOWN, *VIDEOS, "SumR", "share", "seconds"), time.monotonic()
    kept = Kept(options.work / "figures.jsonl")
    print("| | " + " | ".join(keys) + " |\n|" + "---|" * (len(keys) + 1))
    named = [f"without {part}" for part in options.without] + [f"alone {part}" for part in options.alone]
    for clicks, name in itertools.product(options.clicks, [WHOLE, *named] if named else [None]):
        runs, constants = [], []
        for fold, draw in itertools.product(folds, range(options.draws if clicks else 1)):
            made = Split(options, features, fold, clicks, draw)
            runs.append(made.figures(kept, name))
            constants.append(constant_answer(load_annotations(made.test, spans=True)))
            print(row(f"fold {fold}, {made.labels} labels {name or ''}", runs[-1:], keys), flush=True)
        print(row(f"CFMR-Dense {name or ''}, {clicks or 'all'} labels", runs, keys))
        print(row("best constant answer", constants, keys), flush=True)
    print(f"\nAll of it took {time.monotonic() - began:.0f} s.")


class Split:
    """What is trained on and what is measured on, as files."""

    def __init__(self, options: argparse.Namespace, features: Path, fold: int | None, clicks: int, draw: int) -> None:
        self.options, self.features = options, features
        self.label = f"{'all' if fold is None else fold}-{clicks}-{draw}"
        self.train, self.test = options.work / f"train-{self.label}.json", options.work / f"test-{fold}.json"
        rows = json.loads((options.data / "rows.json").read_text())
        fold_of = json.loads((options.data / "folds.json").read_text())
        seen = [[video, length, None, said, at] for video, length, _, said, at in rows if fold_of[video] != fold]
        if clicks:
            chosen = np.random.default_rng([options.seed + draw, 5]).permutation(len(seen))[:clicks]
            seen = [seen[i] for i in np.sort(chosen)]
        self.labels = len(seen)
        self.train.write_text(json.dumps(seen))
        unseen = [one for one in rows if fold_of[one[0]] == fold]
        self.test.write_text(options.hold_out.read_text() if options.hold_out else json.dumps(unseen))

    def figures(self, kept: Kept, name: str | None) -> dict[str, float]:
        """Of the model, or of the model without parts, which takes from the whole one how curves are read."""
        fits = self.options.fits
        whole = None
        if name is not None:
            self._measured(kept, None, 3)
            whole = self._run(None, 3)
        return self._measured(kept, name, fits, whole)

    def _run(self, name: str | None, fits: int) -> Path:
        return Path(self.options.work / "runs" / f"{self.label} {name or 'all of it'}, {fits} fits")

    def _measured(self, kept: Kept, name: str | None, fits: int, whole: Path | None = None) -> dict[str, float]:
        config = configuration(self.features, self.options.vectors, self.train, self.test, fits)
        run = self._run(name, fits)
        with switched(switches(name)):
            return kept(run.name, partial(measure, config, run, self.options.seed, whole))


if __name__ == "__main__":
    main()
