"""Accuracy of CFMR-Dense beside the published model, on real annotations with simulated features.

    python benchmarks/accuracy.py --data SHARED --work DIR [--part main ablations labels cost published] [--plot F.png]

SHARED holds `data/charades`, `data/tacos` and `tools/simulate_features.py`. Features are made with seed 7 once, every
result is kept in DIR/results and not measured again, so a broken-off run goes on. What is printed is Markdown. None of
these figures is a benchmark's: the features are simulated.

Three seeds: they draw the first weights, and which labels a smaller share keeps.
`published` trains the published model for eight epochs, which takes most of the time.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from real import PARTS, Switch, switched

from cfmr.config import parse_config
from cfmr.data.annotations import Annotation, load_annotations, save_annotations
from cfmr.data.features import FeatureStore
from cfmr.models.checkpoint import Checkpoint
from cfmr.models.dense import fit
from cfmr.models.dense.model import Dense
from cfmr.models.encode import encode
from cfmr.training import dense
from cfmr.training import pytorch as training
from cfmr.training.evaluation import constant_answer, evaluate, evaluate_corpus

SEEDS = (7, 8, 9)
SHARES = (0.01, 0.03, 0.1, 0.3, 1.0)
COST_RATIO = 6  # point labels for the price of one with start and end, as published for ActivityNet and Charades
SECONDS_A_POINT = 10.0  # assumed, to give the axis a unit
PUBLISHED_EPOCHS = 8
SHOWN = ("R@1,IoU=0.3", "R@1,IoU=0.5", "R@1,IoU=0.7", "R@1,mIoU", "R@5,IoU=0.5", "R@5,IoU=0.7", "R@5,mIoU")
CORPUS = ("video R@1", "video R@10", "all videos: R@10,IoU=0.5")
ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Place:
    """One data set: its files, and what its features are made with."""

    name: str
    train: str
    test: str
    dense: str
    published: str
    published_rows: int  # the published model is trained on so many rows at most
    simulate: tuple[str, ...] = ()


PLACES = (
    Place("charades", "train_small.json", "test_small.json", "charades/dense.json", "charades/i3d.json", 10**6),
    Place(
        "tacos", "glance_train_tacos.json", "glance_test_tacos.json", "tacos/dense.json", "tacos/c3d.json", 3000,
        ("--clips-per-second", "1.5"),
    ),
)  # fmt: skip


class Bench:
    """Everything measured on one data set."""

    def __init__(self, place: Place, shared: Path, work: Path) -> None:
        self.place, self.work = place, work
        self.folder = shared / "data" / place.name
        self.features = work / f"{place.name}.hdf5"
        if not self.features.exists():
            self._simulate(shared / "tools/simulate_features.py")
        self.store = FeatureStore(self.features)
        self.training = load_annotations(self.folder / place.train, glances=True)
        self.test = load_annotations(self.folder / place.test, spans=True)

    def _simulate(self, tool: Path) -> None:
        beside = self.features.with_suffix(".part")
        annotations = [str(self.folder / name) for name in (self.place.train, self.place.test)]
        command = [sys.executable, str(tool), "--annotations", *annotations, "--out", str(beside), "--dim", "1024"]
        subprocess.run(
            [*command, "--vocab", str(self.folder / "glove.pkl"), "--seed", "7", *self.place.simulate], check=True
        )
        beside.rename(self.features)

    def config(self, file: str, rows: Path | None = None, **keys: Any) -> Any:
        """A configuration that is shipped, with these files and other values of some keys."""
        value = json.loads((ROOT / "config" / file).read_text())
        value["dataset"] |= {
            "feature_path": str(self.features),
            "frame_dim": 1024,
            "train_data": str(rows or self.folder / self.place.train),
            "test_data": str(self.folder / self.place.test),
            "val_data": str(self.folder / self.place.test),
            "vocab_path": str(self.folder / "glove.pkl"),
        }
        if "loss" in value:
            value["model"]["config"]["frames_input_size"] = 1024
        value["dataset"]["frame_dim"] = 1024
        for key, new in keys.items():
            value.setdefault("train", {})[key] = new
        return parse_config(value, file)

    def kept(self, name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A result, measured if it is not there yet."""
        path = self.work / "results" / f"{self.place.name}-{name}.json"
        if not path.exists():
            began = time.monotonic()
            result = measure() | {"seconds": round(time.monotonic() - began, 1)}
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(result))
            print(f"  {path.stem}: {result}", file=sys.stderr, flush=True)
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def dense(
        self, seed: int, rows: list[Annotation] | None = None, spans: bool = False, whole: bool = True, **keys: Any
    ) -> dict[str, float]:
        """Train CFMR-Dense and measure it, in one video and which video is found.

        `spans`: glances are the middles of the moments, which nothing but the comparison of costs does. `whole`: the
        model is as it is, and is measured over all videos, too.
        """
        chosen = self.training if rows is None else rows
        if spans:
            chosen = [replace(row, glance=sum(row.span or (0.0, 0.0)) / 2) for row in chosen]
        path = self.work / f"{self.place.name}-rows.json"
        save_annotations(path, chosen)
        config = self.config(self.place.dense, path, **keys)
        run = self.work / f"{self.place.name}-run"
        began = time.monotonic()
        dense.train(
            config.model_copy(update={"dataset": config.dataset.model_copy(update={"test_data": ""})}),
            run,
            select="last",
            seed=seed,
        )
        fitted = time.monotonic() - began
        checkpoint = Checkpoint.load(run / "checkpoint")
        model = Dense.restore(checkpoint)
        encoded = encode(model, self.test, self.store, checkpoint.vocabulary, config.dataset.max_num_words)
        figures = evaluate(model, self.test, encoded) | {"fit seconds": round(fitted, 1)}
        if rows is None and not keys and whole:
            return figures | _of_all_videos(evaluate_corpus(model, self.test, encoded))
        return figures | self._videos(encoded)

    def _videos(self, encoded: Any) -> dict[str, float]:
        names = list(encoded.videos)
        best = np.stack([(encoded.videos[name][0] @ encoded.sentences.T).max(0) for name in names], axis=1)
        own = [names.index(row.video) for row in self.test]
        return video_recall(best, own)

    def published(self, seed: int) -> dict[str, float]:
        """Train the published model; the epoch is the best on the test file, which favours it."""
        rows = None
        if len(self.training) > self.place.published_rows:
            rows = self.work / f"{self.place.name}-{self.place.published_rows}.json"
            chosen = np.random.default_rng(0).permutation(len(self.training))[: self.place.published_rows]
            save_annotations(rows, [self.training[i] for i in np.sort(chosen)])
        run = self.work / f"{self.place.name}-published-{seed}"
        config = self.config(self.place.published, rows, max_num_epochs=PUBLISHED_EPOCHS)
        resume = run if (run / "last").exists() else None
        figures = training.train(config, run, resume=resume, seed=seed, select="test")
        return dict(figures["test"] | _of_all_videos(figures["corpus"]))


