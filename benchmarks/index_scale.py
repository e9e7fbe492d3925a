"""How search grows with the collection: build time, memory, disk, latency, recall; beside FAISS, LanceDB, sqlite-vec.

    python benchmarks/index_scale.py rows --checkpoint RUN --features F.hdf5 --work DIR --count 1000000
                                        [--encoded 240000]
    python benchmarks/index_scale.py run --checkpoint RUN --annotations test.json --work DIR --size 100000
    python benchmarks/index_scale.py table --work DIR [--plot docs/pictures/index_scale.png]

`rows` encodes ever new crops of the videos with the model; it can be stopped and carried on. Beyond --encoded rows, it
mixes two moments of those at random and adds noise, since encoding ten million takes hours. `run` measures each engine
(or those of --engine) in a process of its own on the same vectors, one thread, with the sentences as queries, and
appends a line to DIR/results.jsonl. Vectors have K d numbers (1,792 for Charades-STA), each concept of length 1. The
others need `cfmr[bench]`.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cfmr.index.codec import Codec

BLOCK = 24_000  # rows a file
EXPAND = 8192  # vectors written out at a time
QUERIES = 200
TOP = 10
ENGINES = ("cfmr", "cfmr-exact", "faiss-flat", "faiss-hnsw", "lancedb", "sqlite-vec")


class Collection:
    """The first `size` of the encoded rows."""

    def __init__(self, work: Path, size: int) -> None:
        self.work, self.size = work, size
        self.codec = Codec.from_array(int(np.load(work / "codec.npy").shape[2]) - 1, np.load(work / "codec.npy"))

    def rows(self) -> Iterator[np.ndarray]:
        left = self.size
        for path in sorted((self.work / "rows").glob("*.npy")):
            block = np.load(path, mmap_mode="r")[:left]
            left -= len(block)
            yield block
            if not left:
                return
        raise SystemExit(f"only {self.size - left:,} rows are there; make more with: rows --count {self.size}")

    def vectors(self) -> Iterator[np.ndarray]:
        """Full vectors (., K d) in blocks."""
        for block in self.rows():
            for low in range(0, len(block), EXPAND):
                rows = np.ascontiguousarray(block[low : low + EXPAND])
                yield self.codec.expand(rows, self.codec.scales(rows))

    def queries(self) -> np.ndarray:
        return np.load(self.work / "queries.npy")

    def truth(self) -> np.ndarray:
        """Scores of the exact tenth best of each query; computed once."""
        path = self.work / f"truth-{self.size}.npy"
        if not path.exists():
            queries = self.queries()
            best = np.full((len(queries), TOP), -np.inf, np.float32)
            for vectors in self.vectors():
                best = -np.partition(-np.concatenate([best, queries @ vectors.T], axis=1), TOP - 1, axis=1)[:, :TOP]
            np.save(path, best.min(1))
        return np.load(path)


def mix_rows(work: Path, encoded: int, count: int) -> None:
    """Files of BLOCK rows after those that are encoded, each of one of their files: two of its moments, and noise."""
    folder, sources = work / "rows", -(-encoded // BLOCK)
    for number in range(sources, -(-count // BLOCK)):
        path = folder / f"{number:03d}.npy"
        if path.exists():
            continue
        rng = np.random.default_rng(number)
        rows = np.load(folder / f"{number % sources:03d}.npy")
        share = rng.uniform(0.6, 1, (len(rows), 1)).astype(np.float32)
        noise = rng.standard_normal(rows.shape, np.float32) * (0.05 * rows.std(0))
        np.save(path, share * rows + (1 - share) * rows[rng.permutation(len(rows))] + noise)


def encode_rows(checkpoint: Path, features: Path, work: Path, count: int, seconds: float) -> None:
    """Rows of random crops, half to all of a video long, in files of BLOCK rows."""
    from cfmr.data.features import FeatureStore
    from cfmr.models.base import load_model
    from cfmr.models.checkpoint import Checkpoint, find_checkpoint

    model: Any = load_model(Checkpoint.load(find_checkpoint(checkpoint)))
    store = FeatureStore(features)
    weight, bias = model.row_map()
    folder = work / "rows"
    folder.mkdir(parents=True, exist_ok=True)
    np.save(work / "codec.npy", Codec(weight.shape[2], weight, bias).array())
    until = time.monotonic() + seconds
    for number in range(-(-count // BLOCK)):
        path = folder / f"{number:03d}.npy"
        if path.exists():
            continue
        if time.monotonic() > until:
            print(f"stopped before {path.name}; run again to carry on")
            return
        rng, made = np.random.default_rng(number), []
        while sum(map(len, made)) < BLOCK:
            clips = store.read(store.videos[rng.integers(len(store.videos))])
            length = max(int(len(clips) * rng.uniform(0.5, 1)), 1)
            first = rng.integers(0, len(clips) - length + 1)
            made.append(model.encode_rows(clips[first : first + length])[0])
        np.save(path, np.concatenate(made)[:BLOCK])


def encode_queries(checkpoint: Path, annotations: Path, work: Path) -> None:
    from cfmr.data.annotations import load_annotations
    from cfmr.models.base import load_model
    from cfmr.models.checkpoint import Checkpoint, find_checkpoint
    from cfmr.models.encode import encode_sentences

    if (work / "queries.npy").exists():
        return
    loaded = Checkpoint.load(find_checkpoint(checkpoint))
    longest = loaded.config.dataset.max_num_words
    sentences = dict.fromkeys(row.sentence for row in load_annotations(annotations))
    known = [s for s in sentences if loaded.vocabulary.ids(s, longest)]
    vectors = encode_sentences(load_model(loaded), known[: 2 * QUERIES], loaded.vocabulary, longest)
    np.save(work / "queries.npy", vectors[:QUERIES])
    np.save(work / "tuning.npy", vectors[QUERIES:])  # the index chooses its settings on other sentences


Search = Callable[[np.ndarray], np.ndarray]  # query -> scores of the ten found


def build_cfmr(data: Collection, path: Path, engine: str) -> None:
    from cfmr.index.base import Video, VideoRows
    from cfmr.index.embedded.writer import EmbeddedWriter

    anchors, spans = 24, np.tile([[0.0, 1.0]], (24, 1))
    with EmbeddedWriter.open(path) as writer:
        writer.set_engine(engine)
        writer.set_model({"readout": "anchors", "max_words": 20}, data.codec, lambda _: [])
        writer.set_queries(lambda: np.load(data.work / "tuning.npy"))
        number = 0
        for block in data.rows():
            for low in range(0, len(block), anchors):
                rows = np.asarray(block[low : low + anchors])
                writer.add([VideoRows(Video(f"v{number}", 30.0, len(rows)), rows, spans[: len(rows)])])
                number += 1
        writer.commit()


def open_cfmr(path: Path) -> Search:
    from cfmr.index.embedded.reader import EmbeddedIndex

    index = EmbeddedIndex.open(path)
    return lambda query: np.array([hit.score for hit in index.top(query, TOP)])


def build_faiss(data: Collection, path: Path, kind: str) -> None:
    import faiss

    dim = data.codec.dim
    index = faiss.IndexFlatIP(dim) if kind == "flat" else faiss.IndexHNSWFlat(dim, 32, faiss.METRIC_INNER_PRODUCT)
    if kind == "hnsw":
        index.hnsw.efConstruction = 80
    for vectors in data.vectors():
        index.add(vectors)
    path.mkdir()
    faiss.write_index(index, str(path / "index.faiss"))


def open_faiss(path: Path, setting: int) -> Search:
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.read_index(str(path / "index.faiss"))
    if setting:
        index.hnsw.efSearch = setting
    return lambda query: index.search(query[None], TOP)[0][0]


def build_lancedb(data: Collection, path: Path) -> None:
    import lancedb
    import pyarrow as pa

    dim = data.codec.dim
    schema = pa.schema([pa.field("id", pa.int64()), pa.field("vector", pa.list_(pa.float32(), dim))])

    def batches() -> Iterator[pa.RecordBatch]:
        first = 0
        for vectors in data.vectors():
            flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dim)
            yield pa.record_batch([pa.array(np.arange(first, first + len(vectors))), flat], schema=schema)
            first += len(vectors)

    table = lancedb.connect(path).create_table("moments", batches(), schema=schema)
    lists = max(int(data.size**0.5), 16)
    table.create_index(
        "vector", config=lancedb.index.IvfPq(distance_type="dot", num_partitions=lists, num_sub_vectors=112)
    )


def open_lancedb(path: Path, setting: int) -> Search:
    import lancedb

    table = lancedb.connect(path).open_table("moments")

    def search(query: np.ndarray) -> np.ndarray:
        found = table.search(query).distance_type("dot").nprobes(setting).refine_factor(10).limit(TOP)
        return 1 - found.select(["id", "_distance"]).to_arrow()["_distance"].to_numpy()

    return search


def connect_sqlite(path: Path) -> Any:
    import apsw  # Python's own sqlite3 is often built without extensions
    import sqlite_vec

    connection = apsw.Connection(str(path / "index.db"))
    connection.enable_load_extension(True)
    connection.load_extension(sqlite_vec.loadable_path())
    return connection


def build_sqlite(data: Collection, path: Path) -> None:
    path.mkdir()
    connection = connect_sqlite(path)
    connection.execute("PRAGMA journal_mode = OFF")
    connection.execute("BEGIN")
    connection.execute(
        f"CREATE VIRTUAL TABLE moments USING vec0(vector float[{data.codec.dim}] distance_metric=cosine)"
    )
    first = 0
    for vectors in data.vectors():
        rows = ((first + i, v.tobytes()) for i, v in enumerate(vectors))
        connection.executemany("INSERT INTO moments(rowid, vector) VALUES (?, ?)", rows)
        first += len(vectors)
    connection.execute("COMMIT")
    connection.close()


def open_sqlite(path: Path, concepts: int) -> Search:
    connection = connect_sqlite(path)
    text = f"SELECT distance FROM moments WHERE vector MATCH ? AND k = {TOP} ORDER BY distance"
    # all vectors have the same length, so cosine ranks as the inner product does
    return lambda query: np.array([concepts * (1 - d) for (d,) in connection.execute(text, (query.tobytes(),))])


def memory() -> int:
    """Resident bytes of this process, mapped files included."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def timed(search: Search, queries: np.ndarray, rounds: int) -> tuple[list[float], list[np.ndarray]]:
    times, found = [], []
    for _ in range(rounds):
        for query in queries:
            began = time.perf_counter()
            scores = search(query)
            times.append((time.perf_counter() - began) * 1000)
            found.append(scores)
    return times, found[: len(queries)]


