"""Importing many labels in a process of its own: seconds of work, in which no request of the server waits for it.

What the process has to know of videos it asks the server for, by a pipe.
"""

import contextlib
import multiprocessing
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError

from cfmr.data.annotations import Annotation
from cfmr.errors import DiskFullError, InputError
from cfmr.files.processes import interrupt_blocked
from cfmr.handover.labels.read import Refused, read_labels
from cfmr.handover.labels.rows import Given, Names, Videos
from cfmr.handover.timecode import Rate
from cfmr.server.problems import Problem
from cfmr.server.stores.labels import LabelStore

MANY = 100_000  # bytes; the labels of a smaller file are written before a process has started


@dataclass(frozen=True, slots=True)
class Import:
    """A file of labels to be imported.

    Attributes:
        content: of the file.
        given: its name, its videos, and what else is said of it.
        author: of the labels.
        check: raises ValueError for a label that is not wanted; a function of a module.
    """

    content: bytes
    given: Given
    author: str
    check: Callable[[Annotation], None]


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of it: labels that were added, those that were there already, and rows that are none."""

    added: int
    already: int
    refused: list[Refused]


class LabelImports:
    """The imports of a server.

    Args:
        url: of the database.
    """

    def __init__(self, url: str | URL) -> None:
        self._url = url
        self._running: set[BaseProcess] = set()
        self._lock = threading.Lock()

    def run(self, store: LabelStore, wanted: Import, names: Sequence[str]) -> Imported:
        """Import a file.

        Args:
            names: of all videos.

        Raises:
            InputError: it has no labels of a known format.
            Problem: its process died; what it had written stays.
        """
        if len(wanted.content) < MANY:
            return take_in(store, wanted)
        ours, theirs = multiprocessing.Pipe()
        with ours:
            process = self._start(theirs, wanted, names)
            try:
                return _answered(ours, wanted.given.videos)
            finally:
                ours.close()
                process.join()
                with self._lock:
                    self._running.discard(process)

    def _start(self, theirs: Connection, wanted: Import, names: Sequence[str]) -> BaseProcess:
        given = wanted.given
        what = (wanted.content, given.name, given.video, given.fps, wanted.author, wanted.check)
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=_import, args=(theirs, self._url, tuple(names), what), daemon=True)
        with self._lock, interrupt_blocked():
            process.start()
            self._running.add(process)
        theirs.close()
        return process

    def close(self) -> None:
        """End those that are under way; whoever waits for them is told."""
        with self._lock:
            for process in self._running:
                process.kill()


def take_in(store: LabelStore, wanted: Import) -> Imported:
    """Import here and now. Raises InputError if the file has no labels of a known format."""
    annotations, refused = read_labels(wanted.content, wanted.given, wanted.check)
    added, already = store.take_in(annotations, wanted.author)
    return Imported(added, already, refused)


def _answered(pipe: Connection, videos: Videos) -> Imported:
    """Answer what a process asks of videos until it has finished."""
    while True:
        try:
            kind, value = pipe.recv()
            if kind == "done":
                assert isinstance(value, Imported)
                return value
            if kind == "failed":
                raise value
            name, arguments = value
            try:
                pipe.send((getattr(videos, name)(*arguments), None))
            except ValueError as error:
                pipe.send((None, str(error)))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise Problem(500, "the import broke off; import the file again, what is there stays") from None


def _import(pipe: Connection, url: str | URL, names: tuple[str, ...], what: tuple[Any, ...]) -> None:
    """Import a file, in the process for it."""
    content, name, video, fps, author, check = what
    given = Given(_AskedVideos(pipe, names), name, video, fps)
    try:
        store = LabelStore(url)
        with contextlib.closing(store):
            pipe.send(("done", take_in(store, Import(content, given, author, check))))
    except (InputError, DiskFullError, OperationalError) as error:  # which the server tells of
        pipe.send(("failed", error))


@dataclass
class _AskedVideos:
    """Videos of which a server is asked; what it said is remembered."""

    pipe: Connection
    names: tuple[str, ...]
    _said: dict[tuple[str, Any], Any] = field(default_factory=dict)
    _found: Names = field(init=False)

    def __post_init__(self) -> None:
        self._found = Names(self.names)

    def _ask(self, name: str, *arguments: Any) -> Any:
        key = name, arguments
        if key not in self._said:
            self.pipe.send(("video", (name, arguments)))
            self._said[key] = self.pipe.recv()
        value, error = self._said[key]
        if error is not None:
            raise ValueError(error)
        return value

    def find(self, references: Sequence[str], fingerprint: str | None = None) -> str:
        try:
            return self._found.find(references)
        except ValueError:
            if not fingerprint:
                raise
            found: str = self._ask("find", tuple(references), fingerprint)
            return found

    def duration(self, video: str) -> float:
        found: float = self._ask("duration", video)
        return found

    def rate(self, video: str) -> Rate:
        found: Rate = self._ask("rate", video)
        return found

    def file_name(self, video: str) -> str:
        found: str = self._ask("file_name", video)
        return found

    def fingerprint(self, video: str) -> str | None:
        found: str | None = self._ask("fingerprint", video)
        return found
