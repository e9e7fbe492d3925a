"""Where an index is: a directory, or an address of a server. What an address means is its store's business."""

import os
import re
from abc import ABC, abstractmethod
from pathlib import Path

_SCHEME = re.compile(r"([a-z][a-z0-9+]+):/")  # an address that went through `pathlib` has lost a slash


class IndexAddress(ABC):
    """An index on a server; each such store has its own."""

    @abstractmethod
    def __str__(self) -> str:
        """As it is written: `scheme://...`."""


IndexLocation = Path | IndexAddress
GivenLocation = str | os.PathLike[str] | IndexAddress  # as a user writes it


def scheme_of(given: GivenLocation) -> str:
    """What stands before `://` in an address; nothing for a directory."""
    found = _SCHEME.match(str(given))
    return "" if found is None else found[1]


def is_address(given: GivenLocation) -> bool:
    """Whether an index is on a server."""
    return bool(scheme_of(given))


def has_index(location: Path) -> bool:
    """Whether an index may be there; of a server only opening it tells."""
    return is_address(location) or location.exists()
