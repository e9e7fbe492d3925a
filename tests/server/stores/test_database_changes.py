import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from cfmr.server.stores.database_changes import Changes


def test_the_version_changes_whenever_someone_has_written_and_only_then(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "x.sqlite", isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("CREATE TABLE t (a)")
        changes = Changes(make_url(f"sqlite:///{tmp_path / 'x.sqlite'}"))
        before = changes.version()
        assert before is not None
        assert other.execute("SELECT count(*) FROM t").fetchone() == (0,)
        assert changes.version() == before
        other.execute("INSERT INTO t VALUES (1)")
        after = changes.version()
        assert after != before
        assert changes.version() == after
        changes.close()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "postgresql+psycopg://host/name"])
def test_of_other_databases_nothing_is_told(url: str) -> None:
    assert Changes(make_url(url)).version() is None


def test_a_file_that_is_no_database_is_left_to_whoever_reads_it(tmp_path: Path) -> None:
    (tmp_path / "x.sqlite").write_bytes(b"no database" * 100)
    assert Changes(make_url(f"sqlite:///{tmp_path / 'x.sqlite'}")).version() is None
