"""Concepts of one video (offline line) and of one sentence (as the model computes it), beside the plain path.

    python benchmarks/offline_encoding.py [--config config/charades/i3d.json] [--rounds 20] [--threads 1 2]

Features are random; the largest difference of the concepts of both paths is printed with the times.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from cfmr.config import load_config
from cfmr.models.cfmr.pytorch import reference as plain
from cfmr.models.cfmr.pytorch.model import CFMR


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="config/charades/i3d.json")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--words", type=int, default=8)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    config = load_config(arguments.config)
    model = CFMR.from_config(config, config.dataset.vocab_size).eval()
    frames = torch.randn(1, config.dataset.max_num_frames, config.dataset.frame_dim)
    words, length = torch.randn(1, arguments.words, config.dataset.word_dim), np.array([arguments.words])
    jobs: dict[str, tuple[Callable[[], Tensor], Callable[[], Tensor]]] = {
        "video": (
            lambda: model.encode_video(frames[:, model.kept_clips]),
            lambda: plain.encode_video_offline(model, frames),
        ),
        "sentence": (
            lambda: model.encode_text(words, length),
            lambda: plain.encode_text_online(model, words, torch.from_numpy(length)),
        ),
    }
    anchors = model.sizes.guass_center_num * model.sizes.guass_width_num
    print(f"{arguments.config}: {anchors} anchors, sentence of {arguments.words} words, {arguments.rounds} rounds")
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        for name, (fast, slow) in jobs.items():
            report(f"{name}, {threads} thread{'s' * (threads > 1)}", fast, slow, arguments.rounds)


@torch.inference_mode()
def report(name: str, fast: Callable[[], Tensor], slow: Callable[[], Tensor], rounds: int) -> None:
    difference = float(np.abs(fast().numpy() - slow().numpy()).max())
    times: list[tuple[float, float]] = []
    for _ in range(rounds):
        times.append((timed(fast), timed(slow)))
    quick, plain_ = (statistics.median(values) * 1000 for values in zip(*times, strict=True))
    ratio = statistics.median(b / a for a, b in times)
    print(f"{name:20} fast {quick:7.2f} ms   plain {plain_:7.2f} ms   ratio {ratio:5.1f}   difference {difference:.1e}")


def timed(run: Callable[[], Tensor]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
