"""A third store, as small as one can be: indexes that live in this process."""

from cfmr.index.location import IndexAddress

from .store import MemoryAddress, MemoryIndex, MemoryWriter, open_writer

__all__ = ["MemoryIndex", "MemoryWriter", "open_index", "open_writer", "parse_location"]


def parse_location(given: str) -> IndexAddress:
    return MemoryAddress(given.partition(":/")[2].strip("/"))


def open_index(location: MemoryAddress, verify: bool) -> MemoryIndex:
    return MemoryIndex(location)
