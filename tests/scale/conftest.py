from collections.abc import Iterator
from pathlib import Path

import pytest

from .milvus_server import Server


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
