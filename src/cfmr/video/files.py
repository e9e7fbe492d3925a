"""Files of videos: what they are called, how their content is recognised, and where one lies.

A video is its content, known by `fingerprint_of`; it has a path, and a name by which people speak of it. Names come
from paths by one rule (`names_of`), wherever a folder is read. No two videos share one.
"""

import contextlib
import hashlib
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePath
from typing import TypeVar
from urllib.parse import unquote_to_bytes

from cfmr.errors import InputError

_ENDINGS = "3g2 3gp asf avi divx dv f4v flv gif m2ts m2v m4v mkv mov mp4 mpeg mpg mts mxf ogv qt ts vob webm wmv"
SUFFIXES = frozenset(f".{ending}" for ending in _ENDINGS.split(" "))  # what counts as a video in a folder

_ENDS = 1 << 16  # bytes at either end of a file by which it is recognised
_SAMPLES, _SAMPLE = 16, 1 << 12  # pieces in between, and their bytes

_CONTENT = re.compile(r"\d+(-[0-9a-f]{16}){1,2}")  # other fingerprints are of files that lie elsewhere

Place = TypeVar("Place", bound=PurePath)


# --- content ----------------------------------------------------------------------------------------------------------


def fingerprint_of(path: Path) -> str:
    """Recognises a file by its size, its beginning and end, and samples in between; a copy has the same.

    Raises:
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read(_ENDS))
        file.seek(max(size - _ENDS, 0))
        digest.update(file.read(_ENDS))
        between = hashlib.sha256()
        for number in range(_SAMPLES):
            file.seek(size * (number + 1) // (_SAMPLES + 1))
            between.update(file.read(_SAMPLE))
    return f"{size}-{digest.hexdigest()[:16]}-{between.hexdigest()[:16]}"


def same_content(one: object, other: object) -> bool:
    """Whether two fingerprints are of the same content; those of earlier versions lack the samples in between."""
    short, long = sorted((str(one), str(other)), key=len)
    return short == long or (short.count("-") == 1 and long.startswith(f"{short}-"))


# --- names ------------------------------------------------------------------------------------------------------------


def shown(path: PurePath | str) -> str:
    r"""A path as text that can be written anywhere: in normal form NFC, other bytes and control signs as `\xNN`."""
    text = os.fsencode(str(path)).decode("utf-8", "backslashreplace")
    text = "".join(f"\\x{ord(c):02x}" if unicodedata.category(c) == "Cc" else c for c in text)
    return unicodedata.normalize("NFC", text)


def stored_path(path: Path) -> str:
    """A path as text that can be stored; a `file:` address where it has bytes that are no UTF-8."""
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        return path.absolute().as_uri()
    return text


def restored_path(text: str) -> Path:
    """The path that `stored_path` made a text of."""
    return Path(os.fsdecode(unquote_to_bytes(text[len("file://") :])) if text.startswith("file:///") else text)


def names_of(found: Mapping[Place, Place]) -> dict[str, Place]:
    """A name for each file: its path within the folder that was named, without the ending.

    `kitchen/monday` for `kitchen/monday.mp4`. Where files of two folders would be called the same, the folder's name
    comes before theirs. Where files of one folder would, all but one keep their endings: the .mp4, or else the first,
    has the short name. What is still the same gets a number.

    Args:
        found: file -> the folder that its name is relative to.

    Returns:
        name -> file, in the order of `found`.
    """
    whole = {file: shown(file.relative_to(folder).as_posix()) for file, folder in found.items()}
    names = {
        file: shown(file.relative_to(folder).as_posix().removesuffix(file.suffix)) for file, folder in found.items()
    }
    for same in _same(names):
        if len({found[file] for file in same}) > 1:
            for file in same:
                for kind in (names, whole):
                    kind[file] = f"{shown(_name(found[file]))}/{kind[file]}"
    files = set(whole.values())
    for same in _same(names):
        first = min(same, key=lambda file: (file.suffix.lower() != ".mp4", list(found).index(file)))
        names.update({file: whole[file] for file in same if file is not first})
    # `a.mp4` is no short name for `a.mp4.mp4` where a file has it already
    names = {file: whole[file] if name in files and name != whole[file] else name for file, name in names.items()}
    taken: dict[str, Place] = {}
    for file, name in names.items():
        taken[free_name(name, taken)] = file
    return taken


def free_name(name: str, taken: Mapping[str, object]) -> str:
    """The name, or with the first number that makes it one of its own."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free


def _name(folder: PurePath) -> str:
    return folder.name or (folder.resolve().name if isinstance(folder, Path) else "")


def _same(names: Mapping[Place, str]) -> list[list[Place]]:
    """Groups of files that have one name."""
    files: defaultdict[str, list[Place]] = defaultdict(list)
    for file, name in names.items():
        files[name].append(file)
    return [group for group in files.values() if len(group) > 1]


