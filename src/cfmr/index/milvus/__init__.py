"""An index in a Milvus server: for collections that one machine does not hold.

An address names an alias. It points to the moments of one model, a collection whose description says so; beside it are
two small ones, for what is known of the videos and for the files that a searching client needs. See `layout.py` for
what is kept, `reader.py` for searching and `writer.py` for filling.
"""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from cfmr.index.milvus.address import MilvusAddress, parse_address

if TYPE_CHECKING:
    from cfmr.index.milvus.reader import MilvusIndex
    from cfmr.index.milvus.writer import MilvusWriter


def parse_location(given: str) -> MilvusAddress:
    """See `cfmr.index.open`."""
    return parse_address(given)


def open_index(location: MilvusAddress, verify: bool) -> "MilvusIndex":
    """See `cfmr.index.open`. What a client has fetched before is always compared with its checksums."""
    from cfmr.index.milvus.reader import MilvusIndex  # its client library takes half a second to import

    return MilvusIndex.open(location)


def open_writer(location: MilvusAddress, create: bool) -> "AbstractContextManager[MilvusWriter]":
    """See `cfmr.index.open`."""
    from cfmr.index.milvus.writer import MilvusWriter

    return MilvusWriter.open(location, create)
