"""Reading an index in Milvus: its candidates, scored again from the exact rows."""

import base64
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.errors import InputError
from cfmr.files.atomic import cache_folder, replacing_directory
from cfmr.index.base import (
    CARD,
    CODEC,
    Hit,
    Selection,
    SelectionCache,
    StaleIndexError,
    Value,
    Video,
    matches,
    no_index,
    no_such_metadata,
    no_such_video,
    top_k,
)
from cfmr.index.card import load_card
from cfmr.index.codec import Codec, Floats, PreparedQuery
from cfmr.index.files import FileRecord, part_file, read_array
from cfmr.index.milvus import layout
from cfmr.index.milvus.address import MilvusAddress
from cfmr.index.milvus.connection import Connection, MissingCollectionError
from cfmr.index.milvus.exact import MissingRowsError, exact_rows
from cfmr.index.milvus.layout import Generation, VideoState
from cfmr.index.projection import PROJECTION, project
from cfmr.index.tuning import nprobe_factor, num_candidates

FEW_ROWS = 2048  # a filter that leaves no more rows than this is searched exactly
PAGE = 4096  # entities asked for at a time
MAX_LIMIT = 16_384  # entities that the server gives in one answer
CACHED_VIDEOS = 100_000
OFFERED = 50_000  # videos among which a similar name is looked for

_FOUND = ["video", "start", "end"]


@dataclass(frozen=True, slots=True)
class FilterSelection(Selection):
    """A selection as Milvus takes it: videos by number, if a few are named, and an expression."""

    expression: str = ""


@dataclass(slots=True)
class Effort:
    """How much of an index is looked at: lists of each part of `lists`, and finds that are scored again."""

    lists: int
    nprobe: int = 16
    rerank: int = 256


