"""The store of labels: who said that a sentence happens at which second of which video.

Nothing is ever overwritten. Every state of a label is a row of its own, the newest is the label, and a change has to
name the state that it changes: of two people who change the same label at once the second is told.
"""

import re
import sqlite3
import threading
import time
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    DateTime,
    Engine,
    Float,
    Index,
    Integer,
    MetaData,
    Row,
    Select,
    String,
    Table,
    Text,
    and_,
    create_engine,
    event,
    false,
    func,
    insert,
    inspect,
    literal_column,
    select,
    tuple_,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    IntegrityError,
    NoSuchModuleError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
)

from cfmr.data.annotations import Annotation
from cfmr.data.vocabulary import find_words
from cfmr.errors import InputError
from cfmr.files.memory import collector_paused
from cfmr.server.problems import Problem
from cfmr.server.stores.database_changes import Changes
from cfmr.server.stores.present_labels import Label, PresentLabels
from cfmr.server.stores.same_labels import LabelledMoments

__all__ = ["Label", "LabelStore", "negatives_of", "normalized_sentence", "split_held_out"]

HELD_OUT = 5  # one label in so many is never trained on, the third to begin with
LONGEST_SENTENCE, LONGEST_AUTHOR = 500, 80
OVERLAP = timedelta(minutes=2)  # by which clocks of several servers may differ
PIECE = 500  # labels of an import that are written in one transaction
PAUSE = (
    0.03  # seconds between two of them: SQLite asks for its lock every 25 ms at most in the first eighth of a second
)
READ_AT_ONCE = 1000
_WRITES = "cfmr_writes"
_WORD = re.compile(r"\w+")

