"""How search grows with the collection: build time, memory, disk, latency, recall; beside FAISS, LanceDB, sqlite-vec.

    python benchmarks/index_scale.py rows --checkpoint RUN --features F.hdf5 --work DIR --count 240000
    python benchmarks/index_scale.py run --checkpoint RUN --annotations test.json --work DIR --size 10000000
                                       --engine cfmr
    python benchmarks/index_scale.py table --work DIR [--plot docs/pictures/index_scale.png]

`rows` encodes ever new crops of the videos with the model; it can be stopped and carried on. Beyond them `run` mixes
two moments at random and adds noise, since encoding ten million takes hours. `run` measures each engine (or those of
--engine) in a process of its own on the same vectors, one thread, with the sentences as queries, and appends a line to
DIR/results.jsonl for each effort. Vectors have K d numbers (1,792 for Charades-STA), each concept of length 1. A build
of cfmr with --keep that was killed goes on; its times are the sum of all attempts, without the making of rows. The
others need `cfmr[bench]`.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
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
SLOW = 3_000_000  # rows from which exact answers are not worked out from made rows again
SAVED = 10 * 65_544  # rows after which a build is committed: whole segments of whole videos
EFFORTS = {"faiss-hnsw": (128, 512), "lancedb": (40, 200)}  # efSearch; lists looked at
ENGINES = ("cfmr", "cfmr-exact", "faiss-flat", "faiss-hnsw", "lancedb", "sqlite-vec")


class Collection:
    """The first `size` rows: those that were encoded, then mixes of them.

    Attributes:
        seconds: of a core that reading or making them took so far.
    """

    def __init__(self, work: Path, size: int) -> None:
        self.work, self.size, self.seconds = work, size, 0.0
        self.codec = Codec.from_array(int(np.load(work / "codec.npy").shape[2]) - 1, np.load(work / "codec.npy"))
        self._files = sorted((work / "rows").glob("*.npy"))
        if not self._files:
            raise SystemExit("no rows are there; make some with: rows --count 240000")

    def rows(self, first: int = 0) -> Iterator[np.ndarray]:
        """Blocks, from the `first` one on."""
        for number in range(first, -(-self.size // BLOCK)):
            began = time.process_time()
            block = self._block(number)[: self.size - BLOCK * number]
            self.seconds += time.process_time() - began
            yield block

    def _block(self, number: int) -> np.ndarray:
        """BLOCK rows: a file, or of each two moments of one, mixed, and noise."""
        rows = np.load(self._files[number % len(self._files)])
        if number < len(self._files):
            return rows
        rng = np.random.default_rng(number)
        share = rng.uniform(0.6, 1, (len(rows), 1)).astype(np.float32)
        noise = rng.standard_normal(rows.shape, np.float32) * (0.05 * rows.std(0))
        mixed: np.ndarray = share * rows + (1 - share) * rows[rng.permutation(len(rows))] + noise
        return mixed

    def vectors(self) -> Iterator[np.ndarray]:
        """Full vectors (., K d) in blocks."""
        for block in self.rows():
            for low in range(0, len(block), EXPAND):
                rows = np.ascontiguousarray(block[low : low + EXPAND])
                yield self.codec.expand(rows, self.codec.scales(rows))

    def queries(self) -> np.ndarray:
        return np.load(self.work / "queries.npy")

    def truth(self) -> np.ndarray:
        """Scores of the exact tenth best of each query; computed once, and kept from time to time.

        Of SLOW rows and more, they are those of an exact search of the index, which has the rows and their norms.
        """
        path = self.work / f"truth-{self.size}.npy"
        part = path.with_suffix(".part.npz")
        if path.exists():
            return np.load(path)
        if self.size >= SLOW and (self.work / f"cfmr-{self.size}" / "manifest.json").exists():
            from cfmr.index.embedded.reader import EmbeddedIndex

            np.save(path, EmbeddedIndex.open(self.work / f"cfmr-{self.size}").best_scores(self.queries(), TOP))
            return np.load(path)
        queries = [self.codec.prepare(query) for query in self.queries()]
        best, done = np.full((len(queries), TOP), -np.inf, np.float32), 0
        if part.exists():
            with np.load(part) as kept:
                best, done = kept["best"], int(kept["done"])
        for number, block in enumerate(self.rows(done), done):
            for low in range(0, len(block), EXPAND):
                rows = np.ascontiguousarray(block[low : low + EXPAND])
                scores = self.codec.score_all(rows, self.codec.scales(rows), queries)
                best = -np.partition(-np.concatenate([best, scores], axis=1), TOP - 1, axis=1)[:, :TOP]
            if number % 10 == 9:
                np.savez(part.with_suffix(".new.npz"), best=best, done=number + 1)
                part.with_suffix(".new.npz").replace(part)
        np.save(path, best.min(1))
        part.unlink(missing_ok=True)
        return np.load(path)


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
    """Goes on with what is there of it."""
    from cfmr.index.base import Video, VideoRows
    from cfmr.index.embedded.writer import EmbeddedWriter

    anchors, spans = 24, np.tile([[0.0, 1.0]], (24, 1))
    with EmbeddedWriter.open(path) as writer:
        writer.set_engine(engine)
        if not writer.card:
            writer.set_model({"readout": "anchors", "max_words": 20}, data.codec, lambda _: [])
        writer.set_queries(lambda: np.load(data.work / "tuning.npy"))
        there = writer.rows
        number = there // BLOCK * BLOCK // anchors
        for block in data.rows(there // BLOCK):
            for low in range(0, len(block), anchors):
                if anchors * number >= there:
                    rows = np.asarray(block[low : low + anchors])
                    writer.add([VideoRows(Video(f"v{number}", 30.0, len(rows)), rows, spans[: len(rows)])])
                number += 1
                if anchors * number % SAVED == 0 and anchors * number > there:
                    writer.commit(tidy=False)
        writer.commit()


def open_cfmr(path: Path) -> Search:
    from cfmr.index.embedded.reader import EmbeddedIndex

    index = EmbeddedIndex.open(path)
    index._verification.finished.wait()
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


def open_lancedb(path: Path, setting: int, again: int) -> Search:
    import lancedb

    table = lancedb.connect(path).open_table("moments")

    def search(query: np.ndarray) -> np.ndarray:
        found = table.search(query).distance_type("dot").nprobes(setting).refine_factor(again).limit(TOP)
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


def forget(path: Path) -> None:
    """Take an index out of the system's cache."""
    for file in path.rglob("*"):
        if file.is_file():
            handle = os.open(file, os.O_RDONLY)
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def open_index(path: Path, query: np.ndarray) -> dict[str, Any]:
    """How long an index takes to open, first with nothing of it in memory; and what it takes if every list is used."""
    import faiss  # noqa: F401  importing it is no part of opening

    from cfmr.index.embedded.reader import EmbeddedIndex

    forget(path)
    before, found = memory(), {}
    for key in ("open_cold_seconds", "open_warm_seconds"):
        began = time.perf_counter()
        index = EmbeddedIndex.open(path)
        found[key] = round(time.perf_counter() - began, 3)
        index._verification.finished.wait()
        found["compared_seconds"] = round(time.perf_counter() - began, 2)
    if index.ann is not None:
        index.ann.nprobe = index.ann.lists
        index.top(query, TOP)
        found["bytes_in_memory_most"] = memory() - before
    return found


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
        "lancedb": lambda: open_lancedb(path, setting or 40, 10 if setting <= 40 else 50),
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


