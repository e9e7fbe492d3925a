"""One writer at a time: a lease on a generation, kept in one of its files."""

import json
import os
import socket
import time

from cfmr.index.base import being_written
from cfmr.index.milvus import layout
from cfmr.index.milvus.connection import Connection, MissingCollectionError
from cfmr.index.milvus.layout import Generation
from cfmr.index.milvus.reader import read_piece

EXPIRY = 600.0  # seconds after which a writer on another machine that has not been heard of counts as dead


class Lease:
    """The right of this process to write generations of an index."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def take(self, generation: Generation) -> None:
        """Take or renew it. Raises InputError if a writer that is alive holds it."""
        self.check(generation)
        holder = {"host": socket.gethostname(), "process": os.getpid(), "seen": time.time()}
        layout.upload(self._connection, generation, layout.LOCK, json.dumps(holder).encode())

    def give_back(self, generation: Generation) -> None:
        """Let others write."""
        layout.upload(self._connection, generation, layout.LOCK, b"{}")

    def check(self, generation: Generation) -> None:
        """Raises InputError if another writer that is alive holds it."""
        try:
            content = read_piece(self._connection, generation, layout.LOCK, strongly=True)
        except MissingCollectionError:
            return
        held = json.loads(content) if content else {}
        if not held or (held["host"], held["process"]) == (socket.gethostname(), os.getpid()):
            return
        here = held["host"] == socket.gethostname()
        if _is_alive(int(held["process"])) if here else time.time() - float(held["seen"]) < EXPIRY:
            raise being_written(self._connection.address, f"{held['process']} on {held['host']}")


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
