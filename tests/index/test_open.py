"""Where an index is, from what a user writes."""

import subprocess
import sys
from pathlib import Path

import pytest

from cfmr.errors import InputError
from cfmr.index.open import STORES, open_index, open_writer, parse_location


def test_a_path_is_a_directory(tmp_path: Path) -> None:
    assert parse_location(tmp_path / "index") == tmp_path / "index"
    assert parse_location(str(tmp_path / "index")) == tmp_path / "index"


def test_an_address_is_kept_as_it_was_understood() -> None:
    address = parse_location("milvus://host:19530/films")
    assert parse_location(address) is address


def test_a_scheme_that_no_store_has_is_refused_with_what_there_is() -> None:
    with pytest.raises(InputError, match="redis://host/films: an index is a directory, or milvus://host:port/collec"):
        parse_location("redis://host/films")


def test_what_is_no_index_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        open_index(tmp_path / "nowhere")
    with pytest.raises(InputError, match="nowhere"), open_writer(tmp_path / "nowhere", create=False):
        pass
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("package", sorted(set(STORES.values())))
def test_a_store_is_imported_only_when_it_is_asked_for(package: str) -> None:
    code = f"import sys, cfmr.index.open; sys.exit({package!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
