"""An index in a directory. Everything in it is immutable but `manifest.json`, which names the rest and is replaced in
one rename; see `manifest.py` for the layout, `reader.py` for searching, `writer.py` for adding, replacing and removing.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cfmr.index.embedded.reader import EmbeddedIndex
    from cfmr.index.embedded.writer import EmbeddedWriter


def parse_location(given: str) -> Path:
    """Any path is one."""
    return Path(given)


def open_index(location: Path, verify: bool) -> "EmbeddedIndex":
    """See `cfmr.index.open`."""
    from cfmr.index.embedded.reader import EmbeddedIndex

    return EmbeddedIndex.open(location, verify)


def open_writer(location: Path, create: bool) -> "AbstractContextManager[EmbeddedWriter]":
    """See `cfmr.index.open`."""
    from cfmr.index.embedded.writer import EmbeddedWriter

    return EmbeddedWriter.open(location, create=create)
