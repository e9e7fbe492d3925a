"""What a cluster costs and gives: Ray's overhead, and an index in Milvus beside the same one in a directory.

    python benchmarks/scale.py ray [--videos 48] [--seconds 0.5]
    python benchmarks/scale.py milvus --address milvus://127.0.0.1:19530/benchmark [--rows 100000]

`ray` runs work that sleeps as long as a GPU would compute, so that more workers than cores can be told apart. `milvus`
makes moments of the published model's size (7 concepts of 256 numbers) in bunches, writes them to both, and asks the
same 200 questions of each, by one thread and by four.
"""

import argparse
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from cfmr.cluster import Row, run_all
from cfmr.index.address import MilvusAddress, parse_place
from cfmr.index.codec import Codec
from cfmr.index.segment import Video, VideoRows
from cfmr.index.store import EmbeddedIndex
from cfmr.index.writer import open_writer

CONCEPTS, SIZE, WIDTH, ROWS = 7, 256, 256, 24
QUERIES = 200


class Sleeper:
    """Work of a known length."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, task: Row) -> Row:
        time.sleep(self.seconds)
        return {"name": task["name"], "failed": "", "hopeless": ""}


def measure_ray(videos: int, seconds: float) -> None:
    """Wall time of a job by workers; what comes before the first answer is Ray's start."""
    import ray
    import ray.data

    print(f"{videos} videos of {seconds} s each\n")
    print("| workers | in all, s | from the first answer on, s | speed-up of that |")
    print("|--:|--:|--:|--:|")
    alone = 0.0
    for workers in (1, 2, 3):
        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        began, first = time.perf_counter(), 0.0
        tasks: list[Row] = [{"name": str(i)} for i in range(videos)]
        for _ in run_all(ray, tasks, Sleeper, (seconds,)):
            first = first or time.perf_counter()
        done = time.perf_counter()
        ray.shutdown()
        working = done - first + seconds
        alone = alone or working
        print(f"| {workers} | {done - began:.1f} | {working:.1f} | {alone / working:.2f} |")


def made_up(rows: int) -> tuple[Codec, list[VideoRows], np.ndarray]:
    """A codec, videos, and queries (QUERIES, dim) near moments."""
    rng = np.random.default_rng(0)
    weight = (rng.standard_normal((CONCEPTS, SIZE, WIDTH)) / np.sqrt(WIDTH)).astype(np.float32)
    codec = Codec(WIDTH, weight, 0.1 * rng.standard_normal((CONCEPTS, SIZE)).astype(np.float32))
    scales = 1 / np.sqrt(1 + np.arange(WIDTH))  # a few directions hold most of the energy, as in a trained model
    centres = rng.standard_normal((rows // 200, WIDTH)) * scales
    spans = np.stack([np.arange(ROWS), np.arange(ROWS) + 3.0], axis=1)
    items = []
    for number in range(rows // ROWS):
        made = centres[rng.integers(0, len(centres), ROWS)] + 0.5 * rng.standard_normal((ROWS, WIDTH)) * scales
        items.append(VideoRows(Video(f"v{number}", ROWS + 3.0, ROWS), made.astype(np.float32), spans))
    asked = np.stack([items[i].rows[0] for i in rng.integers(0, len(items), QUERIES)])
    asked += (0.2 * rng.standard_normal(asked.shape) * scales).astype(np.float32)
    return codec, items, codec.expand(asked, codec.scales(asked))


def measure_milvus(address: MilvusAddress, rows: int) -> None:
    """Build time, recall, latency and queries per second of both."""
    from cfmr.index.milvus.store import MilvusIndex

    codec, items, queries = made_up(rows)
    truth = exact_scores(codec, items, queries)
    sample = np.concatenate([codec.expand(i.rows, codec.scales(i.rows)) for i in items[:: max(1, len(items) // 256)]])
    card = {"readout": "anchors", "fingerprint": f"benchmark {time.time()}", "max_words": 10}
    print(f"{len(items) * ROWS:,} moments of {codec.dim} numbers\n")
    print("| | written, s | nprobe, re-ranked | recall@10 | p50, ms | p95, ms | queries/s, 1 thread | 4 threads |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        for name, place in (("directory", Path(folder) / "index"), ("Milvus", address)):
            began = time.perf_counter()
            with open_writer(place) as writer:
                writer.expect(lambda: rows, lambda: sample)
                writer.set_model(card, codec, lambda _: [])
                writer.queries = lambda: queries[:100]
                writer.add(items)
                writer.commit()
            written = time.perf_counter() - began
            index: Any = EmbeddedIndex.open(place) if isinstance(place, Path) else MilvusIndex.open(place)
            print(
                f"| {name} | {written:.0f} | {index.ann.nprobe}, {index.ann.rerank} | {asked(index, queries, truth)} |"
            )


def exact_scores(codec: Codec, items: list[VideoRows], queries: np.ndarray) -> np.ndarray:
    """The tenth best score of each query, (QUERIES,)."""
    best = np.full((len(queries), 10), -np.inf, np.float32)
    for at in range(0, len(items), 200):
        rows = np.concatenate([item.rows for item in items[at : at + 200]])
        scores = queries @ codec.expand(rows, codec.scales(rows)).T
        best = np.sort(np.concatenate([best, scores], axis=1), axis=1)[:, -10:]
    return best[:, 0]


def asked(index: Any, queries: np.ndarray, truth: np.ndarray) -> str:
    """Columns of the table."""
    found = [index.top(query, 10) for query in queries]
    recall = np.mean([sum(hit.score >= edge - 1e-4 for hit in hits) for hits, edge in zip(found, truth, strict=True)])
    times = []
    for query in np.concatenate([queries] * 3):
        began = time.perf_counter()
        index.top(query, 10)
        times.append(1000 * (time.perf_counter() - began))
    rates = []
    for threads in (1, 4):
        with ThreadPoolExecutor(threads) as pool:
            began = time.perf_counter()
            count = len(list(pool.map(lambda query: index.top(query, 10), np.concatenate([queries] * 3))))
            rates.append(f"{count / (time.perf_counter() - began):.0f}")
    return " | ".join([f"{recall / 10:.3f}", *(f"{np.percentile(times, p):.1f}" for p in (50, 95)), *rates])


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    ray = commands.add_parser("ray")
    ray.add_argument("--videos", type=int, default=48)
    ray.add_argument("--seconds", type=float, default=0.5)
    milvus = commands.add_parser("milvus")
    milvus.add_argument("--address", required=True)
    milvus.add_argument("--rows", type=int, default=100_000)
    given = parser.parse_args()
    if given.command == "ray":
        measure_ray(given.videos, given.seconds)
    else:
        place = parse_place(given.address)
        assert isinstance(place, MilvusAddress), "an address is needed"
        measure_milvus(place, given.rows)


if __name__ == "__main__":
    main()
