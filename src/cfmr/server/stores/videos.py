"""The folder of videos: which file stands behind a name, and which files may come in."""

import contextlib
import filecmp
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
import time
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cfmr.errors import InputError
from cfmr.files.atomic import beside, sweep, written_at
from cfmr.server.problems import Problem
from cfmr.video.files import SUFFIXES, find_videos, restored_path, shown

FRESH = 10.0  # seconds for which a listing of the folder is believed
SLOW = 0.3  # seconds of a listing from which on requests have the one before instead of waiting for the next
PATIENCE = 2.0  # seconds in which a folder has to answer; a share that hangs holds up nobody for longer
ANSWERED = 0.25  # seconds for which it is believed to go on answering
LONGEST_NAME = 120  # bytes, which leaves room for a number and a suffix everywhere
ARRIVING = "arriving"  # folder of the workspace for uploads under way
CHECK_SECONDS = 60


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file of the folder: where it is, its bytes, and when it was last written (seconds since 1970)."""

    path: Path
    size: int
    written: float


class Library:
    """Files by name. A name is looked up, never joined to a path, so no name leads outside the folder.

    Args:
        folder: of the videos; links that lead out of it are not followed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._files: dict[str, Path] = {}
        self._names: dict[Path, str] = {}
        self._facts: dict[str, FileFacts] = {}
        self._by_size: tuple[dict[str, FileFacts], dict[int, list[str]]] = {}, {}
        self._read, self._changed, self._took = -FRESH, 0, 0.0
        self._lock = threading.Lock()
        self._asking, self._answered = threading.Lock(), -ANSWERED
        self._question: threading.Thread | None = None

    def answers(self) -> bool:
        """Whether the disk of the folder answers, be it that there is none. One that hangs is asked by one thread."""
        if time.monotonic() - self._answered < ANSWERED:
            return True
        with self._asking:
            fresh = self._question is None or not self._question.is_alive()
            if self._question is None or fresh:
                self._question = threading.Thread(target=ask_disk, args=(self.folder,), daemon=True)
                self._question.start()
            self._question.join(PATIENCE if fresh else 0)
            if self._question.is_alive():
                return False
            self._answered = time.monotonic()
            return True

    def reachable(self) -> bool:
        """Whether the folder is there."""
        return self.answers() and self.folder.is_dir()

    def files(self) -> dict[str, Path]:
        """Every video file in the folder, by name.

        Where listing takes long, as on a network share, the listing before is given while another thread makes a new
        one.
        """
        if not self.answers():
            return self._files
        changed = written_at(self.folder)  # by another process, say
        if time.monotonic() - self._read < FRESH and changed == self._changed:
            return self._files
        if self._took <= SLOW:
            with self._lock:
                self._list(changed)
        elif self._lock.acquire(blocking=False):
            threading.Thread(target=self._list_and_release, args=(changed,), daemon=True).start()
        return self._files

    def _list_and_release(self, changed: int) -> None:
        try:
            self._list(changed)
        finally:
            self._lock.release()

    def _list(self, changed: int) -> None:
        """Read the folder, unless another thread just has."""
        began = time.monotonic()
        if began - self._read < FRESH and changed == self._changed:
            return
        try:
            facts = dict(self._look(find_videos([self.folder])))
        except (InputError, OSError):  # there is none, or the folder went away meanwhile
            facts = {}
        self._files = {name: one.path for name, one in facts.items()}
        self._names = {one.path: name for name, one in facts.items()}
        if facts != self._facts:
            self._facts = facts
        self._read, self._changed = time.monotonic(), changed
        self._took = self._read - began

    def _look(self, found: Mapping[str, Path]) -> Iterator[tuple[str, FileFacts]]:
        """What is known of each file that lies in the folder; a folder is resolved once for all of its files."""
        inside: dict[str, bool] = {}
        for name, path in found.items():
            with contextlib.suppress(OSError):
                folder, status = os.path.dirname(path), os.lstat(path)
                if folder not in inside:
                    inside[folder] = Path(os.path.realpath(folder)).is_relative_to(self.folder)
                if stat.S_ISLNK(status.st_mode) and self._inside(path):
                    status = os.stat(path)
                if inside[folder] and stat.S_ISREG(status.st_mode):
                    yield name, FileFacts(path, status.st_size, status.st_mtime)

    def facts(self) -> dict[str, FileFacts]:
        """What is known of every video file in the folder, by name; the same object until something changes."""
        self.files()
        return self._facts

    def refresh(self) -> None:
        """Read the folder again at the next question, which waits for it."""
        self._read, self._took = -FRESH, 0.0

    def has(self, name: str, indexed: str | None = None) -> bool:
        """Whether `find` found a file when the folder was read last; costs nothing."""
        return self.lookup()(name, indexed)

    def lookup(self) -> Callable[[str, str | None], bool]:
        """`has` of many names at one time."""
        files, paths = self.files(), self._names
        return lambda name, indexed: name in files or (indexed is not None and restored_path(indexed) in paths)

    def find(self, name: str, indexed: str | None = None) -> Path | None:
        """The file of a video; `indexed` is where the index saw it last. None if there is none in the folder.

        Where the index saw it comes first: another file may have its name by now.
        """
        if not self.answers():
            return None
        places = [] if indexed is None else [restored_path(indexed)]
        if name in self.files():
            places.append(self._files[name])
        return next(filter(self._inside, places), None)

    def name_of(self, path: Path) -> str:
        """What a file in the folder is called."""
        self.files()
        return self._names.get(path, shown(path.name))

    def _inside(self, path: Path) -> bool:
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError, ValueError):
            return False
        return real.is_file() and real.is_relative_to(self.folder)

    def twin(self, file: Path) -> str | None:
        """The video with the same content as a file, whatever its name; None if there is none."""
        size, facts = file.stat().st_size, self.facts()
        if self._by_size[0] is not facts:
            sizes: dict[int, list[str]] = {}
            for name, one in facts.items():
                sizes.setdefault(one.size, []).append(name)
            self._by_size = facts, sizes
        for name in self._by_size[1].get(size, ()):
            path = facts[name].path
            with contextlib.suppress(OSError):
                if path.samefile(file) or filecmp.cmp(path, file, shallow=False):
                    return name
        return None

    def rename(self, file: Path, stem: str) -> Path:
        """Call a file of the folder otherwise, where it lies; its ending stays.

        Raises:
            Problem: the name is no name of a file, or another has it.
            OSError: the folder cannot be written.
        """
        clean, _ = clean_name(f"{stem}{file.suffix}")
        place = file.with_name(f"{clean}{file.suffix}")
        if place == file:
            return file
        if not _take(file, place):
            raise Problem(409, f"{clean[:80]}: there is a file of this name already; choose another")
        file.unlink(missing_ok=True)
        self.refresh()
        return place

    def delete(self, file: Path) -> None:
        """Delete a file of the folder. Raises OSError if it cannot be."""
        file.unlink(missing_ok=True)
        self.refresh()

    def keep(self, file: Path, name: str) -> Path:
        """Put a file into the folder under about this name, by link where the disk is the same and else by copy.

        However many do so at once, none replaces another's.

        Raises:
            Problem: the name is no name of a video file.
            OSError: the disk is full, or not writable.
        """
        sweep(self.folder)
        copy = beside(self.folder / uuid.uuid4().hex)
        try:
            try:
                os.link(file, copy)
            except OSError:
                shutil.copyfile(file, copy)
            for place in self._free_places(name):
                if _take(copy, place):
                    self.refresh()
                    return place
        finally:
            copy.unlink(missing_ok=True)
        raise Problem(409, f"{name[:80]}: there are too many videos of this name; rename it")

    def _free_places(self, name: str) -> Iterator[Path]:
        stem, suffix = clean_name(name)
        taken = {known.casefold() for known in self.files()}
        for number in range(1, 10_000):
            candidate = stem if number == 1 else f"{stem}-{number}"
            if candidate.casefold() not in taken:
                yield self.folder / f"{candidate}{suffix}"