class MilvusIndex:
    """An index in Milvus, opened at one generation. Safe to use from several threads."""

    def __init__(self, connection: Connection, generation: Generation) -> None:
        self.connection, self._names = connection, generation
        self.root = connection.address
        self.state = read_state(connection, generation)
        self.model_path = fetch_files(connection, generation, self.state["files"])
        self.card = load_card(self.model_path / CARD)
        self.codec, self.projection = read_codec(self.model_path, self.state["files"], int(self.card["width"]))
        concepts = 0 if self.codec.weight is None else len(self.codec.weight)
        self._exact = exact_rows(self.root, generation, self.state, self.codec.width, concepts)
        self._fields = [*_FOUND, *self._exact.fields]
        self.ann = Effort(**self.state["effort"])
        self._videos: dict[int, Video] = {}
        self._numbers: dict[str, int] = {}
        self._gone: set[int] = set()  # videos whose rows are, whatever a late answer of the server says
        self._lock = threading.Lock()
        self._selections = SelectionCache(FilterSelection(int(self.state["rows"]), True), self._select_matching)

    @classmethod
    def open(cls, address: MilvusAddress, connection: Connection | None = None) -> "MilvusIndex":
        """Open what the alias points to.

        Raises:
            InputError: nobody answers, there is no such index, or it is damaged.
        """
        connection = connection or Connection(address)
        while True:
            generation = find_generation(connection)
            if generation is None:
                raise no_index(address, _others(connection))
            try:
                return cls(connection, generation)
            except MissingCollectionError as error:  # replaced between two questions
                if find_generation(connection) == generation:
                    raise InputError(f"{address}: the index is damaged ({error}); build it again") from error

    @property
    def generation(self) -> int:
        """Rises by one with every change of the index."""
        return int(self.state["generation"])

    def changed(self) -> bool:
        """Whether the index has changed since it was opened."""
        now = find_generation(self.connection)
        if now != self._names:
            return True
        try:
            return int(read_state(self.connection, self._names)["generation"]) != self.generation
        except MissingCollectionError:
            return True

    @property
    def metrics(self) -> Mapping[str, Any]:
        """What was measured of the index when it was written."""
        metrics: dict[str, Any] = self.state["notes"]
        return metrics

    @property
    def engine(self) -> str:
        """How a search is done."""
        return "ivf"

    def __len__(self) -> int:
        """Rows of all videos."""
        return self._selections.everything.rows

    def videos(self) -> list[Video]:
        """All videos, in the order in which they were added."""
        try:
            return [v for v, state in all_videos(self.connection, self._names) if state == VideoState.READY]
        except MissingCollectionError as error:
            raise StaleIndexError(str(error)) from error

    def video(self, name: str) -> Video:
        """One video. Raises InputError if the index has none of that name."""
        return self._cached([self._number(name)])[self._number(name)]

    def _number(self, name: str) -> int:
        if name not in self._numbers:
            self._lookup([name])
        if name in self._numbers:
            return self._numbers[name]
        few = int(self.state["videos"]) <= OFFERED
        raise no_such_video(self.root, name, (video.id for video in self.videos()) if few else ())

    def _lookup(self, names: Sequence[str]) -> None:
        """Learn the numbers of these videos, where they are in the index."""
        for at in range(0, len(names), PAGE):
            keys = [layout.hashed(name) for name in names[at : at + PAGE]]
            found = self._ask("query", self._names.videos, filter=f"key in {keys}", output_fields=layout.VIDEO_FIELDS)
            self._cache(found)

    def _cache(self, entities: Iterable[Mapping[str, Any]]) -> None:
        with self._lock:
            if len(self._videos) > CACHED_VIDEOS:
                self._videos.clear()
                self._numbers.clear()
            for entity in entities:
                if entity["state"] == VideoState.READY and entity["number"] not in self._gone:
                    self._videos[entity["number"]] = layout.video_of(entity)
                    self._numbers[entity["id"]] = entity["number"]

    def _cached(self, numbers: Iterable[int]) -> dict[int, Video]:
        """What is known of videos; those that are only being written, or taken out, are not among them."""
        wanted = set(numbers)
        missing = sorted(wanted - self._videos.keys())
        for at in range(0, len(missing), PAGE):
            asked = f"number in {missing[at : at + PAGE]}"
            self._cache(self._ask("query", self._names.videos, filter=asked, output_fields=layout.VIDEO_FIELDS))
        return {number: self._videos[number] for number in wanted if number in self._videos}

    def select(self, videos: Sequence[str] | None = None, where: Mapping[str, Value] | None = None) -> FilterSelection:
        """The rows of these videos (None: all) whose metadata has all of `where`.

        Raises:
            InputError: a video is not in the index, or no video has such metadata.
        """
        return self._selections.get(videos, where)

    def _select_matching(self, videos: Sequence[str] | None, where: Mapping[str, Value]) -> FilterSelection:
        if videos is None:
            expression = layout.filter_by(where)
            rows = self._count(expression)
        else:
            names = list(dict.fromkeys(videos))
            self._lookup([name for name in names if name not in self._numbers])
            known = self._cached([self._number(name) for name in names])
            chosen = sorted(number for number, video in known.items() if matches(video, where))
            expression, rows = f"video in {chosen}", sum(known[number].rows for number in chosen)
        if where and not rows:
            raise no_such_metadata(self.root, where, self.videos())
        return FilterSelection(rows, False, expression)

    def _count(self, expression: str) -> int:
        found = self._ask("query", self._names.moments, filter=expression, output_fields=["count(*)"])
        return int(found[0]["count(*)"])

    def top(self, vector: Floats, count: int, selection: Selection | None = None, exact: bool = False) -> list[Hit]:
        """The `count` rows with the largest inner product, best first.

        Args:
            vector: query, (dim,) float32.
            selection: from `select`; None for all rows.
            exact: look at every list and score many finds again, to compare with.
        """
        chosen = selection or self._selections.everything
        assert isinstance(chosen, FilterSelection)
        if not chosen.rows:
            return []
        if chosen.expression and chosen.rows <= FEW_ROWS:
            found = list(self._rows(chosen))
        else:
            found = self._candidates(vector, count, chosen, exact)
        found, known, scores = self._scored(found, self.codec.prepare(vector))
        return [
            Hit(known[found[i]["video"]], found[i]["start"], found[i]["end"], float(scores[i]))
            for i in top_k(scores, count).tolist()
        ]

    def best_scores(self, vectors: Floats, count: int) -> list[float]:
        """The `count`-th best score of each query (n, dim), or the worst of fewer rows."""
        return [self.top(vector, count, exact=True)[-1].score for vector in vectors]

    def _candidates(self, vector: Floats, count: int, chosen: FilterSelection, exact: bool) -> list[Any]:
        query = project(vector, self.projection)
        nprobe = int(self.ann.nprobe * nprobe_factor(chosen.rows / max(len(self), 1)))
        limit = max(8 * count, 1024) if exact else num_candidates(self.ann.rerank, count)
        found = self._ask(
            "search",
            self._names.moments,
            data=[np.ascontiguousarray(query, np.float32)],
            anns_field="vector",
            limit=min(limit, MAX_LIMIT),
            filter=chosen.expression,
            search_params={
                "metric_type": "IP",
                "params": {"nprobe": self.ann.lists if exact else min(nprobe, self.ann.lists)},
            },
            output_fields=self._fields,
        )
        return [hit["entity"] for hit in found[0]]

    def _rows(self, chosen: FilterSelection) -> Iterator[Any]:
        options = {"filter": chosen.expression, "output_fields": self._fields, "limit": MAX_LIMIT}
        yield from self._ask("query", self._names.moments, **options)

    def _scored(self, entities: list[Any], query: PreparedQuery) -> tuple[list[Any], dict[int, Video], Floats]:
        """Those entities whose videos are finished, these videos by number, and the scores."""
        while True:
            known = self._cached(entity["video"] for entity in entities)
            entities = [entity for entity in entities if entity["video"] in known]
            try:
                rows, scales = self._exact.of(entities)
                return entities, known, Codec.score(rows, scales, query)
            except MissingRowsError as error:
                self._forget(error)

    def _forget(self, error: MissingRowsError) -> None:
        """A video whose rows are gone; raises InputError if it should be there."""
        asked = f"number == {error.number}"
        options = {"output_fields": layout.VIDEO_FIELDS, "consistency_level": "Strong"}
        found = self._ask("query", self._names.videos, filter=asked, **options)
        if any(entity["state"] == VideoState.READY for entity in found):
            raise InputError(
                f"{error.path}: missing; is {self.root.rows} the folder that the index was written with?"
            ) from error
        with self._lock:
            self._gone.add(error.number)
            video = self._videos.pop(error.number, None)
            if video is not None and self._numbers.get(video.id) == error.number:
                del self._numbers[video.id]

    def curve(self, vector: Floats, name: str) -> tuple[NDArray[np.float64], Floats]:
        """Spans (n, 2) in seconds and scores (n,) of all rows of one video."""
        spans, rows, scales = self._rows_of(name)
        return spans, Codec.score(rows, scales, self.codec.prepare(vector))

    def vectors(self, name: str) -> tuple[NDArray[np.float64], Floats]:
        """Spans (n, 2) in seconds and vectors (n, dim) of all rows of one video."""
        spans, rows, scales = self._rows_of(name)
        return spans, self.codec.expand(rows, scales)

    def _rows_of(self, name: str) -> tuple[NDArray[np.float64], Floats, Floats | None]:
        """Spans (n, 2) of all rows of one video, the rows (n, d) and their scales (n, K), in order."""
        while True:
            spans, entities = self._entities_of(self.video(name))
            try:
                return spans, *self._exact.of(entities)
            except MissingRowsError as error:  # replaced meanwhile
                self._forget(error)

    def _entities_of(self, video: Video) -> tuple[NDArray[np.float64], list[Any]]:
        ids = layout.row_ids(video.first, video.rows)
        entities: list[Any] = []
        for at in range(0, len(ids), PAGE):
            page = ids[at : at + PAGE]
            found = self._ask(
                "query",
                self._names.moments,
                filter=f"row >= {page[0]} and row <= {page[-1]}",
                output_fields=sorted({"row", *self._fields}),
                limit=MAX_LIMIT,
            )
            entities += sorted(found, key=lambda entity: int(entity["row"]))
        spans = np.array([(entity["start"], entity["end"]) for entity in entities], np.float64).reshape(-1, 2)
        return spans, entities

    def _ask(self, method: str, collection: str, **options: Any) -> Any:
        """Ask the server. Raises StaleIndexError if the index was replaced by another generation meanwhile."""
        try:
            return self.connection.call(method, collection, **options)
        except MissingCollectionError as error:
            raise StaleIndexError(str(error)) from error
        except InputError as error:
            try:
                now = find_generation(self.connection)
            except InputError:
                raise error from None
            if now != self._names:
                raise StaleIndexError(str(error)) from error
            raise


