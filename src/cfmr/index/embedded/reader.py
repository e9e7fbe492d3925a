"""Reading an index: exact search over mapped rows, or FAISS under an exact re-rank, with filters inside the search."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cfmr.index.base import (
    CARD,
    CODEC,
    Hit,
    Selection,
    SelectionCache,
    Value,
    Video,
    matches,
    no_such_metadata,
    no_such_video,
    top_k,
)
from cfmr.index.card import load_card
from cfmr.index.codec import BLOCK, Codec, Floats, PreparedQuery
from cfmr.index.embedded.disk import Verification, check_part
from cfmr.index.embedded.manifest import Manifest, read_manifest
from cfmr.index.embedded.outline import LEAST_ROWS, ROUNDING, Chosen
from cfmr.index.embedded.segment import ROWS, SCALES, SPANS, Segment
from cfmr.index.embedded.videos import Directory
from cfmr.index.files import damaged, part_file, read_array
from cfmr.index.tuning import num_candidates

if TYPE_CHECKING:
    from cfmr.index.embedded.ivf import Ann, RowFilter

Range = tuple[int, int, int]  # segment, from row, to row

BULK = (SPANS, SCALES, ROWS)  # files of a segment that grow with its rows
VERIFIED_AT_ONCE = 512 << 20  # bytes of them; what is more is compared in the background
MAPPED_ROWS = 512 << 20  # bytes of rows up to which single ones are taken from mapped files: they stay in memory anyway
FEW_ROWS = 8192  # a filter that leaves no more rows than this is searched exactly
MUCH_WORK = 4  # scoring gathered rows takes so many times as long as scoring them where they lie
MANY_RANGES = 64  # above this, ranges of a segment are gathered instead of scored one by one


@dataclass(frozen=True, slots=True)
class RowSelection(Selection):
    """A selection as merged ranges of rows, in the order of the index."""

    ranges: tuple[Range, ...] = ()


def read_card(root: Path) -> dict[str, Any]:
    """What an index says of its model, without opening it. Raises InputError if there is none."""
    return load_card(root / read_manifest(root).model.directory / CARD)


class EmbeddedIndex:
    """An index directory, opened for reading at one generation. Safe to use from several threads."""

    def __init__(self, root: Path, manifest: Manifest, verify: bool) -> None:
        self.root = root
        self.manifest = manifest
        large = [
            (root / s.part.directory / name, s.part.files[name])
            for name in BULK
            for s in manifest.segments
            if name in s.part.files
        ]
        later = large if verify and sum(record.size for _, record in large) > VERIFIED_AT_ONCE else []
        for part in manifest.parts():
            check_part(root, part, verify, later=BULK if later else ())
        self._verification = Verification(root, later)
        self.model_path = root / manifest.model.directory
        self.card = load_card(self.model_path / CARD)
        has_codec = CODEC in manifest.model.files
        array = read_array(self.model_path / CODEC) if has_codec else None
        with part_file(self.model_path / CODEC):
            self.codec = Codec.from_array(int(self.card["width"]), array)
        self.segments = [Segment(root, entry) for entry in manifest.segments]
        for segment in self.segments:
            segment.check(self.codec)
        self._videos = Directory([s.videos for s in self.segments], [s.dead for s in self.segments])
        self._firsts = [s.first_row for s in self.segments]
        self._selections = SelectionCache(self._everything(), self._select_matching)
        self.ann: Ann | None = None
        self._filter: tuple[Selection, RowFilter] | None = None
        self._row_files, self._scale_files = list[int](), list[int]()
        if manifest.ann is not None:
            from cfmr.index.embedded import ivf  # FAISS takes a tenth of a second to import: only where it is used

            entry = manifest.ann
            directory = root / entry.part.directory
            self.ann = ivf.load(directory, entry.part.files, entry.nprobe, entry.rerank)
            # Re-ranking needs single rows. Of many, reading instead of mapping keeps them out of this process' memory.
            for segment in self.segments if sum(s.rows.nbytes for s in self.segments) > MAPPED_ROWS else ():
                self._row_files.append(os.open(segment.path / ROWS, os.O_RDONLY))
                if segment.scales is not None:
                    self._scale_files.append(os.open(segment.path / SCALES, os.O_RDONLY))

    def __del__(self) -> None:
        for file in [*getattr(self, "_row_files", []), *getattr(self, "_scale_files", [])]:
            os.close(file)
        if hasattr(self, "_verification"):
            self._verification.stop()

    @classmethod
    def open(cls, path: str | os.PathLike[str], verify: bool = True) -> "EmbeddedIndex":
        """Open the present generation.

        Args:
            verify: compare every file with its checksum (some 5 GB a second); without it, only sizes. Rows and spans of
                more than VERIFIED_AT_ONCE bytes are compared while the index is searched already, see `verified`.

        Raises:
            InputError: no index there, or it is damaged; names the file.
        """
        root = Path(path)
        manifest = read_manifest(root)
        while True:
            try:
                return cls(root, manifest, verify)
            except FileNotFoundError as error:
                newer = read_manifest(root)  # a writer may have replaced what was about to be opened
                if newer.generation == manifest.generation:
                    raise damaged(Path(str(error.filename)), "it is missing") from error
                manifest = newer

    @property
    def generation(self) -> int:
        """Rises by one with every change of the index."""
        return self.manifest.generation

    def changed(self) -> bool:
        """Whether the index has changed on the disk since it was opened. Raises InputError if it is damaged."""
        return read_manifest(self.root).generation != self.generation

    @property
    def verified(self) -> bool:
        """Whether everything is compared with its checksum; if a row's file is damaged, searching says so from then on.

        Raises:
            InputError: names the damaged file.
        """
        self._verification.require()
        return self._verification.finished.is_set()

    @property
    def metrics(self) -> Mapping[str, Any]:
        """What was measured of the index when it was written: thresholds, recall."""
        return self.manifest.notes

    @property
    def engine(self) -> str:
        """How a search over everything is done: "exact" or "ivf"."""
        return "exact" if self.ann is None else "ivf"

    def __len__(self) -> int:
        """Rows of all videos."""
        return self._selections.everything.rows

    def videos(self) -> list[Video]:
        """All videos, in the order in which they were added."""
        return [v for _, v in self._videos]

    def video(self, name: str) -> Video:
        """One video. Raises InputError if the index has none of that name."""
        return self._find(name)[1]

    def _find(self, name: str) -> tuple[int, Video]:
        found = self._videos.find(name)
        if found is None:
            raise no_such_video(self.root, name, (video.id for _, video in self._videos))
        return found

    def select(self, videos: Sequence[str] | None = None, where: Mapping[str, Value] | None = None) -> RowSelection:
        """The rows of these videos (None: all) whose metadata has all of `where`.

        Raises:
            InputError: a video is not in the index, or no video has such metadata.
        """
        return self._selections.get(videos, where)

    def _select_matching(self, videos: Sequence[str] | None, where: Mapping[str, Value]) -> RowSelection:
        entries = list(self._videos) if videos is None else [self._find(v) for v in dict.fromkeys(videos)]
        if where:
            entries = [entry for entry in entries if matches(entry[1], where)]
            if not entries:
                raise no_such_metadata(self.root, where, self.videos())
        return self._select(entries)

    def _everything(self) -> RowSelection:
        """All rows that count, without making a video of segments that have them all."""
        ranges: list[Range] = []
        for at, segment in enumerate(self.segments):
            kept = [(at, v.first, v.first + v.rows) for v in segment.live()] if segment.dead else None
            ranges += [(at, 0, segment.entry.rows)] if kept is None else _merged(kept)
        rows = sum(high - low for _, low, high in ranges)
        return RowSelection(rows, rows == sum(s.entry.rows for s in self.segments), tuple(ranges))

    def _select(self, entries: Iterable[tuple[int, Video]]) -> RowSelection:
        """All rows of videos, given as (segment, video)."""
        entries = sorted(entries, key=lambda entry: (entry[0], entry[1].first))
        ranges = _merged((at, v.first, v.first + v.rows) for at, v in entries)
        rows = sum(high - low for _, low, high in ranges)
        return RowSelection(rows, rows == sum(s.entry.rows for s in self.segments), ranges)

    def top(self, vector: Floats, count: int, selection: Selection | None = None, exact: bool = False) -> list[Hit]:
        """The `count` rows with the largest inner product, best first.

        Args:
            vector: query, (dim,) float32.
            selection: from `select`; None for all rows.
            exact: score every row, whatever the size.
        """
        self._verification.require()
        selection = selection or self._selections.everything
        assert isinstance(selection, RowSelection)
        query = self.codec.prepare(vector)
        if exact or self.ann is None or selection.rows <= FEW_ROWS:
            return self._hits(*self._exact_scores(query, selection.ranges, count))
        return self._approximate(self.ann, query, count, selection)

    def best_scores(self, vectors: Floats, count: int) -> list[float]:
        """The `count`-th best score of each query (n, dim), or the worst of fewer rows; all rows are read once."""
        prepared = [self.codec.prepare(vector) for vector in vectors]
        best = np.full((len(vectors), 1), -np.inf, np.float32)
        for at, low, high in self._selections.everything.ranges:
            segment = self.segments[at]
            for first in range(low, high, BLOCK):
                rows = slice(first, min(first + BLOCK, high))
                scales = None if segment.scales is None else segment.scales[rows]
                best = np.concatenate([best, Codec.score_all(segment.rows[rows], scales, prepared)], axis=1)
                best = -np.partition(-best, min(count, best.shape[1]) - 1, axis=1)[:, :count]
            if self.ann is not None:
                segment.release()
        return [float(row[np.isfinite(row)].min()) for row in best]

    def curve(self, vector: Floats, name: str) -> tuple[NDArray[np.float64], Floats]:
        """Spans (n, 2) in seconds and scores (n,) of all rows of one video."""
        self._verification.require()
        at, video = self._find(name)
        segment = self.segments[at]
        rows = slice(video.first, video.first + video.rows)
        scales = None if segment.scales is None else segment.scales[rows]
        return segment.spans[rows], Codec.score(segment.rows[rows], scales, self.codec.prepare(vector))

    def vectors(self, name: str) -> tuple[NDArray[np.float64], Floats]:
        """Spans (n, 2) in seconds and vectors (n, dim) of all rows of one video."""
        at, video = self._find(name)
        segment = self.segments[at]
        rows = slice(video.first, video.first + video.rows)
        scales = None if segment.scales is None else segment.scales[rows]
        return segment.spans[rows], self.codec.expand(np.asarray(segment.rows[rows], np.float32), scales)

    def _hits(self, segments: NDArray[np.intp], rows: NDArray[np.intp], scores: Floats) -> list[Hit]:
        if len(self.segments) == 1:  # as most indexes have
            only = self.segments[0]
            return list(map(Hit, only.videos.of_rows(rows), *only.spans[rows].T.tolist(), scores.tolist()))
        videos, spans = np.empty(len(rows), object), np.empty((len(rows), 2))
        for at in np.unique(segments).tolist():
            of_segment = segments == at
            videos[of_segment] = self.segments[at].videos.of_rows(rows[of_segment])
            spans[of_segment] = self.segments[at].spans[rows[of_segment]]
        return list(map(Hit, videos.tolist(), *spans.T.tolist(), scores.tolist()))

    def _exact_scores(
        self, query: PreparedQuery, ranges: Sequence[Range], count: int
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
        """Segment, row and score of the `count` best rows in the ranges."""
        blocks = list(self._blocks(query, ranges, count))
        if not blocks:
            nothing = np.zeros(0, np.intp)
            return nothing, nothing, np.zeros(0, np.float32)
        # the scores of each block, one after the other
        parts = []
        for at, rows in blocks:
            segment = self.segments[at]
            scales = None if segment.scales is None else segment.scales[rows]
            parts.append(Codec.score(segment.rows[rows], scales, query))
        scores = parts[0] if len(parts) == 1 else np.concatenate(parts)
        chosen = top_k(scores, count)
        if len(blocks) == 1:  # as for one video, where what follows would take longer than the scores
            at, rows = blocks[0]
            found = rows.start + chosen if isinstance(rows, slice) else rows[chosen]
            return np.full(len(chosen), at), found, scores[chosen]
        # from a position among all scores back to its block, and to the row within that
        ends = np.cumsum([len(p) for p in parts])
        block = np.searchsorted(ends, chosen, side="right")
        within = chosen - (ends[block] - [len(parts[i]) for i in block])
        numbers = [
            rows.start + w if isinstance(rows := blocks[i][1], slice) else rows[w]
            for i, w in zip(block.tolist(), within.tolist(), strict=True)
        ]
        return np.array([blocks[i][0] for i in block], np.intp), np.array(numbers, np.intp), scores[chosen]

    def _blocks(self, query: PreparedQuery, ranges: Sequence[Range], count: int) -> Iterator[tuple[int, Chosen]]:
        """Ranges cut to blocks that fit the cache; many small ranges of a segment become lists of rows.

        Rows whose outlines tell that they are not among the `count` best are left out.
        """
        by_segment: dict[int, list[tuple[int, int]]] = {}
        for at, low, high in ranges:
            by_segment.setdefault(at, []).append((low, high))
        for at, pairs in by_segment.items():
            few = self._promising(self.segments[at], query, pairs, count)
            if few is not None:
                yield at, few
            elif len(pairs) > MANY_RANGES:
                rows = np.concatenate([np.arange(low, high) for low, high in pairs])
                yield from ((at, rows[i : i + BLOCK]) for i in range(0, len(rows), BLOCK))
            else:
                for low, high in pairs:
                    yield from ((at, slice(i, min(i + BLOCK, high))) for i in range(low, high, BLOCK))

    @staticmethod
    def _promising(
        segment: Segment, query: PreparedQuery, pairs: Sequence[tuple[int, int]], count: int
    ) -> NDArray[np.intp] | None:
        """Those rows of a segment's ranges that may be among the `count` best; None if scoring all is no more work."""
        among = sum(high - low for low, high in pairs)
        if segment.outline is None or among < max(LEAST_ROWS, MUCH_WORK * count):
            return None
        rows = slice(*pairs[0]) if len(pairs) == 1 else np.concatenate([np.arange(*pair) for pair in pairs])
        estimates, most = segment.outline.bounds(query.vector, rows)
        likely = top_k(estimates, count)  # the best rows score no less than the last of any so many
        likely = likely + rows.start if isinstance(rows, slice) else rows[likely]
        scales = None if segment.scales is None else segment.scales[likely]
        floor = float(Codec.score(segment.rows[likely], scales, query).min())
        kept = np.flatnonzero(most >= floor - ROUNDING)
        if len(kept) * MUCH_WORK > among:
            return None
        return kept + rows.start if isinstance(rows, slice) else rows[kept]

    def _approximate(self, ann: "Ann", query: PreparedQuery, count: int, selection: RowSelection) -> list[Hit]:
        assert self.manifest.ann is not None
        covered = self.manifest.ann.covered
        allowed = None if selection.everything else self._row_filter(selection, covered)
        # candidates of the inverted lists, scored again from their rows
        ids = ann.search(query.vector, num_candidates(ann.rerank, count), allowed)
        segments = np.searchsorted(self._firsts, ids, side="right") - 1
        rows = (ids - np.asarray(self._firsts)[segments]).astype(np.intp)
        scores = self._rescore(query, segments, rows)
        # rows that the lists do not have yet
        tail = [r for r in selection.ranges if self._firsts[r[0]] >= covered]
        if tail:
            more = self._exact_scores(query, tail, count)
            segments = np.concatenate([segments, more[0]])
            rows = np.concatenate([rows, more[1]])
            scores = np.concatenate([scores, more[2]])
        chosen = top_k(scores, count)
        return self._hits(segments[chosen], rows[chosen], scores[chosen])

    def _row_filter(self, selection: RowSelection, covered: int) -> "RowFilter":
        cached = self._filter
        if cached is not None and cached[0] == selection:
            return cached[1]
        from cfmr.index.embedded.ivf import RowFilter

        shifted = ((self._firsts[at] + low, self._firsts[at] + high) for at, low, high in selection.ranges)
        allowed = RowFilter((r for r in shifted if r[0] < covered), covered)
        self._filter = (selection, allowed)
        return allowed

    def _rescore(self, query: PreparedQuery, segments: NDArray[np.intp], rows: NDArray[np.intp]) -> Floats:
        """Exact scores of single rows."""
        read = self._read_rows if self._row_files else self._mapped_rows
        values, norms = read(segments, rows, query.used)
        return Codec.score(values, norms, query)

    def _mapped_rows(
        self, segments: NDArray[np.intp], rows: NDArray[np.intp], used: int
    ) -> tuple[Floats, Floats | None]:
        """Rows, so many numbers of each, and their scales."""
        if len(self.segments) == 1:
            only = self.segments[0]
            return only.rows[:, :used][rows], None if only.scales is None else only.scales[rows]
        values = np.empty((len(rows), used), np.float32)
        norms = None if self.codec.weight is None else np.empty((len(rows), len(self.codec.weight)), np.float32)
        for at in np.unique(segments).tolist():
            of_segment, segment = segments == at, self.segments[at]
            values[of_segment] = segment.rows[:, :used][rows[of_segment]]
            if norms is not None and segment.scales is not None:
                norms[of_segment] = segment.scales[rows[of_segment]]
        return values, norms

    def _read_rows(self, segments: NDArray[np.intp], rows: NDArray[np.intp], used: int) -> tuple[Floats, Floats | None]:
        """Rows, so many numbers of each, and their scales, from the files."""
        width, concepts = self.codec.width, 0 if self.codec.weight is None else len(self.codec.weight)
        pieces, scales = [], []
        for at, row in zip(segments.tolist(), rows.tolist(), strict=True):
            segment = self.segments[at]
            pieces.append(os.pread(self._row_files[at], 4 * used, segment.rows_offset + 4 * width * row))
            if concepts:
                start = segment.scales_offset + 4 * concepts * row
                scales.append(os.pread(self._scale_files[at], 4 * concepts, start))
        values = np.frombuffer(b"".join(pieces), np.float32).reshape(len(rows), used)
        norms = np.frombuffer(b"".join(scales), np.float32).reshape(len(rows), concepts) if concepts else None
        return values, norms


def _merged(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """Ranges in order, those that touch as one."""
    result: list[Range] = []
    for segment, low, high in ranges:
        if result and result[-1][0] == segment and result[-1][2] == low:
            result[-1] = (segment, result[-1][1], high)
        else:
            result.append((segment, low, high))
    return tuple(result)
