"""A training step of the Charades-STA configuration on MindSpore beside PyTorch's.

    python benchmarks/mindspore_step.py [--config config/charades/i3d.json] [--turns 2] [--steps 5] [--threads 2]

The backends take turns, each in a process of its own, on the same batches; every step has a new batch, as in training,
so that MindSpore meets new shapes. Processor seconds count the work of all threads, and so their waiting where they
wait by spinning. To be run in the environment of `make test-mindspore`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

WARM_UP = 2  # the first steps build what later ones reuse


def make_step(backend: str, config: Any, vocabulary: int) -> Callable[[Any], None]:
    rate = config.train.optimizer.lr
    if backend == "pytorch":
        import torch

        from cfmr.models.cfmr.pytorch.losses import Criterion
        from cfmr.models.cfmr.pytorch.model import CFMR

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        model, criterion = CFMR.from_config(config, vocabulary), Criterion(config.loss)
        adam = torch.optim.Adam(model.parameters(), lr=rate, fused=True)

        def step(batch: Any) -> None:
            adam.zero_grad()
            criterion(model(batch, 0.5)).total.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 10)
            adam.step()

        return step

    import mindspore as ms

    from cfmr.models import mindspore as models
    from cfmr.models.cfmr.mindspore import losses
    from cfmr.training import mindspore as training

    models.use_device("CPU")
    other = models.build_model(config, vocabulary).set_train(True)
    criterion = losses.Criterion(config.loss)
    trained = training.trained_parameters(other)
    optimizer = training.Adam(trained, 0.0)
    gradients = ms.value_and_grad(
        lambda batch: criterion(other(batch, 0.5)).total, None, ms.ParameterTuple(list(trained.values()))
    )

    def ms_step(batch: Any) -> None:
        loss, found = gradients(batch)
        optimizer.update(training.clipped(list(found)), rate)
        loss.asnumpy()

    return ms_step


def measure(backend: str, config_path: str, steps: int) -> list[tuple[float, float]]:
    """Seconds, and processor seconds, of each step."""
    import numpy as np
    from training_step import made_up_batch

    from cfmr.config import load_config
    from cfmr.models.cfmr.pytorch.model import CFMR

    config = load_config(config_path)
    vocabulary = config.dataset.vocab_size
    step = make_step(backend, config, vocabulary)
    sized, rng = CFMR.from_config(config, vocabulary), np.random.default_rng(0)
    times = []
    for _ in range(WARM_UP + steps):
        batch = made_up_batch(sized, config.train.batch_size, vocabulary, rng)
        began, worked = time.perf_counter(), time.process_time()
        step(batch)
        times.append((time.perf_counter() - began, time.process_time() - worked))
    return times[WARM_UP:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="config/charades/i3d.json")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--backend", help="measure this one, in this process, and print JSON")
    arguments = parser.parse_args()
    if arguments.backend:
        print(json.dumps(measure(arguments.backend, arguments.config, arguments.steps)))
        return
    environment = os.environ | {"OMP_NUM_THREADS": str(arguments.threads)}
    found: dict[str, list[tuple[float, float]]] = {"pytorch": [], "mindspore": []}
    for _ in range(arguments.turns):
        for backend, times in found.items():
            options = ["--backend", backend, "--config", arguments.config, "--steps", str(arguments.steps)]
            command = [sys.executable, __file__, *options]
            done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
            times += json.loads(done.stdout.splitlines()[-1])
    print(f"{arguments.config}, {arguments.threads} threads, {arguments.turns} turns of {arguments.steps} steps")
    for backend, times in found.items():
        seconds, worked = ([time[i] for time in times] for i in range(2))
        print(
            f"{backend:9} median {statistics.median(seconds):.2f} s, fastest {min(seconds):.2f} s; "
            f"processor median {statistics.median(worked):.2f} s, least {min(worked):.2f} s"
        )


if __name__ == "__main__":
    main()
