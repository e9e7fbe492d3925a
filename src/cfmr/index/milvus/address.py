"""`milvus://host:port/collection`: the address of an index in a Milvus server.

With `?rows=FOLDER`, the rows that candidates are scored again with are in a folder instead of the server's memory.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from cfmr.errors import InputError
from cfmr.files.reading import natural
from cfmr.index.location import IndexAddress

PORT = 19530
_ADDRESS = re.compile(
    r"(?P<scheme>milvus(?:\+tls)?):/{1,2}(?P<host>\[[0-9a-fA-F:]+\]|[^/:@\s]+)(:(?P<port>\d+))?/(?P<rest>[^?]*)(\?rows=(?P<rows>.*))?"
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")


@dataclass(frozen=True, slots=True)
class MilvusAddress(IndexAddress):
    """`milvus://host:port/collection`; a database of the server may stand before the collection's name.

    Args:
        secure: `milvus+tls://`, an encrypted connection.
        rows: the folder of the rows; None if they are on the server.
    """

    host: str
    port: int
    collection: str
    database: str = ""
    secure: bool = False
    rows: Path | None = None

    def __str__(self) -> str:
        scheme = "milvus+tls" if self.secure else "milvus"
        name = f"{f'{self.database}/' * bool(self.database)}{self.collection}"
        return f"{scheme}://{self.host}:{self.port}/{name}{'' if self.rows is None else f'?rows={self.rows}'}"

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
    if found["rows"] == "":
        raise InputError(f"{given}: ?rows= names no folder; write it as milvus://host:port/collection?rows=FOLDER")
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
        rows=None if found["rows"] is None else Path(found["rows"]).expanduser().absolute(),
    )