def measure(work: Path, size: int, engine: str, setting: int) -> dict[str, Any]:
    """Open in a process that did not build, so that memory is what searching takes."""
    data = Collection(work, size)
    path, queries, edge = work / f"{engine}-{size}", data.queries(), data.truth()
    concepts = 1 if data.codec.weight is None else len(data.codec.weight)
    del data
    for module in {"faiss": ("faiss",), "cfmr": ("faiss",), "lancedb": ("lancedb",)}.get(engine.split("-")[0], ()):
        __import__(module)
    before = memory()
    openers: dict[str, Callable[[], Search]] = {
        "cfmr": lambda: open_cfmr(path),
        "cfmr-exact": lambda: open_cfmr(path),
        "faiss-flat": lambda: open_faiss(path, 0),
        "faiss-hnsw": lambda: open_faiss(path, setting or 128),
        "lancedb": lambda: open_lancedb(path, setting or 40),
        "sqlite-vec": lambda: open_sqlite(path, concepts),
    }
    began = time.perf_counter()
    search = openers[engine]()
    opened = time.perf_counter() - began
    probe, _ = timed(search, queries[:3], 1)
    few = queries if np.median(probe) < 200 else queries[:20]
    times, found = timed(search, few, 5 if np.median(probe) < 10 else 1)
    kept = [min(int((scores >= e - 1e-4).sum()), TOP) for scores, e in zip(found, edge, strict=False)]
    return {
        "open_seconds": round(opened, 3),
        "bytes_in_memory": memory() - before,
        "p50_ms": round(float(np.percentile(times, 50)), 3),
        "p95_ms": round(float(np.percentile(times, 95)), 3),
        "recall_at_10": round(sum(kept) / TOP / len(few), 4),
        "queries": len(times),
    }