_metadata = MetaData()
_states = Table(
    "label_states",
    _metadata,
    Column("label", String(32), primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("video", Text, nullable=False),
    Column("duration", Float, nullable=False),
    Column("sentence", Text, nullable=False),
    Column("glance", Float, nullable=False),
    Column("span_start", Float),
    Column("span_end", Float),
    Column("author", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("deleted", Boolean, nullable=False),
    Column("held_out", Boolean, nullable=False),
    Column("said", Text, nullable=False),  # the sentence as `normalized_sentence` makes it
    Column("absent", Boolean, nullable=False, server_default=false()),  # it does not happen at the glance
    Index("label_states_by_said", "video", "said"),
)
_later = _states.alias()
# the newest state of every label: the one with none after it
_newest = (
    ~select(_later.c.label)
    .where(and_(_later.c.label == _states.c.label, _later.c.revision == _states.c.revision + 1))
    .exists()
)


def normalized_sentence(sentence: str) -> str:
    """A sentence without what does not change its meaning, to tell whether two are the same."""
    return " ".join(find_words(_WORD, unicodedata.normalize("NFC", sentence.casefold())))


class LabelStore:
    """Labels in a database that SQLAlchemy reaches. Safe to use from several threads and processes.

    Args:
        url: `sqlite:///FILE`, `postgresql+psycopg://...`

    Raises:
        InputError: the database cannot be reached, or there is no driver for it.
    """

    def __init__(self, url: str | URL) -> None:
        self._present: PresentLabels | None = None
        self._version: int | None = None  # of the database when `_present` was read
        self._remembering = threading.Lock()
        try:
            self._engine = _engine(url)
            self._changes = Changes(self._engine.url)
            self._writing = self._engine.execution_options(**{_WRITES: True})
            try:
                _metadata.create_all(self._writing)
            except (IntegrityError, ProgrammingError):  # another process made the table between the look and the making
                _metadata.create_all(self._writing)
            self._add_later_columns()
            with self._engine.connect() as connection:
                connection.execute(
                    select(_states).limit(1)
                ).all()  # a table of the same name but other columns is found out now
        except (ArgumentError, NoSuchModuleError, ImportError) as error:
            raise InputError(f"--database: {_first_line(error)}; for PostgreSQL install cfmr[postgres]") from error
        except SQLAlchemyError as error:
            raise InputError(f"--database: cannot be opened ({_first_line(error)})") from error

    def _add_later_columns(self) -> None:
        """A table of before negative labels gets their column."""

        def missing() -> bool:
            return "absent" not in {column["name"] for column in inspect(self._engine).get_columns(_states.name)}

        if not missing():
            return
        kind = _states.c.absent.type.compile(self._engine.dialect)
        default = "0" if self._engine.dialect.name == "sqlite" else "false"
        try:
            with self._writing.begin() as connection:
                connection.exec_driver_sql(
                    f"ALTER TABLE {_states.name} ADD COLUMN absent {kind} NOT NULL DEFAULT {default}"
                )
        except (OperationalError, ProgrammingError):
            if missing():  # unless another process was faster
                raise

    def close(self) -> None:
        """Give connections back."""
        self._changes.close()
        self._engine.dispose()

    # --- reading ------------------------------------------------------------------------------------------------------

    def present(self) -> PresentLabels:
        """All present labels, kept in memory; what anyone has written since is read."""
        version = self._changes.version()
        known = self._present
        if known is not None and version is not None and version == self._version:
            return known
        states = self._states()  # they are only ever added, so their number says whether any was
        with self._remembering:
            if self._present is None or self._present.states < states:
                self._present = self._remembered(self._present, states)
            if self._present.states == states:
                self._version = version
            return self._present

    def _states(self) -> int:
        with self._engine.connect() as connection:
            return connection.scalar(select(func.count()).select_from(_states)) or 0

    def _remembered(self, before: PresentLabels | None, states: int) -> PresentLabels:
        """With what was written since, if its time says which that is; else everything is read."""
        with self._engine.connect() as connection:
            if before is not None and before.labels:
                fresh = _states.c.at >= before.labels[0].at - OVERLAP
                if self._engine.dialect.name == "sqlite":  # it numbers rows as they come, and none is ever deleted
                    fresh = literal_column("rowid") > before.states
                found = before.with_more(_read(connection, select(_states).where(fresh)))
                if found.states >= states:
                    return found
            with collector_paused():
                return PresentLabels.of(_read(connection, select(_states)))

    def all(self, video: str | None = None, limit: int | None = None, offset: int = 0) -> list[Label]:
        """Present labels, the newest first."""
        present = self.present()
        labels = present.labels if video is None else present.by_video.get(video, [])
        return list(labels[offset : None if limit is None else offset + limit])

    def counts(self) -> Mapping[str, int]:
        """How many labels each video has."""
        return self.present().counts

    def get(self, label: str) -> Label:
        """The newest state of a label, which may be deleted. Raises Problem if there is none."""
        with self._engine.connect() as connection:
            return _find(connection, label)

    def history(self, label: str) -> list[Label]:
        """All states of a label, the oldest first."""
        query = select(_states).where(_states.c.label == label).order_by(_states.c.revision)
        with self._engine.connect() as connection:
            return [_label(row) for row in connection.execute(query)]

    # --- writing ------------------------------------------------------------------------------------------------------

    def add(self, annotation: Annotation, author: str, label: str | None = None) -> Label:
        """Write a new label down.

        Args:
            label: its id, chosen by who asks, so that asking twice after a lost answer makes one label.

        Raises:
            Problem: the id is that of another label.
        """
        new = Label(label or uuid.uuid4().hex, 1, annotation, author, _now())
        try:
            with self._writing.begin() as connection:
                new = replace(new, held_out=_is_held_out(connection, annotation, _count(connection)))
                _write(connection, [new])
        except IntegrityError:
            there = self.history(new.id)[0]
            if there.annotation != annotation:
                raise Problem(409, "another label has that id") from None
            return self.get(new.id)
        return new

    def change(
        self, label: str, revision: int, author: str, *, sentence: str | None = None, glance: float | None = None
    ) -> Label:
        """Change the sentence, the time or both. Raises Problem if someone else was faster."""

        def changed(now: Label) -> Label:
            annotation = now.annotation
            return replace(
                now,
                annotation=replace(
                    annotation,
                    sentence=annotation.sentence if sentence is None else sentence,
                    glance=annotation.glance if glance is None else glance,
                ),
            )

        return self._next(label, revision, author, changed)

    def delete(self, label: str, revision: int, author: str) -> Label:
        """Take a label back; `undo` brings it again. Raises Problem if someone else was faster."""
        return self._next(label, revision, author, lambda now: replace(now, deleted=True))

    def undo(self, label: str, revision: int, author: str, *, current: int | None = None) -> Label:
        """Make a label what it was before a revision.

        Args:
            revision: what is undone.
            current: the revision that the label has now, where that is another: steps are undone one by one, and each
                undoing is a state of its own.

        Raises:
            Problem: someone else has changed it since.
        """
        states = self.history(label)
        before = next((s for s in states if s.revision == revision - 1), None)

        def undone(now: Label) -> Label:
            if before is None:
                return replace(now, deleted=True)
            return replace(now, annotation=before.annotation, deleted=before.deleted)

        return self._next(label, current or revision, author, undone, deleted_too=True)

    def move(self, video: str, name: str) -> int:
        """Labels of a video become those of another name; returns how many."""
        moved = [
            replace(
                now,
                annotation=replace(now.annotation, video=name),
                revision=now.revision + 1,
                at=_now(),
            )
            for now in self.all(video)
        ]
        with self._writing.begin() as connection:
            _write(connection, moved)
        return len(moved)

    def take_in(self, annotations: Sequence[Annotation], author: str) -> tuple[int, int]:
        """Add those that are not there yet: (added, already there).

        A thousand rows hold the database's lock only as long as a few do: they come in pieces, between which others
        write. If one fails, those before it stay, and taking in the same again adds the rest.
        """
        added = 0
        for first in range(0, len(annotations), PIECE):
            if first:
                time.sleep(PAUSE)
            added += self._take_in_piece(annotations[first : first + PIECE], author)
        return added, len(annotations) - added

    def _take_in_piece(self, annotations: Sequence[Annotation], author: str) -> int:
        now, labels = _now(), list[Label]()
        said = [_said(a) for a in annotations]  # worked out before the database is locked for others
        with self._writing.begin() as connection:
            sides, there = dict[tuple[str, str], bool](), {absent: LabelledMoments() for absent in (False, True)}
            for row in connection.execute(_saying(set(said))):
                if not row.absent:
                    sides[row.video, row.said] = bool(row.held_out)
                if row.present:
                    there[bool(row.absent)].add((row.video, row.said), _label(row).annotation)
            count = _count(connection)
            for key, a in zip(said, annotations, strict=True):
                if there[a.absent].has(key, a):
                    continue
                there[a.absent].add(key, a)
                side = False
                if not a.absent:
                    side = sides.setdefault(key, count % HELD_OUT == HELD_OUT // 2)
                    count += 1
                labels.append(Label(uuid.uuid4().hex, 1, a, author, now, held_out=side))
            _write(connection, labels)
        return len(labels)

    def _next(
        self, label: str, revision: int, author: str, change: Callable[[Label], Label], *, deleted_too: bool = False
    ) -> Label:
        """Write the state after `revision`; that its number is free is what makes it the only one."""
        try:
            with self._writing.begin() as connection:
                now = _find(connection, label)
                if now.revision != revision:
                    raise _overtaken(now)
                if now.deleted and not deleted_too:
                    raise Problem(404, "this label is deleted")
                following = replace(change(now), revision=revision + 1, author=author, at=_now())
                _write(connection, [following])
        except IntegrityError:
            raise _overtaken(self.get(label)) from None
        return following


def split_held_out(labels: Iterable[Label]) -> tuple[list[Annotation], list[Annotation]]:
    """What to train on, and what is held out; what was changed to say the same as a held-out label is in neither.

    Negative labels are in neither: see `negatives_of`.
    """
    labels = [label for label in labels if not label.annotation.absent]
    held_out = [label.annotation for label in labels if label.held_out]
    secret = set(map(_said, held_out))
    return [a for label in labels if not label.held_out and _said(a := label.annotation) not in secret], held_out


def negatives_of(labels: Iterable[Label]) -> list[Annotation]:
    """Negative labels to train on; those of a sentence and video of which a label is held out are left out."""
    labels = list(labels)
    secret = {_said(label.annotation) for label in labels if label.held_out}
    return [a for label in labels if (a := label.annotation).absent and _said(a) not in secret]


def _count(connection: Connection) -> int:
    """How many labels there ever were, but for negative ones."""
    return connection.scalar(select(func.count()).where(_states.c.revision == 1, ~_states.c.absent)) or 0


def _is_held_out(connection: Connection, annotation: Annotation, number: int) -> bool:
    """Whether the label of this number (from 0) is held out; a negative one never is."""
    if annotation.absent:
        return False
    video, said = _said(annotation)
    alike = _states.c.video == video, _states.c.said == said, ~_states.c.absent
    there = select(_states.c.held_out).where(*alike).limit(1)
    found = connection.scalar(there)
    return number % HELD_OUT == HELD_OUT // 2 if found is None else bool(found)


def _saying(said: Iterable[tuple[str, str]]) -> Select[Any]:
    """All states that say one of some normalized sentences of their videos, and which of them hold."""
    c = _states.c
    return select(_states, and_(_newest, ~c.deleted).label("present")).where(tuple_(c.video, c.said).in_(list(said)))


def _overtaken(now: Label) -> Problem:
    return Problem(409, f"{now.author or 'someone'} changed this label; reload it", revision=now.revision)


def _said(a: Annotation) -> tuple[str, str]:
    return a.video, normalized_sentence(a.sentence)


def _now() -> datetime:
    return datetime.now(UTC)


def _find(connection: Connection, label: str) -> Label:
    row = connection.execute(select(_states).where(_states.c.label == label, _newest)).first()
    if row is None:
        raise Problem(404, "there is no such label")
    return _label(row)


def _read(connection: Connection, query: Select[Any]) -> list[Label]:
    """The newest of the states that a query finds, of each label one."""
    newest: dict[str, Any] = {}
    for rows in connection.execute(query).partitions(READ_AT_ONCE):  # between pieces other threads have their turn
        for row in rows:
            known = newest.get(row[0])
            if known is None or known[1] < row[1]:
                newest[row[0]] = row
    found = []
    for label, revision, video, duration, sentence, glance, start, end, author, at, *flags in newest.values():
        deleted, held_out, _, absent = flags
        span = None if start is None else (start, end)
        annotation = Annotation(video, duration, sentence, glance, span, absent=absent)
        found.append(Label(label, revision, annotation, author, at if at.tzinfo else _of_utc(at), deleted, held_out))
    return found


def _of_utc(at: datetime) -> datetime:
    """SQLite forgets the zone, which is always UTC."""
    return at.replace(tzinfo=UTC)


def _label(row: Row[Any]) -> Label:
    span = None if row.span_start is None else (row.span_start, row.span_end)
    annotation = Annotation(row.video, row.duration, row.sentence, row.glance, span, absent=bool(row.absent))
    at = row.at if row.at.tzinfo else _of_utc(row.at)
    return Label(row.label, row.revision, annotation, row.author, at, row.deleted, row.held_out)


def _write(connection: Connection, labels: Sequence[Label]) -> None:
    if labels:
        connection.execute(insert(_states), list(_values(labels)))


def _values(labels: Iterable[Label]) -> Iterator[Mapping[str, Any]]:
    for label in labels:
        a = label.annotation
        start, end = a.span or (None, None)
        yield {
            "label": label.id,
            "revision": label.revision,
            "video": a.video,
            "duration": a.duration,
            "sentence": a.sentence,
            "glance": a.glance,
            "span_start": start,
            "span_end": end,
            "author": label.author,
            "at": label.at,
            "deleted": label.deleted,
            "held_out": label.held_out,
            "said": normalized_sentence(a.sentence),
            "absent": a.absent,
        }


def _engine(url: str | URL) -> Engine:
    parsed = make_url(url)
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    sqlite = parsed.get_backend_name() == "sqlite"
    engine = create_engine(parsed, pool_pre_ping=not sqlite, connect_args={"timeout": 30} if sqlite else {})
    if sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _begin_sqlite(connection: Connection) -> None:
    """Writers use BEGIN IMMEDIATE; upgrading a read lock can deadlock in SQLite."""
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _prepare_sqlite(connection: Any, _: Any) -> None:
    """Readers and one writer at once, and what was answered survives a power cut."""
    connection.isolation_level = None  # the driver would begin transactions late; `begin` above does it
    cursor = connection.cursor()
    for attempt in range(1, 51):  # SQLite does not wait for its lock here, and another process may hold it
        try:
            if cursor.execute("PRAGMA journal_mode").fetchone() != ("wal",):
                cursor.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError:
            if attempt == 50:
                raise
            time.sleep(0.1)
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _first_line(error: BaseException) -> str:
    origin = error.orig if isinstance(error, OperationalError) and error.orig else error
    return str(origin).split("\n")[0]
