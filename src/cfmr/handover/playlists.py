"""Playlists and chapters."""

import re
from collections.abc import Sequence

from cfmr.errors import InputError
from cfmr.handover.clips import Clip
from cfmr.handover.text import one_line, path_line

_SPECIAL = re.compile(r"([=;#\\])")
SHORTEST, FEWEST = 10.0, 3  # seconds of a chapter and number of chapters that YouTube asks for


def write_m3u(clips: Sequence[Clip]) -> str:
    """A playlist that VLC plays clip by clip; players that do not know its options play whole files."""
    lines = ["#EXTM3U"]
    for clip in clips:
        if clip.path is None:
            raise InputError(f"video {clip.video!r}: its file is not there, and a playlist needs it")
        lines += [
            f"#EXTINF:{max(round(clip.end - clip.start), 1)},{one_line(clip.text)}",
            f"#EXTVLCOPT:start-time={clip.start:.3f}",
            f"#EXTVLCOPT:stop-time={clip.end:.3f}",
            path_line(clip.path),
        ]
    return "\n".join(lines) + "\n"


def write_ffmetadata(clips: Sequence[Clip]) -> str:
    """Chapters for `ffmpeg -i VIDEO -i FILE -map_chapters 1`. They cannot overlap: one ends where the next begins."""
    ordered = sorted(clips, key=lambda clip: clip.start)
    lines = [";FFMETADATA1"]
    for clip, after in zip(ordered, [*ordered[1:], None], strict=True):
        start = round(clip.start * 1000)
        end = round(clip.end * 1000) if after is None else min(round(clip.end * 1000), round(after.start * 1000))
        if end <= start:  # another begins at the same time
            continue
        title = _SPECIAL.sub(r"\\\1", one_line(clip.text))
        lines += ["[CHAPTER]", "TIMEBASE=1/1000", f"START={start}", f"END={end}", f"title={title}"]
    return "\n".join(lines) + "\n"


def write_youtube(clips: Sequence[Clip]) -> str:
    """Chapters for a video's description on YouTube.

    They have to begin at 0:00, last ten seconds and be three or more. A first one is added where it is missing, and
    those that follow another too soon are left out.

    Raises:
        InputError: fewer than three remain.
    """
    chapters: list[tuple[float, str]] = []
    for clip in sorted(clips, key=lambda clip: clip.start):
        if not chapters and clip.start >= SHORTEST:
            chapters.append((0.0, "Start"))
        if not chapters or clip.start - chapters[-1][0] >= SHORTEST:
            chapters.append((clip.start if chapters else 0.0, one_line(clip.text)))
    if len(chapters) < FEWEST:
        raise InputError(
            f"YouTube asks for {FEWEST} chapters of {SHORTEST:.0f} s or more; these moments make {len(chapters)}"
        )
    long = chapters[-1][0] >= 3600
    return "".join(f"{_youtube_time(start, long)} {title}\n" for start, title in chapters)


def _youtube_time(seconds: float, long: bool) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if long else f"{minutes}:{rest:02d}"
