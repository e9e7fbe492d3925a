"""A training step of the Charades-STA configuration, batch 32, beside the plain path of the same model.

    python benchmarks/training_step.py [--config config/charades/i3d.json] [--rounds 5] [--threads 2]

Both paths take turns on the same batch (random features, sentences of the length of real ones), so that a busy machine
slows both. Times are of the whole step: forward, losses, backward, gradient clipping, Adam.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from cfmr.config import load_config
from cfmr.models.cfmr.batches import Batch
from cfmr.models.cfmr.pytorch import reference as plain
from cfmr.models.cfmr.pytorch.losses import Criterion
from cfmr.models.cfmr.pytorch.model import CFMR


def made_up_batch(model: CFMR, size: int, vocabulary: int, rng: np.random.Generator) -> Batch:
    """Lengths of sentences as in Charades-STA: 4 to 12 words, 6.2 on average."""
    lengths = np.clip(rng.poisson(2.4, size) + 4, 4, 12)
    words = int(lengths.max())
    sizes = model.sizes
    counted = np.arange(words) < lengths[:, None]
    return Batch(
        clips=rng.standard_normal((size, model.positions + 1, sizes.frames_input_size), np.float32),
        words=rng.standard_normal((size, words, sizes.words_input_size), np.float32) * counted[..., None],
        word_ids=rng.integers(1, vocabulary, (size, words)) * counted,
        lengths=lengths,
        glances=rng.uniform(0, 1, size).astype(np.float32),
        masked=counted & (rng.random((size, words)) < 0.33),
        videos=np.arange(size),
        durations=np.full(size, 30, np.float32),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="config/charades/i3d.json")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    config = load_config(arguments.config)
    vocabulary = config.dataset.vocab_size
    model = CFMR.from_config(config, vocabulary)
    criterion = Criterion(config.loss)
    batch = made_up_batch(model, config.train.batch_size, vocabulary, np.random.default_rng(0))
    optimizer = torch.optim.Adam(model.parameters(), lr=config.train.optimizer.lr, fused=True)

    def step(forward: Callable[[], object]) -> float:
        began = time.perf_counter()
        optimizer.zero_grad()
        outputs = forward()
        criterion(getattr(outputs, "outputs", outputs)).total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10)
        optimizer.step()
        return time.perf_counter() - began

    paths = {"fast": lambda: model(batch, 0.5), "plain": lambda: plain.forward(model, batch, 0.5)}
    for forward in paths.values():
        step(forward)
    times: dict[str, list[float]] = {name: [] for name in paths}
    for _ in range(arguments.rounds):
        for name, forward in paths.items():
            times[name].append(step(forward))
    print(f"{arguments.config}, batch {len(batch)}, {arguments.threads} threads, {arguments.rounds} rounds")
    for name, values in times.items():
        print(f"{name:6} median {statistics.median(values):.3f} s, fastest {min(values):.3f} s")
    ratios = [slow / quick for slow, quick in zip(times["plain"], times["fast"], strict=True)]
    print(f"plain / fast, median of the pairs: {statistics.median(ratios):.1f}")


if __name__ == "__main__":
    main()
