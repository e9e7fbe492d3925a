"""Looks at the folder of the videos now and then, and has it read when something in it has changed."""

import contextlib
import hashlib
import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from cfmr.errors import InputError
from cfmr.files.atomic import replacing
from cfmr.server.context import AppState

log = logging.getLogger(__name__)

PAUSE = 5.0  # seconds between two looks; a file that grows between them is still being copied
COST = 0.02  # share of the time that looking may take, in folders of very many files or on a share
SEEN = "seen.txt"  # beside a feature file: the folder as it was when it was last read to the end
TITLE = "Reading videos"
READING = ("add", "use")  # kinds of jobs that read the folder


def snapshot(files: Mapping[str, Path]) -> str:
    """Equal for videos of the same names, sizes and times, wherever the folder lies."""
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        with contextlib.suppress(OSError):
            status = path.stat()
            digest.update(f"{name}\0{status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def note_read(features: Path, seen: str) -> None:
    """Note that the folder was read to the end into a feature file as it was at a snapshot."""
    with replacing(features.with_name(SEEN)) as temporary:
        temporary.write_text(seen, encoding="ascii")


def forget_read(features: Path) -> None:
    """Have the folder read into a feature file again."""
    features.with_name(SEEN).unlink(missing_ok=True)


class FolderWatch:
    """Starts the job that reads the folder: when the server starts, and when the folder has changed and come to rest.

    What a job could not finish (a full disk, say) is not tried again before something has changed.
    """

    def __init__(self, state: AppState) -> None:
        self._state = state
        self._last: str | None = None  # the folder at the last look
        self._tried: tuple[str, Path] | None = None  # as it was when a job was started, and what was read into
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)

    def begin(self) -> None:
        """Look at once, and then every `PAUSE` seconds, or less often where a look takes long."""
        self._thread.start()

    def close(self) -> None:
        """Stop looking."""
        self._closing.set()

    def _watch(self) -> None:
        while not self._closing.is_set():
            began = time.monotonic()
            try:
                self.look()
            except (InputError, OSError) as error:  # a folder that is gone, a full disk
                log.warning("%s: %s", self._state.library.folder, error)
            self._closing.wait(max(PAUSE, (time.monotonic() - began) / COST))

    def look(self) -> None:
        """Start reading if there is something to read."""
        files = self._state.library.files() if self._state.library.answers() else {}
        if not files:
            self._last = None
            return
        now, before = snapshot(files), self._last
        self._last = now
        resting = before in (None, now)
        features = self._state.settings.place.served().features
        if resting and (now, features) != self._tried and now != _read(features) and not self._busy():
            self._tried = now, features
            self._state.jobs.start("add", TITLE)

    def _busy(self) -> bool:
        return any(self._state.jobs.busy(kind) for kind in READING)


def _read(features: Path) -> str:
    try:
        return features.with_name(SEEN).read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""
