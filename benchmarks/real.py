"""CFMR-Dense on real features of real videos, cross-validated over folds of videos.

    python benchmarks/real.py --data FOLDER --vectors glove.pkl --work /tmp/real

FOLDER holds a feature file (*.hdf5), `rows.json`, rows of [video, duration, [start, end], sentence, glance], and
`folds.json`, {video: fold}. For each fold the model is trained on the glances of the other folds, with the one
configuration there is for every data set, and measured on the fold. Start and end of a moment are read for measuring
only: the training files do not contain them. `--clicks N ...` draws a label curve, `--without PART ...` leaves parts of
the model out, one after the other, `--hold-out FILE` measures on rows of videos that are in no fold, trained on all.
"""

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cfmr.config import Config, parse_config
from cfmr.data.annotations import load_annotations
from cfmr.data.features import FeatureStore
from cfmr.models.dense import fit, objective
from cfmr.training import dense
from cfmr.training.evaluation import constant_answer

SHOWN = ("R@1,IoU=0.3", "R@1,IoU=0.5", "R@1,IoU=0.7", "R@1,mIoU", "R@5,IoU=0.5", "R@5,IoU=0.7")
PARTS: dict[str, tuple[Any, str, float]] = {  # where each is switched off, and by what value
    "regression": (fit, "REGRESSED", 10**9),
    "across": (objective, "ACROSS", 0.0),
    "naming": (objective, "NAMING", 0.0),
    "dropout": (fit, "DROPOUT", 0.0),
}
VIDEOS = ("video R@1", "video R@5", "video R@10", "video R@100")


def configuration(features: Path, vectors: Path, train: Path, test: Path) -> Config:
    """Names where the data lies and nothing else."""
    with FeatureStore(features) as store:
        width = store.read(store.videos[0]).shape[1]
    dataset = {
        "dataset": "real",
        "feature_path": str(features),
        "vocab_size": 8000,
        "word_dim": 300,
        "frame_dim": width,
        "max_num_words": 20,
        "max_num_frames": 256,
        "train_data": str(train),
        "test_data": str(test),
        "vocab_path": str(vectors),
    }
    return parse_config({"dataset": dataset, "model": {"name": "CFMR-Dense"}}, "real.py")


def measure(config: Config, run: Path, seed: int) -> dict[str, float]:
    """Train and measure once; PRVR's SumR is the sum of the video recalls."""
    began = time.monotonic()
    figures: dict[str, Any] = dense.train(config, run, select="last", seed=seed)
    found = {name: figures["test"][name] for name in SHOWN} | {name: figures["corpus"][name] for name in VIDEOS}
    return found | {"SumR": sum(found[name] for name in VIDEOS), "seconds": time.monotonic() - began}


@contextmanager
def switched_off(part: str | None) -> Iterator[None]:
    """The model without one of PARTS for a while."""
    if part is None:
        yield
        return
    module, name, value = PARTS[part]
    usual = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, usual)


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
    parser.add_argument("--without", choices=PARTS, nargs="*", default=[], help="parts of the model to leave out")
    parser.add_argument("--folds", type=int, nargs="*", help="only these")
    parser.add_argument("--hold-out", type=Path, help="rows of videos in no fold")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    (features,) = options.data.glob("*.hdf5")
    rows = json.loads((options.data / "rows.json").read_text())
    fold_of = json.loads((options.data / "folds.json").read_text())
    folds: list[int | None] = [None] if options.hold_out else options.folds or sorted(set(fold_of.values()))
    keys, began = (*SHOWN, *VIDEOS, "SumR", "seconds"), time.monotonic()
    print("| | " + " | ".join(keys) + " |\n|" + "---|" * (len(keys) + 1))
    for clicks, part in itertools.product(options.clicks, options.without or [None]):
        runs, constants = [], []
        left_out = f" without {part}" if part else ""
        for fold in folds:
            train, test = options.work / f"train-{fold}-{clicks}.json", options.work / f"test-{fold}.json"
            seen = [[video, length, None, said, at] for video, length, _, said, at in rows if fold_of[video] != fold]
            if clicks:
                chosen = np.random.default_rng([options.seed, 5]).permutation(len(seen))[:clicks]
                seen = [seen[i] for i in np.sort(chosen)]
            unseen = [one for one in rows if fold_of[one[0]] == fold]
            train.write_text(json.dumps(seen))
            test.write_text(options.hold_out.read_text() if options.hold_out else json.dumps(unseen))
            config = configuration(features, options.vectors, train, test)
            with switched_off(part):
                runs.append(measure(config, options.work / f"run-{fold}-{clicks}-{part or 'all'}", options.seed))
            constants.append(constant_answer(load_annotations(test, spans=True)))
            print(row(f"fold {fold}, {len(seen)} labels{left_out}", runs[-1:], keys), flush=True)
        print(row(f"CFMR-Dense{left_out}, {clicks or 'all'} labels", runs, keys))
        print(row("best constant answer", constants, keys), flush=True)
    print(f"\nAll of it took {time.monotonic() - began:.0f} s.")


if __name__ == "__main__":
    main()
