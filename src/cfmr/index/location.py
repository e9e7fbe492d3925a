"""Where an index is: a directory, or a collection of a Milvus server."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from cfmr.errors import InputError

PORT = 19530
_ADDRESS = re.compile(
    r"(?P<scheme>milvus(?:\+tls)?):/{1,2}(?P<host>\[[0-9a-fA-F:]+\]|[^/:@\s]+)(:(?P<port>\d+))?/(?P<rest>.*)"
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")


@dataclass(frozen=True, slots=True)
class MilvusAddress:
    """`milvus://host:port/collection`; a database of the server may stand before the collection's name.

    Args:
        secure: `milvus+tls://`, an encrypted connection.
    """

    host: str
    port: int
    collection: str
    database: str = ""
    secure: bool = False

    def __str__(self) -> str:
        scheme = "milvus+tls" if self.secure else "milvus"
        return f"{scheme}://{self.host}:{self.port}/{f'{self.database}/' * bool(self.database)}{self.collection}"

    @property
    def uri(self) -> str:
        """As the client library takes it."""
        return f"{'https' if self.secure else 'http'}://{self.host}:{self.port}"


Place = Path | MilvusAddress


def is_address(text: str | os.PathLike[str] | MilvusAddress) -> bool:
    """Whether an index is on a server. An address that went through `pathlib` has lost a slash, and still counts."""
    return isinstance(text, MilvusAddress) or os.fspath(text).startswith(("milvus:/", "milvus+tls:/"))


def has_index(place: Path) -> bool:
    """Whether an index may be there; of a server only opening it tells."""
    return is_address(place) or place.exists()


def parse_place(text: str | os.PathLike[str] | MilvusAddress) -> Place:
    """A directory or an address.

    Raises:
        InputError: an address that is none.
    """
    if isinstance(text, MilvusAddress):
        return text
    given = os.fspath(text)
    if not is_address(given):
        if "://" in given:
            raise InputError(f"{given}: an index is a directory, or milvus://host:port/collection")
        return Path(given)
    found = _ADDRESS.fullmatch(given)
    names = found["rest"].split("/") if found else []
    if not found or not 1 <= len(names) <= 2 or not 0 < int(found["port"] or PORT) < 65536:
        raise InputError(f"{given}: not an address; write it as milvus://host:port/collection")
    for name in names:
        if not _NAME.fullmatch(name):
            raise InputError(
                f"{given}: {name!r} cannot be a collection's name; use letters, digits and _, no digit first"
            )
    return MilvusAddress(
        host=found["host"],
        port=int(found["port"] or PORT),
        collection=names[-1],
        database=names[0] if len(names) == 2 else "",
        secure=found["scheme"] == "milvus+tls",
    )
