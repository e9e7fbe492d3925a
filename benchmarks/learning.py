"""How long training on the page takes: from *Start training* to the model in use.

    make demo
    python benchmarks/learning.py runs/demo

The server begins with the built-in model over the demo's features, all other videos being removed, and learns from one
label in each of so many: a model is fitted without the held-out labels and compared, the one that is served is fitted
to all, and both are indexed. Each run begins with a new workspace.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from starlette.testclient import TestClient

from cfmr.data.annotations import Annotation, load_annotations
from cfmr.server.app import create_app, open_state
from cfmr.server.settings import resolve_settings


def one_a_video(rows: list[Annotation], count: int) -> list[Annotation]:
    """The first sentence of each of so many videos."""
    first = {row.video: row for row in reversed(rows)}
    if len(first) < count:
        raise SystemExit(f"cfmr: only {len(first)} videos have sentences; ask for fewer --labels")
    return list(first.values())[-count:]


def index_by_names(demo: Path, out: Path) -> None:
    """Index the demo with the built-in model."""
    given = ["--zero-shot", "builtin", "--features", demo / "features.hdf5", "--videos", demo / "videos", "--out", out]
    subprocess.run([sys.executable, "-m", "cfmr", "index", *map(str, given), "--progress", "none"], check=True)


def seconds_to_learn(demo: Path, index: Path, page: Path, rows: list[Annotation]) -> float:
    """From the request to the end of the job, with a new workspace."""
    features = demo / "features.hdf5"
    state = open_state(resolve_settings(index, demo / "videos", workspace=page, features=features))
    labelled = {row.video for row in rows}
    state.settings.place.remove(name for name in state.names() if name not in labelled)
    with TestClient(create_app(state), base_url="http://127.0.0.1:8000") as client:
        for row in rows:
            label = {"video": row.video, "sentence": row.sentence, "glance": row.glance}
            assert client.post("/api/labels", json=label).status_code == 201
        began = time.perf_counter()
        job = client.post("/api/learn", json={"with_original": False, "serve": "always"}).json()["id"]
        while not state.jobs.get(job).over:
            time.sleep(0.02)
        taken = time.perf_counter() - began
        if state.jobs.get(job).state != "done":
            raise SystemExit(state.jobs.get(job).message)
        return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("demo", type=Path, nargs="?", default=Path("runs/demo"))
    parser.add_argument("--labels", type=int, nargs="+", default=[30, 100])
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    demo = given.demo.resolve()
    rows = load_annotations(demo / "annotations" / "train.json")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as root:
        index_by_names(demo, Path(root) / "index")
        for count in given.labels:
            chosen = one_a_video(rows, count)
            pages = [Path(root) / f"page-{count}-{run}" for run in range(given.runs)]
            times = [seconds_to_learn(demo, Path(root) / "index", page, chosen) for page in pages]
            print(f"{count} labels in {count} videos: " + ", ".join(f"{value:.1f}" for value in times) + " s")


if __name__ == "__main__":
    main()
