import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cfmr.index.base import Video
from cfmr.server.stores import catalog
from cfmr.server.stores.catalog import Catalog, Entry, Listing, Sort, Sources, entries_of, in_order
from cfmr.server.stores.videos import FileFacts


def files(*names: str) -> dict[str, FileFacts]:
    """The later a name comes, the newer and the larger the file."""
    return {
        name: FileFacts(Path(f"/videos/{name}.mp4"), 100 * number, 1000.0 * number)
        for number, name in enumerate(names, 1)
    }


def made(**sources: Any) -> dict[str, Entry]:
    nothing: Mapping[str, Any] = {
        "files": {},
        "indexed": {},
        "removed": frozenset(),
        "unread": {},
        "copies": {},
        "reading": (),
    }
    return {entry.video: entry for entry in entries_of(Sources(**{**nothing, **sources}))}


def test_every_state_is_told() -> None:
    found = made(
        files=files("new", "open", "found", "bad", "twin", "hidden"),
        indexed={"found": Video("found", 7.0, 3), "lost": Video("lost", 5.0, 2)},
        removed=frozenset({"hidden", "hidden and deleted"}),
        unread={"bad": "/videos/bad.mp4: cannot be read as a video", "no more": "it was here once"},
        copies={"twin": "found"},
        reading={"open"},
    )
    assert {video: entry.state for video, entry in found.items()} == {
        "new": "queued",
        "open": "reading",
        "found": "searchable",
        "bad": "damaged",
        "twin": "copy",
        "hidden": "removed",
        "hidden and deleted": "removed",
        "lost": "gone",
    }
    assert (found["bad"].reason, found["twin"].reason) == ("cannot be read as a video", "found")
    assert (found["found"].duration, found["found"].size, found["lost"].watchable) == (7.0, 300, False)


def test_a_file_that_was_renamed_since_is_the_video_it_was() -> None:
    found = made(files=files("monday"), indexed={"sunday": Video("sunday", 7.0, 3, path="/videos/monday.mp4")})
    assert [(entry.video, entry.state) for entry in found.values()] == [("sunday", "searchable")]


def listing() -> Listing:
    return Listing(made(files=files("a/b/Dog", "a/cat", "bird"), removed=frozenset({"gone"})).values())


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, ["a/b/Dog", "a/cat", "bird", "gone"]),
        ({"contains": "DO"}, ["a/b/Dog"]),
        ({"folder": "a"}, ["a/b/Dog", "a/cat"]),
        ({"folder": "/a/b/"}, ["a/b/Dog"]),
        ({"folder": "b"}, []),
        ({"since": 2000.0}, ["a/cat", "bird"]),
        ({"until": 2000.0}, ["a/b/Dog"]),
        ({"contains": "a", "folder": "a", "since": 2000.0}, ["a/cat"]),
    ],
)
def test_videos_are_found_by_name_folder_and_date(wanted: dict[str, Any], found: list[str]) -> None:
    assert [entry.video for entry in listing().find(**wanted)] == found


def test_folders_count_what_is_in_them_and_below() -> None:
    assert listing().folders == {"a": 2, "a/b": 1}
    assert listing().names == ["a/b/Dog", "a/cat", "bird"]


@pytest.mark.parametrize(
    ("sort", "descending", "expected"),
    [
        ("name", False, ["a", "b", "c", "d"]),
        ("name", True, ["d", "c", "b", "a"]),
        ("length", False, ["c", "b", "a", "d"]),
        ("length", True, ["b", "c", "a", "d"]),
        ("labels", True, ["a", "d", "b", "c"]),
        ("date", True, ["c", "b", "a", "d"]),
        ("state", False, ["a", "b", "c", "d"]),
    ],
)
def test_videos_are_sorted_and_what_has_no_value_comes_last(sort: Sort, descending: bool, expected: list[str]) -> None:
    indexed = {"b": Video("b", 9.0, 1), "c": Video("c", 3.0, 1), "d": Video("d", 0.0, 1)}
    entries = Listing(made(files=files("a", "b", "c"), indexed=indexed).values()).entries
    labels = {"a": 3, "d": 1}
    assert [entry.video for entry in in_order(entries, sort, labels, descending=descending)] == expected


def test_a_listing_is_made_again_only_when_something_has_changed() -> None:
    there, made_times = files("a"), 0

    def sources() -> Sources:
        nonlocal made_times
        made_times += 1
        return Sources(there, {}, frozenset(), {}, {}, ())

    catalog = Catalog(lambda: there, sources)
    assert catalog.listing() is catalog.listing()
    there = files("a", "b")
    assert catalog.listing().names == ["a", "b"]
    assert made_times == 2


class _Folder:
    """Sources whose second listing is made when it may be."""

    def __init__(self) -> None:
        self.unread: dict[str, str] = {}
        self.asked, self.go = threading.Event(), threading.Event()
        self.go.set()
        self.catalog = Catalog(lambda: dict(self.unread), self.sources)

    def sources(self) -> Sources:
        self.asked.set()
        assert self.go.wait(30)
        return Sources(files("bad"), {}, frozenset(), dict(self.unread), {}, frozenset())

    def state(self) -> str:
        return self.catalog.listing().entries[0].state

    def damaged_while_another_asks(self) -> threading.Thread:
        self.asked.clear()
        self.go.clear()
        self.unread["bad"] = "it is no video"
        other = threading.Thread(target=self.state)
        other.start()
        assert self.asked.wait(30)
        return other


def test_a_request_waits_for_the_listing_that_another_one_makes() -> None:
    folder = _Folder()
    assert folder.state() == "queued"
    other = folder.damaged_while_another_asks()
    threading.Timer(0.1, folder.go.set).start()
    assert folder.state() == "damaged"
    other.join(30)


def test_no_request_waits_for_a_listing_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "PATIENCE", 0.01)
    folder = _Folder()
    assert folder.state() == "queued"
    other = folder.damaged_while_another_asks()
    assert folder.state() == "queued"
    assert not folder.catalog.listing().present  # who asked is told to ask again
    folder.go.set()
    other.join(30)
    assert folder.state() == "damaged"
    assert folder.catalog.listing().present