def find_generation(connection: Connection) -> Generation | None:
    """What the alias points to; None if there is no such alias.

    Raises:
        InputError: it points to something that is no index of ours, or of a later version.
    """
    address = connection.address
    try:
        found = connection.call("describe_collection", address.collection)
    except MissingCollectionError:
        return None
    told = layout.read_description(str(found.get("description", "")))
    if told is None:
        dims = [field["params"]["dim"] for field in found.get("fields", ()) if "dim" in field.get("params", {})]
        of = f" of {dims[0]} numbers" if dims else ""
        raise InputError(
            f"{address}: this collection is no index of cfmr but holds other vectors{of}; choose another name"
        )
    if told["version"] > layout.VERSION:
        raise InputError(f"{address}: written by a newer cfmr (index format {told['version']}); update cfmr")
    return Generation(str(told["moments"]))


def _others(connection: Connection) -> str:
    aliases = []
    for name in connection.call("list_collections"):
        told = layout.read_description(str(connection.call("describe_collection", name).get("description", "")))
        if told is not None:
            aliases.append(str(told["index"]))
    return f" (the server has {', '.join(sorted(set(aliases))[:10])})" if aliases else ""


def read_piece(connection: Connection, generation: Generation, name: str, strongly: bool = False) -> bytes | None:
    """A file of one piece; None if there is none."""
    options: dict[str, Any] = {"consistency_level": "Strong"} if strongly else {}
    asked = f"piece == {layout.piece_key(name, 0)}"
    found = connection.call("query", generation.files, filter=asked, output_fields=["data"], **options)
    return base64.b64decode(found[0]["data"]) if found else None


