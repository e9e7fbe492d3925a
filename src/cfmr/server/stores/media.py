"""What is sent of videos: the file in ranges, stills, and stretches cut out. Stills and cuts are made once and kept."""

import hashlib
import re
import threading
from collections.abc import Callable
from pathlib import Path
from weakref import WeakValueDictionary

import anyio
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from cfmr.files.atomic import make_directory, replacing
from cfmr.server.problems import Problem
from cfmr.video import clip

KINDS = {".webm": "video/webm", ".mkv": "video/webm", ".ogv": "video/ogg"}  # of all others browsers know "video/mp4"
LONGEST_CUT = 600.0  # seconds
WIDTHS = (160, 320, 640)
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


class _Turn:
    """Who makes a file; a lock as such cannot be referred to weakly."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


class Kept:
    """Files that are made when first asked for, and the newest of which are kept.

    Args:
        folder: where.
        most: how many.
        workers: how many are made at once.
    """

    def __init__(self, folder: Path, most: int, workers: int) -> None:
        self.folder = make_directory(folder)
        self.most = most
        self._workers = workers
        self._limiter: anyio.CapacityLimiter | None = None
        self._made = 0
        self._lock = threading.Lock()
        self._making: WeakValueDictionary[Path, _Turn] = WeakValueDictionary()

    async def get(self, source: Path, key: str, suffix: str, make: Callable[[Path], None]) -> Path:
        """The file for a source as it is now and a key; `make` writes it to the path it is given."""
        stat = source.stat()
        text = f"{source}\n{stat.st_mtime_ns}\n{stat.st_size}\n{key}"
        place = self.folder / f"{hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}{suffix}"
        if not place.exists():
            if self._limiter is None:
                self._limiter = anyio.CapacityLimiter(self._workers)
            await anyio.to_thread.run_sync(self._make, place, make, limiter=self._limiter)
        return place

    def _make(self, place: Path, make: Callable[[Path], None]) -> None:
        with self._lock:
            turn = self._making.setdefault(place, _Turn())
        with turn.lock:
            if place.exists():  # made while this one waited
                return
            make(place)
        with self._lock:
            self._made += 1
            if self._made % max(self.most // 10, 1) == 1:
                self._forget_oldest()

    def _forget_oldest(self) -> None:
        files = sorted(
            (p for p in self.folder.iterdir() if not p.name.startswith(".")), key=lambda p: p.stat().st_mtime
        )
        for path in files[: max(len(files) - self.most, 0)]:
            path.unlink(missing_ok=True)


class Media:
    """Stills and cuts of videos.

    Args:
        folder: where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._stills = Kept(folder / "stills", MOST_STILLS, workers=2)
        self._cuts = Kept(folder / "cuts", MOST_CUTS, workers=1)

    async def still(self, path: Path, time: float, width: int) -> Path:
        """A JPEG of what is on the screen; times are taken to a tenth of a second, widths to one of `WIDTHS`."""
        time = round(time, 1)
        width = next((w for w in WIDTHS if w >= width), WIDTHS[-1])

        def make(place: Path) -> None:
            picture = clip.thumbnail(path, time, width)
            with replacing(place) as temporary:
                temporary.write_bytes(picture)

        return await self._stills.get(path, f"{time} {width}", ".jpg", make)

    async def cut(self, path: Path, start: float, end: float) -> Path:
        """An MP4 of a stretch, exact to the frame.

        Raises:
            Problem: the stretch is empty or too long.
        """
        if not 0 <= start < end or end - start > LONGEST_CUT:
            raise Problem(422, f"a clip starts before it ends and lasts at most {LONGEST_CUT:.0f} s")
        return await self._cuts.get(
            path, f"{start:.3f} {end:.3f}", ".mp4", lambda place: clip.cut(path, start, end, place)
        )
