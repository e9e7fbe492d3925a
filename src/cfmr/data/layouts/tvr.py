"""TVR (TVRetrieval) and TVR-Ranking: sentences over a collection of videos."""

from collections.abc import Iterator, Sequence
from typing import Any

from cfmr.data.layouts.recognise import identifier, take
from cfmr.data.layouts.row import Once, Row, is_number

TYPES = ("v", "t", "vt")  # whether a sentence is about what is seen, said (text), or both
RELEVANCES = range(5)


def rows(objects: Sequence[tuple[str, dict[str, Any]]]) -> Iterator[Row]:
    """A row for each sentence; `ts` may be missing, as in the public test file, or hold several annotators' spans.

    Raises:
        ValueError: naming the line.
    """
    once = Once()
    for where, value in objects:
        qid = identifier(take(value, "desc_id", where), "desc_id", where)
        once(qid, "desc_id", where)
        kind = value.get("type")
        extra = {"type": kind} if kind in TYPES else {}
        spans = value.get("ts")
        several = isinstance(spans, list) and bool(spans) and isinstance(spans[0], list)
        for span in spans if several else [spans]:  # type: ignore[union-attr]
            start = [take(value, "vid_name", where), take(value, "duration", where)]
            yield Row(where, [*start, span, take(value, "desc", where), None, qid], extra)


def ranking_rows(objects: Sequence[tuple[str, dict[str, Any]]]) -> Iterator[Row]:
    """A row for each pair of a sentence and a moment of any video, with its relevance (0 to 4) where it has one.

    The sentence's identifier is in `extra`: its moments are of many videos, and train as sentences of their own.

    Raises:
        ValueError: naming the line.
    """
    for where, value in objects:
        qid = identifier(take(value, "query_id", where), "query_id", where)
        relevance = value.get("relevance")
        if relevance is not None and (not is_number(relevance) or not 0 <= relevance <= RELEVANCES[-1]):
            raise ValueError(f"{where} has relevance {relevance!r}; a number from 0 to {RELEVANCES[-1]} is expected")
        start = [take(value, "video_name", where), take(value, "duration", where)]
        extra = {"query_id": qid} | ({} if relevance is None else {"relevance": relevance})
        yield Row(where, [*start, take(value, "timestamp", where), take(value, "query", where), None], extra)
