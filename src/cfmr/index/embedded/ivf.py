"""Approximate search for large collections: FAISS inverted lists of 8-bit codes, whose finds are re-ranked exactly.

Projected vectors are grouped around centroids and stored in one byte a number: 136
bytes a moment with its row number where 128 numbers are enough, 264 at the most.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss as untyped_faiss
import numpy as np
from numpy.typing import NDArray

from cfmr.errors import InputError
from cfmr.index.codec import Floats
from cfmr.index.files import read_array
from cfmr.index.projection import PROJECTION, project, projection
from cfmr.index.tuning import nprobe_factor, num_lists

faiss: Any = untyped_faiss
Ids = NDArray[np.int64]

POINTS_PER_LIST = 32  # training points a centroid
FILE = "ivf.faiss"
NPROBE, RERANK = 16, 64  # until both are chosen


@dataclass(slots=True)
class Ann:
    """Inverted lists over projected vectors. `projection` is (p, dim), or None where vectors are short."""

    ivf: Any
    projection: Floats | None
    nprobe: int = NPROBE
    rerank: int = RERANK

    @property
    def lists(self) -> int:
        """Inverted lists there are."""
        return int(self.ivf.nlist)

    def project(self, vectors: Floats) -> Floats:
        """(n, dim) -> (n, p)."""
        return project(vectors, self.projection)

    def add(self, ids: Ids, projected: Floats) -> None:
        """Add projected vectors under their row numbers."""
        self.ivf.add_with_ids(np.ascontiguousarray(projected), np.ascontiguousarray(ids))

    def search(self, vector: Floats, count: int, allowed: "RowFilter | None" = None) -> Ids:
        """Row numbers of about the `count` best vectors, best first; fewer if the lists looked at hold no more."""
        query = self.project(vector[None])
        if allowed is None:
            parameters = faiss.SearchParametersIVF(nprobe=self.nprobe)
        else:
            nprobe = min(int(self.nprobe * allowed.nprobe_factor), self.ivf.nlist)
            parameters = faiss.SearchParametersIVF(nprobe=nprobe, sel=allowed.selector)
        _, ids = self.ivf.search(query, count, params=parameters)
        found: Ids = ids[0]
        return found[found >= 0]

    def save(self, path: Path) -> None:
        """Write the lists; the projection is the caller's to write. Raises InputError if the disk is full."""
        try:
            faiss.write_index(self.ivf, str(path))
        except RuntimeError as error:
            raise InputError(f"{path}: cannot be written; make room there") from error


class RowFilter:
    """The rows a filtered search may find, as a bitmap over row numbers.

    `nprobe_factor`: how many times more lists have to be looked at because only some of their rows count.
    """

    def __init__(self, ranges: Iterable[tuple[int, int]], covered: int) -> None:
        flags = np.zeros(-(-covered // 8) * 8, dtype=bool)
        for low, high in ranges:
            flags[low:high] = True
        self.nprobe_factor = nprobe_factor(float(flags.sum()) / max(covered, 1))
        self._bits = np.packbits(flags, bitorder="little")  # the selector points into this array
        self.selector = faiss.IDSelectorBitmap(covered, faiss.swig_ptr(self._bits))


def train(rows: int, sample: Callable[[int], Iterable[Floats]]) -> Ann:
    """Fit projection and centroids for a collection of `rows`; `sample(n)` yields some n vectors (., dim) in blocks."""
    lists = num_lists(rows)
    blocks = iter(sample(max(POINTS_PER_LIST * lists, 16384)))
    first: list[Floats] = []
    while sum(map(len, first)) < 16384 and (block := next(blocks, None)) is not None:
        first.append(block)
    directions = projection(np.concatenate(first))
    width = first[0].shape[1] if directions is None else len(directions)
    quantizer = faiss.IndexFlatIP(width)
    ivf = faiss.IndexIVFScalarQuantizer(
        quantizer, width, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    ivf.cp.spherical = True
    ivf.cp.niter = 6
    ivf.cp.min_points_per_centroid = 1
    ann = Ann(ivf, directions)
    points = [ann.project(b) for b in first]
    points += [ann.project(b) for b in blocks]
    ivf.train(np.concatenate(points))
    return ann


def load(directory: Path, names: Iterable[str], nprobe: int, rerank: int, mapped: bool = True, file: str = FILE) -> Ann:
    """Open saved lists: mapped for searching, in memory for adding."""
    ivf = _read(directory / file, mapped)
    directions = read_array(directory / PROJECTION) if PROJECTION in names else None
    return Ann(ivf, directions, nprobe, rerank)


def _read(path: Path, mapped: bool) -> Any:
    ivf = faiss.read_index(str(path), faiss.IO_FLAG_MMAP if mapped else 0)
    if mapped:
        faiss.downcast_InvertedLists(ivf.invlists).prefetch_nthread = 0  # starting threads costs more than reading
    return ivf


def merge(ann: Ann, paths: Sequence[Path]) -> None:
    """Fill empty lists with those of files; each list is made as long as it has to be, and then written."""
    pieces = [_read(path, mapped=True) for path in paths]
    lists = ann.ivf.invlists
    sizes = np.array([[piece.invlists.list_size(i) for i in range(lists.nlist)] for piece in pieces])
    for number, size in enumerate(sizes.sum(0).tolist()):
        lists.resize(number, size)
    ends = np.cumsum(sizes, axis=0)
    for piece, begins, counts in zip(pieces, (ends - sizes).tolist(), sizes.tolist(), strict=True):
        for number, (begin, count) in enumerate(zip(begins, counts, strict=True)):
            if count:
                ids, codes = piece.invlists.get_ids(number), piece.invlists.get_codes(number)
                lists.update_entries(number, begin, count, ids, codes)
    ann.ivf.ntotal = int(sizes.sum())
