"""Texts and times as line-based formats can hold them."""

import re
from pathlib import Path

from cfmr.video.files import shown

_TIME = re.compile(r"(?:(\d{1,3}):)?(\d{1,3}):(\d{1,2})(?:[.,](\d{1,6}))?", re.ASCII)
_SECONDS = re.compile(r"\d{1,9}(?:[.,]\d{1,9})?", re.ASCII)


def one_line(text: str) -> str:
    """A text without line breaks and characters that cannot be printed; runs of blanks are one."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def path_line(path: Path) -> str:
    """A path as a line of a playlist; a `file:` address where it has characters that a line cannot hold."""
    text = str(path.absolute())
    return text if text == shown(text) and text.isprintable() else path.absolute().as_uri()


def clock(seconds: float, point: str = ".") -> str:
    """`HH:MM:SS.mmm`."""
    whole = round(seconds * 1000)
    minutes, rest = divmod(whole, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"


def parse_time(text: str) -> float:
    """Seconds of `12.5`, `1:02.5` or `01:02:03,250`. Raises ValueError."""
    text = text.strip()
    if _SECONDS.fullmatch(text):
        return float(text.replace(",", "."))
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:40]!r} is no time; write seconds or HH:MM:SS.mmm")
    hours, minutes, seconds, fraction = found.groups()
    if int(seconds) > 59 or (hours is not None and int(minutes) > 59):
        raise ValueError(f"{text[:40]!r} is no time; minutes and seconds end at 59")
    return float(f"{3600 * int(hours or 0) + 60 * int(minutes) + int(seconds)}.{fraction or 0}")
