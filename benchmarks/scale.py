"""What a cluster costs and gives: Ray's overhead, Milvus beside the same index in a directory, an hour of video.

    python benchmarks/scale.py ray [--videos 48] [--seconds 0.5]
    python benchmarks/scale.py milvus --address milvus://127.0.0.1:19530/benchmark [--rows 100000]
    python benchmarks/scale.py memory --folder FOLDER [--rows 100000]
    python benchmarks/scale.py cost [--minutes 2] [--rows 200000] [--address ... --server PID --data FOLDER]

`ray` runs work that sleeps as long as a GPU would compute, so that more workers than cores can be told apart. `milvus`
makes moments of the published model's size (7 concepts of 256 numbers) in bunches, writes them to both, and asks the
same 200 questions of each, by one thread and by four. `memory` starts servers of its own in FOLDER, one that holds what
it has loaded in memory, one whose index has its rows in a folder, and one that maps what it has loaded, kills each when
it is filled, starts it again, asks the questions and says what it holds: memory of its own, and pages of mapped files,
which the system takes back where it needs them. `cost`
gives what an hour of video takes at each station, in seconds of a core and in bytes: footage of two sizes is made up,
extracted and encoded (parameters are random, which costs as much as trained ones); then made-up moments are written
into a directory, and into Milvus where an address is given, with what the server's process took, what its folder grew
by, and what a question costs both sides.

    python -m tests.scale.milvus_server FOLDER

starts the server of the package `milvus` and says its address and process.
"""

import argparse
import json
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import numpy as np

from cfmr.cluster.pool import Row, map_tasks
from cfmr.config import Config, DenseConfig, parse_config
from cfmr.data.vocabulary import Vocabulary
from cfmr.data.word_vectors import load_word_vectors
from cfmr.errors import InputError
from cfmr.index.base import Video, VideoRows
from cfmr.index.codec import Codec
from cfmr.index.encode import RowEncoder, Windowing
from cfmr.index.milvus.address import MilvusAddress
from cfmr.index.open import open_index, open_writer, parse_location
from cfmr.models.base import Model
from cfmr.models.dense import fit
from cfmr.models.dense import model as dense
from cfmr.moments.span_reader import SpanReader

CONCEPTS, SIZE, WIDTH, ROWS = 7, 256, 256, 24
QUERIES = 200


class Sleeper:
    """Work of a known length."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, task: Row) -> Row:
        time.sleep(self.seconds)
        return {"name": task["name"], "failed": "", "fatal": ""}


def measure_ray(videos: int, seconds: float) -> None:
    """Wall time of a job by workers; what comes before the first answer is Ray's start."""
    import ray
    import ray.data

    print(f"{videos} videos of {seconds} s each\n")
    print("| workers | in all, s | from the first answer on, s | speed-up of that |")
    print("|--:|--:|--:|--:|")
    alone, spent = 0.0, 0.0
    for workers in (1, 2, 3):
        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        began, first, before = time.perf_counter(), 0.0, time.process_time()
        tasks: list[Row] = [{"name": str(i)} for i in range(videos)]
        for _ in map_tasks(ray, tasks, Sleeper, (seconds,)):
            first = first or time.perf_counter()
        done = time.perf_counter()
        spent += time.process_time() - before
        ray.shutdown()
        working = done - first + seconds
        alone = alone or working
        print(f"| {workers} | {done - began:.1f} | {working:.1f} | {alone / working:.2f} |")
    print(f"\nhanding out and taking back a video: {1000 * spent / 3 / videos:.1f} ms of a core")


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