def ask_disk(folder: Path) -> None:
    """Return once the disk of a folder has answered."""
    with contextlib.suppress(OSError):
        folder.stat()


def _take(file: Path, place: Path) -> bool:
    """Give a file another name in its folder, unless that is taken."""
    try:
        os.link(file, place)
    except FileExistsError:
        return False
    except OSError:  # a disk without links; killed in between, an empty file is left
        try:
            open(place, "xb").close()
        except FileExistsError:
            return False
        os.replace(file, place)
    return True


def clean_name(name: str) -> tuple[str, str]:
    """Stem and suffix of a file name from outside: one path component, no control characters, not too long.

    Raises:
        Problem: nothing usable remains, or the suffix is not that of a video.
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    last = "".join(c for c in last if unicodedata.category(c)[0] != "C").strip()
    stem, suffix = Path(last).stem, Path(last).suffix
    stem = stem.lstrip(".").strip().encode("utf-8", "ignore")[:LONGEST_NAME].decode("utf-8", "ignore").strip()
    if suffix.lower() not in SUFFIXES or not stem:
        shown = last[:80] or "the file"
        raise Problem(415, f"{shown}: unsupported file type; use .mp4, .mov, .mkv, .webm or another video format")
    return stem, suffix.lower()


def arriving(folder: Path) -> Path:
    """A file for an upload, which `sweep_uploads` knows when its server is dead."""
    return beside(folder / f"upload-{uuid.uuid4().hex}")


def sweep_uploads(folder: Path) -> None:
    """Remove what uploads left behind whose server is dead, or that take longer than a day."""
    sweep(folder)
    for path in (*folder.glob("upload-*"), *folder.glob(".upload-*")):
        if 0 < written_at(path) < (time.time() - 24 * 3600) * 1e9:
            path.unlink(missing_ok=True)


def check_video(path: Path, shown: str) -> None:
    """Make sure that a file from outside is a video, by decoding some of it in a process of its own.

    Raises:
        Problem: it is not; the detail names it as `shown`.
    """
    argv = [sys.executable, "-m", "cfmr.server.stores.upload_check", str(path)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=CHECK_SECONDS, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise Problem(415, f"{shown}: reading it takes too long") from None
    if done.returncode != 0:
        reason = done.stdout.strip().split("\n")[-1] if done.returncode == 2 else "it cannot be decoded"
        raise Problem(415, f"{shown}: {reason or 'it cannot be decoded'}")


def videos_below(folder: str, allowed: Iterable[Path]) -> list[Path]:
    """Video files in a folder of this machine.

    Raises:
        Problem: the folder is not one from which videos may be taken.
        InputError: there is no video in it.
    """
    allowed = list(allowed)
    if not allowed:
        raise Problem(403, "importing folders is switched off; start the server with --folder DIR to allow it")
    try:
        place = Path(folder).expanduser().resolve(strict=True)
        fits = place.is_dir() and any(place.is_relative_to(root) for root in allowed)
    except (OSError, RuntimeError, ValueError):
        fits = False
    if not fits:
        places = ", ".join(str(root) for root in allowed)
        raise Problem(403, f"{folder[:200]}: outside the allowed folders ({places}); add one with --folder")
    found = list(Library(place).files().values())
    if not found:
        raise InputError(f"{folder}: there are no video files in it")
    return found