def video_recall(scores: np.ndarray, own: list[int]) -> dict[str, float]:
    """How often, in percent, the right video comes first and among ten, of scores (N, V) and the right ones (N,)."""
    rank = (scores > scores[np.arange(len(own)), own][:, None]).sum(1)
    return {f"video R@{n}": round(100 * float((rank < n).mean()), 2) for n in (1, 10)}


def _of_all_videos(figures: dict[str, float]) -> dict[str, float]:
    """Measures over all videos under names of their own."""
    return {name if name.startswith("video") else f"all videos: {name}": value for name, value in figures.items()}


@contextmanager
def patched(module: Any, name: str, value: Any) -> Iterator[None]:
    """Another value of a constant, or another function, for a while."""
    old = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, old)


def ablations(bench: Bench) -> dict[str, Callable[[], dict[str, Any]]]:
    """What is left out, one part at a time."""

    def without(*changes: Switch, **keys: Any) -> Callable[[], dict[str, Any]]:
        def measure() -> dict[str, Any]:
            with switched(changes):
                return bench.dense(SEEDS[0], whole=False, **keys)

        return measure

    return {
        **{f"all but {part}": without(*changes) for part, changes in PARTS.items()},
        "all but three fits: one": without(num_fits=1),
        "all but 128 components: 64": without((fit, "NUM_COMPONENTS", 64)),
        "all but 128 numbers of a fit: 256": without((fit, "SIZE", 256)),
    }


def some_labels(bench: Bench, share: float, seed: int, spans: bool = False) -> dict[str, Any]:
    """CFMR-Dense on a share of the labels, drawn at random."""
    count = max(1, round(share * len(bench.training)))
    chosen = np.random.default_rng([seed, 1]).permutation(len(bench.training))[:count]
    return bench.dense(seed, [bench.training[i] for i in chosen], spans=spans) | {"labels": count}


def row(name: str, runs: list[dict[str, Any]], keys: tuple[str, ...]) -> str:
    """A line of a table: mean, and spread where there are several runs."""
    cells = []
    for key in keys:
        values = [run[key] for run in runs if key in run]
        if not values:
            cells.append("-")
            continue
        spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
        cells.append(f"{np.mean(values):.1f}{spread}")
    return f"| {name} | " + " | ".join(cells) + " |"