def build(work: Path, size: int, engine: str) -> dict[str, Any]:
    data = Collection(work, size)
    path = work / f"{engine}-{size}"
    shutil.rmtree(path, ignore_errors=True)
    builders: dict[str, Callable[[], None]] = {
        "cfmr": lambda: build_cfmr(data, path, "auto"),
        "cfmr-exact": lambda: build_cfmr(data, path, "exact"),
        "faiss-flat": lambda: build_faiss(data, path, "flat"),
        "faiss-hnsw": lambda: build_faiss(data, path, "hnsw"),
        "lancedb": lambda: build_lancedb(data, path),
        "sqlite-vec": lambda: build_sqlite(data, path),
    }
    began = time.perf_counter()
    builders[engine]()
    seconds = time.perf_counter() - began
    disk = sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
    used = resource.getrusage(resource.RUSAGE_SELF)
    processor = round(used.ru_utime + used.ru_stime, 1)
    return {"build_seconds": round(seconds, 1), "build_processor_seconds": processor, "bytes_on_disk": disk}


def run(arguments: argparse.Namespace) -> None:
    encode_queries(arguments.checkpoint, arguments.annotations, arguments.work)
    Collection(arguments.work, arguments.size).truth()
    for engine in arguments.engine:
        line = {"engine": engine, "size": arguments.size}
        for part, threads in (("build", "1" if arguments.build_prefix else "2"), ("measure", "1")):
            if part == "build" and arguments.keep and (arguments.work / f"{engine}-{arguments.size}").exists():
                continue
            command = [sys.executable, __file__, part, "--work", str(arguments.work), "--size", str(arguments.size)]
            environment = {**os.environ, "OMP_NUM_THREADS": threads, "LANCE_CPU_THREADS": threads}
            if part == "measure":
                environment |= {"OPENBLAS_NUM_THREADS": "1", "LANCE_IO_THREADS": "1", "RAYON_NUM_THREADS": "1"}
            prefix = (arguments.prefix if part == "measure" else arguments.build_prefix).split()
            done = subprocess.run(
                [*prefix, *command, "--engine", engine, "--setting", str(arguments.setting)],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                env=environment,
            )
            line |= json.loads(done.stdout.splitlines()[-1])
        with open(arguments.work / "results.jsonl", "a") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)
        if not arguments.keep:
            shutil.rmtree(arguments.work / f"{engine}-{arguments.size}")


