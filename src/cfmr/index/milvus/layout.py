"""What is kept in Milvus for an index, and under which names.

    NAME                    an alias of the generation that is searched
    NAME__G                 moments: row, video, tags, start, end, exact, vector
    NAME__G_videos          videos: number, key, id, state, duration, rows, tags, data
    NAME__G_files           files: the card, the text encoder, the vocabulary, the codec, in pieces; state and lock

`vector` is what FAISS is given in an index directory, the projection to at most 256 strong directions; Milvus keeps it
in one byte a number (IVF_SQ8). `exact` holds the row itself with its norms, 4 (d + K) bytes, of which what was found
is scored again; it is left out where rows are in a folder (`exact.py`). A row is its video's number shifted by
ROW_BITS, and its position in the video: so nothing is there twice, and the rows of a video can be named without asking.
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.index.base import Value, Video
from cfmr.index.codec import Floats
from cfmr.index.milvus.address import MilvusAddress
from cfmr.index.milvus.connection import Connection

FORMAT, VERSION = "cfmr-index-milvus", 1
ROW_BITS = 20  # a video has fewer rows than a million
PIECE = 45_000  # bytes of a file in one entity; base64 makes 60,000 characters of them
TAGS = 64  # metadata values of a video
STATE, LOCK = "state", "lock"

_Fields = list[tuple[str, Any, dict[str, Any]]]  # name, type, options
_DUMMY = [0.0, 0.0]  # every collection has to have a vector


class VideoState(IntEnum):
    """How far the writing or deleting of a video is; searches see the rows of those that are ready."""

    WRITING = 0
    READY = 1
    GONE = 2


@dataclass(frozen=True, slots=True)
class Generation:
    """The three collections of one model's index."""

    moments: str

    @property
    def videos(self) -> str:
        return f"{self.moments}_videos"

    @property
    def files(self) -> str:
        return f"{self.moments}_files"

    @property
    def collections(self) -> tuple[str, str, str]:
        return self.moments, self.videos, self.files


def describe(address: MilvusAddress, generation: Generation) -> str:
    """The description of a generation's moments, by which it is recognised through the alias."""
    value = {"format": FORMAT, "version": VERSION, "index": address.collection, "moments": generation.moments}
    return json.dumps(value)


def read_description(text: str) -> dict[str, Any] | None:
    """What `describe` wrote, or None for a collection that is none of ours."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) and value.get("format") == FORMAT else None


def hashed(text: str) -> int:
    """A 64-bit number for a text; equal texts are found by it, and compared then."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)


def tags(metadata: Mapping[str, Value]) -> list[int]:
    """Numbers for the values of a video's metadata, compared as text, as a filter from a shell is."""
    return sorted(hashed(f"{key}\0{value}") for key, value in metadata.items())


def filter_by(where: Mapping[str, Value]) -> str:
    """The expression for entities that have all of these values."""
    return " and ".join(f"array_contains(tags, {tag})" for tag in tags(where))


def row_ids(number: int, rows: int) -> range:
    """Primary keys of a video's rows."""
    return range(number << ROW_BITS, (number << ROW_BITS) + rows)


def packed(rows: Floats, scales: Floats | None) -> list[str]:
    """Rows (n, d) and scales (n, K) as texts, exactly."""
    whole = rows if scales is None else np.concatenate([rows, scales], axis=1)
    return [base64.b64encode(row.tobytes()).decode() for row in np.ascontiguousarray(whole, "<f4")]


def unpacked(texts: Sequence[str], width: int) -> tuple[Floats, Floats | None]:
    """Undo `packed`."""
    data = b"".join(map(base64.b64decode, texts))
    whole = np.frombuffer(data, "<f4").reshape(len(texts), -1) if texts else np.zeros((0, width), np.float32)
    return whole[:, :width], whole[:, width:] if whole.shape[1] > width else None


def piece_key(name: str, number: int) -> int:
    """Primary key of a piece of a file."""
    return hashed(f"{name}\0{number}")


def pieces(name: str, content: bytes) -> Iterator[dict[str, Any]]:
    """A file as entities."""
    for number, at in enumerate(range(0, max(len(content), 1), PIECE)):
        text = base64.b64encode(content[at : at + PIECE]).decode()
        yield {"piece": piece_key(name, number), "name": name, "number": number, "data": text, "vector": _DUMMY}


def upload(connection: Connection, generation: Generation, name: str, content: bytes) -> None:
    """Write a file of a generation, or replace it."""
    entities = list(pieces(name, content))
    for at in range(0, len(entities), 100):
        connection.call("upsert", generation.files, entities[at : at + 100], slow=True)


