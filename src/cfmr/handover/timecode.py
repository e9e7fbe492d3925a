"""Frame rates and SMPTE timecode (ST 12-1): seconds to frames, frames to `01:00:00;02`, and back.

At 30000/1001 frames a second a count of 30 a second runs 3.6 s an hour behind the clock. Drop-frame timecode leaves out
the numbers 00 and 01 of every minute but each tenth (00 to 03 at 60000/1001). No frame is dropped, only numbers.
"""

import math
import re
from dataclasses import dataclass
from fractions import Fraction

STANDARD = tuple(
    Fraction(*rate)
    for rate in ((24000, 1001), (24, 1), (25, 1), (30000, 1001), (30, 1), (48, 1), (50, 1), (60000, 1001), (60, 1))
)
SAME = 0.0004  # relative; 24 and 23.976 are 0.001 apart
_SLACK = Fraction(1, 1000)  # of a frame, for times that were rounded on their way here
_TIMECODE = re.compile(r"(\d{1,2}):(\d{2}):(\d{2})([:;.,])(\d{2,3})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Rate:
    """Frames a second of a time line, and how they are numbered.

    Attributes:
        fps: frames a second, exact.
        drop: drop-frame timecode; only at 30000/1001 and 60000/1001.
    """

    fps: Fraction
    drop: bool = False

    def __post_init__(self) -> None:
        if self.drop and not can_drop(self.fps):
            raise ValueError(f"drop-frame timecode is for 29.97 and 59.94, not for {float(self.fps):g} frames a second")

    @property
    def nominal(self) -> int:
        """Frame numbers in a second of timecode: 30 for 29.97."""
        return max(round(self.fps), 1)

    @property
    def _dropped(self) -> int:
        return self.nominal // 15 if self.drop else 0

    def __str__(self) -> str:
        shown = f"{float(self.fps):.3f}".rstrip("0").rstrip(".")
        return f"{shown} {'drop frame' if self.drop else 'non-drop frame'}" if can_drop(self.fps) else shown

    def span(self, start: float, end: float) -> tuple[int, int]:
        """The frames on the screen between two times in seconds: the first, and the one after the last."""
        first = math.floor(_exact(start) * self.fps + _SLACK)
        return first, max(math.ceil(_exact(end) * self.fps - _SLACK), first + 1)

    def seconds(self, frame: int) -> Fraction:
        """When a frame begins."""
        return frame / self.fps

    def timecode(self, frame: int) -> str:
        """`HH:MM:SS:FF`, with `;` before the frames where numbers are dropped; begins again after 24 hours."""
        fps, dropped = self.nominal, self._dropped
        minute = 60 * fps - dropped
        ten = 10 * minute + dropped  # the first of ten minutes has all its numbers
        number = frame % (144 * ten)
        tens, rest = divmod(number, ten)
        number += dropped * (9 * tens + max(rest - dropped, 0) // minute)
        hours, number = divmod(number, 3600 * fps)
        minutes, number = divmod(number, 60 * fps)
        seconds, frames = divmod(number, fps)
        return f"{hours:02d}:{minutes:02d}:{seconds:02d}{';' if self.drop else ':'}{frames:02d}"

    def frame(self, timecode: str) -> int:
        """The frame of a timecode.

        Raises:
            ValueError: it is no timecode, or names a frame that this rate has not.
        """
        found = _TIMECODE.fullmatch(timecode.strip())
        if found is None:
            raise ValueError(f"{timecode[:40]!r} is no timecode (HH:MM:SS:FF)")
        hours, minutes, seconds, frames = (int(found[group]) for group in (1, 2, 3, 5))
        if minutes > 59 or seconds > 59 or frames >= self.nominal:
            raise ValueError(f"{timecode} is no timecode at {self} frames a second")
        total = 60 * hours + minutes
        if seconds == 0 and minutes % 10 and frames < self._dropped:
            raise ValueError(f"{timecode} is left out in drop-frame timecode")
        return (60 * total + seconds) * self.nominal + frames - self._dropped * (total - total // 10)


def can_drop(fps: Fraction) -> bool:
    """Whether drop-frame timecode is defined for a rate."""
    return fps in (Fraction(30000, 1001), Fraction(60000, 1001))


def standard(fps: float | Fraction) -> Fraction | None:
    """The standard rate that a measured one is; None if it is none."""
    return next((rate for rate in STANDARD if abs(float(fps) / float(rate) - 1) < SAME), None)


def timeline_fps(fps: Fraction) -> Fraction:
    """The standard rate for a time line with material of any rate.

    The same; else one on which every frame of it begins (24 for 12), or every second or third where it is faster (50
    for 100); else the nearest above it, or 60.
    """
    if (same := standard(fps)) is not None:
        return same
    slower = fps > STANDARD[-1]
    for rate in reversed(STANDARD) if slower else STANDARD:
        ratio = fps / rate if slower else rate / fps
        if abs(ratio / max(round(ratio), 1) - 1) < SAME:
            return rate
    return next((rate for rate in STANDARD if rate >= fps), STANDARD[-1])


def parse_fps(text: str) -> Fraction:
    """A rate as people write it: `25`, `29.97`, `30000/1001`. Raises ValueError."""
    try:
        fps = Fraction(text.strip())
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{text[:40]!r} is no frame rate; write it as 25, 29.97 or 30000/1001") from None
    if not 1 <= fps <= 1000:
        raise ValueError(f"{text[:40]} is no frame rate; it is between 1 and 1000")
    return standard(fps) or fps.limit_denominator(1001)


def _exact(seconds: float) -> Fraction:
    return Fraction(round(seconds * 1_000_000), 1_000_000)
