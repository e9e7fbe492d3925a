"""Films that need not be there: their timing is made up."""

from fractions import Fraction
from pathlib import Path

from cfmr.handover.clips import Clip
from cfmr.video.timing import Timing

FILM = Fraction(24000, 1001)
NTSC = Fraction(30000, 1001)
FAST_NTSC = Fraction(60000, 1001)
RATES = [FILM, Fraction(24), Fraction(25), NTSC, Fraction(30), Fraction(50), FAST_NTSC, Fraction(60)]


class Films:
    """Timings by the name of the file; others are of 25 frames a second and ten minutes."""

    def __init__(self, **timings: Timing) -> None:
        self.timings = timings

    def __call__(self, path: Path) -> Timing:
        return self.timings.get(path.stem, Timing(600.0, Fraction(25), width=640, height=360, channels=2))


def clip(video: str = "kitchen", start: float = 1.0, end: float = 3.0, text: str = "a door opens") -> Clip:
    return Clip(video, start, end, text, 1.5, 600.0, Path("/films") / f"{video}.mp4")
