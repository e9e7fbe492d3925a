"""Two models compared on held-out labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field

from cfmr.data.annotations import Annotation
from cfmr.errors import InputError
from cfmr.search.retriever import Moment
from cfmr.server.stores.models import Retriever

SEVERAL = 5
LISTED = 200  # held-out labels that are listed one by one


class OneCompared(BaseModel):
    """A held-out label: the best moment of its video before and after."""

    video: str
    sentence: str
    glance: float
    before: tuple[float, float] | None
    after: tuple[float, float] | None
    hit_before: bool
    hit_after: bool


class Hits(BaseModel):
    """How often the labelled second lies inside a found moment, of `of` held-out labels."""

    of: int
    first: int = Field(description="inside the best moment of the video")
    several: int = Field(description="inside one of the best five moments of the video")
    everywhere: int = Field(description="inside one of the best five moments of all videos")
    length: float = Field(description="mean length of the best moment in seconds: long ones hit by chance")


class ComparisonAnswer(BaseModel):
    """The served model and the new one, on labels that neither learned from."""

    before: Hits | None
    after: Hits
    labels: list[OneCompared]


def compare(before: Retriever | None, after: Retriever, held_out: Sequence[Annotation]) -> dict[str, Any]:
    """How two models do on labels that neither of them learned from.

    Returns:
        a `ComparisonAnswer`; empty where no label is held out.
    """
    rows = [row for row in held_out if row.glance is not None]
    if not rows:
        return {}
    old = [_outcome(before, row) for row in rows] if before is not None else []
    new = [_outcome(after, row) for row in rows]
    listed = [
        OneCompared(
            video=row.video,
            sentence=row.sentence,
            glance=row.glance or 0.0,
            before=old[at].best if old else None,
            after=new[at].best,
            hit_before=bool(old) and old[at].first,
            hit_after=new[at].first,
        )
        for at, row in enumerate(rows[:LISTED])
    ]
    answer = ComparisonAnswer(before=_hits(old) if old else None, after=_hits(new), labels=listed)
    return answer.model_dump()


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What one model found for one label."""

    best: tuple[float, float] | None = None
    first: bool = False
    several: bool = False
    everywhere: bool = False


def _outcome(retriever: Retriever, row: Annotation) -> _Outcome:
    def inside(moment: Moment) -> bool:
        return moment.video == row.video and moment.start <= (row.glance or 0.0) <= moment.end

    try:
        there = retriever.search(row.sentence, top=SEVERAL, videos=[row.video])
        anywhere = retriever.search(row.sentence, top=SEVERAL)
    except InputError:  # the video is not in this index, or no word of the sentence is known
        return _Outcome()
    best = there[0] if len(there) else None
    return _Outcome(
        best=None if best is None else (round(best.start, 3), round(best.end, 3)),
        first=best is not None and inside(best),
        several=any(map(inside, there)),
        everywhere=any(map(inside, anywhere)),
    )


def _hits(outcomes: Sequence[_Outcome]) -> Hits:
    lengths = [one.best[1] - one.best[0] for one in outcomes if one.best is not None]
    return Hits(
        of=len(outcomes),
        first=sum(one.first for one in outcomes),
        several=sum(one.several for one in outcomes),
        everywhere=sum(one.everywhere for one in outcomes),
        length=round(sum(lengths) / len(lengths), 2) if lengths else 0.0,
    )
