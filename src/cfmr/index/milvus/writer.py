"""Filling an index in Milvus: lease, video states, generations.

A video is written under a number of its own: first its entry in the state "writing", then its rows, then the entry
becomes "ready" and the one it replaces "gone", in one request; then the old rows go. Whatever breaks off leaves
entries that say so, and the next writer clears them away. Readers take no notice of rows whose video is not ready.

A new model's index is a new generation beside the one that is searched. When it is complete the alias is turned to it;
the old one is dropped, and clients that still had it open the new one.
"""

import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np

from cfmr.errors import InputError
from cfmr.files.atomic import make_directory
from cfmr.index.base import CARD, CODEC, PendingVideos, Video, VideoRows, check_rows, no_index, not_removable
from cfmr.index.codec import Codec, Floats
from cfmr.index.files import FileRecord, npy_bytes
from cfmr.index.milvus import layout, reader
from cfmr.index.milvus.address import MilvusAddress
from cfmr.index.milvus.connection import Connection, MissingCollectionError
from cfmr.index.milvus.exact import FOLDER, KEPT, ExactRows, check_place, drop_rows, exact_rows, in_place
from cfmr.index.milvus.layout import Generation, VideoState
from cfmr.index.milvus.lease import Lease
from cfmr.index.projection import PROJECTED, PROJECTION, projection
from cfmr.index.tuning import num_lists, tune

BATCH = 4096  # rows sent at a time
SEGMENT = 200_000  # rows that Milvus keeps together, about; its lists are of such a part
SHARD = 50_000_000  # rows for one more shard
DELETED = 10_000  # rows taken out in one request
INDEXING = 600.0  # seconds that Milvus may take to index what was written, before the search is tuned without
SAMPLED_QUERIES = 100


