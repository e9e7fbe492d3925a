"""The one list of index stores."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Union

from cfmr.index.location import Place

if TYPE_CHECKING:
    from cfmr.index.milvus.writer import MilvusWriter
from cfmr.index.embedded.writer import IndexWriter, Limits

AnyWriter = Union[IndexWriter, "MilvusWriter"]


def open_writer(place: Place, limits: Limits | None = None) -> AbstractContextManager[AnyWriter]:
    """The writer of an index, wherever it is. Raises InputError as `IndexWriter.open`."""
    if isinstance(place, Path):
        return IndexWriter.open(place, limits)
    from cfmr.index.milvus.writer import MilvusWriter

    return MilvusWriter.open(place)
