"""Processes killed at random: jobs and servers. `make kills` runs both campaigns.

    python -m tests.kills.campaign --kills 100 --seed 0

Commands of jobs are killed at random moments, and the same job is asked for again; servers are killed while labels,
uploads and jobs are under way, and started again. Whatever was answered is there afterwards, no two jobs run at once,
nothing half-written lies about, and in the end everything is as if nothing had been killed. Anything else is a fault:
it is printed, and the exit status is 1.
"""

import argparse
import contextlib
import http.client
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cfmr.data.features import FeatureStore
from cfmr.errors import InputError
from cfmr.index.open import open_index
from cfmr.models.checkpoint import Checkpoint
from cfmr.server.stores.jobs import Job, JobContext, Jobs
from cfmr.server.stores.orphans import MARK, processes_of
from tests.support.footage import write_film
from tests.support.searchable import dense_config
from tests.support.worlds import World, make_world

VIDEOS = 4  # that are extracted
PATIENCE = 120.0  # seconds for what should take few
LEFT = ("*.partial", ".*.old", ".*.partial", "*.parts")


@dataclass
class Outcome:
    """What came of a campaign."""

    name: str
    kills: int = 0  # that met a living process
    whole: int = 0  # times that the work came to its end
    answered: int = 0  # labels and uploads that a server had answered
    faults: list[str] = field(default_factory=list)

    def expect(self, right: bool, what: str) -> None:
        """Note a fault unless it is right."""
        if not right:
            self.faults.append(f"{self.name}, after {self.kills} kills: {what}")

    def __str__(self) -> str:
        said = f"{self.name}: {self.kills} kills, {self.whole} times to the end"
        return f"{said}, {self.answered} answers kept, {len(self.faults)} faults"


def until(true: Callable[[], Any]) -> Any:
    """What `true` finds as soon as it finds something."""
    stop = time.monotonic() + PATIENCE
    while not (found := true()):
        if time.monotonic() > stop:
            raise TimeoutError("what should have come did not come")
        time.sleep(0.005)
    return found


def left_over(folder: Path) -> list[str]:
    """What is half-written in a folder."""
    return sorted({str(path.relative_to(folder)) for pattern in LEFT for path in folder.rglob(pattern)})


# --- jobs -------------------------------------------------------------------------------------------------------------


@dataclass
class _Work:
    """A command, and how to see whether what it leaves is whole.

    Attributes:
        arguments: of the command, in a folder; how it is started again where it was killed.
        look: raises InputError if what is there is damaged; whatever is missing is not.
        result: what the whole work leaves, to be compared.
    """

    name: str
    arguments: Callable[[Path], list[Any]]
    look: Callable[[Path], object]
    result: Callable[[Path], Any]


def _works(root: Path, world: World) -> list[_Work]:
    films = root / "films"
    for number in range(VIDEOS):
        write_film(films / f"{number}.mp4", frames=60, rate=10, level=40 + 40 * number)

    indexing = ["index", "--checkpoint", root / "checkpoint", "--features", world.features]
    indexing += [part for rows in (world.training, world.test) for part in ("--annotations", rows)]

    def training(place: Path) -> list[Any]:
        resumed = ["--resume", place / "run"] if (place / "run" / "config.json").exists() else []
        return ["train", "--config-path", world.config, "--log", place, "--tag", "run", "--select", "last", *resumed]

    def looks_trained(place: Path) -> None:
        with contextlib.suppress(InputError):
            Checkpoint.load(place / "run" / "last")

    return [
        _Work(
            "extract",
            lambda place: ["extract", films, "--out", place / "f.hdf5", "--workers", 1],
            lambda place: _features(place / "f.hdf5"),
            lambda place: _features(place / "f.hdf5"),
        ),
        _Work(
            "index",
            lambda place: [*indexing, "--out", place / "index"],
            lambda place: _videos(place / "index"),
            lambda place: _videos(place / "index"),
        ),
        _Work(
            "train",
            training,
            looks_trained,
            lambda place: json.loads((place / "run" / "metrics.json").read_text()),
        ),
    ]


def _features(path: Path) -> dict[str, float]:
    if not path.exists():
        return {}
    with FeatureStore(path) as store:
        return {video: float(np.abs(store.read(video)).sum()) for video in store.videos}


def _videos(path: Path) -> list[tuple[str, int]]:
    if not (path / "manifest.json").exists():
        return []
    return sorted((video.id, video.rows) for video in open_index(path).videos())


