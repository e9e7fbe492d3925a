"""Videos that labels may be of."""

from collections.abc import Sequence
from fractions import Fraction

from cfmr.data.annotations import Annotation
from cfmr.handover.labels.read import Refused, read_labels
from cfmr.handover.labels.rows import Given, Names
from cfmr.handover.timecode import Rate


class Site:
    """Videos of a minute, at one frame rate."""

    def __init__(self, *names: str, fps: Fraction = Fraction(25), drop: bool = False, seconds: float = 60.0) -> None:
        self.names, self.line, self.seconds = Names(names), Rate(fps, drop), seconds

    def find(self, references: Sequence[str], fingerprint: str | None = None) -> str:
        if fingerprint == "1-0123456789abcdef-0123456789abcdef":
            return "kitchen"
        return self.names.find(references)

    def duration(self, video: str) -> float:
        return self.seconds

    def rate(self, video: str) -> Rate:
        return self.line

    def file_name(self, video: str) -> str:
        return f"{video}.mp4"

    def fingerprint(self, video: str) -> str | None:
        return None


SITE = Site("kitchen", "garden/dog <b>", "street")


def read(
    content: str | bytes, name: str = "labels", video: str | None = None, fps: Fraction | None = None, site: Site = SITE
) -> tuple[list[Annotation], list[Refused]]:
    raw = content.encode() if isinstance(content, str) else content
    return read_labels(raw, Given(site, name, video, fps))
