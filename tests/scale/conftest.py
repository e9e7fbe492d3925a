import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .milvus_server import Server

# A node that has not come after 30 s counts as failed; on a busy machine it has been seen to take 20. Ray reads this as
# it is imported.
os.environ.setdefault("RAY_raylet_start_wait_time_s", "60")


@pytest.fixture(scope="module")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running Milvus server."""
    pytest.importorskip("pymilvus")
    pytest.importorskip("milvus")
    server = Server(tmp_path_factory.mktemp("milvus"))
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a client fetches from a server goes where the test is."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