def kill_jobs(kills: int, seed: int, root: Path) -> Outcome:
    """Kill the commands of jobs, one kind after the other, until so many were met alive."""
    outcome, rng = Outcome("jobs"), random.Random(seed)
    world = make_world(root / "world", videos=12, epochs=3)
    world.config.write_text(json.dumps(dense_config(world)))
    _run(["train", "--config-path", world.config, "--log", root, "--tag", "first", "--select", "last"])
    os.rename(root / "first" / "checkpoint", root / "checkpoint")
    jobs = Jobs(root / "jobs")
    jobs.handlers["work"] = lambda context, given: _job(context, given["arguments"])
    jobs.begin()
    try:
        works = [(work, *_unbroken(work, root)) for work in _works(root, world)]
        for number in range(10 * kills):
            if outcome.kills >= kills:
                break
            work, seconds, expected = works[number % len(works)]
            _one_of(work, seconds, expected, jobs, rng, root / f"{work.name}-{number}", outcome, kills)
    finally:
        jobs.close()
    return outcome


def _unbroken(work: _Work, root: Path) -> tuple[float, Any]:
    """How long a work takes that nobody kills, and what it leaves."""
    place = root / f"whole-{work.name}"
    place.mkdir()
    began = time.monotonic()
    _run(work.arguments(place))
    return time.monotonic() - began, work.result(place)


def _one_of(
    work: _Work,
    seconds: float,
    expected: Any,
    jobs: Jobs,
    rng: random.Random,
    place: Path,
    outcome: Outcome,
    kills: int,
) -> None:
    """Start a work, kill it a few times, let it come to its end, and compare."""
    place.mkdir()
    for _ in range(rng.randint(1, 4)):
        job = jobs.start("work", work.name, {"arguments": [str(a) for a in work.arguments(place)]})
        stop = time.monotonic() + rng.uniform(0, seconds)
        until(lambda job=job, stop=stop: job.over or time.monotonic() > stop)
        outcome.kills += _kill_processes(job)
        until(lambda job=job: job.over)
        outcome.expect(job.state == "done" or "SIGKILL" in job.message, f"{work.name} ends with {job.message}")
        try:
            work.look(place)
        except (InputError, OSError) as error:
            outcome.expect(False, f"{work.name} leaves {error}")
        if outcome.kills >= kills or job.state == "done":
            break
    job = jobs.start("work", work.name, {"arguments": [str(a) for a in work.arguments(place)]})
    until(lambda: job.over)
    outcome.expect(job.state == "done", f"{work.name} does not go on: {job.message}")
    if job.state == "done":
        outcome.whole += 1
        outcome.expect(work.result(place) == expected, f"{work.name} ends otherwise than when nobody kills it")
        outcome.expect(not left_over(place), f"{work.name} leaves {left_over(place)}")


def _job(context: JobContext, arguments: list[str]) -> dict[str, Any]:
    context.run(*arguments, stage="Working")
    return {}


def _kill_processes(job: Job) -> bool:
    """Kill a job's processes; whether there were any."""
    found = list(processes_of(job.id))
    for process in found:
        with contextlib.suppress(OSError):
            os.kill(process, signal.SIGKILL)
    return bool(found)


def _run(arguments: list[Any]) -> None:
    subprocess.run([sys.executable, "-m", "cfmr.cli", *map(str, arguments)], check=True, capture_output=True)


# --- servers ----------------------------------------------------------------------------------------------------------


class _Server:
    """A server over a folder without an index."""

    def __init__(self, root: Path) -> None:
        argv = ["serve", "--index", root / "index", "--videos", root / "videos", "--workspace", root / "page"]
        self.log = root / f"log-{uuid.uuid4().hex[:8]}.txt"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cfmr.cli", *map(str, argv), "--port", "0"], stdout=log, stderr=log
            )

    def address(self) -> str | None:
        """Where it listens; None as long as it does not say."""
        found = re.search(r"http://[\d.:]+", self.log.read_text(errors="replace"))
        return found[0] if found else None

    def kill(self) -> bool:
        """Whether it was alive."""
        alive = self.process.poll() is None
        self.process.kill()
        self.process.wait()
        return alive


