"""The published model trained on both backends from the same seeds, side by side.

    python benchmarks/mindspore_accuracy.py --work DIR [--demo runs/demo] [--seeds 0 1 2] [--dropout 0] [--epochs 6]

On the made-up world of the tests, which a narrow model learns in a few minutes; or with --demo, with the configuration
that is shipped for it, on what `cfmr demo --out runs/demo` left behind. What is given here takes the place of what the
configuration says. A seed means the same initial weights, batches and masked words on either side; what differs is
dropout. Finished runs in DIR are kept and broken-off ones carried on, so it can be killed. What is printed is Markdown.
To be run in the environment of `make test-mindspore`.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from cfmr.config import Config, parse_config, preset
from cfmr.files.atomic import write_json
from cfmr.training.backends import find_training

BACKENDS = ("pytorch", "mindspore")
SHOWN = ("R@1,IoU=0.5", "R@1,mIoU")
ROOT = Path(__file__).parent.parent


def made_up(work: Path) -> dict[str, Any]:
    """A configuration on the tests' world, of 675 training and 225 test sentences."""
    sys.path.insert(0, str(ROOT))
    from tests.support.worlds import make_world

    value: dict[str, Any] = json.loads(make_world(work / "world", videos=300, epochs=6).config.read_text())
    value["train"]["batch_size"] = 32
    value["train"]["optimizer"] |= {"lr": 1e-3, "warmup_updates": 20}
    sizes = value["model"]["config"]
    sizes["hidden_size"] = sizes["Transformers"]["d_model"] = 64
    sizes["Transformers"]["num_heads"] = 4
    return value


def changed(value: dict[str, Any], arguments: argparse.Namespace) -> Config:
    """The configuration, with what was given in its place."""
    sizes, steps = value["model"]["config"], value["train"]
    steps["max_num_epochs"] = arguments.epochs or steps["max_num_epochs"]
    if arguments.dropout is not None:
        sizes["dropout"] = sizes["Transformers"]["dropout"] = arguments.dropout
    return parse_config(value, "the configuration, changed")


def trained(backend: str, config: Config, seed: int, work: Path, select: str) -> dict[str, Any]:
    """Figures of a run, which is read, carried on or started, whichever it needs."""
    run = work / f"{backend}-{seed}"
    key = json.loads(json.dumps(config.model_dump()))
    if (run / "config.json").exists() and json.loads((run / "config.json").read_text()) != key:
        sys.exit(f"{run}: was trained with another configuration; give another --work")
    if not (run / "metrics.json").exists():
        resume = run if (run / "last").is_dir() else None
        options: Any = {"resume": resume, "seed": seed, "select": select, "device": "cpu"}
        find_training(backend).train(config, run, **options)
    figures: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    return figures


def curve(run: Path) -> list[float]:
    """The loss of each epoch."""
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--demo", type=Path, help="directory of `cfmr demo`")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--dropout", type=float)
    arguments = parser.parse_args()
    value = preset("cfmr", arguments.demo).model_dump() if arguments.demo else made_up(arguments.work)
    config, select = changed(value, arguments), "validation" if arguments.demo else "last"
    runs = {
        (seed, backend): trained(backend, config, seed, arguments.work, select)
        for seed in arguments.seeds
        for backend in BACKENDS
    }
    write_json(arguments.work / "figures.json", {f"{backend}-{seed}": run for (seed, backend), run in runs.items()})
    print("| seed | " + " | ".join(f"{name}, {backend}" for name in SHOWN for backend in BACKENDS) + " |")
    print("|---" * (1 + len(SHOWN) * len(BACKENDS)) + "|")
    for seed in arguments.seeds:
        values = [runs[seed, backend]["test"][name] for name in SHOWN for backend in BACKENDS]
        print(f"| {seed} | " + " | ".join(f"{value:.1f}" for value in values) + " |")
    means = [
        statistics.mean(runs[seed, backend]["test"][name] for seed in arguments.seeds)
        for name in SHOWN
        for backend in BACKENDS
    ]
    print("| mean | " + " | ".join(f"{value:.1f}" for value in means) + " |")
    constant = next(iter(runs.values()))["best_constant"]
    print("| best constant answer | " + " | ".join(f"{constant[name]:.1f} | " for name in SHOWN) + "|")
    for seed in arguments.seeds:
        pairs = zip(*(curve(arguments.work / f"{backend}-{seed}") for backend in BACKENDS), strict=True)
        apart = max(abs(one - other) / one for one, other in pairs)
        print(f"\nseed {seed}: losses of an epoch at most {100 * apart:.3f} % apart", end="")
    print()


if __name__ == "__main__":
    main()
