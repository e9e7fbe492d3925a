"""Subtitles: SubRip (.srt) and WebVTT (.vtt), out and in."""

import html
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from cfmr.handover.text import clock, one_line, parse_time

_CUE = re.compile(r"(\S+)\s+-->\s+(\S+)(?:\s.*)?")
_ASIDE = re.compile(r"(?:WEBVTT|NOTE|STYLE|REGION)(?:\s|$)")
_MARKUP = re.compile(r"</?(?:b|i|u|s|c|v|lang|ruby|rt|font)(?:[ .][^<>]*)?>|\{\\[^{}]*\}|<\d[\d:.]*>", re.I)


class Cue(NamedTuple):
    """A text and when it is shown, in seconds."""

    start: float
    end: float
    text: str


def write_srt(cues: Iterable[Cue]) -> str:
    """SubRip. It knows no escapes, so an arrow in a text becomes another."""
    blocks = (
        f"{number}\n{clock(cue.start, ',')} --> {clock(cue.end, ',')}\n{one_line(cue.text).replace('-->', '→')}\n"
        for number, cue in enumerate(cues, 1)
    )
    return "\n".join(blocks)


def write_vtt(cues: Iterable[Cue], notes: Iterable[str] = ()) -> str:
    """WebVTT. `&`, `<` and `>` are escaped, which also keeps arrows out of texts."""
    parts = ["WEBVTT\n", *(f"NOTE {one_line(note).replace('-->', '→')}\n" for note in notes)]
    for cue in cues:
        text = html.escape(one_line(cue.text), quote=False)
        parts.append(f"{clock(cue.start)} --> {clock(cue.end)}\n{text}\n")
    return "\n".join(parts)


def read_cues(text: str) -> Iterator[tuple[int, Cue | str]]:
    """Cues of either format with the number of their block, or one line that says what is wrong with it."""
    escaped = text.lstrip("\ufeff").startswith("WEBVTT")
    number = 0
    for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n").replace("\r", "\n").strip("\ufeff\n ")):
        lines = block.strip().split("\n")
        if _ASIDE.match(lines[0]):
            continue
        at = next((at for at, line in enumerate(lines[:2]) if "-->" in line), None)
        if at is None:
            if lines[0]:
                number += 1
                yield number, f"has no line with times (found {lines[0][:40]!r})"
            continue
        number += 1
        try:
            yield number, _cue(lines[at], " ".join(lines[at + 1 :]), escaped)
        except ValueError as error:
            yield number, str(error)


def _cue(times: str, text: str, escaped: bool) -> Cue:
    found = _CUE.fullmatch(times.strip())
    if found is None:
        raise ValueError(f"has {times[:60]!r} where START --> END is expected")
    text = _MARKUP.sub("", text)
    return Cue(parse_time(found[1]), parse_time(found[2]), one_line(html.unescape(text) if escaped else text))
