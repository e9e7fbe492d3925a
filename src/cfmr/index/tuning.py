"""How many lists a search looks at and how many finds it re-ranks, by measuring."""

from typing import TYPE_CHECKING, Protocol

import numpy as np

from cfmr.index.codec import Floats

if TYPE_CHECKING:
    from cfmr.index.base import Hit
RECALL = 0.99  # of the exact top ten, that `tune` asks for


class Effort(Protocol):
    """What decides how well and how fast a search is."""

    nprobe: int
    rerank: int

    @property
    def lists(self) -> int: ...


class Tuned(Protocol):
    """An index whose approximate search can be tuned."""

    @property
    def ann(self) -> Effort | None: ...
    def top(self, vector: Floats, count: int, *, exact: bool = False) -> "list[Hit]": ...
    def __len__(self) -> int: ...


def tune(index: Tuned, queries: Floats, top: int = 10) -> tuple[int, int, float]:
    """The fewest lists, and then the fewest re-ranked finds, that keep RECALL of the exact `top`.

    Args:
        index: opened with approximate search.
        queries: (m, dim).

    Returns:
        nprobe, rerank, and the recall reached.
    """
    ann = index.ann
    assert ann is not None
    worst = [index.top(q, top, exact=True)[-1].score for q in queries]

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
    return nprobe, rerank, reached
