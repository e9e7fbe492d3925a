"""What the default extractor takes: beside another version of this project, and where its time goes.

    python benchmarks/extraction.py VIDEO|DIR ... [--count 10] [--rounds 5] [--cores 1 2] [--before CHECKOUT]

Features of the first COUNT videos are made by this version in 8 bits and in floats, and by the version in the folder
CHECKOUT (`git worktree add CHECKOUT REVISION`) where one is given. They take turns, ROUNDS times, each in a process of
its own that may use as many cores as the row says; the time begins when the first 16 clips are done, so that starting
up is not counted. Columns are medians of
seconds, and of the ratios within each round. One video alone is read by all of the cores.

Then the parts of it, on one core, in processor seconds: decoding alone; decoding and making small; everything. The
network's share is what its calls take within everything. Frames are those that are looked at, 12 a second, of which the
network sees one in six.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

SRC = Path(__file__).resolve().parents[1] / "src"


def extract_once(paths: list[Path], cores: int, precision: str) -> float:
    """Seconds for the features of all videos; runs on either version of the package."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    from cfmr.extractors.batch import extract_all

    options = {} if precision == "before" else {"precision": precision}
    videos = {f"{number}": path for number, path in enumerate(paths)}
    began: list[float] = []

    def told(_: str, done: int, __: int) -> None:
        if done and not began:  # the network is loaded
            began.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        extract_all(videos, "efficientnet-lite0", Path(folder) / "f.hdf5", workers=cores, progress=told, **options)
        return time.perf_counter() - began[0]


def in_process(source: Path, paths: list[Path], cores: int, precision: str) -> float:
    """Seconds that another process takes."""
    command = [sys.executable, __file__, "--once", precision, *map(str, paths), "--cores", str(cores)]
    environment = os.environ | {"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return float(json.loads(done.stdout))


def compare(paths: list[Path], cores: list[int], rounds: int, before: Path | None) -> None:
    subjects = {"8 bits": (SRC, "int8"), "floats": (SRC, "float")}
    if before is not None:
        subjects["before"] = (before / "src", "before")
    base = list(subjects)[-1]
    print("| cores | " + " | ".join(f"{name}, s" for name in subjects) + f" | {base} / 8 bits | lowest and highest |")
    print("|--:|" + "--:|" * (len(subjects) + 2))
    for count in cores:
        taken = np.array(
            [[in_process(source, paths, count, kind) for source, kind in subjects.values()] for _ in range(rounds)]
        )
        ratios = taken[:, -1] / taken[:, 0]
        seconds = " | ".join(f"{median:.2f}" for median in np.median(taken, axis=0))
        print(f"| {count} | {seconds} | {np.median(ratios):.2f} | {ratios.min():.2f}, {ratios.max():.2f} |", flush=True)


def timed(work: Callable[[Path], int], paths: list[Path]) -> tuple[float, int]:
    """Processor seconds, and frames."""
    began = time.process_time()
    frames = sum(work(path) for path in paths)
    return time.process_time() - began, frames


class Stopwatch:
    """The network, with its time taken."""

    def __init__(self, network: Callable[[np.ndarray], object]) -> None:
        self.network, self.seconds, self.frames = network, 0.0, 0

    def __call__(self, images: np.ndarray) -> object:
        began = time.process_time()
        result = self.network(images)
        self.seconds += time.process_time() - began
        self.frames += len(images)
        return result


def parts(paths: list[Path], precision: str) -> None:
    from cfmr.extractors import efficientnet_lite0
    from cfmr.video.decode import Video

    def decode(path: Path) -> int:
        with Video(path) as video:
            return sum(1 for _ in video.frames(fps=efficientnet_lite0._FPS))

    def make_small(path: Path) -> int:
        with Video(path) as video:
            return sum(len(clip.gray) for clip in efficientnet_lite0._clips(video))

    extractor = efficientnet_lite0.EfficientNetLite0(1, precision)
    watch = Stopwatch(extractor._network)
    extractor.__dict__["_network"] = watch
    extractor.extract(paths[0])  # the first call loads and warms up
    watch.seconds, watch.frames = 0.0, 0
    decoding, frames = timed(decode, paths)
    small, _ = timed(make_small, paths)
    everything, clips = timed(lambda path: len(extractor.extract(path).features), paths)
    rows = {
        "decoding": (decoding, frames),
        "making small (colour and gray)": (small - decoding, frames),
        f"network ({precision})": (watch.seconds, watch.frames),
        "motion, and averages over what moves": (everything - small - watch.seconds, frames),
    }
    print("| | frames | seconds | frames a second | share |\n|---|--:|--:|--:|--:|")
    for name, (seconds, count) in (rows | {"in all": (everything, frames)}).items():
        print(f"| {name} | {count:,} | {seconds:.2f} | {count / seconds:,.0f} | {seconds / everything:.0%} |")
    rate = clips / everything
    print(f"\n{rate:.1f} clips a second, {rate / extractor.clips_per_second:.0f} times real time\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--before", type=Path)
    parser.add_argument("--once", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        print(json.dumps(extract_once(options.videos, options.cores[0], options.once)))
        return
    from cfmr.video.files import find_videos

    paths = list(find_videos(options.videos).values())[: options.count]
    compare(paths, options.cores, options.rounds, options.before)
    for precision in ("int8", "float"):
        print()
        parts(paths, precision)


if __name__ == "__main__":
    main()
