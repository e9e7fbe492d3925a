"""A third index store is one folder and one line: here they are, and everything else works with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cfmr.errors import InputError
from cfmr.index.base import Index, IndexWriter
from cfmr.index.location import IndexLocation
from cfmr.index.open import STORES, open_index, parse_location
from examples.index_store.store import STATES, MemoryAddress, MemoryIndex, MemoryWriter
from tests.index.contract import StoreContract


@pytest.fixture(autouse=True)
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(STORES, "memory", "examples.index_store")  # the one line
    yield
    STATES.clear()


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def location(self) -> IndexLocation:
        return parse_location("memory://index")


def test_the_store_has_the_two_protocols() -> None:
    reader: type[Index] = MemoryIndex
    writer: type[IndexWriter] = MemoryWriter
    assert (reader, writer) == (MemoryIndex, MemoryWriter)


def test_an_index_is_built_edited_calibrated_and_searched_in_it(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from cfmr.data.annotations import load_annotations
    from cfmr.index.build import edit_index
    from cfmr.search.calibrate import calibrate_index
    from cfmr.search.retriever import MomentRetriever
    from tests.support.searchable import make_searchable

    made = make_searchable(tmp_path)
    assert made.build("memory://films").added == 12
    here, there = MomentRetriever.load(made.index), MomentRetriever.load("memory://films")
    one, other = (retriever.search("the red dog runs", top=5) for retriever in (here, there))
    assert [(m.video, m.start, m.end) for m in one] == [(m.video, m.start, m.end) for m in other]
    assert [m.score for m in one] == pytest.approx([m.score for m in other], abs=1e-5)
    calibrate_index("memory://films", load_annotations(made.world.test))
    assert there.reload()
    assert "thresholds" in there.index.metrics
    assert edit_index(parse_location("memory://films"), remove=["v01"]).removed == 1
    with pytest.raises(InputError, match="no video 'v01'"):
        MomentRetriever.load("memory://films").search("the dog", videos=["v01"])


def test_without_the_line_the_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(STORES, "memory")
    with pytest.raises(InputError, match="memory://index: an index is a directory, or milvus://host:port/collection"):
        parse_location("memory://index")
    with pytest.raises(InputError, match="an index is a directory"):
        open_index(MemoryAddress("index"))
