"""How much of an index approximate search looks at: inverted lists, and finds that are scored again from their rows."""

import math
from typing import Protocol

import numpy as np

from cfmr.index.base import Hit
from cfmr.index.codec import Floats

RECALL = 0.99  # of the exact top ten, that `tune` asks for
MAX_LISTS = 8192
MAX_NPROBE_FACTOR = 16.0


def num_lists(rows: int) -> int:
    """Inverted lists for a collection: 4 sqrt(n), a power of two, at most MAX_LISTS."""
    return min(1 << round(math.log2(4 * math.sqrt(max(rows, 1)))), MAX_LISTS, max(rows, 1))


def nprobe_factor(share: float) -> float:
    """How many times more lists have to be looked at when only a share of their rows counts."""
    return float(np.clip(1 / max(share, 1e-6), 1.0, MAX_NPROBE_FACTOR))


def num_candidates(rerank: int, count: int) -> int:
    """Finds to score again for `count` answers."""
    return max(rerank, 2 * count)


class Effort(Protocol):
    """What decides how well and how fast an approximate search is."""

    nprobe: int
    rerank: int

    @property
    def lists(self) -> int:
        """Inverted lists there are."""


class Tunable(Protocol):
    """An index whose approximate search can be tuned."""

    @property
    def ann(self) -> Effort | None: ...
    def top(self, vector: Floats, count: int, *, exact: bool = False) -> list[Hit]: ...
    def best_scores(self, vectors: Floats, count: int) -> list[float]:
        """The `count`-th best score of each query (n, dim), as exactly as the store can tell."""

    def __len__(self) -> int: ...


def tune(index: Tunable, queries: Floats, top: int = 10) -> tuple[int, int, float]:
    """The fewest lists, and then the fewest re-ranked finds, that keep RECALL of the exact `top`.

    Args:
        index: opened with approximate search.
        queries: (m, dim).

    Returns:
        nprobe, rerank, and the recall reached, to four digits.
    """
    ann = index.ann
    assert ann is not None
    worst = index.best_scores(queries, top)

    def recall(nprobe: int, rerank: int) -> float:
        ann.nprobe, ann.rerank = nprobe, rerank
        kept = [sum(h.score >= w - 1e-5 for h in index.top(q, top)) for q, w in zip(queries, worst, strict=True)]
        return float(np.minimum(kept, top).sum()) / max(min(top, len(index)) * len(worst), 1)

    nprobe, rerank = 4, 256
    reached = recall(nprobe, rerank)
    while reached < RECALL and nprobe < ann.lists:
        nprobe *= 2
        reached = recall(nprobe, rerank)
    while rerank > 2 * top and (fewer := recall(nprobe, rerank // 2)) >= min(RECALL, reached):
        rerank, reached = rerank // 2, fewer
    ann.nprobe, ann.rerank = nprobe, rerank
    return nprobe, rerank, round(reached, 4)