def ask(url: str, body: bytes | None = None) -> Any:
    """The answer of a server; None if it did not answer."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())
    except (OSError, ValueError, http.client.HTTPException):
        return None


@dataclass
class _Promised:
    """What servers have answered, and so have to keep."""

    labels: dict[str, str] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)


def _visitor(address: str, promised: _Promised, films: list[Path], rng: random.Random) -> None:
    """Label and upload until the server is gone."""
    while True:
        identity, sentence = uuid.UUID(int=rng.getrandbits(128)).hex, f"a box turns {rng.randrange(10**6)}"
        label = {"id": identity, "video": "first", "glance": 1.0, "sentence": sentence}
        if ask(f"{address}/api/labels", json.dumps(label).encode()) is None:
            return
        promised.labels[identity] = sentence
        if rng.random() < 0.3 and films:
            content = films.pop().read_bytes()
            answer = ask(f"{address}/api/videos?name=film.mp4", content)
            if answer is None:
                return
            promised.uploads[answer["video"]] = content


@contextlib.contextmanager
def _watching(root: Path) -> Iterator[list[str]]:
    """While the block runs, note where commands of two jobs run at once."""
    over, seen = threading.Event(), list[str]()

    def look() -> None:
        while not over.wait(0.05):
            jobs = _running_jobs(root)
            if len(jobs) > 1:
                seen.append(f"jobs {sorted(jobs)} ran at once")

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def _running_jobs(root: Path) -> set[str]:
    """Jobs of a workspace whose commands run."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            values = (folder / "environ").read_bytes().split(b"\0")
            if str(root).encode() in (folder / "cmdline").read_bytes():
                marks = [value.decode() for value in values if value.startswith(f"{MARK}=".encode())]
                found |= {mark.partition("=")[2].partition(":")[0] for mark in marks}
    return found


def kill_servers(kills: int, seed: int, root: Path) -> Outcome:
    """Kill a server that takes labels and uploads and extracts them, and start it again."""
    outcome, rng = Outcome("servers"), random.Random(seed)
    (root / "videos").mkdir()
    write_film(root / "videos" / "first.mp4", frames=30, rate=10)
    films = [write_film(root / "films" / f"{n}.mp4", frames=20, rate=10, g=str(n % 19 + 1)) for n in range(19)]
    promised = _Promised()
    with _watching(root) as overlaps:
        while outcome.kills < kills:
            server = _Server(root)
            # a third of them is killed while they start
            if rng.random() < 1 / 3:
                time.sleep(rng.uniform(0, 1.5))
            else:
                address = until(server.address)
                until(lambda address=address: ask(f"{address}/api/status"))
                arguments = address, promised, films, random.Random(rng.random())
                visitor = threading.Thread(target=_visitor, args=arguments, daemon=True)
                visitor.start()
                time.sleep(rng.uniform(0, 2.0))
            outcome.kills += server.kill()
        _see_the_end(root, promised, outcome)
    outcome.faults += overlaps[:5]
    outcome.answered = len(promised.labels) + len(promised.uploads)
    return outcome


def _see_the_end(root: Path, promised: _Promised, outcome: Outcome) -> None:
    """Start a last server, let its jobs end, and look whether all that was answered is there."""
    server = _Server(root)
    address = until(server.address)
    until(lambda: ask(f"{address}/api/status"))
    ask(f"{address}/api/videos/index", b"{}")
    until(lambda: all(job["state"] not in ("queued", "running") for job in ask(f"{address}/api/jobs")))
    last = ask(f"{address}/api/jobs")[0]
    outcome.expect(last["state"] == "done", f"the last job ends with {last['message']}")
    outcome.whole += last["state"] == "done"
    exported = {row[3] for row in ask(f"{address}/api/labels/export")}
    missing = [sentence for sentence in promised.labels.values() if sentence not in exported]
    outcome.expect(not missing, f"labels that were answered are gone: {missing[:5]}")
    for name, content in promised.uploads.items():
        path = root / "videos" / f"{name}.mp4"
        outcome.expect(path.is_file() and path.read_bytes() == content, f"{name}.mp4, which was answered, is not there")
    videos = {path.stem for path in (root / "videos").glob("*.mp4")}
    features = set(_features(root / "page" / "features.hdf5"))
    outcome.expect(videos == features, f"of videos {sorted(videos)} features are of {sorted(features)}")
    outcome.expect(not left_over(root), f"{left_over(root)} is left")
    server.process.terminate()
    server.process.wait(30)


CAMPAIGNS = {"jobs": kill_jobs, "servers": kill_servers}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="in each campaign")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=CAMPAIGNS, help="one of the campaigns")
    given = parser.parse_args()
    faults = []
    for name, campaign in CAMPAIGNS.items():
        if given.only in (None, name):
            with tempfile.TemporaryDirectory(prefix="kills-") as folder:
                outcome = campaign(given.kills, given.seed, Path(folder))
            print(outcome, flush=True)  # noqa: T201
            faults += outcome.faults
    for fault in faults:
        print(fault)  # noqa: T201
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