def results(work: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """The last measurement of each engine and size."""
    merged: dict[tuple[str, int], dict[str, Any]] = {}
    for text in (work / "results.jsonl").read_text().splitlines():
        line = json.loads(text)
        key = line["engine"], line["size"]
        merged[key] = merged.get(key, {}) | line
    return merged


def table(work: Path) -> None:
    print("| moments | engine | build, processor s | disk, B each | memory, B each | p50, ms | p95, ms | recall@10 |")
    print("|--:|---|--:|--:|--:|--:|--:|--:|")
    order = {engine: i for i, engine in enumerate(ENGINES)}
    for (engine, size), line in sorted(results(work).items(), key=lambda item: (item[0][1], order[item[0][0]])):
        each = [line.get("bytes_on_disk", 0) / size, line["bytes_in_memory"] / size]
        numbers = [line.get("build_processor_seconds", "-"), *(f"{e:,.0f}" for e in each)]
        numbers += [line["p50_ms"], line["p95_ms"], f"{line['recall_at_10']:.3f}"]
        print(f"| {size:,} | {engine} | {' | '.join(str(n) for n in numbers)} |")


def plot(work: Path, out: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    kinds = (
        ("p50_ms", "p50, ms", 1),
        ("bytes_in_memory", "memory, MB", 1e6),
        ("build_processor_seconds", "build, processor s", 1),
    )
    measured = results(work)
    for axis, (key, label, unit) in zip(axes, kinds, strict=True):
        for engine in ENGINES:
            points = sorted((s, v[key] / unit) for (e, s), v in measured.items() if e == engine and key in v)
            axis.plot(*zip(*points, strict=True), marker="o", label=engine) if points else None
        axis.set(xscale="log", yscale="log", xlabel="moments", title=label)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["rows", "run", "table", "build", "measure"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--features", type=Path)
    parser.add_argument("--annotations", type=Path)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--encoded", type=int, help="encode so many rows, and mix the rest of them")
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--engine", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument(
        "--setting", type=int, default=0, help="efSearch of HNSW, nprobes of LanceDB; 0: a good default"
    )
    parser.add_argument("--keep", action="store_true", help="keep built indices, and measure those that are there")
    parser.add_argument("--prefix", default="", help="measure under this command; 'chrt -f 10' on a busy machine")
    parser.add_argument(
        "--build-prefix",
        default="",
        help="build on one thread, under this command: 'taskset -c 1 chrt -f 1'",
    )
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    if arguments.part == "rows":
        encoded = min(arguments.encoded or arguments.count, arguments.count)
        encode_rows(arguments.checkpoint, arguments.features, arguments.work, encoded, arguments.seconds)
        mix_rows(arguments.work, encoded, arguments.count)
    elif arguments.part == "run":
        run(arguments)
    elif arguments.part == "table":
        table(arguments.work)
        if arguments.plot:
            plot(arguments.work, arguments.plot)
    else:
        part = build if arguments.part == "build" else measure
        more = () if arguments.part == "build" else (arguments.setting,)
        print(json.dumps(part(arguments.work, arguments.size, arguments.engine[0], *more)))


if __name__ == "__main__":
    main()
