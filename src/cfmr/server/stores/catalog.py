"""Every video that the server knows, with what a list of them shows; worked out once until something changes."""

import copy
import threading
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

from cfmr.index.base import Video
from cfmr.server.stores.videos import FileFacts
from cfmr.video.files import restored_path

State = Literal["queued", "reading", "searchable", "damaged", "copy", "gone", "removed"]
Sort = Literal["name", "date", "length", "labels", "size", "state"]
STATES: tuple[State, ...] = get_args(State)

PATIENCE = 1.0  # seconds that a request waits for a listing that another one makes, rather than take that of before


@dataclass(frozen=True, slots=True)
class Entry:
    """A video.

    Attributes:
        state: "queued" and "reading" become "searchable"; "damaged" could not be read; "gone" has no file any more;
            "copy" has the content of another; "removed" was taken out of search.
        reason: why it could not be read, or the video that it is a copy of.
        duration: seconds; None where it is not known yet.
        date: when its file was last written, seconds since 1970; 0 where there is no file.
        size: bytes of the file.
    """

    video: str
    state: State
    reason: str
    duration: float | None
    date: float
    size: int
    watchable: bool
    indexed: bool

    @property
    def folder(self) -> str:
        """The folder below that of all videos, "" for that itself."""
        return self.video.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class Sources:
    """What a catalog is made of.

    Attributes:
        files: of the folder, by name.
        indexed: by name.
        removed: names of videos that were taken out.
        unread: file that could not be read -> why.
        copies: file with the content of a video -> that video.
        reading: names of videos that are being read.
    """

    files: Mapping[str, FileFacts]
    indexed: Mapping[str, Video]
    removed: frozenset[str]
    unread: Mapping[str, str]
    copies: Mapping[str, str]
    reading: Container[str]


class Listing:
    """The videos at one time, in order of their names.

    Attributes:
        present: false of the one of before, while another is made.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.present = True
        self.entries = sorted(entries, key=lambda entry: entry.video)

    @cached_property
    def names(self) -> list[str]:
        """Of all that were not removed."""
        return [entry.video for entry in self.entries if entry.state != "removed"]

    @cached_property
    def _folded(self) -> list[str]:
        return [entry.video.casefold() for entry in self.entries]

    @cached_property
    def folders(self) -> dict[str, int]:
        """Every folder, and how many videos are in it and below it."""
        counts: dict[str, int] = {}
        for entry in self.entries:
            folder = entry.folder if entry.state != "removed" else ""
            while folder:
                counts[folder] = counts.get(folder, 0) + 1
                folder = folder.rpartition("/")[0]
        return dict(sorted(counts.items()))

    def find(
        self, contains: str = "", folder: str = "", since: float | None = None, until: float | None = None
    ) -> list[Entry]:
        """The videos with this in their names, in a folder or below it, whose files are of a time."""
        part, below = contains.strip().casefold(), f"{folder.strip('/')}/"
        return [
            entry
            for entry, name in zip(self.entries, self._folded, strict=True)
            if part in name
            and (below == "/" or entry.video.startswith(below))
            and (since is None or entry.date >= since)
            and (until is None or 0 < entry.date < until)
        ]


class Catalog:
    """Keeps the present listing, and makes another when what it is made of has changed.

    Args:
        marks: something that is equal as long as the sources are, cheap to ask for.
        sources: what a listing is made of.
    """

    def __init__(self, marks: Callable[[], object], sources: Callable[[], Sources]) -> None:
        self._marks, self._sources = marks, sources
        self._lock = threading.Lock()
        self._listing: Listing | None = None
        self._seen: object = None

    def listing(self) -> Listing:
        """The present one. If another thread takes longer than `PATIENCE` to make it, the one before."""
        marks = self._marks()
        if self._listing is not None and marks == self._seen:
            return self._listing
        if not self._lock.acquire(timeout=-1 if self._listing is None else PATIENCE):
            before = copy.copy(self._listing)  # with what was worked out of it
            assert before is not None
            before.present = False
            return before
        try:
            if self._listing is None or marks != self._seen:
                self._listing, self._seen = Listing(entries_of(self._sources())), marks
            return self._listing
        finally:
            self._lock.release()


def entries_of(sources: Sources) -> Iterator[Entry]:
    """A line for each video; a file that was indexed under another name is that video."""
    names_of = {facts.path: name for name, facts in sources.files.items()}
    taken: set[str] = set()
    for name, video in sources.indexed.items():
        at = None if video.path is None else names_of.get(restored_path(video.path))
        at = name if at is None and name in sources.files else at
        taken.update({name} if at is None else {name, at})
        if name not in sources.removed:
            facts = None if at is None else sources.files[at]
            yield _entry(name, "gone" if facts is None else "searchable", facts, video)
    for name, facts in sources.files.items():
        if name not in taken and name not in sources.removed:
            reason = sources.unread.get(name, "").removeprefix(f"{facts.path}: ") or sources.copies.get(name, "")
            state: State = "reading" if name in sources.reading else "queued"
            if reason:
                state = "damaged" if name in sources.unread else "copy"
            yield _entry(name, state, facts, reason=reason)
    for name in sources.removed:
        yield _entry(name, "removed", sources.files.get(name))


def _entry(name: str, state: State, facts: FileFacts | None, indexed: Video | None = None, reason: str = "") -> Entry:
    return Entry(
        video=name,
        state=state,
        reason=reason,
        duration=None if indexed is None else indexed.duration,
        date=0.0 if facts is None else facts.written,
        size=0 if facts is None else facts.size,
        watchable=facts is not None,
        indexed=indexed is not None,
    )


def in_order(
    entries: Sequence[Entry], sort: Sort, labels: Mapping[str, int], *, descending: bool = False
) -> list[Entry]:
    """Entries sorted; by name where they are equal otherwise. What has no value comes last."""
    keys: dict[Sort, Callable[[Entry], float]] = {
        "date": lambda entry: entry.date,
        "length": lambda entry: entry.duration or 0.0,
        "labels": lambda entry: labels.get(entry.video, 0),
        "size": lambda entry: entry.size,
        "state": lambda entry: STATES.index(entry.state) + 1,
    }
    if sort == "name":
        return list(reversed(entries)) if descending else list(entries)
    key = keys[sort]
    valued = sorted((entry for entry in entries if key(entry)), key=key, reverse=descending)
    return [*valued, *(entry for entry in entries if not key(entry))]
