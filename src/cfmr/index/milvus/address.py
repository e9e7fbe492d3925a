"""`milvus://host:port/collection`: the address of an index in a Milvus server."""

import re
from dataclasses import dataclass

from cfmr.errors import InputError
from cfmr.files.reading import natural
from cfmr.index.location import IndexAddress

PORT = 19530
_ADDRESS = re.compile(
    r"(?P<scheme>milvus(?:\+tls)?):/{1,2}(?P<host>\[[0-9a-fA-F:]+\]|[^/:@\s]+)(:(?P<port>\d+))?/(?P<rest>.*)"
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")


@dataclass(frozen=True, slots=True)
class MilvusAddress(IndexAddress):
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


def parse_address(given: str) -> MilvusAddress:
    """An address as a user writes it.

    Raises:
        InputError: it is none.
    """
    found = _ADDRESS.fullmatch(given)
    names = found["rest"].split("/") if found else []
    if not found or not 1 <= len(names) <= 2 or not 0 < (natural(found["port"] or str(PORT)) or 0) < 65536:
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