class MilvusWriter:
    """The one writer of an index in Milvus; see `cfmr.index.base.IndexWriter` for what the methods do."""

    def __init__(self, connection: Connection, generation: Generation | None) -> None:
        self.connection, self.root = connection, connection.address
        self._lease = Lease(connection)
        self._served = generation
        self._now = generation  # what is written
        self._state: dict[str, Any] = {}
        self._codec: Codec | None = None
        self._projection: Floats | None = None
        self._card: dict[str, Any] = {}
        self._written: dict[str, Video] = {}  # `first` is the number
        self._next = 0
        self._pending = PendingVideos()
        self._exact: ExactRows | None = None
        self._changed = False
        self._queries: Callable[[], Floats] | None = None
        self._sample: Callable[[], Floats] | None = None
        self._expected: Callable[[], int] = lambda: 0
        if generation is not None:
            self._take_up(generation)

    @classmethod
    @contextlib.contextmanager
    def open(cls, address: MilvusAddress, create: bool = True) -> Iterator["MilvusWriter"]:
        """Take an index, or with `create` an address where one is to be, for writing.

        Raises:
            InputError: nobody answers, another process writes, the name belongs to something else, or there is no
                index and none is to be made.
        """
        connection = Connection(address)
        generation = reader.find_generation(connection)
        if generation is None and not create:
            raise no_index(address)
        writer = cls(connection, generation)
        try:
            yield writer
        finally:
            with contextlib.suppress(InputError, MissingCollectionError):
                writer._give_back()

    # --- what is there -----------------------------------------------------------------------------------------------

    @property
    def card(self) -> dict[str, Any]:
        """The model card of the index; empty before `set_model`."""
        return self._card

    @property
    def videos(self) -> Mapping[str, Video]:
        """What the index will hold after `commit`, by name."""
        return {**self._written, **self._pending.videos()}

    @property
    def rows(self) -> int:
        """Rows of all videos."""
        return sum(v.rows for v in self._written.values() if v.id not in self._pending) + self._pending.rows

    @property
    def engine(self) -> str:
        """How the index is searched."""
        return "ivf"

    @property
    def metrics(self) -> Mapping[str, Any]:
        """What was measured of the index."""
        metrics: dict[str, Any] = self._state.get("notes", {})
        return metrics

    def set_metric(self, name: str, value: Any) -> None:
        """Write something measured into the index (JSON)."""
        self._state["notes"] = {**self.metrics, name: value}
        self._changed = True

    def set_engine(self, engine: str) -> None:
        """Milvus searches in one way."""
        if engine not in ("auto", "ivf"):
            raise InputError(f"--engine {engine}: an index in Milvus is searched by ivf; leave the option out")

    def _take_up(self, generation: Generation) -> None:
        """Continue a generation: clear away what a broken-off writer left."""
        self._now = generation
        self._state = reader.read_state(self.connection, generation, strongly=True)
        self._lease.take(generation)
        folder = reader.fetch_files(self.connection, generation, self._state["files"])
        self._card = json.loads((folder / CARD).read_bytes())
        self._codec, self._projection = reader.read_codec(folder, self._state["files"], int(self._card["width"]))
        known = in_place(self.root, self._state)
        self._exact = self._exact_rows(generation) if known else None  # then only a new generation can be written
        self._written, broken = {}, []
        for video, state in reader.all_videos(self.connection, generation, strongly=True):
            self._next = video.first + 1
            if state == VideoState.READY:
                self._written[video.id] = video
            else:
                broken.append(video)
        self._erase(broken)

    # --- changing it -------------------------------------------------------------------------------------------------

    def set_queries(self, queries: Callable[[], Floats]) -> None:
        """On which a new generation is tuned; see `IndexWriter`."""
        self._queries = queries

    def plan_capacity(self, rows: Callable[[], int], sample: Callable[[], Floats]) -> None:
        """What a new generation is made for; see `IndexWriter`."""
        self._expected, self._sample = rows, sample

    def set_model(self, card: Mapping[str, Any], codec: Codec, write: Callable[[Path], Iterable[str]]) -> None:
        """Begin a new generation for a model, beside the one that is searched; one that broke off is taken up."""
        whole = {**card, "width": codec.width, "dim": codec.dim}
        for generation, state in self._unfinished():
            if state is not None and in_place(self.root, state) and state["card"] == _identity(whole):
                self._take_up(generation)
                return
            self._drop(generation)
        before = int(self._state.get("generation", 0))
        self._codec, self._written, self._pending, self._next = codec, {}, PendingVideos(), 0
        generation = Generation(f"{self.root.collection}__{time.time_ns():x}")
        with tempfile.TemporaryDirectory() as folder:
            names = list(write(Path(folder)))
            self._card = {**whole, **dict(card)}  # what was measured while writing is in the card by now
            files = {name: (Path(folder) / name).read_bytes() for name in names}
        files[CARD] = json.dumps(self._card).encode()
        parameters = codec.array()
        if parameters is not None:
            files[CODEC] = npy_bytes(parameters)
        self._projection = None
        if codec.dim > PROJECTED:
            assert self._sample is not None, "a projection is made from a sample"
            self._projection = projection(self._sample())
            assert self._projection is not None
            files[PROJECTION] = npy_bytes(self._projection)
        self._begin(generation, files, before)

    def _begin(self, generation: Generation, files: Mapping[str, bytes], before: int) -> None:
        """Make the collections of a generation."""
        codec = self._codec
        assert codec is not None
        concepts = 0 if codec.weight is None else len(codec.weight)
        rows = self._expected()
        lists = num_lists(max(min(rows, SEGMENT), 4096))
        exact_bytes = 4 * (codec.width + concepts) if self.root.rows is None else 0
        if self.root.rows is not None:
            make_directory(self.root.rows)
        dim = codec.dim if self._projection is None else len(self._projection)
        shards = 1 + min(rows // SHARD, 15)
        with ThreadPoolExecutor() as pool:  # each takes the server some seconds
            made = [
                pool.submit(layout.make_files, self.connection, generation),
                pool.submit(layout.make_videos, self.connection, generation),
                pool.submit(layout.make_moments, self.connection, generation, dim, exact_bytes, lists, shards),
            ]
            for one in made:
                one.result()
        for name, content in files.items():
            layout.upload(self.connection, generation, name, content)
        self._state = {
            "generation": before,
            "card": _identity(self._card),
            "files": {name: list(astuple(FileRecord.of(content))) for name, content in files.items()},
            "effort": {"lists": lists, "nprobe": min(16, lists), "rerank": 256},
            "notes": {},
            "rows": 0,
            "videos": 0,
            **({} if self.root.rows is None else {KEPT: FOLDER}),
        }
        self._exact = self._exact_rows(generation)
        self._now, self._changed = generation, True
        self._save_state()
        self._lease.take(generation)

    def add(self, videos: Iterable[VideoRows]) -> None:
        """Add or replace videos; see `IndexWriter`. Raises InputError also for one with too many rows."""
        assert self._codec is not None, "set_model comes first"
        check_place(self.root, self._state)
        for item in videos:
            check_rows(item, self._codec.width)
            _check_fits(item)
            self._pending.add(item)
            if self._pending.rows >= BATCH:
                self._flush()

    def remove(self, names: Iterable[str]) -> None:
        """Take videos out of the index. Raises InputError if one is not in it."""
        gone = []
        for name in names:
            if not self._pending.discard(name) and name not in self._written:
                raise not_removable(self.root, name)
            if name in self._written:
                gone.append(self._written.pop(name))
        if gone:
            self._upsert_videos([(video.first, video, VideoState.GONE) for video in gone])
            self._erase(gone)
            self._changed = True

    def commit(self, tidy: bool = True) -> int:
        """Send what is waiting; with `tidy`, finish: tune the search, count, turn the alias. Returns the generation."""
        self._flush()
        if not tidy and not self._changed:
            return int(self._state["generation"])
        generation = self._generation()
        self._state.update(rows=self.rows, videos=len(self._written))
        if not tidy:
            self._save_state()
            return int(self._state["generation"])
        self.connection.call("flush", generation.moments, slow=True)
        self._wait_for_index(generation)
        self._state["generation"] = int(self._state["generation"]) + 1
        self._save_state()
        self._wait_until_visible(generation)
        if generation != self._served:
            self._tune(generation)
            self._save_state()
            self._wait_until_visible(generation)
            self._turn_alias(generation)
        if self._exact is not None:
            self._exact.keep_only([video.first for video in self._written.values()])
        self._changed = False
        return int(self._state["generation"])

    # --- how ---------------------------------------------------------------------------------------------------------

    def _exact_rows(self, generation: Generation) -> ExactRows:
        assert self._codec is not None
        concepts = 0 if self._codec.weight is None else len(self._codec.weight)
        return exact_rows(self.root, generation, self._state, self._codec.width, concepts)

    def _generation(self) -> Generation:
        assert self._now is not None, "set_model comes first"
        return self._now

    def _flush(self) -> None:
        """Send the waiting videos in batches; when this returns they are ready."""
        items = self._pending.take()
        if not items:
            return
        numbered = []
        for item in items:
            v = item.video
            video = Video(v.id, v.duration, len(item.rows), self._next, v.path, v.metadata, v.fingerprint)
            numbered.append((video, item))
            self._next += 1
        old = [self._written[video.id] for video, _ in numbered if video.id in self._written]
        self._upsert_videos([(video.first, video, VideoState.WRITING) for video, _ in numbered])
        self._insert_rows(numbered)
        ready = [(video.first, video, VideoState.READY) for video, _ in numbered]
        self._upsert_videos([*ready, *((video.first, video, VideoState.GONE) for video in old)])
        self._erase(old)
        self._written.update((video.id, video) for video, _ in numbered)
        self._lease.take(self._generation())
        self._changed = True

    def _insert_rows(self, numbered: Sequence[tuple[Video, VideoRows]]) -> None:
        assert self._codec is not None
        assert self._exact is not None
        project = self._codec.row_projection(self._projection)
        batch: list[dict[str, Any]] = []
        for video, item in numbered:
            rows = np.ascontiguousarray(item.rows, np.float32)
            scales = self._codec.scales(rows)
            vectors = np.ascontiguousarray(project(rows, scales), np.float32)
            tagged = layout.tags(video.metadata)
            exact = self._exact.put(video.first, rows, scales)
            batch += layout.moment_entities(video.first, tagged, item.spans, exact, vectors)
            while len(batch) >= BATCH:
                self._insert(batch[:BATCH])
                batch = batch[BATCH:]
        if batch:
            self._insert(batch)

    def _insert(self, batch: list[dict[str, Any]]) -> None:
        # a request whose answer was lost is sent as one that replaces what the first may have brought
        self.connection.call("insert", self._generation().moments, batch, slow=True, again="upsert")

    def _upsert_videos(self, entries: Sequence[tuple[int, Video, VideoState]]) -> None:
        entities = [layout.video_entity(number, video, state) for number, video, state in entries]
        self.connection.call("upsert", self._generation().videos, entities, slow=True)

    def _erase(self, videos: Sequence[Video]) -> None:
        """Delete rows, then the entries that say that they are to be deleted."""
        if not videos:
            return
        generation = self._generation()
        ids = [row for video in videos for row in layout.row_ids(video.first, video.rows)]
        for at in range(0, len(ids), DELETED):
            self.connection.call("delete", generation.moments, ids=ids[at : at + DELETED], slow=True)
        self.connection.call("delete", generation.videos, ids=[video.first for video in videos], slow=True)

    def _save_state(self) -> None:
        layout.upload(self.connection, self._generation(), layout.STATE, json.dumps(self._state).encode())

    def _wait_until_visible(self, generation: Generation) -> None:
        """Barrier: a strongly consistent count returns once all writes are visible to readers."""
        for name in generation.collections:
            options: dict[str, Any] = {"output_fields": ["count(*)"], "consistency_level": "Strong"}
            self.connection.call("query", name, filter="", slow=True, **options)

    def _wait_for_index(self, generation: Generation) -> None:
        end = time.monotonic() + INDEXING
        while time.monotonic() < end:
            told = self.connection.call("describe_index", generation.moments, "vector", slow=True)
            if int(told.get("pending_index_rows", 0)) == 0:
                return
            time.sleep(0.5)

    def _tune(self, generation: Generation) -> None:
        """Choose how much is looked at, as `tune` does for an index directory."""
        if self._queries is None or not self._written:
            return
        index = reader.MilvusIndex(self.connection, generation)
        queries = self._queries()[:SAMPLED_QUERIES]
        index.top(queries[0], 1)  # only when all is loaded
        nprobe, rerank, recall = tune(index, queries)
        self._state["effort"].update(nprobe=nprobe, rerank=rerank)
        self.set_metric("recall_at_10", recall)

    def _give_back(self) -> None:
        for generation in {self._now, self._served} - {None}:
            assert generation is not None
            self._lease.give_back(generation)

    def _turn_alias(self, generation: Generation) -> None:
        served = self._served
        how = "create_alias" if served is None else "alter_alias"
        self.connection.call(how, generation.moments, self.root.collection, slow=True)
        self._served = generation
        if served is not None:
            self._drop(served)

    def _drop(self, generation: Generation) -> None:
        for name in generation.collections:
            with contextlib.suppress(MissingCollectionError):
                self.connection.call("drop_collection", name, slow=True)
        drop_rows(self.root, generation)

    def _unfinished(self) -> Iterator[tuple[Generation, dict[str, Any] | None]]:
        """Generations of this index that no alias points to, with their state if they are worth continuing."""
        names = self.connection.call("list_collections")
        prefix = f"{self.root.collection}__"
        stems = {n.removesuffix("_videos").removesuffix("_files") for n in names if n.startswith(prefix)}
        for stem in sorted(stems):
            generation = Generation(stem)
            if generation == self._served or not _is_stamp(stem.removeprefix(prefix)):
                continue
            self._lease.check(generation)
            complete = all(name in names for name in generation.collections)
            try:
                yield generation, reader.read_state(self.connection, generation, strongly=True) if complete else None
            except (InputError, MissingCollectionError):
                yield generation, None


def _check_fits(item: VideoRows) -> None:
    """Raises InputError for a video that Milvus has no room for."""
    name = item.video.id
    if len(item.rows) >= 1 << layout.ROW_BITS:
        raise InputError(f"video {name!r}: {len(item.rows):,} moments are too many for one video; cut it")
    if len(item.video.metadata) > layout.TAGS:
        raise InputError(f"video {name!r}: has {len(item.video.metadata)} metadata values, at most {layout.TAGS} fit")


def _identity(card: Mapping[str, Any]) -> dict[str, Any]:
    """What makes two runs write the same index."""
    return {key: card[key] for key in ("fingerprint", "width", "dim", "window") if key in card}


def _is_stamp(text: str) -> bool:
    return bool(text) and all(c in "0123456789abcdef" for c in text)
