"""Videos outside this machine's folders: listed and fetched by their addresses (s3://, gs://, file://, ...)."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from cfmr.errors import InputError
from cfmr.video.files import (
    SUFFIXES,
    find_videos,
    fingerprint_of,
    free_name,
    is_video_name,
    names_of,
    restored_path,
    stored_path,
)


@dataclass(frozen=True, slots=True)
class Source:
    """A video file: `where` is a path or an address; equal `fingerprint`s mean that it has not changed."""

    video: str
    where: str
    size: int
    fingerprint: str


def is_remote(given: str) -> bool:
    """Whether a text is an address rather than a path of this machine."""
    return "://" in given and not os.path.exists(given)


def list_sources(given: Sequence[str]) -> dict[str, Source]:
    """Videos by identifier, of paths and addresses; identifiers as `cfmr.video.files.find_videos` gives them.

    Raises:
        InputError: nothing is there, or it may not be read.
    """
    local = [Path(one) for one in given if not is_remote(one)]
    found = []
    for video, path in find_videos(local).items() if local else ():
        try:
            found.append(Source(video, stored_path(path.resolve()), path.stat().st_size, fingerprint_of(path)))
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    for one in given:
        if is_remote(one):
            found += _list_remote(one)
    sources: dict[str, Source] = {}
    for source in found:
        name = free_name(source.video, sources)
        sources[name] = replace(source, video=name)
    return sources


def open_filesystem(address: str) -> tuple[Any, str]:
    """A file system of pyarrow, or of fsspec where that one knows no such scheme, and the path in it.

    Raises:
        InputError: nobody knows the scheme, or its package is missing.
    """
    try:
        from pyarrow import ArrowException, fs
    except ImportError as error:
        raise InputError(f"{address}: needs pyarrow; pip install 'cfmr[ray]'") from error
    try:
        system, path = fs.FileSystem.from_uri(address)
    except (ArrowException, OSError, ValueError):
        try:
            import fsspec

            made, path = fsspec.core.url_to_fs(address)
            system = fs.PyFileSystem(fs.FSSpecHandler(made))
        except (ImportError, ValueError, OSError) as error:
            told = str(error).split("\n")[0]
            raise InputError(f"{address}: cannot be opened ({told})") from error
    return system, path


def _list_remote(address: str) -> list[Source]:
    system, root = open_filesystem(address)
    from pyarrow import fs

    try:
        info = system.get_file_info(root)
        if info.type == fs.FileType.NotFound:
            raise InputError(f"{address}: no such file or folder")
        if info.type == fs.FileType.File:
            entries, base = [info], str(PurePosixPath(root).parent)
        else:
            entries, base = system.get_file_info(fs.FileSelector(root, recursive=True)), root
    except OSError as error:
        raise _refused(address, "listed", error) from error
    files = {PurePosixPath(_inside(e.path, base)): e for e in entries if e.type == fs.FileType.File}
    names = [path for path in sorted(files) if is_video_name(path)] if info.type != fs.FileType.File else list(files)
    if not names:
        raise InputError(f"{address}: no video in this folder ({' '.join(sorted(SUFFIXES))})")
    sources = []
    for video, path in names_of({path: PurePosixPath() for path in names}).items():
        entry = files[path]
        where = address if info.type == fs.FileType.File else _below(address, path)
        sources.append(Source(video, where, int(entry.size or 0), f"{entry.size}-{entry.mtime_ns}"))
    return sources


def _refused(address: str, what: str, error: OSError) -> InputError:
    told = " ".join(str(error).split())[:200]
    if isinstance(error, PermissionError) or "ACCESS_DENIED" in told:
        return InputError(f"{address}: no permission to have it {what}; are these the right credentials? ({told})")
    return InputError(f"{address}: cannot be {what} ({told})")


def _inside(path: str, base: str) -> str:
    return path.strip("/").removeprefix(base.strip("/")).strip("/")


def _below(address: str, path: PurePosixPath) -> str:
    """The address of a file in a folder; what stands behind a question mark stays there."""
    folder, mark, options = address.partition("?")
    return f"{folder.rstrip('/')}/{path}{mark}{options}"


@contextlib.contextmanager
def downloaded(where: str) -> Iterator[Path]:
    """A video as a file of this machine, for as long as the block runs.

    Raises:
        InputError: it cannot be read.
    """
    if not is_remote(where) or stored_path(restored_path(where)) == where:
        yield restored_path(where)
        return
    system, path = open_filesystem(where)
    with tempfile.TemporaryDirectory(prefix="cfmr-") as folder:
        copy = Path(folder) / PurePosixPath(path).name
        try:
            with system.open_input_stream(path) as source, open(copy, "wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
        except OSError as error:
            raise _refused(where, "read", error) from error
        yield copy