def read_state(connection: Connection, generation: Generation, strongly: bool = False) -> dict[str, Any]:
    """What changes of a generation: rows, effort, notes.

    Raises:
        InputError: it is not there.
    """
    import json

    content = read_piece(connection, generation, layout.STATE, strongly)
    if content is None:
        raise InputError(f"{connection.address}: the index is damaged (it has no state); build it again")
    state: dict[str, Any] = json.loads(content)
    return state


def fetch_files(connection: Connection, generation: Generation, files: Mapping[str, Sequence[int]]) -> Path:
    """The files of a generation in a folder of this machine, which keeps them.

    Args:
        files: name -> size and CRC-32.
    """
    folder = cache_folder() / "milvus" / generation.moments
    records = {name: FileRecord(*record) for name, record in files.items()}
    if all(_is_whole(folder / name, record) for name, record in records.items()):
        return folder
    with replacing_directory(folder) as temporary:
        for name, record in records.items():
            (temporary / name).write_bytes(_fetch(connection, generation, name, record.size))
            if not _is_whole(temporary / name, record):
                raise InputError(f"{connection.address}: the index is damaged ({name} is not whole); build it again")
    return folder


def read_codec(folder: Path, files: Iterable[str], width: int) -> tuple[Codec, Floats | None]:
    """How rows of some width stand for vectors, and the directions that are searched, if those are not all."""
    array = read_array(folder / CODEC) if CODEC in files else None
    projection = read_array(folder / PROJECTION) if PROJECTION in files else None
    with part_file(folder / CODEC):
        return Codec.from_array(width, array), projection


def _is_whole(path: Path, record: FileRecord) -> bool:
    try:
        return record.mismatch(path) is None
    except OSError:
        return False


def _fetch(connection: Connection, generation: Generation, name: str, size: int) -> bytes:
    ids = [layout.piece_key(name, number) for number in range(-(-max(size, 1) // layout.PIECE))]
    parts: dict[int, bytes] = {}
    for at in range(0, len(ids), 100):
        asked = f"piece in {ids[at : at + 100]}"
        for entity in connection.call("query", generation.files, filter=asked, output_fields=["number", "data"]):
            parts[entity["number"]] = base64.b64decode(entity["data"])
    return b"".join(parts[number] for number in sorted(parts))


def all_videos(
    connection: Connection, generation: Generation, strongly: bool = False
) -> Iterator[tuple[Video, VideoState]]:
    """Every video that is there, with its state, in the order of numbers."""
    options: dict[str, Any] = {"consistency_level": "Strong"} if strongly else {}
    first = 0
    while True:
        page = f"number >= {first} and number < {first + PAGE}"
        found = connection.call(
            "query", generation.videos, filter=page, output_fields=layout.VIDEO_FIELDS, limit=MAX_LIMIT, **options
        )
        for entity in sorted(found, key=lambda e: int(e["number"])):
            yield layout.video_of(entity), VideoState(entity["state"])
        first += PAGE
        if not found:  # a gap that removed videos have left, or the end
            rest = connection.call(
                "query", generation.videos, filter=f"number >= {first}", output_fields=["count(*)"], **options
            )
            if not int(rest[0]["count(*)"]):
                return
