"""Where the file of an indexed video lies."""

import glob
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from cfmr.errors import InputError


def video_file(folder: Path, video: str) -> Path | None:
    """The file of a video in a folder: the one of that name, with or without an ending; None if there is none.

    A video name that leads out of the folder finds nothing.
    """
    inside = folder.resolve()
    candidates = [folder / video, *sorted(folder.glob(f"{glob.escape(video)}.*") if not video.startswith("/") else [])]
    return next((c for c in candidates if c.is_file() and c.resolve().is_relative_to(inside)), None)


_ENDINGS = "3gp avi flv m2ts m4v mkv mov mp4 mpeg mpg mts ogv ts vob webm wmv"
SUFFIXES = frozenset(f".{ending}" for ending in _ENDINGS.split(" "))  # what counts as a video in a folder


def find_videos(paths: Iterable[str | os.PathLike[str]]) -> dict[str, Path]:
    """Video files by identifier: those named, and those in the folders named (and below them), in order of name.

    A file's identifier is its path within the folder that was named, without the ending: `kitchen/monday` for
    `kitchen/monday.mp4`. Where two would be the same, since two folders were named, the folder's name comes before it;
    where they still are, both keep the ending.

    Raises:
        InputError: a path does not exist, a folder holds no video, or two files cannot be told apart.
    """
    found: dict[Path, Path] = {}  # file -> the folder that its identifier is relative to
    for path in map(Path, paths):
        if path.is_dir():
            files = [file for file in sorted(path.rglob("*")) if _is_video_name(file.relative_to(path))]
            files = [file for file in files if file.is_file()]
            if not files:
                raise InputError(f"{path}: no video in this folder ({' '.join(sorted(SUFFIXES))})")
            found.update((file, path) for file in files if file not in found)
        elif path.exists():
            found.setdefault(path, path.parent)
        else:
            raise InputError(f"{path}: no such file or folder")
    names = {file: file.relative_to(folder).with_suffix("").as_posix() for file, folder in found.items()}
    for same in _same(names):
        if len({found[file] for file in same}) > 1:
            names.update({file: f"{found[file].resolve().name}/{names[file]}" for file in same})
    for same in _same(names):
        names.update({file: names[file] + file.suffix for file in same})
    for one, other, *_ in _same(names):
        raise InputError(f"{one} and {other} would both be called {names[one]}; name the folder that holds both")
    return {names[file]: file for file in found}


def _is_video_name(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.parts)


def _same(names: dict[Path, str]) -> list[list[Path]]:
    """Groups of files that have one name."""
    files: defaultdict[str, list[Path]] = defaultdict(list)
    for file, name in names.items():
        files[name].append(file)
    return [group for group in files.values() if len(group) > 1]
