"""A world of squares in real files, made with the command line as a user would, and a server as a process."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import av
import numpy as np

CFMR = [sys.executable, "-m", "cfmr.cli"]
COLOURS = {"red": (205, 50, 40), "green": (40, 165, 70), "blue": (45, 80, 205)}
GROUNDS = {"grey": (120, 120, 120), "white": (225, 225, 220), "dark": (50, 48, 46)}
SECONDS, RATE, WIDTH, HEIGHT = 12.0, 12, 256, 144
HOSTILE = "<img src=x onerror=window.hacked=1>"


def run(*arguments: str | Path) -> None:
    """A `cfmr` command; what it printed is shown if it fails."""
    done = subprocess.run([*CFMR, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def render(path: Path, events: list[tuple[str, float, float]], ground: str = "grey", size: float = 1.0) -> Path:
    """Squares that cross the picture, each from its start to its end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "g": "12"})
        stream.width, stream.height, stream.pix_fmt = int(WIDTH * size), int(HEIGHT * size), "yuv420p"
        for number in range(int(SECONDS * RATE)):
            time, image = number / RATE, np.full((HEIGHT, WIDTH, 3), GROUNDS[ground], np.uint8)
            for colour, start, end in events:
                if start <= time < end:
                    left = int((time - start) / (end - start) * (WIDTH - 48))
                    image[48:96, left : left + 48] = COLOURS[colour]
            frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(width=stream.width, height=stream.height)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def make_world(root: Path) -> None:
    """Eight videos, features, a model trained for some epochs, and an index; all by the command line."""
    rows: list[list[Any]] = []
    rng = np.random.default_rng(0)
    names = ["kitchen", "street", "garden", "market", "roof", "yard", "hall", HOSTILE]
    for number, name in enumerate(names):
        first, second = rng.permutation(list(COLOURS))[:2]
        start = float(rng.uniform(0.5, 2.5))
        events = [(first, start, start + 3.0), (second, start + 4.5, start + 7.5)]
        render(root / "videos" / f"{name}.mp4", events, list(GROUNDS)[number % 3])
        for colour, begin, end in events:
            said = f"a {colour} square moves to the right"
            rows.append([name, SECONDS, [round(begin, 2), round(end, 2)], said, round((begin + end) / 2, 2)])
    for split, chosen in (("train", rows[:12]), ("val", rows[12:]), ("test", rows[12:])):
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"{split}.json").write_text(json.dumps(chosen))
    run("extract", root / "videos", "--out", root / "features.hdf5", "--workers", "1")
    (root / "config.json").write_text(json.dumps(_config(root)))
    run("train", "--config-path", root / "config.json", "--tag", "run", "--log", root / "log")
    (root / "log" / "run" / "checkpoint").rename(root / "checkpoint")
    run(
        *("index", "--checkpoint", root / "checkpoint", "--features", root / "features.hdf5", "--out", root / "index"),
        *("--videos", root / "videos"),
    )


def _config(root: Path) -> dict[str, Any]:
    from cfmr.config import preset
    from cfmr.data.features import FeatureStore

    with FeatureStore(root / "features.hdf5") as features:
        width = features.read(features.videos[0]).shape[1]
    value = preset("dense", root).model_dump()
    value["dataset"]["frame_dim"] = width
    return value


class Server:
    """`cfmr serve` over a world, on a free port; or over a folder of videos and nothing else.

    Args:
        world: where its log goes.
        alone: that folder.
    """

    def __init__(self, world: Path, *options: str, alone: Path | None = None) -> None:
        self.world = world
        what = [alone] if alone is not None else ["--index", world / "index", "--videos", world / "videos"]
        argv = ["serve", *what, "--port", "0", *options]
        self.log = open(world / "server.log", "w+")  # noqa: SIM115
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HOME": str(world)}
        self.process = subprocess.Popen(
            [*CFMR, *map(str, argv)], stdout=self.log, stderr=subprocess.STDOUT, env=environment
        )
        self.url = self._address()

    def _address(self) -> str:
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline and self.process.poll() is None:
            self.log.seek(0)
            found = re.search(r"http://\S+", self.log.read())
            if found:
                return found[0]
            time.sleep(0.05)
        raise AssertionError((self.world / "server.log").read_text())

    def ask(self, path: str, body: Any = None, method: str | None = None, **query: Any) -> Any:
        """The JSON answer to a request; AssertionError with the problem if it is refused."""
        data = None if body is None else json.dumps(body).encode()
        url = f"{self.url}{path}" + (f"?{urlencode(query)}" if query else "")
        request = Request(url, data, {"Content-Type": "application/json"} if data else {}, method=method)
        try:
            with urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except HTTPError as error:
            raise AssertionError(error.read()) from error

    def label(self, video: str, glance: float, sentence: str, author: str = "Ada") -> dict[str, Any]:
        answer: dict[str, Any] = self.ask(
            "/api/labels", {"video": video, "glance": glance, "sentence": sentence, "author": author}
        )
        return answer

    def wait_for_jobs(self, seconds: float = 120) -> list[dict[str, Any]]:
        """All jobs, once none waits or runs."""
        deadline = time.monotonic() + seconds
        while True:
            jobs: list[dict[str, Any]] = self.ask("/api/jobs")
            if all(job["state"] not in ("queued", "running") for job in jobs):
                return jobs
            assert time.monotonic() < deadline, jobs
            time.sleep(0.2)

    def wait_until(self, true: Callable[[], bool], seconds: float = 120) -> None:
        """Wait for the server to have done something."""
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, self.ask("/api/jobs")
            time.sleep(0.2)

    def children(self) -> list[int]:
        """Processes of jobs that the server started; those that decode for requests stay as long as it does."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                except (OSError, ValueError):
                    continue
                if parent == self.process.pid and b"decode_worker" not in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
        return found

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        self.log.close()


def until(page: Any, expression: str, seconds: float = 20) -> None:
    """Wait for a JavaScript expression to be true. (Playwright's own way needs eval, which the page forbids itself.)"""
    deadline = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(30)