class Attempts:
    """What a build that may be killed has taken in all: each attempt writes down its own, again and again."""

    def __init__(self, folder: Path, data: Collection) -> None:
        self._folder, self._data, self._began = folder, data, time.perf_counter()
        folder.mkdir(exist_ok=True)
        self._path = folder / f"{time.time_ns()}.json"
        threading.Thread(target=self._go_on, daemon=True).start()

    def _go_on(self) -> None:
        while True:
            self.note()
            time.sleep(1)

    def note(self) -> None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        made = self._data.seconds
        noted = {
            "build_seconds": time.perf_counter() - self._began - made,
            "build_processor_seconds": used.ru_utime + used.ru_stime - made,
            "build_most_memory": peak_memory(),
        }
        temporary = self._path.with_suffix(".new")
        temporary.write_text(json.dumps(noted))
        temporary.replace(self._path)

    def total(self) -> dict[str, Any]:
        self.note()
        all_of_them = [json.loads(path.read_text()) for path in sorted(self._folder.glob("*.json"))]
        summed = {key: round(sum(one[key] for one in all_of_them), 1) for key in list(all_of_them[0])[:2]}
        most = max(one["build_most_memory"] for one in all_of_them)
        return {**summed, "build_most_memory": most, "build_attempts": len(all_of_them)}


