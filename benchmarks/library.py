"""A library of 10,000 videos and 100,000 labels: how long its lists take, alone and while others work.

    python benchmarks/library.py make INDEX OUT    # grows a copy of a small index of CFMR-Dense, with files and labels
    cfmr serve --index OUT/index --videos OUT/videos --workspace OUT/page
    python benchmarks/library.py measure http://127.0.0.1:8000

Files are empty but for their names: what is measured is lists, not decoding. While an import of 100,000 rows runs, and
eight clients search, each address is asked again.
"""

import argparse
import json
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import numpy as np

from cfmr.data.annotations import Annotation
from cfmr.index.base import Video, VideoRows
from cfmr.index.open import open_index, open_writer, parse_location
from cfmr.server.stores.labels import LabelStore

SECONDS, ROWS = 60.0, 60
VERBS, THINGS = (
    ["moves", "stops", "falls", "turns", "jumps", "bounces", "rolls", "rises"],
    ["square", "ball", "cup", "box", "car", "dog", "cat", "bird"],
)
COLOURS = ["red", "green", "blue", "white", "black", "yellow"]
LISTS = {
    "status": ("/api/status", {}),
    "videos, first page": ("/api/videos", {"limit": 100}),
    "videos, page 90": ("/api/videos", {"limit": 100, "offset": 9000}),
    "videos by labels": ("/api/videos", {"sort": "labels", "descending": "true", "limit": 100}),
    "videos, part of the name": ("/api/videos", {"contains": "clip 09", "limit": 100}),
    "folders": ("/api/videos/folders", {}),
    "labels of a video": ("/api/labels", {"video": "day 07/clip 00700"}),
    "newest labels": ("/api/labels", {"limit": 200}),
    "next to label": ("/api/videos/next", {"after": "day 07/clip 00700"}),
    "search": ("/api/search", {"q": "a red square moves", "top": 10}),
    "search, in a folder": ("/api/search", {"q": "a red square moves", "top": 10, "contains": "day 07"}),
}


def name(number: int) -> str:
    return f"day {number // 100:02}/clip {number:05}"


def make(index: Path, out: Path, videos: int, labels: int) -> None:
    """Grow a copy of an index; its rows are drawn from those that are there."""
    shutil.copytree(index, out / "index")
    location = parse_location(out / "index")
    small, rng = open_index(location), np.random.default_rng(0)
    rows = np.concatenate([small.vectors(video.id)[1] for video in small.videos()])
    edges = np.linspace(0, SECONDS, ROWS + 1)
    spans = np.stack([edges[:-1], edges[1:]], axis=1)
    for number in range(videos):
        path = out / "videos" / f"{name(number)}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with open_writer(location, create=False) as writer:
        writer.remove([video.id for video in small.videos()])
        for first in range(0, videos, 500):
            writer.add(
                VideoRows(
                    Video(name(n), SECONDS, ROWS, path=str((out / "videos" / f"{name(n)}.mp4").resolve())),
                    rows[rng.integers(len(rows), size=ROWS)] + rng.normal(0, 0.1, (ROWS, rows.shape[1])).astype("f4"),
                    spans,
                )
                for n in range(first, min(first + 500, videos))
            )
        writer.commit()
    (out / "page").mkdir(parents=True)
    store = LabelStore(f"sqlite:///{out / 'page' / 'labels.sqlite'}")
    store.take_in([annotation(n, rng, videos) for n in range(labels)], "benchmark")
    store.close()


def annotation(number: int, rng: np.random.Generator, videos: int) -> Annotation:
    said = f"a {rng.choice(COLOURS)} {rng.choice(THINGS)} {rng.choice(VERBS)} past number {rng.integers(2000)}"
    return Annotation(name(number % videos), SECONDS, said, round(float(rng.uniform(0, SECONDS)), 2), None)


def ask(base: str, path: str, query: dict[str, Any], body: bytes | None = None) -> float:
    """Milliseconds of a request."""
    began = time.perf_counter()
    headers = {"Content-Type": "application/json"} if body else {}
    with urlopen(Request(f"{base}{path}?{urlencode(query)}", body, headers), timeout=300) as answer:
        answer.read()
    return (time.perf_counter() - began) * 1000


def figures(base: str, repeats: int) -> dict[str, list[float]]:
    return {said: sorted(ask(base, *what) for _ in range(repeats)) for said, what in LISTS.items()}


def table(heads: list[str], columns: list[dict[str, list[float]]]) -> None:
    print("| | " + " | ".join(f"{head}: median ms | worst ms" for head in heads) + " |")
    print("|---" * (2 * len(heads) + 1) + "|")
    for said in LISTS:
        cells = [f"{np.median(column[said]):.0f} | {max(column[said]):.0f}" for column in columns]
        print(f"| {said} | " + " | ".join(cells) + " |")


def measure(base: str, repeats: int) -> None:
    """Lists alone, while eight clients search, and while 100,000 rows are imported."""
    print("first request after the start: " + f"{ask(base, '/api/videos', {'limit': 100}):.0f} ms")
    alone = figures(base, repeats)
    stop = threading.Event()

    def search(number: int) -> None:
        while not stop.is_set():
            ask(base, "/api/search", {"q": f"a {COLOURS[number % 6]} {THINGS[number % 8]} moves", "top": 10})

    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(search, number) for number in range(8)]
        busy = figures(base, repeats)
        stop.set()
        for one in running:
            one.result()
    rng = np.random.default_rng(1)
    labels = (annotation(number, rng, 10_000) for number in range(100_000))
    rows = [[label.video, label.duration, None, label.sentence, label.glance] for label in labels]
    body = json.dumps(rows).encode()
    with ThreadPoolExecutor(1) as pool:
        importing = pool.submit(ask, base, "/api/labels/import", {}, body)
        columns: list[dict[str, list[float]]] = []
        while not importing.done():
            columns.append(figures(base, 1))
        meanwhile = {said: [ms for column in columns for ms in column[said]] for said in LISTS}
        print(f"an import of 100,000 rows: {importing.result() / 1000:.1f} s")
    table(["alone", "8 clients search", "during an import"], [alone, busy, meanwhile])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make")
    making.add_argument("index", type=Path)
    making.add_argument("out", type=Path)
    making.add_argument("--videos", type=int, default=10_000)
    making.add_argument("--labels", type=int, default=100_000)
    measuring = commands.add_parser("measure")
    measuring.add_argument("url")
    measuring.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    if options.command == "make":
        make(options.index, options.out, options.videos, options.labels)
    else:
        measure(options.url.rstrip("/"), options.repeats)


if __name__ == "__main__":
    main()
