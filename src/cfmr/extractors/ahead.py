"""Working ahead: what is needed next is made while what is there is used."""

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


@contextmanager
def ahead(items: Iterator[Item], depth: int = 2) -> Iterator[Iterator[Item]]:
    """The same items, made by a thread of their own up to `depth` ahead. Its errors are raised where they are used.

    When the block ends, the thread has ended too.
    """
    made: queue.Queue[tuple[bool, Item | BaseException | None]] = queue.Queue(depth)
    stopped = threading.Event()

    def put(entry: tuple[bool, Item | BaseException | None]) -> None:
        while not stopped.is_set():
            try:
                made.put(entry, timeout=0.1)
                return
            except queue.Full:
                continue

    def make() -> None:
        try:
            for item in items:
                put((True, item))
                if stopped.is_set():
                    return
            put((False, None))
        except BaseException as error:  # noqa: BLE001  (raised again by whoever uses the items)
            put((False, error))

    def taken() -> Iterator[Item]:
        while True:
            more, item = made.get()
            if more:
                yield item  # type: ignore[misc]
            elif item is None:
                return
            else:
                raise item  # type: ignore[misc]

    thread = threading.Thread(target=make, daemon=True)
    try:
        thread.start()  # an interrupt may come while it starts: then it has to end, too
        yield taken()
    finally:
        stopped.set()
        if thread.ident is not None:
            thread.join()