def write(place: Path | MilvusAddress, codec: Codec, items: list[VideoRows], queries: np.ndarray) -> None:
    """An index of all of it."""
    sample = np.concatenate([codec.expand(i.rows, codec.scales(i.rows)) for i in items[:: max(1, len(items) // 256)]])
    card = {"readout": "anchors", "fingerprint": f"benchmark {time.time()}", "max_words": 10}
    with open_writer(place) as writer:
        writer.plan_capacity(lambda: len(items) * ROWS, lambda: sample)
        writer.set_model(card, codec, lambda _: [])
        writer.set_queries(lambda: queries[:100])
        writer.add(items)
        writer.commit()


def measure_milvus(address: MilvusAddress, rows: int) -> None:
    """Build time, recall, latency and queries per second of both."""
    codec, items, queries = made_up(rows)
    truth = exact_scores(codec, items, queries)
    print(f"{len(items) * ROWS:,} moments of {codec.dim} numbers\n")
    print("| | written, s | nprobe, re-ranked | recall@10 | p50, ms | p95, ms | queries/s, 1 thread | 4 threads |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        for name, place in (("directory", Path(folder) / "index"), ("Milvus", address)):
            began = time.perf_counter()
            write(place, codec, items, queries)
            written = time.perf_counter() - began
            index: Any = open_index(place)
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


# --- memory of the server ---------------------------------------------------------------------------------------------


MEMORIES = ("in memory", "rows in a folder", "mapped")


def resident(process: int) -> tuple[int, int]:
    """Bytes of a process: memory of its own, and pages of files."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    own, mapped = (int(lines[key].split()[0]) * 1024 for key in ("RssAnon", "RssFile"))
    return own, mapped


def settled(process: int, seconds: int = 5) -> tuple[int, int]:
    """The same, when a server that has just answered has given back what it needed for that."""
    found = []
    for _ in range(seconds):
        found.append(resident(process))
        time.sleep(1)
    return min(found)


def measure_memory(folder: Path, rows: int, only: str | None) -> None:
    """What servers hold when they are filled, started again and asked, and of it for each moment."""
    from cfmr.index.milvus.address import parse_address
    from tests.scale.milvus_server import Server

    codec, items, queries = made_up(rows)
    truth, moments = exact_scores(codec, items, queries), len(items) * ROWS
    print(f"{moments:,} moments\n")
    print("| | empty, MB | own memory, MB | pages of files, MB | own, B a moment | p50, ms | recall@10 |")
    print("|---|--:|--:|--:|--:|--:|--:|", flush=True)
    for name in MEMORIES if only is None else [only]:
        place = folder / name.replace(" ", "-")
        place.mkdir(parents=True)
        server = Server(place, name == "mapped")
        server.start()
        try:
            assert server.process is not None
            empty, _ = settled(server.process.pid)
            rows_in = f"?rows={place / 'rows'}" if name == "rows in a folder" else ""
            address = parse_address(f"{server.address}/memory{rows_in}")
            write(address, codec, items, queries)
            server.kill()
            server.start()
            index = opened(address, queries[0])
            p50, recall = timed_top(index, queries, truth)
            own, pages = settled(server.process.pid)
        finally:
            server.kill()
        each = (own - empty) / moments
        sizes = f"{empty / 1e6:,.0f} | {own / 1e6:,.0f} | {pages / 1e6:,.0f} | {each:,.0f}"
        print(f"| {name} | {sizes} | {p50:.1f} | {recall:.3f} |", flush=True)


def opened(address: MilvusAddress, query: np.ndarray) -> Any:
    """The index at an address; a server that has just been started answers when it has loaded what it had before."""
    for attempt in range(12):
        try:
            index: Any = open_index(address)
            index.top(query, 10)
            return index
        except InputError:  # after the ten seconds that every call is tried for
            if attempt == 11:
                raise
    raise AssertionError("unreachable")


def timed_top(index: Any, queries: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Median milliseconds of a question, and the share of the ten best found."""
    times, kept = [], 0
    for query, edge in zip(queries, truth, strict=True):
        began = time.perf_counter()
        hits = index.top(query, 10)
        times.append(1000 * (time.perf_counter() - began))
        kept += sum(hit.score >= edge - 1e-4 for hit in hits)
    return float(np.median(times)), kept / 10 / len(queries)


# --- what an hour of video costs -------------------------------------------------------------------------------------

HOUR = 3600.0
SIZES = (((320, 240), 12), ((1280, 720), 25))  # of footage, and its frames a second
MODELS = {"CFMR": Path("config/charades/i3d.json"), "CFMR-Dense": Path("config/charades/dense.json")}


def write_footage(path: Path, size: tuple[int, int], rate: int, seconds: float) -> None:
    """Blocks that drift over a picture with some grain, as H.264 of ordinary quality."""
    rng = np.random.default_rng(0)
    width, height = size
    blocks = rng.integers(0, 255, (height // 8 + 1, width // 8 + 1, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(int(rate * seconds)):
            moved = np.roll(blocks, (2 * number, 3 * number), (0, 1))[:height, :width]
            grain = rng.integers(0, 12, (height, width, 1), np.uint8)
            target.mux(stream.encode(av.VideoFrame.from_ndarray(moved // 2 + grain)))
        target.mux(stream.encode(None))


def show(station: str, seconds: float, hours: float, produced: float) -> None:
    """A line: what `hours` of video took."""
    print(f"| {station} | {seconds / hours:,.1f} | {produced / hours / 1e6:,.1f} |", flush=True)


def extracted(minutes: float) -> np.ndarray:
    """Lines for decoding and extraction; the features (n, dim) of an hour of the last footage, over and over."""
    from cfmr.extractors import efficientnet_lite0
    from cfmr.extractors.efficientnet_lite0 import EfficientNetLite0
    from cfmr.video.decode import Video as VideoFile

    extractor = EfficientNetLite0(threads=1)
    with tempfile.TemporaryDirectory() as folder:
        first = Path(folder) / "first.mp4"
        write_footage(first, *SIZES[0], 2.0)
        extractor.extract(first)  # the first time, it chooses its precision and loads the network
        for size, rate in SIZES:
            name, path = f"{size[0]} x {size[1]}, {rate} frames a second", Path(folder) / f"{size[0]}.mp4"
            write_footage(path, size, rate, 60 * minutes)
            hours = 60 * minutes / HOUR
            began = time.process_time()
            with VideoFile(path) as video:
                for _ in video.frames(fps=efficientnet_lite0._FPS):
                    pass
            decoded = time.process_time() - began
            began = time.process_time()
            found = extractor.extract(path)
            whole = time.process_time() - began
            show(f"reading and decoding, {name}", decoded, hours, path.stat().st_size)
            show("the rest of extraction (EfficientNet-Lite0)", whole - decoded, hours, found.features.nbytes)
    times = HOUR / found.duration
    return np.concatenate([found.features] * int(np.ceil(times)))[: round(len(found.features) * times)]


def stored(hour: np.ndarray) -> None:
    """A line for writing an hour's features, as ten videos."""
    from cfmr.data.features import FeatureWriter

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.hdf5"
        began = time.process_time()
        with FeatureWriter(path, {"extractor": "made-up", "version": 1}) as writer:
            for number, part in enumerate(np.array_split(hour, 10)):
                writer.add(f"v{number}", part, duration=HOUR / 10)
        show("writing features", time.process_time() - began, 1, path.stat().st_size)


def at_random(config: Config, vocabulary: Vocabulary) -> Model:
    """A model of these sizes that has learned nothing."""
    from cfmr.models.base import load_model
    from cfmr.models.checkpoint import Checkpoint

    if isinstance(config, DenseConfig):
        draw = np.random.default_rng(0)

        def drawn(*shape: int) -> np.ndarray:
            return draw.standard_normal(shape).astype(np.float32)

        k, d, sizes = fit.NUM_COMPONENTS, fit.SIZE, config.dataset
        heights = (k, k, dense.NUM_WAVES, sizes.word_dim, len(vocabulary) + 1)
        regression, *fits = [
            dense.Projections(*(drawn(height, d) for height in heights)) for _ in range(config.train.num_fits + 1)
        ]
        whitening = dense.Whitening(drawn(sizes.frame_dim), drawn(sizes.frame_dim, k))
        return dense.Dense(whitening, fits, SpanReader(), sizes.max_num_frames, None, regression, 0.3)
    from cfmr.models.pytorch import build_model

    parameters = {name: value.numpy() for name, value in build_model(config, len(vocabulary)).state_dict().items()}
    return load_model(Checkpoint(config, vocabulary, parameters, {}))


def encoded(hour: np.ndarray) -> int:
    """Lines for encoding; moments of CFMR in an hour."""
    counts = {}
    for name, path in MODELS.items():
        value = json.loads(path.read_text())
        value["dataset"]["frame_dim"] = hour.shape[1]
        value["dataset"]["word_dim"] = 50  # of the packaged vectors
        if sizes := value["model"].get("config"):
            sizes["frames_input_size"], sizes["words_input_size"] = hour.shape[1], 50
        config = parse_config(value, str(path))
        model = at_random(config, Vocabulary.build(["somebody opens the door"], load_word_vectors(), 10))
        encoder = RowEncoder(model, Windowing(30.0, 37.5))
        encoder.rows(hour[:60], 30.0)
        began = time.process_time()
        rows, _ = encoder.rows(hour, HOUR)
        counts[name] = len(rows)
        show(
            f"encoding, {name}: {len(rows):,} moments of {rows.shape[1]} numbers",
            time.process_time() - began,
            1,
            rows.nbytes,
        )
    return counts["CFMR"]


class ServerProcess:
    """What a process of this machine has used so far."""

    def __init__(self, number: int, data: Path) -> None:
        self._folder, self._data = Path(f"/proc/{number}"), data

    def now(self) -> np.ndarray:
        """Seconds of a core, bytes in memory, bytes in its folder."""
        fields = (self._folder / "stat").read_text().rsplit(")", 1)[1].split()
        seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        held = int((self._folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return np.array([seconds, held, size_of(self._data)])


def size_of(folder: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measure_cost(minutes: float, rows: int, address: MilvusAddress | None, server: int | None, data: Path) -> None:
    """Core seconds and bytes of an hour of video, station by station."""
    print("| station | seconds of a core | MB |\n|---|--:|--:|")
    hour = extracted(minutes)
    stored(hour)
    moments = encoded(hour)
    codec, items, queries = made_up(rows)
    hours = len(items) * ROWS / moments
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "index"
        began = time.process_time()
        write(place, codec, items, queries)
        show("writing the index, a directory", time.process_time() - began, hours, size_of(place))
    if address is None or server is None:
        return
    from cfmr.index.milvus.reader import MilvusIndex

    process = ServerProcess(server, data)
    before, began = process.now(), time.process_time()
    write(address, codec, items, queries)
    client, (seconds, held, kept) = time.process_time() - began, process.now() - before
    show("writing the index, Milvus: this side", client, hours, 0)
    show("writing the index, Milvus: the server", seconds, hours, kept)
    per = len(items) * ROWS
    print(f"\nthe server's memory grew by {held / per:,.0f} bytes a moment, its folder by {kept / per:,.0f}")
    index = MilvusIndex.open(address)
    index.top(queries[0], 10)
    before, began = process.now(), time.process_time()
    for query in queries:
        index.top(query, 10)
    client, seconds = time.process_time() - began, (process.now() - before)[0]
    print(f"a question: {1000 * client / QUERIES:.1f} ms of a core here, {1000 * seconds / QUERIES:.1f} at the server")


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
    memory = commands.add_parser("memory")
    memory.add_argument("--folder", type=Path, required=True)
    memory.add_argument("--rows", type=int, default=100_000)
    memory.add_argument("--only", choices=MEMORIES)
    cost = commands.add_parser("cost")
    cost.add_argument("--minutes", type=float, default=2.0)
    cost.add_argument("--rows", type=int, default=200_000)
    cost.add_argument("--address")
    cost.add_argument("--server", type=int, help="process of the server")
    cost.add_argument("--data", type=Path, default=Path(), help="its folder")
    given = parser.parse_args()
    place = parse_location(given.address) if getattr(given, "address", None) else None
    assert place is None or isinstance(place, MilvusAddress), "an address is needed"
    if given.command == "ray":
        measure_ray(given.videos, given.seconds)
    elif given.command == "memory":
        measure_memory(given.folder, given.rows, given.only)
    elif given.command == "cost":
        measure_cost(given.minutes, given.rows, place, given.server, given.data)
    elif place is not None:
        measure_milvus(place, given.rows)


if __name__ == "__main__":
    main()