def head(first: str, keys: tuple[str, ...]) -> str:
    return f"\n| {first} | " + " | ".join(keys) + " |\n|" + "---|" * (len(keys) + 1)


def draw(curves_of: dict[str, list[tuple[float, float, float]]], path: Path, label: str) -> None:
    """R@1,IoU=0.5 over the number of labels, or hours, mean and spread."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for name, points in curves_of.items():
        labels, mean, spread = map(np.array, zip(*points, strict=True))
        axes.errorbar(labels, mean, spread, marker="o", capsize=3, label=name)
    axes.set(xscale="log", xlabel=label, ylabel="R@1, IoU=0.5 (%)", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=140)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--part", nargs="+", default=["main", "ablations", "labels", "published"])
    parser.add_argument("--place", nargs="+", default=[place.name for place in PLACES])
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), help="of the published model")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    lines: dict[str, list[tuple[float, float, float]]] = {}
    for place in PLACES:
        if place.name not in options.place:
            continue
        bench = Bench(place, options.data, options.work)
        print(
            f"\n## {place.name}: {len(bench.training)} training rows, {len(bench.test)} test rows, features of seed 7"
        )
        print_main(bench, options.part, options.seeds)
        if "ablations" in options.part:
            print_ablations(bench)
        if "labels" in options.part:
            lines[place.name] = print_labels(bench)
        if "cost" in options.part:
            lines |= print_cost(bench)
    if options.plot and lines:
        draw(lines, options.plot, "hours of labelling" if "cost" in options.part else "point labels")


def print_main(bench: Bench, parts: list[str], seeds: list[int]) -> None:
    """The table of what is reached."""
    keys = SHOWN + CORPUS
    print(head("", keys))
    print(row("best constant answer", [constant_answer(bench.test)], keys))
    if "published" in parts:
        runs = [bench.kept(f"published-{seed}", partial(bench.published, seed)) for seed in seeds]
        print(row(f"published model, {PUBLISHED_EPOCHS} epochs, seeds: {len(runs)}", runs, keys))
    runs = [bench.kept(f"dense-{seed}", partial(bench.dense, seed)) for seed in SEEDS]
    print(row(f"CFMR-Dense, seeds: {len(runs)}", runs, keys))
    print(f"\nCFMR-Dense was fitted in {np.mean([run['fit seconds'] for run in runs]):.0f} s.")


def print_ablations(bench: Bench) -> None:
    """The table of what each part is worth."""
    keys = (*SHOWN[1:6], *CORPUS[:2])
    print(head("", keys))
    print(row("all of it", [bench.kept(f"dense-{SEEDS[0]}", partial(bench.dense, SEEDS[0]))], keys))
    for name, measure in ablations(bench).items():
        print(row(name, [bench.kept(f"ablation-{name}", measure)], keys), flush=True)


def print_cost(bench: Bench) -> dict[str, list[tuple[float, float, float]]]:
    """The table of what an hour of labelling gives, with points and with spans."""
    print(head("hours of labelling", ("points: labels", "points", "spans: labels", "spans")))
    found: dict[str, list[tuple[float, float, float]]] = {}
    for share in SHARES:
        cells: list[str] = []
        hours = share * len(bench.training) * SECONDS_A_POINT / 3600
        for kind, part in (("points", share), ("spans", share / COST_RATIO)):
            prefix = "labels" if kind == "points" else "spans"
            runs = [
                bench.kept(f"{prefix}-{part:g}-{seed}", partial(some_labels, bench, part, seed, kind == "spans"))
                for seed in SEEDS
            ]
            values = [run["R@1,IoU=0.5"] for run in runs]
            mean, spread = float(np.mean(values)), float(np.std(values, ddof=1))
            found.setdefault(f"{bench.place.name}, {kind}", []).append((hours, mean, spread))
            cells += [f"{runs[0]['labels']}", f"{mean:.1f} ± {spread:.1f}"]
        print(f"| {hours:.2f} | " + " | ".join(cells) + " |", flush=True)
    return found


def print_labels(bench: Bench) -> list[tuple[float, float, float]]:
    """The table over shares of the labels; returns labels, mean and spread of R@1,IoU=0.5."""
    keys = (*SHOWN[:4], *CORPUS[:2])
    points = []
    print(head("labels", keys))
    for share in SHARES:
        runs = [bench.kept(f"labels-{share:g}-{seed}", partial(some_labels, bench, share, seed)) for seed in SEEDS]
        values = [run["R@1,IoU=0.5"] for run in runs]
        points.append((float(runs[0]["labels"]), float(np.mean(values)), float(np.std(values, ddof=1))))
        print(row(f"{share:.0%} ({runs[0]['labels']})", runs, keys), flush=True)
    return points


if __name__ == "__main__":
    main()