def video_entity(number: int, video: Video, state: VideoState) -> dict[str, Any]:
    """A video as an entity."""
    return {
        "number": number,
        "key": hashed(video.id),
        "id": video.id,
        "state": int(state),
        "duration": video.duration,
        "rows": video.rows,
        "tags": tags(video.metadata),
        "data": json.dumps([video.path, dict(video.metadata), video.fingerprint], ensure_ascii=False),
        "vector": _DUMMY,
    }


VIDEO_FIELDS = ["number", "id", "state", "duration", "rows", "data"]


def video_of(entity: Mapping[str, Any]) -> Video:
    """Undo `video_entity`; `first` is the number."""
    path, metadata, fingerprint = json.loads(entity["data"])
    return Video(entity["id"], entity["duration"], entity["rows"], entity["number"], path, metadata, fingerprint)


def moment_entities(
    number: int, tagged: list[int], spans: NDArray[np.float64], exact: list[str] | None, vectors: Floats
) -> list[dict[str, Any]]:
    """The rows of a video as entities; `exact` where they hold the rows themselves."""
    ids = row_ids(number, len(spans))
    entities: list[dict[str, Any]] = [
        {"row": row, "video": number, "tags": tagged, "start": start, "end": end, "vector": vector}
        for row, (start, end), vector in zip(ids, spans.tolist(), vectors, strict=True)
    ]
    for entity, text in zip(entities, exact or (), strict=False):
        entity["exact"] = text
    return entities


def make_files(connection: Connection, generation: Generation) -> None:
    """The collection of files."""
    types = connection.library.DataType
    fields: _Fields = [
        ("piece", types.INT64, {"is_primary": True}),
        ("name", types.VARCHAR, {"max_length": 256}),
        ("number", types.INT64, {}),
        ("data", types.VARCHAR, {"max_length": 65_535}),
    ]
    _make(connection, generation.files, fields, 2, "FLAT", {}, "")


def make_videos(connection: Connection, generation: Generation) -> None:
    """The collection of videos."""
    types = connection.library.DataType
    fields: _Fields = [
        ("number", types.INT64, {"is_primary": True}),
        ("key", types.INT64, {}),
        ("id", types.VARCHAR, {"max_length": 16_384}),
        ("state", types.INT64, {}),
        ("duration", types.DOUBLE, {}),
        ("rows", types.INT64, {}),
        ("tags", types.ARRAY, {"element_type": types.INT64, "max_capacity": TAGS}),
        ("data", types.VARCHAR, {"max_length": 65_535}),
    ]
    _make(connection, generation.videos, fields, 2, "FLAT", {}, "")


def make_moments(
    connection: Connection, generation: Generation, dim: int, exact_bytes: int, lists: int, shards: int
) -> None:
    """The collection of moments.

    Args:
        dim: of the vectors that are searched.
        exact_bytes: that hold a row exactly; 0 where rows are elsewhere.
        lists: inverted lists of each part of the collection.
        shards: over which writing is spread.
    """
    types = connection.library.DataType
    fields: _Fields = [
        ("row", types.INT64, {"is_primary": True}),
        ("video", types.INT64, {}),
        ("tags", types.ARRAY, {"element_type": types.INT64, "max_capacity": TAGS}),
        ("start", types.DOUBLE, {}),
        ("end", types.DOUBLE, {}),
    ]
    if exact_bytes:
        fields.append(("exact", types.VARCHAR, {"max_length": min(-(-exact_bytes // 3) * 4, 65_535)}))
    description = describe(connection.address, generation)
    _make(connection, generation.moments, fields, dim, "IVF_SQ8", {"nlist": lists}, description, shards)


def _make(
    connection: Connection,
    name: str,
    fields: _Fields,
    dim: int,
    index: str,
    parameters: dict[str, Any],
    description: str,
    shards: int = 1,
) -> None:
    schema = connection.library.MilvusClient.create_schema(
        auto_id=False, enable_dynamic_field=False, description=description
    )
    for field, kind, options in fields:
        schema.add_field(field, kind, **options)
    schema.add_field("vector", connection.library.DataType.FLOAT_VECTOR, dim=dim)
    index_params = connection.library.MilvusClient.prepare_index_params()
    index_params.add_index("vector", index_type=index, metric_type="IP", params=parameters)
    connection.call(
        "create_collection",
        name,
        schema=schema,
        index_params=index_params,
        num_shards=shards,
        consistency_level="Bounded",
        slow=True,
    )
