"""Answers as a person at a shell wants them: lines with a relevance bar, JSON, and clips to watch."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cfmr.console.format import bar, clock
from cfmr.errors import InputError
from cfmr.search.composed import ComposedQuery
from cfmr.search.own_labels import OwnLabel
from cfmr.search.retriever import Moment, MomentRetriever, SearchResult
from cfmr.video.files import restored_path, video_file

BAR = 40  # characters
_LONGEST_NAME = 160  # bytes of a video's name in that of a clip, which file systems hold to 255


def lines(retriever: MomentRetriever, result: SearchResult) -> Iterator[str]:
    """A moment a line: rank, score, video, span, relevance over the video's time; then what else there is to say."""
    width = max((len(m.video) for m in result), default=0)
    digits = 3 if result.best is not None and abs(result.best) < 1 else 2  # cosines lie close together
    curves: dict[str, str] = {}
    for rank, moment in enumerate(result, 1):
        if moment.video not in curves:
            curves[moment.video] = _curve(retriever, result.query, moment.video)
        span = f"{clock(moment.start)}-{clock(moment.end)}"
        shown = curves[moment.video] if moment.label is None else f"your label: {moment.label.sentence}"
        score = f"{moment.score:6.{digits}f}" if moment.label is None else " " * 6
        yield f"{rank:>2}  {score}  {moment.video:<{width}}  {span:>11}  {shown}"
    yield from remarks(result)
    took = (result.encode_seconds + result.search_seconds) * 1000
    yield f"searched {len(retriever.index):,} moments of {len(retriever.videos()):,} videos in {took:.1f} ms"


def _curve(retriever: MomentRetriever, query: ComposedQuery, video: str) -> str:
    try:
        return bar(retriever.curve(query, video, BAR)[1])
    except InputError:  # found by a label alone: the model reads no word of it
        return ""


def remarks(result: SearchResult) -> Iterator[str]:
    """What a person should know before believing the answers."""
    for unknown in result.unknown:
        instead = f'it was read as "{unknown.used}"' if unknown.used else "it was left out"
        yield f'the model does not know "{unknown.word}"; {instead}'
    if result.best is None:
        yield "the model knows no word of it" if result.moments else "the index is empty"
    elif result.has_match is False:
        yield (
            f"nothing here matches well: the best score is {result.best:.3g}, a match reaches {result.threshold:.3g}"
        )
    elif not result:
        yield f"no moment reaches the requested score; the best has {result.best:.3g}"


def as_json(result: SearchResult) -> str:
    """One JSON object."""
    return json.dumps(_as_object(result), indent=1, ensure_ascii=False)


def list_as_json(results: Sequence[SearchResult]) -> str:
    """A JSON list of such objects."""
    return json.dumps([_as_object(result) for result in results], indent=1, ensure_ascii=False)


def _as_object(result: SearchResult) -> dict[str, Any]:
    moments = [
        {
            "rank": rank,
            "score": round(m.score, 6),
            "video": m.video,
            "start": round(m.start, 3),
            "end": round(m.end, 3),
            "duration": m.duration,
            "path": m.path,
            "metadata": dict(m.metadata),
            "label": None if m.label is None else _label(m.label),
        }
        for rank, m in enumerate(result, 1)
    ]
    return {
        "sentence": result.sentence,
        "without": list(result.query.without),
        "like": [str(one) for one in result.query.like],
        "unlike": [str(one) for one in result.query.unlike],
        "moments": moments,
        "unknown": [{"word": u.word, "used": u.used} for u in result.unknown],
        "convincing": result.has_match,
        "threshold": result.threshold,
        "milliseconds": {
            "encode": round(result.encode_seconds * 1000, 3),
            "search": round(result.search_seconds * 1000, 3),
        },
    }


def _label(label: OwnLabel) -> dict[str, Any]:
    """As the page's API has it."""
    names = ("id", "sentence", "author", "glance", "exact")
    return {name: getattr(label, name) for name in names}


def save_clips(moments: Sequence[Moment], out: Path, videos: Path | None = None) -> list[Path]:
    """Cut each moment out as a playable file named by rank, video and seconds.

    Args:
        moments: best first.
        out: directory for the clips.
        videos: where the video files are, if not where they were when they were indexed.

    Raises:
        InputError: a video file is not to be found.
    """
    from cfmr.video.clip import cut

    sources = [_source(moment, videos) for moment in moments]
    written = []
    for rank, (moment, source) in enumerate(zip(moments, sources, strict=True), 1):
        name = "".join(c if c.isalnum() or c in "-_." else "_" for c in Path(moment.video).name)
        name = name.encode()[:_LONGEST_NAME].decode(errors="ignore")
        path = out / f"{rank:02d}-{name}-{moment.start:.1f}-{moment.end:.1f}.mp4"
        cut(source, moment.start, moment.end, path)
        written.append(path)
    return written


def _source(moment: Moment, folder: Path | None) -> Path:
    candidates = [restored_path(moment.path)] if moment.path else []
    if folder is not None:
        found = video_file(folder, moment.video)
        candidates = [found] if found else []
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    if folder is not None:
        raise InputError(f"--videos {folder}: no file of video {moment.video!r} there")
    looked = f"no file at {moment.path}" if moment.path else "the index does not say where its file is"
    raise InputError(f"video {moment.video!r}: {looked}; give --videos DIR, the folder that has it")


def parse_where(pairs: Sequence[str]) -> dict[str, str]:
    """key=value arguments as a filter. Raises InputError for one without "="."""
    for pair in pairs:
        if "=" not in pair:
            raise InputError(f"--where {pair}: write it as key=value")
    return dict(pair.split("=", 1) for pair in pairs)


def parse_min_score(value: str | None, retriever: MomentRetriever, videos: Sequence[str] | None) -> float | None:
    """A number, or "auto" for the index's threshold. Raises InputError if it has none."""
    if value is None:
        return None
    if value == "auto":
        threshold = retriever.threshold(videos)
        if threshold is None:
            raise InputError(
                "--min-score auto: no score of this index is known to tell a match; choose one with "
                "cfmr index --calibrate FILE, or give a number"
            )
        return threshold
    try:
        return float(value)
    except ValueError as error:
        raise InputError(f"--min-score {value}: a number is expected, or auto") from error
