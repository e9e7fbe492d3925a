"""Sentences with all that is true of them, as measuring needs it: read from annotations of any layout."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cfmr.data.annotations import parse_row, rounding_slack
from cfmr.data.layouts.row import is_number
from cfmr.data.layouts.rows import Row, read_rows
from cfmr.errors import InputError

Window = tuple[float, float]

LONGEST = 1e7  # seconds of a video, a third of a year; more is a mistake and would fill memory with clips


@dataclass(frozen=True, slots=True)
class Graded:
    """A moment of any video, and how relevant it is to a sentence (0 to 4)."""

    video: str
    start: float
    end: float
    relevance: float
    duration: float | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """A sentence asked of a video, or of a collection.

    Attributes:
        qid: names it; the number of its row where the file names none.
        video: the video that it was written for.
        sentence: what happens.
        windows: start and end of all its moments in seconds, as published; () where nothing fits, None where the
            truth is not known.
        duration: length of the video in seconds, where it is known.
        clip_ids: clips of two seconds that were rated (QVHighlights).
        saliency: ratings of these clips, a tuple of the annotators' each.
        kind: of a sentence of TVR: v (seen), t (said) or vt.
        graded: of a sentence of TVR-Ranking: moments of all videos with their relevance.
    """

    qid: str | int
    video: str
    sentence: str
    windows: tuple[Window, ...] | None
    duration: float | None = None
    clip_ids: tuple[int, ...] = ()
    saliency: tuple[tuple[float, ...], ...] = ()
    kind: str | None = None
    graded: tuple[Graded, ...] = ()


def read_queries(path: str | Path) -> list[Query]:
    """Read the sentences of an annotation file of any layout, in the order of the file.

    Rows of our own format are read as training reads them, cut at the video's end. Of other layouts windows stay as
    published, since the field's scripts take them so.

    Raises:
        InputError: the file cannot be used; a window that is reversed or lies outside its video is named.
    """
    layout, rows = read_rows(path)
    parse = _own if layout == "rows" else _published
    queries: dict[str | int, Query] = {}
    for number, row in enumerate(rows, 1):
        try:
            query = parse(row, number)
            known = queries.get(query.qid)
            queries[query.qid] = query if known is None else _joined(known, query, graded=layout == "tvr-ranking")
        except ValueError as error:
            raise InputError(f"{path}: {row.where} {error}") from None
    if not queries:
        raise InputError(f"{path}: there is no sentence in it")
    return list(queries.values())


def _own(row: Row, number: int) -> Query:
    found, _ = parse_row(row.values)
    windows = () if found.absent and found.glance is None else None if found.span is None else (found.span,)
    qid = number if found.qid is None else found.qid
    return Query(qid, found.video, found.sentence, windows, _length(found.duration, found.video))


def _published(row: Row, number: int) -> Query:
    video, duration, span, sentence, _, qid = (*row.values, None, None)[:6]
    if not isinstance(video, str) or not video:
        raise ValueError(f"names no video (found {video!r})")
    if not isinstance(sentence, str) or not sentence.strip():
        raise ValueError(f"({video}) has no sentence (found {sentence!r})")
    length = None if duration is None else _length(duration, video)
    windows = None if span is None else () if span == [] else (_window(span, length, video),)
    extra = row.extra
    qid = extra.get("query_id", qid)
    graded: tuple[Graded, ...] = ()
    if "relevance" in extra and windows:
        graded = (Graded(video, *windows[0], float(extra["relevance"]), length),)
    return Query(
        number if qid is None else qid,
        video,
        sentence,
        windows,
        length,
        clip_ids=tuple(extra.get("clip_ids", ())),
        saliency=tuple(tuple(map(float, ratings)) for ratings in extra.get("saliency", ())),
        kind=extra.get("type"),
        graded=graded,
    )


def _joined(known: Query, query: Query, *, graded: bool) -> Query:
    """Two moments of one sentence."""
    if known.sentence != query.sentence or (known.video != query.video and not graded):
        raise ValueError(f"has the name {query.qid!r} of another sentence or video")
    if graded:
        return replace(known, graded=known.graded + query.graded)
    if known.windows is None or query.windows is None:
        return replace(known, windows=known.windows or query.windows)
    return replace(known, windows=known.windows + query.windows)


def _window(span: Any, duration: float | None, video: str) -> Window:
    if not isinstance(span, list | tuple) or len(span) != 2:
        raise ValueError(f"({video}) has {span!r} for a window, [start, end] is expected")
    start, end = (_number(value, video) for value in span)
    if end < start:
        raise ValueError(f"({video}) has a window that ends at {end:g} s, before it starts at {start:g} s")
    if duration is not None and (start < 0 or start >= duration or end > duration + rounding_slack(duration)):
        raise ValueError(
            f"({video}) has a window from {start:g} to {end:g} s, outside its video of {duration:g} s; "
            "`cfmr prepare` leaves out or cuts such"
        )
    return start, end


def _length(value: Any, video: str) -> float:
    length = _number(value, video)
    if not 0 < length <= LONGEST:
        raise ValueError(f"({video}) has a video of {length:g} s")
    return length


def _number(value: Any, video: str) -> float:
    if not is_number(value):
        raise ValueError(f"({video}) has {value!r} where a number of seconds is expected")
    return float(value)


def video_lengths(queries: Sequence[Query]) -> dict[str, float | None]:
    """Length in seconds, where it is known, of every video that sentences are about."""
    lengths: dict[str, float | None] = {}
    for query in queries:
        lengths[query.video] = lengths.get(query.video) or query.duration
        for moment in query.graded:
            lengths[moment.video] = lengths.get(moment.video) or moment.duration
    return lengths


def match_answers(truth: Sequence[Query], answered: Iterable[str | int], path: str | Path, *, key: str = "qid") -> None:
    """Raise InputError unless every sentence is answered, and no other.

    Args:
        answered: names of the sentences that have answers.
        path: of the answers, for the message.
    """
    wanted, given = [query.qid for query in truth], list(answered)
    if set(wanted) != set(given) and set(map(str, wanted)) == set(map(str, given)):
        odd = next(name for name in given if name not in set(wanted))
        kinds = ("text", "numbers") if isinstance(odd, str) else ("numbers", "text")
        raise InputError(
            f"{path}: has {key} {odd!r}, {kinds[0]}, where the truth has {kinds[1]}; write them as it does"
        )
    for text, names in (
        ("has no answer for", [name for name in wanted if name not in set(given)]),
        ("answers what the truth does not have,", [name for name in given if name not in set(wanted)]),
    ):
        if names:
            listed = ", ".join(map(str, names[:10])) + (", ..." if len(names) > 10 else "")
            raise InputError(f"{path}: {text} {len(names)} of {len(wanted)} sentences by {key}: {listed}")
