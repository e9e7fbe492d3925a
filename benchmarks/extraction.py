"""Where the time of the default extractor goes: decoding, making pictures small, the network, motion and the rest.

    python benchmarks/extraction.py VIDEO|DIR ... [--count 10]

One thread. Each part is timed on its own over the same videos: decoding alone; decoding and making small; everything.
The network's share is what its calls take within everything. Frames are those that are looked at, 12 a second, of
which the network sees one in six.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cfmr.extractors import efficientnet_lite0
from cfmr.extractors.efficientnet_lite0 import EfficientNetLite0, Network
from cfmr.video.decode import Video
from cfmr.video.files import find_videos


def timed(work: Callable[[Path], int], paths: list[Path]) -> tuple[float, int]:
    """Seconds, and frames."""
    began = time.perf_counter()
    frames = sum(work(path) for path in paths)
    return time.perf_counter() - began, frames


def decode(path: Path) -> int:
    with Video(path) as video:
        return sum(1 for _ in video.frames(fps=efficientnet_lite0._FPS))


def make_small(path: Path) -> int:
    with Video(path) as video:
        return sum(len(clip.gray) for clip in efficientnet_lite0._clips(video))


class Stopwatch:
    """The network, with its time taken."""

    def __init__(self, network: Network) -> None:
        self.network, self.seconds, self.frames = network, 0.0, 0

    def __call__(self, images: np.ndarray) -> object:
        began = time.perf_counter()
        result = self.network(images)
        self.seconds += time.perf_counter() - began
        self.frames += len(images)
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=10)
    options = parser.parse_args()
    paths = list(find_videos(options.videos).values())[: options.count]
    extractor = EfficientNetLite0()
    watch = Stopwatch(extractor._network)
    extractor.__dict__["_network"] = watch
    extractor.extract(paths[0])  # the first call loads and warms up
    watch.seconds, watch.frames = 0.0, 0
    decoding, frames = timed(decode, paths)
    small, _ = timed(make_small, paths)
    everything, clips = timed(lambda path: len(extractor.extract(path).features), paths)
    parts = {
        "decoding": (decoding, frames),
        "making small (colour and gray)": (small - decoding, frames),
        "network": (watch.seconds, watch.frames),
        "motion, and averages over what moves": (everything - small - watch.seconds, frames),
    }
    print(f"{len(paths)} videos, {clips} clips, {frames} frames\n")
    print("| | frames | seconds | frames a second | share |\n|---|--:|--:|--:|--:|")
    for name, (seconds, count) in (parts | {"in all": (everything, frames)}).items():
        print(f"| {name} | {count:,} | {seconds:.2f} | {count / seconds:,.0f} | {seconds / everything:.0%} |")
    rate = clips / everything
    print(f"\n{rate:.1f} clips a second, {rate / extractor.clips_per_second:.0f} times real time")


if __name__ == "__main__":
    main()
