"""`cfmr search` from the shell, cold: a new process each time, from its start to its end.

    python benchmarks/cold_start.py --index INDEX [--sentence "a person opens the door"] [--rounds 20]

Beside the wall clock stands the processor time, which a busy machine distorts less, and what Python alone costs.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def timed(command: Sequence[str], rounds: int) -> tuple[list[float], list[float]]:
    wall, processor = [], []
    for _ in range(rounds):
        before, began = os.times(), time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        wall.append(time.perf_counter() - began)
        after = os.times()
        processor.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return wall, processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--sentence", default="a person opens the door")
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    cfmr = shutil.which("cfmr", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}") or "cfmr"
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import numpy, onnxruntime": [sys.executable, "-c", "import numpy, onnxruntime"],
        "cfmr search": [cfmr, "search", arguments.sentence, "--index", str(arguments.index)],
    }
    print("| | wall p50, s | wall p95, s | processor p50, s |\n|---|--:|--:|--:|")
    for name, command in commands.items():
        wall, processor = timed(command, arguments.rounds)
        numbers = (np.percentile(wall, 50), np.percentile(wall, 95), np.percentile(processor, 50))
        print(f"| {name} | {' | '.join(f'{n:.3f}' for n in numbers)} |")


if __name__ == "__main__":
    main()
