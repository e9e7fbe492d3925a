"""Edit decision lists: CMX 3600 for programmes, and DaVinci Resolve's lists of markers, out and in."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from cfmr.errors import InputError
from cfmr.handover.clips import Edit, Programme
from cfmr.handover.text import one_line
from cfmr.handover.timecode import Rate
from cfmr.video.files import shown

MOST_EVENTS = 999  # three digits
LONGEST_REEL = 8  # characters
_RESERVED = {"AX", "BL"}  # no tape, and black
_EVENT = re.compile(r"(\d{1,6})\s+\S+\s+\S+\s+[A-Z]\w*(?:\s+\d+)?((?:\s+[\d:;.,]+){4})\s*")
_MARKER = re.compile(r"(.*?)\|C:(\w*)\s*\|M:(.*?)\s*\|D:(\d{1,9})\s*", re.S)


def write_edl(programme: Programme) -> str:
    """A CMX 3600 list: one cut an event, one video track, sources by reel and file name, a marker on each event.

    Raises:
        InputError: there are more than 999 events.
    """
    if len(programme.edits) > MOST_EVENTS:
        raise InputError(
            f"an EDL holds {MOST_EVENTS} events, and these are {len(programme.edits)} moments; ask for fewer (--top), "
            "or write .fcpxml or .otio"
        )
    rate = programme.rate
    lines = [f"TITLE: {one_line(programme.title)[:70]}", f"FCM: {'DROP FRAME' if rate.drop else 'NON-DROP FRAME'}", ""]
    reels = _reels(programme.edits)
    for number, edit in enumerate(programme.edits, 1):
        begin = programme.first + edit.begin
        first, after = _source_frames(edit, rate)
        codes = [rate.timecode(frame) for frame in (first, after, begin, begin + edit.length)]
        reel, track = reels[edit.source.video], _track(edit.source.timing.channels)
        text = one_line(edit.clip.text)
        lines += [
            f"{number:03d}  {reel:<8} {track:<5} C        {' '.join(codes)}",
            f"* FROM CLIP NAME: {shown(edit.source.path.name)}",
            f"* LOC: {codes[2]} GREEN   {text}",
            f"* SOURCE FILE: {shown(edit.source.path)}",
            "",
        ]
    lines += [f"* {one_line(note)}" for note in programme.notes]  # some readers expect none before the first event
    return "\n".join(lines) + "\n"


def _source_frames(edit: Edit, rate: Rate) -> tuple[int, int]:
    """In and out of an event in the list's own rate: a list has but one, and in and out are as far apart as on it."""
    source = edit.source
    first = source.first + edit.start
    if source.rate.fps != rate.fps:
        first = int(source.rate.seconds(first) * rate.fps)
    return first, first + edit.length


def _track(channels: int) -> str:
    return "V" if channels == 0 else "B" if channels == 1 else "AA/V"


def _reels(edits: Iterable[Edit]) -> dict[str, str]:
    """A reel name for each source: capitals and digits of its file's name, no two alike."""
    reels: dict[str, str] = {}
    taken = set(_RESERVED)
    for edit in edits:
        video = edit.source.video
        if video in reels:
            continue
        name = re.sub(r"[^A-Z0-9]", "", edit.source.path.stem.upper())[:LONGEST_REEL] or "REEL"
        number = 1
        free = name
        while free in taken:
            number += 1
            free = f"{name[: LONGEST_REEL - len(str(number))]}{number}"
        taken.add(free)
        reels[video] = free
    return reels


# --- markers ----------------------------------------------------------------------------------------------------------


class Marker(NamedTuple):
    """A marker on a video's own time line, in frames from its beginning; one frame long where it marks a point."""

    frame: int
    length: int
    text: str


def write_markers(markers: Sequence[Marker], rate: Rate, title: str) -> str:
    """Markers of one video as DaVinci Resolve imports them (Timelines, Import, Timeline Markers from EDL).

    The time line begins at 01:00:00:00, as Resolve's do.
    """
    lines = [f"TITLE: {one_line(title)[:70]}", f"FCM: {'DROP FRAME' if rate.drop else 'NON-DROP FRAME'}", ""]
    first = rate.frame("01:00:00:00")
    for number, marker in enumerate(sorted(markers), 1):
        codes = [rate.timecode(first + frame) for frame in (marker.frame, marker.frame + 1)]
        # a bar would end the name
        text = one_line(marker.text).replace("|", "/")
        lines += [
            f"{number:03d}  001      V     C        {' '.join(codes * 2)}",
            f" |C:ResolveColorGreen |M:{text} |D:{marker.length}",
            "",
        ]
    return "\n".join(lines)


class ReadMarker(NamedTuple):
    """A marker as it was read: timecode, frames, and its texts."""

    timecode: str
    length: int
    name: str
    note: str


def read_markers(text: str) -> Iterator[tuple[int, ReadMarker | str]]:
    """Markers of a list of Resolve's with the number of their event, or one line that says what is wrong with it."""
    count, event, rest = 0, "", ""
    for line in [*text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), None]:
        found = None if line is None else _EVENT.fullmatch(line)
        if found is None and line is not None:
            rest += f"{line}\n" if event else ""
            continue
        if event:
            yield count, _marker(event, rest)
        if found is not None:
            count, event, rest = count + 1, found[2].split()[2], ""


def _marker(timecode: str, text: str) -> ReadMarker | str:
    found = _MARKER.search(text)
    if found is None:
        return "is no marker of DaVinci Resolve (a line with |C:... |M:... |D:... is expected)"
    return ReadMarker(timecode, max(int(found[4]), 1), one_line(found[3]), one_line(found[1]))
