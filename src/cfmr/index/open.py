"""The one list of index stores.

A store is a package with three functions: `parse_location(given)` reads where an index is, `open_index(location,
verify)` gives an `Index`, `open_writer(location, create)` an `IndexWriter` for as long as a block runs.
"""

import os
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Any

from cfmr.errors import InputError
from cfmr.index.base import Index, IndexWriter
from cfmr.index.location import GivenLocation, IndexAddress, IndexLocation, scheme_of
from cfmr.index.workspace import served_index

#: Scheme of an address -> package of its store, imported when it is asked for. A directory has no scheme.
STORES = {
    "": "cfmr.index.embedded",
    "milvus": "cfmr.index.milvus",
    "milvus+tls": "cfmr.index.milvus",
}


def _store(given: GivenLocation) -> Any:
    scheme = scheme_of(given)
    if scheme not in STORES:
        raise InputError(f"{given}: an index is a directory, or milvus://host:port/collection")
    return import_module(STORES[scheme])


def parse_location(given: GivenLocation) -> IndexLocation:
    """Where an index is, from what a user writes: a directory or an address; of a workspace, the index that it serves.

    Raises:
        InputError: an address that is none, or a workspace without an index.
    """
    if isinstance(given, IndexAddress):
        return given
    if not scheme_of(given):
        given = served_index(Path(given))
    location: IndexLocation = _store(given).parse_location(os.fspath(given))
    return location


def open_index(location: IndexLocation, verify: bool = True) -> Index:
    """Open an index for searching.

    Args:
        verify: compare all files with their checksums, where the store keeps any; without it, only their sizes.

    Raises:
        InputError: there is no index, it is damaged, or its server does not answer; names the file or address.
    """
    index: Index = _store(location).open_index(location, verify)
    return index


def open_writer(location: IndexLocation, create: bool = True) -> AbstractContextManager[IndexWriter]:
    """Open an index for writing, or with `create` begin one; the block's end gives up what was not committed.

    Raises:
        InputError: another process writes it, it is damaged, there is something else, or there is no index and none is
            to be made.
    """
    writer: AbstractContextManager[IndexWriter] = _store(location).open_writer(location, create)
    return writer
