"""Sheets of small pictures for the time line, made in the background: what was asked for last comes first."""

import fcntl
import functools
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cfmr.server.problems import Problem
from cfmr.server.stores.decoding import Decoders
from cfmr.server.stores.kept import Kept
from cfmr.video.sheet import PICTURES

INTERVALS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0, 600.0, 1800.0)  # seconds between two pictures
MOST = 2000  # sheets that are kept, of some 50 KB
MOST_WANTED = 64  # that wait; of more, those asked for first are forgotten
MOST_REFUSED = 1000  # of which it is remembered that they cannot be made
SECONDS = 60.0  # for one sheet
NICENESS = 10
_LOOK = 0.1  # seconds between two looks at whether another process still makes one


@dataclass(frozen=True, slots=True)
class _Wish:
    source: Path
    start: float
    interval: float


class Sheets:
    """Sheets that are made one at a time, by whichever server process holds the lock, and kept.

    Args:
        folder: where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._kept = Kept(folder, MOST, workers=1)
        self._decoders = Decoders(1, NICENESS)
        self._wanted: OrderedDict[Path, _Wish] = OrderedDict()
        self._refused: OrderedDict[Path, Problem] = OrderedDict()
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def get(self, source: Path, interval: float, number: int) -> Path | None:
        """The sheet with a number, of pictures so many seconds apart; None while it is being made.

        Raises:
            Problem: there is no such interval, or no such sheet can be made.
        """
        if interval not in INTERVALS:
            raise Problem(422, f"interval is one of {', '.join(f'{one:g}' for one in INTERVALS)}")
        place = self._kept.place(source, f"{interval:g} {number}", ".jpg")
        if self._kept.has(place):
            return place
        with self._change:
            if place in self._refused:
                refused = self._refused[place]
                raise Problem(refused.status_code, refused.detail)
            self._wanted[place] = _Wish(source, number * PICTURES * interval, interval)
            self._wanted.move_to_end(place)
            while len(self._wanted) > MOST_WANTED:
                self._wanted.popitem(last=False)
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._work, name="sheets", daemon=True)
                self._thread.start()
            self._change.notify()
        return None

    def close(self) -> None:
        """Break off what is being made."""
        self._closed.set()
        with self._change:
            self._wanted.clear()
            self._change.notify()
        self._decoders.break_off()
        if self._thread is not None:
            self._thread.join(5)
        self._decoders.close()

    def _work(self) -> None:
        while not self._closed.is_set():
            with self._change:
                if not self._wanted:
                    self._change.wait()
                    continue
            try:
                with self._turn() as mine:
                    if mine:
                        self._make_newest()
            except OSError:  # the folder is gone, or the disk full: whoever still wants a sheet asks again
                with self._change:
                    self._wanted.clear()

    def _make_newest(self) -> None:
        with self._change:
            place, wish = next(reversed(self._wanted.items()), (None, None))
        if place is None or wish is None:
            return
        try:
            self._kept.make(place, functools.partial(self._make, wish))
        except Problem as problem:
            self._refuse(place, problem)
        with self._change:
            self._wanted.pop(place, None)

    def _make(self, wish: _Wish, out: Path) -> None:
        if self._closed.is_set():
            raise Problem(503, "the server ends")
        where = {"start": wish.start, "interval": wish.interval}
        self._decoders.ask("sheet", wish.source, SECONDS, out=str(out), **where)

    def _refuse(self, place: Path, problem: Problem) -> None:
        if problem.status_code == 507:  # there may be room the next time
            return
        with self._change:
            self._refused[place] = problem
            while len(self._refused) > MOST_REFUSED:
                self._refused.popitem(last=False)

    @contextmanager
    def _turn(self) -> Iterator[bool]:
        """Hold the lock that all server processes of a workspace share; False if this one ends before it is free."""
        with open(self._kept.folder / ".turn", "w") as file:
            while not self._closed.is_set():
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    self._closed.wait(_LOOK)
                    continue
                yield True
                return
            yield False
