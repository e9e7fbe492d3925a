"""Whether a database was written to since the last look, for next to nothing where it is SQLite."""

import sqlite3
import threading

from sqlalchemy.engine import URL


class Changes:
    """Looks at a SQLite file by a connection of its own that never writes, so that all writing is that of others.

    Args:
        url: of the database; of another kind, or in memory, none can be told.
    """

    def __init__(self, url: URL) -> None:
        at_hand = url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:")
        self._file = url.database if at_hand and not url.query else None
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    def version(self) -> int | None:
        """Another number whenever anyone, of any process, has written meanwhile; None if that cannot be told."""
        if self._file is None:
            return None
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = sqlite3.connect(self._file, check_same_thread=False, isolation_level=None)
                found: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
                return found
            except sqlite3.Error:  # whoever reads the database is told why
                return None

    def close(self) -> None:
        """Give the connection back."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
