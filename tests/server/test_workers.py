"""Several processes over one folder: real ones, started as a user would."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import numpy as np
import pytest

from cfmr.errors import InputError
from cfmr.server.app import _listen
from cfmr.server.settings import Settings
from cfmr.server.stores.models import ModelRegistry
from cfmr.server.stores.videos import Library
from tests.server import sites
from tests.server.sites import WordRetriever, make_settings, render

WORKERS = 2
until = partial(sites.until, seconds=240)


class Page:
    """`cfmr serve --workers 2` over a folder with videos and no index."""

    def __init__(self, root: Path) -> None:
        make_settings(root)
        (root / "index").rmdir()
        argv = ["serve", "--index", root / "index", "--videos", root / "videos", "--port", "0"]
        argv += ["--workspace", root / "page", "--workers", WORKERS]
        self.log = root / "log.txt"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cfmr.cli", *map(str, argv)],
                stdout=log,
                stderr=log,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
        self.url = until(lambda: re.search(r"http://\S+", self.log.read_text()))[0]
        until(lambda: len(self.workers()) == WORKERS)

    def ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Connection": "close"}
        with urlopen(Request(self.url + path, data, headers), timeout=30) as answer:
            return json.load(answer)

    def workers(self) -> list[int]:
        """Processes that serve: children that have the label database open."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                parent = entry.name.isdigit() and (entry / "stat").read_text().rsplit(")", 1)[1].split()[1]
                files = [os.readlink(place) for place in (entry / "fd").iterdir()] if parent else []
            except OSError:
                continue
            if parent == str(self.process.pid) and any(name.startswith("socket:") for name in files):
                found += [int(entry.name)] if any("labels.sqlite" in name for name in files) else []
        return found

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    page = Page(tmp_path_factory.mktemp("workers"))
    yield page
    page.stop()


def test_whichever_worker_answers_has_every_label_and_every_job(page: Page) -> None:
    label = {"video": "kitchen", "sentence": "a red square moves", "author": "Ada"}
    for number in range(30):
        page.ask("/api/labels", label | {"glance": number / 10})
        assert page.ask("/api/labels")["total"] == number + 1
    job = page.ask("/api/videos/index", {})["id"]
    for _ in range(20):
        assert page.ask(f"/api/jobs/{job}")["id"] == job
    until(lambda: page.ask(f"/api/jobs/{job}")["state"] not in ("queued", "running"))
    for _ in range(20):
        assert page.ask(f"/api/jobs/{job}")["state"] == "done", page.ask(f"/api/jobs/{job}/log")["text"]


@pytest.mark.skipif(sys.platform != "linux", reason="connections are shared out by Linux only")
def test_connections_that_come_in_one_burst_are_shared_out(page: Page) -> None:
    address = urlsplit(page.url)

    def sockets() -> dict[int, int]:
        return {
            worker: sum(os.readlink(file).startswith("socket:") for file in Path(f"/proc/{worker}/fd").iterdir())
            for worker in page.workers()
        }

    before = sockets()
    with ExitStack() as opened:
        for _ in range(40):
            opened.enter_context(socket.create_connection((address.hostname, address.port)))
        until(lambda: sum(sockets().values()) >= sum(before.values()) + 40)
        gained = [count - before[worker] for worker, count in sockets().items()]
    assert min(gained) >= 5, "of forty by chance fewer than once in a million"


def test_the_port_of_another_server_is_not_shared(page: Page) -> None:
    with pytest.raises(InputError, match="cannot listen there"):
        _listen("127.0.0.1", urlsplit(page.url).port or 0, WORKERS)


def test_a_worker_that_dies_is_replaced_and_nothing_is_lost(page: Page) -> None:
    before = page.ask("/api/labels")["total"]
    first, *others = page.workers()
    os.kill(first, signal.SIGKILL)
    until(lambda: len(now := page.workers()) == WORKERS and first not in now)
    assert set(others) <= set(page.workers())
    assert page.ask("/api/labels")["total"] == before


def test_what_one_process_serves_the_others_serve_soon(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cfmr.server.stores.models.LOOK", 0.0)

    def load(path: Path) -> WordRetriever:
        return WordRetriever(bonus=0.0 if path == settings.index else 1.0)

    one, two = ModelRegistry(settings, load), ModelRegistry(settings, load)
    folder = one.new_folder()
    (folder / "index").mkdir()
    one.keep(folder, 3, {})
    assert two.current.id == "original"
    one.switch(folder.name)
    assert two.current.id == folder.name
    assert two.retriever.search("red").moments[0].score > 1
    two.switch("original")
    assert one.current.id == "original"


def test_an_index_that_another_process_makes_or_changes_is_taken_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cfmr.server.stores.models.LOOK", 0.0)
    settings.index.rmdir()
    clips = {"kitchen": [("a red square", 1.0, 2.0)]}

    class Growing(WordRetriever):
        def reload(self) -> bool:
            self.clips["street"] = []
            return True

    served = ModelRegistry(settings, lambda path: Growing(clips))
    assert not served.ready
    settings.index.mkdir()
    (settings.index / "manifest.json").write_text("{}")
    assert set(served.videos) == {"kitchen"}
    os.utime(settings.index / "manifest.json", ns=(1, 1))
    assert set(served.videos) == {"kitchen", "street"}


def test_videos_of_one_name_that_come_at_once_are_all_kept(settings: Settings, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    files = [render(tmp_path / f"{n}.mp4", tuple(np.eye(3, dtype=int)[n % 3] * 200), 1.0) for n in range(6)]
    with ThreadPoolExecutor(6) as pool:  # each with a view of the folder of its own, as processes have
        places = list(pool.map(lambda file: Library(settings.videos).keep(file, "Kitchen.mp4"), files))
    assert len(set(places)) == 6
    assert [place.read_bytes() for place in places] == [file.read_bytes() for file in files]
    assert sorted(Library(settings.videos).files()) == sorted(
        ["garden/dog <b>", "kitchen", "street", *(f"Kitchen-{n}" for n in range(2, 8))]
    )


def test_a_video_that_comes_from_elsewhere_is_there_at_once(settings: Settings) -> None:
    library = Library(settings.videos)
    assert "later" not in library.files()
    render(settings.videos / "later.mp4", seconds=1.0)
    assert "later" in library.files()
