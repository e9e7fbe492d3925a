"""What is sent of videos: the file in ranges, stills, and stretches cut out. Stills and cuts are made once and kept."""

import hashlib
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import anyio
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from cfmr.files.atomic import is_alive, make_directory
from cfmr.server.problems import Problem
from cfmr.server.stores.decoding import Decoders
from cfmr.video.timing import Timing

#: Of all others browsers know "video/mp4".
KINDS = {".gif": "image/gif", ".webm": "video/webm", ".mkv": "video/webm", ".ogv": "video/ogg"}
LONGEST_CUT = 600.0  # seconds
WIDTHS = (160, 320, 640)
DECODERS = 3  # files decoded at once
SECONDS, CUT_SECONDS = 60.0, 6.0  # for a still, and more for each second of a cut
_UNFINISHED = re.compile(r"\.making-(\d+)-.*")  # name of a folder, with the process that makes something in it
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
        for left in self.folder.glob(".making-*"):  # by a server that was killed
            found = _UNFINISHED.fullmatch(left.name)
            if found is None or not is_alive(int(found[1])):
                shutil.rmtree(left, ignore_errors=True)
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
    """Stills, cuts and lengths of videos; files are decoded in processes of their own.

    Args:
        folder: where stills and cuts are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._stills = Kept(folder / "stills", MOST_STILLS, workers=2)
        self._cuts = Kept(folder / "cuts", MOST_CUTS, workers=1)
        self._decoders = Decoders(DECODERS)
        self._facts: dict[tuple[str, Path, int], Any] = {}
        self._turns: WeakValueDictionary[Path, _Turn] = WeakValueDictionary()
        self._lock = threading.Lock()

    def close(self) -> None:
        """End the processes."""
        self._decoders.close()

    async def still(self, path: Path, at: float, width: int) -> Path:
        """A JPEG of what is on the screen; times are taken to a tenth of a second, widths to one of `WIDTHS`.

        Raises:
            Problem: the file cannot be decoded, or not within the limits.
        """
        at = round(at, 1)
        width = next((w for w in WIDTHS if w >= width), WIDTHS[-1])

        def make(place: Path) -> None:
            self._make("still", path, SECONDS, place, time=at, width=width)

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
            self._make("clip", path, seconds, place, start=start, end=end)

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
            turn = self._turns.setdefault(path, _Turn())
        with turn.lock:  # decoding the same file twice at once would help nobody
            if key not in self._facts:
                self._facts[key] = self._decoders.ask(do, path, SECONDS)
            return self._facts[key]

    def _make(self, do: str, path: Path, seconds: float, place: Path, **arguments: float) -> None:
        # whatever a process that was ended leaves behind goes with the folder
        try:
            with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".making-{os.getpid()}-") as folder:
                made = Path(folder) / place.name
                self._decoders.ask(do, path, seconds, out=str(made), **arguments)
                made.replace(place)
        except OSError as error:
            raise Problem(507, f"there is no room for what was made of it ({error.strerror or error})") from error