def peak_memory() -> int:
    """The most resident memory of this process so far, mapped files included, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def build(work: Path, size: int, engine: str, keep: bool) -> dict[str, Any]:
    data = Collection(work, size)
    path, notes = work / f"{engine}-{size}", work / f"attempts-{engine}-{size}"
    if not (keep and engine.startswith("cfmr")):
        for old in (path, notes):
            shutil.rmtree(old, ignore_errors=True)
    builders: dict[str, Callable[[], None]] = {
        "cfmr": lambda: build_cfmr(data, path, "auto"),
        "cfmr-exact": lambda: build_cfmr(data, path, "exact"),
        "faiss-flat": lambda: build_faiss(data, path, "flat"),
        "faiss-hnsw": lambda: build_faiss(data, path, "hnsw"),
        "lancedb": lambda: build_lancedb(data, path),
        "sqlite-vec": lambda: build_sqlite(data, path),
    }
    attempts = Attempts(notes, data)
    builders[engine]()
    disk = sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
    return {**attempts.total(), "bytes_on_disk": disk}


def part(arguments: argparse.Namespace, name: str, engine: str, prefix: str, *more: str) -> dict[str, Any]:
    """What a process of its own measures; one thread, but two for a build without a prefix."""
    threads = "2" if name == "build" and not prefix else "1"
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "LANCE_CPU_THREADS": threads}
    if name != "build":
        environment |= {"OPENBLAS_NUM_THREADS": "1", "LANCE_IO_THREADS": "1", "RAYON_NUM_THREADS": "1"}
    command = [sys.executable, __file__, name, "--work", str(arguments.work), "--size", str(arguments.size), *more]
    done = subprocess.run(
        [*prefix.split(), *command, "--engine", engine], stdout=subprocess.PIPE, text=True, check=True, env=environment
    )
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def run(arguments: argparse.Namespace) -> None:
    encode_queries(arguments.checkpoint, arguments.annotations, arguments.work)
    for engine in arguments.engine:
        path = arguments.work / f"{engine}-{arguments.size}"
        line: dict[str, Any] = {"engine": engine, "size": arguments.size}
        if not (arguments.measure_only and path.exists()):
            more = ["--keep"] if arguments.keep else []
            line |= part(arguments, "build", engine, arguments.build_prefix, *more)
        Collection(arguments.work, arguments.size).truth()
        if engine.startswith("cfmr"):
            line |= part(arguments, "open", engine, arguments.prefix)
        for effort in arguments.setting or EFFORTS.get(engine, (0,)):
            found = part(arguments, "measure", engine, arguments.prefix, "--setting", str(effort))
            with open(arguments.work / "results.jsonl", "a") as file:
                file.write(json.dumps(line | {"effort": effort} | found) + "\n")
            print(json.dumps(line | {"effort": effort} | found), flush=True)
        if not arguments.keep:
            shutil.rmtree(path)


def results(work: Path) -> dict[tuple[str, int, int], dict[str, Any]]:
    """The last measurement of each engine, effort and size."""
    merged: dict[tuple[str, int, int], dict[str, Any]] = {}
    for text in (work / "results.jsonl").read_text().splitlines():
        line = json.loads(text)
        key = line["engine"], line["effort"], line["size"]
        merged[key] = merged.get(key, {}) | line
    return merged


def table(work: Path) -> None:
    print(
        "| moments, engine | build, processor s | at most, MB | disk, B each | opens in, s | from a cold disk, s | "
        "memory, B each | all lists, B each | p50, ms | p95, ms | recall@10 |"
    )
    print("|---" + "|--:" * 10 + "|")
    order = {engine: i for i, engine in enumerate(ENGINES)}
    measured = results(work).items()
    for (engine, effort, size), line in sorted(measured, key=lambda item: (item[0][2], order[item[0][0]], item[0][1])):
        each = [line.get("bytes_on_disk", 0) / size, line["bytes_in_memory"] / size]
        most = line.get("bytes_in_memory_most")
        cells = [
            f"{size:,} {engine}{f', {effort}' if effort else ''}",
            line.get("build_processor_seconds", "-"),
            f"{line['build_most_memory'] / 1e6:,.0f}" if "build_most_memory" in line else "-",
            f"{each[0]:,.0f}",
            f"{line.get('open_warm_seconds', line['open_seconds']):.2f}",
            f"{line['open_cold_seconds']:.2f}" if "open_cold_seconds" in line else "-",
            f"{each[1]:,.0f}",
            f"{most / size:,.0f}" if most else "-",
            line["p50_ms"],
            line["p95_ms"],
            f"{line['recall_at_10']:.3f}",
        ]
        print(f"| {' | '.join(map(str, cells))} |")


def plot(work: Path, out: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 5, figsize=(18, 3.6), layout="constrained")
    kinds = (
        ("build_processor_seconds", "build, processor s", 1, "log"),
        ("bytes_in_memory", "memory, MB", 1e6, "log"),
        ("open_seconds", "opens in, s", 1, "log"),
        ("p50_ms", "p50, ms", 1, "log"),
        ("recall_at_10", "recall@10", 1, "linear"),
    )
    measured = {
        key: {**line, "open_seconds": line.get("open_warm_seconds", line["open_seconds"])}
        for key, line in results(work).items()
    }
    for axis, (key, label, unit, scale) in zip(axes, kinds, strict=True):
        for engine, effort in sorted({(engine, effort) for engine, effort, _ in measured}):
            points = sorted(
                (size, line[key] / unit)
                for (name, setting, size), line in measured.items()
                if (name, setting) == (engine, effort) and key in line
            )
            label_of = f"{engine} {effort}" if effort else engine
            axis.plot(*zip(*points, strict=True), marker="o", label=label_of) if points else None
        axis.set(xscale="log", yscale=scale, xlabel="moments", title=label)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["rows", "run", "table", "build", "open", "measure"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--features", type=Path)
    parser.add_argument("--annotations", type=Path)
    parser.add_argument("--count", type=int, default=240_000, help="rows to encode")
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--engine", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument(
        "--setting", type=int, nargs="*", default=[], help="efSearch of HNSW, nprobes of LanceDB; two by default"
    )
    parser.add_argument("--keep", action="store_true", help="keep built indices; one that was killed goes on")
    parser.add_argument("--measure-only", action="store_true", help="of indices that are there")
    parser.add_argument("--prefix", default="", help="measure under this command; 'chrt -f 10' on a busy machine")
    parser.add_argument(
        "--build-prefix",
        default="",
        help="build on one thread, under this command: 'taskset -c 1 chrt -f 1'",
    )
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    if arguments.part == "rows":
        encode_rows(arguments.checkpoint, arguments.features, arguments.work, arguments.count, arguments.seconds)
    elif arguments.part == "run":
        run(arguments)
    elif arguments.part == "table":
        table(arguments.work)
        if arguments.plot:
            plot(arguments.work, arguments.plot)
    else:
        work, size, engine = arguments.work, arguments.size, arguments.engine[0]
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "build": lambda: build(work, size, engine, arguments.keep),
            "open": lambda: open_index(work / f"{engine}-{size}", np.load(work / "queries.npy")[0]),
            "measure": lambda: measure(work, size, engine, *(arguments.setting or [0])),
        }
        print(json.dumps(parts[arguments.part]()))


if __name__ == "__main__":
    main()
