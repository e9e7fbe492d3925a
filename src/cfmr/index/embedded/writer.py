"""Changing an index: add, replace and remove videos without rebuilding it.

Rows go into new segments; a removed video is only marked. `commit` tidies (merges small segments, drops removed rows
once there are many, builds or extends the approximate search), writes the new manifest, and then deletes what nothing
refers to any more.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cfmr.errors import InputError
from cfmr.files.atomic import make_directory
from cfmr.index.base import CARD, CODEC, PendingVideos, Video, VideoRows, check_rows, not_removable
from cfmr.index.card import load_card
from cfmr.index.codec import BLOCK, Codec, Floats
from cfmr.index.embedded.ann_build import build_in_pieces, sweep_build
from cfmr.index.embedded.disk import Part, check_part, remove_part, sync_directory, writer_lock
from cfmr.index.embedded.manifest import (
    NAME,
    PREFIXES,
    AnnPart,
    Manifest,
    SegmentPart,
    foreign_files,
    read_manifest,
    write_manifest,
)
from cfmr.index.embedded.outline import LEAST_ROWS, Outline
from cfmr.index.embedded.reader import EmbeddedIndex
from cfmr.index.embedded.segment import Segment, write_segment
from cfmr.index.files import FileRecord, damaged, read_array, record, write_array, write_json
from cfmr.index.projection import PROJECTION
from cfmr.index.tuning import tune

if TYPE_CHECKING:
    from cfmr.index.embedded.ivf import Ann

ENGINES = ("auto", "exact", "ivf")
SEGMENT_ROWS = 65536  # rows collected before they are written; segments of this size are never merged
SEGMENTS_AT_ONCE = 8  # of more, approximate search is built in pieces that outlast the process
SMALL_SEGMENTS = 16  # so many segments below that size are merged into one
DEAD_SHARE = 0.25  # of all rows removed: they are dropped for good
SAMPLED_QUERIES = 100


@dataclass(frozen=True, slots=True)
class Limits:
    """Where the engine "auto" changes its mind.

    Args:
        exact_rows: up to so many rows are searched exactly (in less than 1 ms for the published model's).
        tail_rows: so many rows may wait outside the approximate search before it is extended.
        retrain_growth: rows over rows at training from which centroids are trained anew.
    """

    exact_rows: int = 10_000
    tail_rows: int = 10_000
    retrain_growth: float = 4.0


class EmbeddedWriter:
    """The one writer of an index directory. Nothing changes for readers until `commit`.

    Use as `with EmbeddedWriter.open(path) as writer:`; leaving the block gives the lock back and drops what was not
    committed.
    """

    def __init__(self, root: Path, manifest: Manifest | None, limits: Limits) -> None:
        self.root = root
        self.limits = limits
        self._manifest = manifest or Manifest(0, "auto", Part("", {}))
        self._codec: Codec | None = None
        self._pending = PendingVideos()
        self._written: dict[str, tuple[int, Video]] = {}  # segment and video
        self._opened: dict[str, Segment] = {}
        self._rebuild_ann = False
        self._queries: Callable[[], Floats] | None = None
        if manifest is not None:
            self._load(manifest)

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: str | Path, limits: Limits | None = None, create: bool = True) -> Iterator["EmbeddedWriter"]:
        """Take an index, or with `create` a directory that is to become one, for writing.

        Raises:
            InputError: another process writes it, it is damaged, the directory holds something else, or there is no
                index and none is to be made.
        """
        if not create:
            read_manifest(Path(path))
        root = make_directory(Path(path))
        foreign = foreign_files(root)
        if foreign and not (root / NAME).exists():
            raise InputError(f"{root}: not empty and no index (it has {foreign[0]!r}); choose another directory")
        with writer_lock(root):
            manifest = read_manifest(root) if (root / NAME).exists() else None
            if manifest is not None:
                for part in manifest.parts():
                    try:
                        check_part(root, part, verify=False)
                    except FileNotFoundError as error:
                        raise damaged(Path(str(error.filename)), "it is missing") from error
            writer = cls(root, manifest, limits or Limits())
            writer._sweep()
            try:
                yield writer
            finally:
                writer._sweep()

    def _load(self, manifest: Manifest) -> None:
        model = self.root / manifest.model.directory
        array = read_array(model / CODEC) if CODEC in manifest.model.files else None
        self._codec = Codec.from_array(int(self.card["width"]), array)
        for at, entry in enumerate(manifest.segments):
            for video in self._open(entry).live():
                self._written[video.id] = (at, video)

    @property
    def card(self) -> dict[str, Any]:
        """The model card of the index; empty before `set_model`."""
        if not self._manifest.model.directory:
            return {}
        return load_card(self.root / self._manifest.model.directory / CARD)

    @property
    def videos(self) -> Mapping[str, Video]:
        """What the index will hold after `commit`, by name."""
        return {**{k: v for k, (_, v) in self._written.items()}, **self._pending.videos()}

    def set_engine(self, engine: str) -> None:
        """Choose how searches are done: "exact", "ivf", or "auto" by size."""
        if engine not in ENGINES:
            raise InputError(f"--engine {engine}: no such engine; choose one of {', '.join(ENGINES)}")
        self._manifest = replace(self._manifest, engine=engine)

    def set_queries(self, queries: Callable[[], Floats]) -> None:
        """On which approximate search is tuned; see `IndexWriter`."""
        self._queries = queries

    def plan_capacity(self, rows: Callable[[], int], sample: Callable[[], Floats]) -> None:
        """A directory grows as it is written, so nothing is planned."""

    def set_model(self, card: Mapping[str, Any], codec: Codec, write: Callable[[Path], Iterable[str]]) -> None:
        """Start the index anew for a model; see `IndexWriter`."""
        name = self._new_part("model")
        path = self.root / name
        path.mkdir()
        names = list(write(path))
        files: dict[str, FileRecord] = {n: record(path / n) for n in names}
        files[CARD] = write_json(path / CARD, {**card, "width": codec.width, "dim": codec.dim})
        parameters = codec.array()
        if parameters is not None:
            files[CODEC] = write_array(path / CODEC, [parameters], len(parameters))
        sync_directory(path)
        self._manifest = replace(self._manifest, model=Part(name, files), segments=(), ann=None, notes={})
        self._codec = codec
        self._written.clear()
        self._pending.take()

    def add(self, videos: Iterable[VideoRows]) -> None:
        """Add or replace videos; see `IndexWriter`."""
        assert self._codec is not None, "set_model comes first"
        for item in videos:
            check_rows(item, self._codec.width)
            name = item.video.id
            self._forget(name)
            rows = np.ascontiguousarray(item.rows, np.float32)
            self._pending.add(VideoRows(item.video, rows, item.spans.astype(np.float64)))
            if self._pending.rows >= SEGMENT_ROWS:
                self._flush()

    def remove(self, names: Iterable[str]) -> None:
        """Take videos out of the index. Raises InputError if one is not in it."""
        for name in names:
            if not self._forget(name):
                raise not_removable(self.root, name)

    def _forget(self, name: str) -> bool:
        was_pending = self._pending.discard(name)
        written = self._written.pop(name, None)
        if written is None:
            return was_pending
        at, video = written
        entry = self._manifest.segments[at]
        dead = tuple(sorted({*entry.dead, self._open(entry).video_number(video.first)}))
        self._set_segments([replace(entry, dead=dead) if i == at else s for i, s in enumerate(self._manifest.segments)])
        return True

    @property
    def rows(self) -> int:
        """Rows of all videos, written or not."""
        return sum(v.rows for _, v in self._written.values()) + self._pending.rows

    @property
    def engine(self) -> str:
        """How the index is searched after the last commit."""
        return "exact" if self._manifest.ann is None else "ivf"

    @property
    def metrics(self) -> Mapping[str, Any]:
        """What was measured of the index."""
        return self._manifest.notes

    def set_metric(self, name: str, value: Any) -> None:
        """Write something measured into the index (JSON)."""
        self._manifest = replace(self._manifest, notes={**self._manifest.notes, name: value})

    def commit(self, tidy: bool = True) -> int:
        """Make everything since the last commit the state of the index; returns its generation.

        Args:
            tidy: also merge segments and bring the approximate search up to date, which a long run leaves to its end.
        """
        self._flush()
        if tidy:
            self._compact()
            self._update_ann()
        self._manifest = write_manifest(self.root, self._manifest)
        self._sweep()
        return self._manifest.generation

    def _new_part(self, kind: str) -> str:
        number = self._manifest.next_part
        self._manifest = replace(self._manifest, next_part=number + 1)
        return f"{kind}-{number:06d}"

    def _set_segments(self, segments: Sequence[SegmentPart]) -> None:
        self._manifest = replace(self._manifest, segments=tuple(segments))

    def _flush(self) -> None:
        if videos := self._pending.take():
            self._append(videos)

    def _append(self, videos: Sequence[VideoRows]) -> None:
        """Write videos as one more segment."""
        assert self._codec is not None
        rows = np.concatenate([v.rows for v in videos])
        scales = self._codec.scales(rows)
        outline = None
        if scales is not None and len(rows) >= LEAST_ROWS and self._wanted_engine(self.rows + len(rows)) == "exact":
            outline = Outline.of(self._codec, rows, scales)
        name = self._new_part("segment")
        entry = write_segment(self.root, name, self._manifest.next_row, videos, scales, outline)
        self._set_segments([*self._manifest.segments, entry])
        self._manifest = replace(self._manifest, next_row=self._manifest.next_row + entry.rows)
        at = len(self._manifest.segments) - 1
        for video in self._open(entry).videos:
            self._written[video.id] = (at, video)

    def _open(self, entry: SegmentPart) -> Segment:
        """The segment of an entry; what the entry says of removed videos may be newer than the segment's own."""
        if entry.part.directory not in self._opened:
            self._opened[entry.part.directory] = Segment(self.root, entry)
        return self._opened[entry.part.directory]

    def _segments(self) -> list[Segment]:
        self._opened = {e.part.directory: Segment(self.root, e) for e in self._manifest.segments}
        return list(self._opened.values())

    def _rewrite(self, chosen: set[int]) -> None:
        """Write the living videos of some segments again, as new segments at the end."""
        opened = self._segments()
        kept = [i for i in range(len(opened)) if i not in chosen]
        self._set_segments([self._manifest.segments[i] for i in kept])
        self._written = {v: (kept.index(at), video) for v, (at, video) in self._written.items() if at not in chosen}
        batch: list[VideoRows] = []
        for i in sorted(chosen):
            for video in opened[i].live():
                batch.append(opened[i].video_rows(video))
                if sum(len(b.rows) for b in batch) >= SEGMENT_ROWS:
                    self._append(batch)
                    batch = []
        if batch:
            self._append(batch)

    def _compact(self) -> None:
        """Drop removed rows when there are many, and merge small segments when there are many."""
        opened = self._segments()
        dead = [s.dead_rows() for s in opened]
        covered = self._manifest.ann.covered if self._manifest.ann else 0
        if sum(dead) > DEAD_SHARE * sum(s.entry.rows for s in opened):
            chosen = {i for i, d in enumerate(dead) if d}
            if any(opened[i].first_row < covered for i in chosen):
                self._rebuild_ann = True
            self._rewrite(chosen)
            return
        small = {i for i, s in enumerate(opened) if s.entry.rows < SEGMENT_ROWS and s.first_row >= covered}
        if len(small) >= SMALL_SEGMENTS:
            self._rewrite(small)

    def _wanted_engine(self, rows: int) -> str:
        if self._manifest.engine != "auto":
            return self._manifest.engine
        return "ivf" if rows > self.limits.exact_rows else "exact"

    def _update_ann(self) -> None:
        """Build, extend or drop the approximate search, as size and engine ask for."""
        ann, rows = self._manifest.ann, sum(v.rows for _, v in self._written.values())
        if rows == 0 or self._wanted_engine(rows) == "exact":
            self._manifest = replace(self._manifest, ann=None)
            return
        if ann is None or rows > self.limits.retrain_growth * ann.trained_rows:
            self._build_ann(None)
        elif self._rebuild_ann or self._manifest.next_row - ann.covered > self.limits.tail_rows:
            self._build_ann(ann)
        self._rebuild_ann = False

    def _build_ann(self, old: AnnPart | None) -> None:
        """Encode the rows `old` does not have, or all of them, with its trained lists if there are any."""
        from cfmr.index.embedded import ivf

        assert self._codec is not None
        small = {i for i, s in enumerate(self._manifest.segments) if s.rows < SEGMENT_ROWS}
        small = {i for i in small if old is None or self._manifest.segments[i].first_row >= old.covered}
        if len(small) > 1:
            self._rewrite(small)
        segments = self._segments()
        rows = sum(s.entry.rows for s in segments)
        first = 0
        if old is None and len(segments) > SEGMENTS_AT_ONCE and self._can_be_kept():
            self._manifest = write_manifest(self.root, self._manifest)  # pieces are of segments that last
            ann, trained = build_in_pieces(
                self.root, self._manifest, segments, lambda: self._train(segments, rows), self._encode
            )
            first = self._manifest.next_row
        elif old is None:
            ann, trained = self._train(segments, rows), rows
        else:
            ann = ivf.load(self.root / old.part.directory, old.part.files, old.nprobe, old.rerank, mapped=False)
            trained = old.trained_rows
            if self._rebuild_ann:
                ann.ivf.reset()
            else:
                first = old.covered
        for segment in segments:
            if segment.first_row >= first:
                self._encode(ann, segment)
        name = self._new_part("ann")
        path = self.root / name
        path.mkdir()
        ann.save(path / ivf.FILE)
        files = {ivf.FILE: record(path / ivf.FILE)}
        if ann.projection is not None:
            files[PROJECTION] = write_array(path / PROJECTION, [ann.projection], len(ann.projection))
        sync_directory(path)
        entry = AnnPart(Part(name, files), self._manifest.next_row, trained, ann.nprobe, ann.rerank)
        entry = self._tuned(entry)
        self._manifest = replace(self._manifest, ann=entry)

    def _train(self, segments: Sequence[Segment], rows: int) -> "Ann":
        from cfmr.index.embedded import ivf

        return ivf.train(rows, lambda count: self._sample(segments, rows, count))

    def _can_be_kept(self) -> bool:
        """Whether the rows written so far may become the index before approximate search is built over them.

        Not where another model is still searched, nor where lists that are searched would lose rows.
        """
        if self._rebuild_ann or not (self.root / NAME).exists():
            return not self._rebuild_ann
        return read_manifest(self.root).model == self._manifest.model

    def _sample(self, segments: Sequence[Segment], rows: int, count: int) -> Iterator[Floats]:
        """About `count` vectors, evenly from all rows, in blocks."""
        assert self._codec is not None
        rng = np.random.default_rng(0)
        order = rng.permutation(len(segments))
        for at in order:
            segment = segments[at]
            share = min(segment.entry.rows, -(-count * segment.entry.rows // rows))
            chosen = np.sort(rng.choice(segment.entry.rows, share, replace=False))
            for block in np.array_split(chosen, -(-len(chosen) // BLOCK)):
                yield self._vectors(segment, block)
            segment.release()

    def _vectors(self, segment: Segment, rows: slice | NDArray[np.int64]) -> Floats:
        assert self._codec is not None
        scales = None if segment.scales is None else segment.scales[rows]
        return self._codec.expand(segment.rows[rows], scales)

    def _encode(self, ann: "Ann", segment: Segment) -> None:
        assert self._codec is not None
        projection = self._codec.row_projection(ann.projection)
        for low in range(0, segment.entry.rows, BLOCK):
            rows = slice(low, min(low + BLOCK, segment.entry.rows))
            ids = np.arange(rows.start, rows.stop, dtype=np.int64) + segment.first_row
            ann.add(ids, projection(segment.rows[rows], None if segment.scales is None else segment.scales[rows]))
        segment.release()

    def _tuned(self, entry: AnnPart) -> AnnPart:
        """Choose how many lists to look at, from queries like those that will come, or else from stored moments."""
        index = EmbeddedIndex(self.root, replace(self._manifest, ann=entry), verify=False)
        if self._queries is not None:
            queries = self._queries()
        else:
            queries = np.concatenate(list(self._sample(index.segments, len(index), SAMPLED_QUERIES)))
        nprobe, rerank, recall = tune(index, queries[:SAMPLED_QUERIES])
        self.set_metric("recall_at_10", recall)
        return replace(entry, nprobe=nprobe, rerank=rerank)

    def _sweep(self) -> None:
        """Delete directories that the manifest on the disk does not name: what crashed or uncommitted writers left."""
        try:
            manifest = read_manifest(self.root) if (self.root / NAME).exists() else None
        except InputError:
            return  # a damaged manifest must not cost the parts it named
        keep = {p.directory for p in manifest.parts()} if manifest else set()
        sweep_build(self.root, manifest)
        for path in self.root.iterdir():
            if path.name.startswith(PREFIXES) and path.name not in keep:
                remove_part(path)
            elif path.name.startswith(f".{NAME}."):
                path.unlink(missing_ok=True)
