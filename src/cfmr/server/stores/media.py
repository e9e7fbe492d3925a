"""What is sent of videos: the file in ranges, stills, and stretches cut out. Stills and cuts are made once and kept."""

import re
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from cfmr.server.problems import Problem
from cfmr.server.stores.decoding import Decoders
from cfmr.server.stores.kept import Kept, Turn
from cfmr.server.stores.sheets import Sheets
from cfmr.video.timing import Timing

#: Of all others browsers know "video/mp4".
KINDS = {".gif": "image/gif", ".webm": "video/webm", ".mkv": "video/webm", ".ogv": "video/ogg"}
LONGEST_CUT = 600.0  # seconds
WIDTHS = (160, 320, 640)
DECODERS = 3  # files decoded at once
SECONDS, CUT_SECONDS = 60.0, 6.0  # for a still, and more for each second of a cut
MOST_STILLS, MOST_CUTS = 20_000, 200


def stream_response(request: Request, path: Path) -> Response:
    """A file, or the one range of it that was asked for; players ask for ranges when one jumps.

    Raises:
        Problem: the range lies behind the end of the file.
    """
    size = path.stat().st_size
    asked = re.fullmatch(r"bytes=(\d{1,18})-(\d{0,18})|bytes=-(\d{1,18})", request.headers.get("range", "").strip())
    if asked is None or (asked[1] and asked[2] and int(asked[2]) < int(asked[1])):
        # a malformed range is to be ignored (RFC 9110), and several at once may be
        request.scope["headers"] = [h for h in request.scope["headers"] if h[0] != b"range"]
    elif (asked[1] and int(asked[1]) >= size) or asked[3] == "0":
        raise Problem(416, f"the file has {size} bytes", {"Content-Range": f"bytes */{size}"})
    kind = KINDS.get(path.suffix.lower(), "video/mp4")
    return FileResponse(path, media_type=kind, headers={"cache-control": "private, no-cache"})


class Media:
    """Stills, cuts and lengths of videos; files are decoded in processes of their own.

    Args:
        folder: where stills and cuts are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._stills = Kept(folder / "stills", MOST_STILLS, workers=2)
        self._cuts = Kept(folder / "cuts", MOST_CUTS, workers=1)
        self._decoders = Decoders(DECODERS)
        self.sheets = Sheets(folder / "sheets")
        self._facts: dict[tuple[str, Path, int], Any] = {}
        self._turns: WeakValueDictionary[Path, Turn] = WeakValueDictionary()
        self._lock = threading.Lock()

    def close(self) -> None:
        """End the processes."""
        self.sheets.close()
        self._decoders.close()

    async def still(self, path: Path, at: float, width: int) -> Path:
        """A JPEG of what is on the screen; times are taken to a hundredth of a second, widths to one of `WIDTHS`.

        Raises:
            Problem: the file cannot be decoded, or not within the limits.
        """
        at = round(at, 2)
        width = next((w for w in WIDTHS if w >= width), WIDTHS[-1])

        def make(place: Path) -> None:
            self._decoders.ask("still", path, SECONDS, out=str(place), time=at, width=width)

        return await self._stills.get(path, f"{at} {width}", ".jpg", make)

    async def cut(self, path: Path, start: float, end: float) -> Path:
        """An MP4 of a stretch, exact to the frame.

        Raises:
            Problem: the stretch is empty or too long, or the file cannot be decoded within the limits.
        """
        if not 0 <= start < end or end - start > LONGEST_CUT:
            raise Problem(422, f"a clip starts before it ends and lasts at most {LONGEST_CUT:.0f} s")

        def make(place: Path) -> None:
            seconds = SECONDS + CUT_SECONDS * (end - start)
            self._decoders.ask("clip", path, seconds, out=str(place), start=start, end=end)

        return await self._cuts.get(path, f"{start:.3f} {end:.3f}", ".mp4", make)

    def duration(self, path: Path) -> float:
        """Length of a video in seconds; worked out once as long as the file stays as it is.

        Raises:
            Problem: the file cannot be decoded, or not within the limits.
        """
        return float(self._asked("duration", path))

    def timing(self, path: Path) -> Timing:
        """How the frames of a video lie in time; read once as long as the file stays as it is.

        Raises:
            Problem: as `duration`.
        """
        found = self._asked("timing", path)
        return Timing(**found | {"fps": Fraction(found["fps"])})

    def _asked(self, do: str, path: Path) -> Any:
        """What a process says of a file, from memory where the file is as it was."""
        key = do, path, path.stat().st_mtime_ns
        with self._lock:
            turn = self._turns.setdefault(path, Turn())
        with turn.lock:  # decoding the same file twice at once would help nobody
            if key not in self._facts:
                self._facts[key] = self._decoders.ask(do, path, SECONDS)
            return self._facts[key]
