"""Importing in a process of its own: what it asks of videos, and what happens meanwhile."""

import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from cfmr.data.annotations import Annotation
from cfmr.errors import InputError
from cfmr.handover.labels.rows import Given, Names
from cfmr.handover.timecode import Rate
from cfmr.server.api.labels import check_row
from cfmr.server.problems import Problem
from cfmr.server.stores import label_import
from cfmr.server.stores.label_import import Import, LabelImports
from cfmr.server.stores.labels import LabelStore

NAMES = ["street", "park"]
ROWS = [{"video": video, "sentence": f"a dog runs past {n}", "glance": n} for video in NAMES for n in range(5)]


class Videos:
    """The videos of a server; one may be told to wait before it says how long a video is."""

    def __init__(self) -> None:
        self.asked, self.may_answer = threading.Event(), threading.Event()
        self.may_answer.set()
        self.questions: list[str] = []

    def find(self, references: Sequence[str], fingerprint: str | None = None) -> str:
        return Names(NAMES).find(references)

    def duration(self, video: str) -> float:
        self.questions.append(video)
        self.asked.set()
        assert self.may_answer.wait(60)
        if video == "park":
            raise ValueError("is of a video that cannot be read")
        return 30.0

    def rate(self, video: str) -> Rate:
        return Rate(Fraction(25))

    def file_name(self, video: str) -> str:
        return f"{video}.mp4"

    def fingerprint(self, video: str) -> str | None:
        return None


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LabelStore]:
    monkeypatch.setattr(label_import, "MANY", 0)
    store = LabelStore(f"sqlite:///{tmp_path / 'labels.sqlite'}")
    yield store
    store.close()


@pytest.fixture
def imports(tmp_path: Path) -> LabelImports:
    return LabelImports(f"sqlite:///{tmp_path / 'labels.sqlite'}")


def wanted(videos: Videos, content: str | None = None) -> Import:
    text = json.dumps(ROWS) if content is None else content
    return Import(text.encode(), Given(videos, "rows.json"), "Ada", check_row)


def test_it_comes_to_the_same_as_importing_here(store: LabelStore, imports: LabelImports, tmp_path: Path) -> None:
    other = LabelStore(f"sqlite:///{tmp_path / 'other.sqlite'}")
    here = label_import.take_in(other, wanted(Videos()))
    there = imports.run(store, wanted(Videos()), NAMES)
    assert there == here
    assert (there.added, there.already, len(there.refused)) == (5, 0, 5)
    assert "cannot be read" in there.refused[0].reason
    assert {one.annotation for one in store.all()} == {one.annotation for one in other.all()}
    again = imports.run(store, wanted(Videos()), NAMES)
    assert (again.added, again.already) == (0, 5)
    other.close()


def test_of_a_video_it_is_asked_once(store: LabelStore, imports: LabelImports) -> None:
    videos = Videos()
    imports.run(store, wanted(videos), NAMES)
    assert videos.questions == NAMES


@contextmanager
def held_up(store: LabelStore, imports: LabelImports) -> Iterator[tuple[Videos, "Future[Any]"]]:
    """An import that waits for what it has asked about videos."""
    videos = Videos()
    videos.may_answer.clear()
    with ThreadPoolExecutor(1) as pool:
        importing = pool.submit(imports.run, store, wanted(videos), NAMES)
        assert videos.asked.wait(60)
        yield videos, importing


def test_labels_are_read_and_written_while_an_import_is_under_way(store: LabelStore, imports: LabelImports) -> None:
    with held_up(store, imports) as (videos, importing):
        store.add(Annotation("street", 30.0, "a cat sits", 4.0, None), "Bob")
        assert [label.author for label in store.all()] == ["Bob"]
        assert not importing.done()
        videos.may_answer.set()
        assert importing.result(60).added == 5
    assert len(store.all()) == 6


def test_a_file_of_no_known_format_is_said_to_be_one(store: LabelStore, imports: LabelImports) -> None:
    with pytest.raises(InputError, match=r"rows\.json: no labels of a format that is known"):
        imports.run(store, wanted(Videos(), "nothing at all"), NAMES)


def test_whoever_waits_for_an_import_that_is_ended_is_told(store: LabelStore, imports: LabelImports) -> None:
    with held_up(store, imports) as (videos, importing):
        imports.close()
        videos.may_answer.set()
        with pytest.raises(Problem, match="the import broke off"):
            importing.result(60)