def find_videos(paths: Iterable[str | os.PathLike[str]]) -> dict[str, Path]:
    """Video files by name: those named, and those in the folders named (and below them), in order of path.

    Links are followed. In a folder a file is a video by its ending, so what lies beside a film (.srt, .jpg, .info.json)
    is none. For names see `names_of`.

    Raises:
        InputError: a path does not exist, or a folder holds no video.
    """
    found: dict[Path, Path] = {}  # file -> the folder that its name is relative to
    for path in map(Path, paths):
        if path.is_dir():
            files = sorted(_videos_below(path))
            if not files:
                raise InputError(f"{path}: no video in this folder ({' '.join(sorted(SUFFIXES))})")
            found.update((file, path) for file in files if file not in found)
        elif path.is_file():
            found.setdefault(path, path.parent)
        elif path.exists():
            raise InputError(f"{path}: neither a file nor a folder")
        else:
            raise InputError(f"{path}: no such file or folder")
    return names_of(found)


def is_video_name(path: PurePath) -> bool:
    """Whether a path below a folder is taken for a video's: by its ending; what is hidden is not."""
    return path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.parts)


def _videos_below(folder: Path) -> Iterator[Path]:
    seen: set[tuple[int, int]] = set()  # a link may lead back to a folder above it
    for place, folders, files in os.walk(folder, followlinks=True):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            path = Path(place, name)
            if is_video_name(Path(name)) and path.is_file():
                yield path


def without_copies(videos: Mapping[str, Path], known: Container[str] = ()) -> tuple[dict[str, Path], dict[str, str]]:
    """Of files with the same content one, and what the others are copies of.

    That is the oldest; of files of one time, as copies may keep it, the one with the shortest name.

    Args:
        videos: files by name.
        known: names of videos that stay whatever they are copies of, and come before others.
    """
    sizes: defaultdict[int, list[tuple[bool, float, int, str]]] = defaultdict(list)
    for name, path in videos.items():
        with contextlib.suppress(OSError):
            status = path.stat()
            sizes[status.st_size].append((name not in known, status.st_mtime, len(name), name))
    copies: dict[str, str] = {}
    for alike in (group for group in sizes.values() if len(group) > 1):
        first: dict[str, str] = {}
        for is_new, _, _, name in sorted(alike):
            with contextlib.suppress(OSError):
                original = first.setdefault(fingerprint_of(videos[name]), name)
                if original != name and is_new:
                    copies[name] = original
    return {name: path for name, path in videos.items() if name not in copies}, copies


# --- finding again ----------------------------------------------------------------------------------------------------


class VideoFolder:
    """A folder in which videos are looked for; it is read once, when first asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def files(self) -> dict[str, Path]:
        """Every video in the folder by name; none where there is no such folder."""
        try:
            return find_videos([self.folder])
        except InputError:
            return {}

    @cached_property
    def _by_size(self) -> dict[int, list[Path]]:
        sizes: defaultdict[int, list[Path]] = defaultdict(list)
        for path in self.files.values():
            sizes[path.stat().st_size].append(path)
        return sizes

    def find(self, video: str, fingerprint: str | None = None, path: Path | None = None) -> Path | None:
        """The file of a video; None if it is not in the folder.

        Args:
            video: its name, which may also be a file's name with its ending.
            fingerprint: of its content; whatever has that is the video, whatever it is called.
            path: where it lay.
        """
        name = shown(video)
        named = [self.files[name]] if name in self.files else self._exactly(video)
        if path is not None and self._holds(path):
            named.insert(0, path)
        if fingerprint is None or not _CONTENT.fullmatch(fingerprint):
            return named[0] if named else None
        alike = self._by_size.get(int(fingerprint.partition("-")[0]), [])
        return next((p for p in [*named, *alike] if _is_content(p, fingerprint)), None)

    def _exactly(self, video: str) -> list[Path]:
        path = self.folder / video
        return [path] if self._holds(path) else []

    def _holds(self, path: Path) -> bool:
        try:
            return path.is_file() and path.resolve().is_relative_to(self.folder.resolve())
        except (OSError, ValueError):
            return False


def _is_content(path: Path, fingerprint: str) -> bool:
    try:
        return same_content(fingerprint_of(path), fingerprint)
    except OSError:
        return False


def video_file(folder: Path, video: str) -> Path | None:
    """The file of a video in a folder, by its name; None if there is none. No name leads out of the folder."""
    return VideoFolder(folder).find(video)


def other_names(name: str, folders: Sequence[str]) -> Iterator[str]:
    """Names for a file whose own is another video's: with one more folder before it each time."""
    for folder in reversed(folders):
        if shown(folder).strip("/"):
            name = f"{shown(folder)}/{name}"
            yield name
