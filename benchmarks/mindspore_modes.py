"""MindSpore's graph mode beside PyNative: three transformer layers, forward and backward, of the size of CFMR's.

    python benchmarks/mindspore_modes.py [--rounds 4] [--threads 2]

The windows and packed sentences of a training step have other lengths in nearly every batch, and graph mode compiles
each new shape. So the sizes that matter are: a step of a shape seen before, the first step of a new shape, and a step
of the one shape that would fit all batches (96 anchors, all 51 positions), which needs no windows and compiles once.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    os.chdir(tempfile.mkdtemp())  # graph mode leaves files where it runs

    import mindspore as ms
    import numpy as np
    from mindspore import Tensor, nn, ops

    from cfmr.models.mindspore import use_device

    class Block(nn.Cell):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = nn.Dense(256, 768), nn.Dense(256, 256)
            self.fc1, self.fc2 = nn.Dense(256, 512), nn.Dense(512, 256)
            self.norm1, self.norm2 = nn.LayerNorm((256,)), nn.LayerNorm((256,))
            self.score, self.mix = ops.BatchMatMul(transpose_b=True), ops.BatchMatMul()

        def construct(self, x, bias):
            number, length, width = x.shape
            heads = ops.transpose(self.qkv(x).reshape(number, length, 3, 4, 64), (2, 0, 3, 1, 4))
            shares = ops.softmax(self.score(heads[0] * 0.125, heads[1]) + bias, -1)
            mixed = ops.transpose(self.mix(shares, heads[2]), (0, 2, 1, 3)).reshape(number, length, width)
            x = self.norm1(x + self.out(mixed))
            return self.norm2(x + self.fc2(ops.relu(self.fc1(x))))

    class Encoder(nn.Cell):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.CellList([Block() for _ in range(3)])

        def construct(self, x, bias):
            for block in self.blocks:
                x = block(x, bias)
            return ops.square(x).mean()

    use_device("CPU")
    encoder = Encoder()

    def forward(x, bias):
        return encoder(x, bias)

    gradients = ms.value_and_grad(forward, None, ms.ParameterTuple(encoder.trainable_params()))

    @ms.jit
    def graph(x, bias):
        return gradients(x, bias)

    def measure(step, number: int, length: int) -> list[float]:
        x = Tensor(np.random.default_rng(0).standard_normal((number, length, 256)).astype(np.float32))
        bias = Tensor(np.zeros((number, 1, length, length), np.float32))
        times = []
        for _ in range(arguments.rounds):
            began = time.perf_counter()
            _, found = step(x, bias)
            found[0].asnumpy()
            times.append(time.perf_counter() - began)
        return times

    print(f"{arguments.threads} threads, {Path(__file__).name}; seconds")
    for name, step in (("PyNative", gradients), ("graph", graph)):
        for number, length in ((96, 30), (96, 33), (96, 51)):
            first, *rest = measure(step, number, length)
            print(
                f"{name:9} {number} x {length}: first {first:.2f}, then {sorted(rest)[len(rest) // 2]:.2f}", flush=True
            )


if __name__ == "__main__":
    main()
