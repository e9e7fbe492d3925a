"""A server that is killed: it has a module, and so a server, of its own.

It reads what it had not yet put in order from its log again before it answers in full, which takes the longer the more
collections other tests have made.
"""

import threading
import time
from typing import Any

import pytest

from cfmr.errors import InputError
from cfmr.index.milvus.writer import MilvusWriter
from cfmr.search.retriever import MomentRetriever
from tests.support.searchable import Searchable, make_searchable

from .milvus_server import Server
from .test_milvus import SENTENCES, assert_same_answers, assert_same_index, count, fill, with_metadata

pytest.importorskip("pymilvus")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Searchable:
    return with_metadata(make_searchable(tmp_path_factory.mktemp("made")))


@pytest.fixture(scope="module")
def filled(milvus: Server, made: Searchable) -> str:
    """The address of an index that was finished before the server is killed."""
    address = f"{milvus.address}/filled"
    fill(made, address)
    return address


def wait_for(address: str) -> None:
    """A server that was killed takes its time to find its data again."""
    deadline = time.monotonic() + 120
    while True:
        try:
            retriever = MomentRetriever.load(address)
            if retriever.search(SENTENCES[0]) and retriever.videos():
                return  # what it had not yet put in order is read from its log again, and is not seen until then
        except InputError:
            if time.monotonic() > deadline:
                raise
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_a_server_that_dies_in_the_middle_of_an_insert(
    milvus: Server, made: Searchable, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = f"{milvus.address}/broken"
    reader = MomentRetriever.load(filled)
    before = reader.search(SENTENCES[0])
    monkeypatch.setattr("cfmr.index.milvus.writer.BATCH", 48)
    inserted = []
    original = MilvusWriter._insert

    def insert(self: MilvusWriter, batch: list[dict[str, Any]]) -> None:
        inserted.append(batch)
        if len(inserted) == 3:
            threading.Timer(0.002, milvus.kill).start()
            time.sleep(0.001)
        original(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr("cfmr.index.milvus.connection.PATIENCE", 1.0)
        patch.setattr(MilvusWriter, "_insert", insert)
        with pytest.raises(
            InputError, match=r"/broken: no Milvus server answers at 127\.0\.0\.1:\d+ \(tried for 1 s\)"
        ):
            fill(made, broken)
    reader.index.connection.patience = 0.5  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"/filled: no Milvus server answers at 127\.0\.0\.1:\d+"):
        reader.search(SENTENCES[0])

    milvus.start()
    wait_for(filled)
    reader.index.connection.patience = 30.0  # type: ignore[attr-defined]
    assert_same_answers(before, reader.search(SENTENCES[0]))
    assert_same_index(made, filled)
    monkeypatch.setattr("cfmr.index.milvus.connection.PATIENCE", 30.0)
    report = fill(made, broken)
    assert report.added + report.unchanged == 12
    assert report.unchanged > 0, "it went on where it was"
    assert count(broken, "videos") == 12
    assert_same_index(made, broken)
