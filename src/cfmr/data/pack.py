"""Feature files of one video each, or an HDF5 file of another layout, packed into one feature file of ours."""

import hashlib
import os
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.data.features import FeatureStore, FeatureWriter
from cfmr.errors import InputError
from cfmr.files.archive import check_archive
from cfmr.files.reading import reading
from cfmr.files.safe_pickle import read_torch

SUFFIXES = (".npy", ".npz", ".pt", ".pth")


@dataclass(frozen=True, slots=True)
class Packed:
    """What became of the files of a folder.

    Attributes:
        videos: how many the feature file holds.
        failed: by video that could not be packed, one line that names its file.
        skipped: what else lies in an HDF5 file, and why it is no video.
    """

    videos: int
    failed: Mapping[str, str]
    skipped: Mapping[str, str]


def pack(source: str | os.PathLike[str], out: str | os.PathLike[str], member: str | None = None) -> Packed:
    """Pack features into an HDF5 file with one data set a video; float16 and float64 become float32.

    A broken-off run carries on where it was. A later run adds what is new and replaces what has changed. A file that
    cannot be used is passed over and named.

    Args:
        source: folder of .npy, .npz, .pt or .pth files, whose names are those of the videos, or an HDF5 file.
        out: HDF5 file to write.
        member: which of several arrays in a file (or data sets in a video's group) to take.

    Raises:
        InputError: none could be used. Of the first it is said why: no features of (clips, dim), of another width than
            those before, NaN, several arrays and no `member`, or only readable by executing a pickle.
    """
    source = Path(source)
    skipped: dict[str, str] = {}
    videos = list(_videos(source, member, skipped))
    failed: dict[str, str] = {}
    dim = None
    with FeatureWriter(out, {"packed_from": source.name}) as writer:
        for video, path, load in videos:
            try:
                features = _checked(path, load(), dim)
            except InputError as error:
                failed[video] = str(error)
                continue
            dim = features.shape[1]
            content = hashlib.blake2b(np.ascontiguousarray(features).data, digest_size=12).hexdigest()
            if video not in writer or writer.attributes_of(video).get("content") != content:
                writer.add(video, features, content=content)
        if len(failed) == len(videos):
            raise InputError(next(iter(failed.values()), f"{source}: holds no features"))
        return Packed(len(writer.videos), failed, skipped)


def _videos(source: Path, member: str | None, skipped: dict[str, str]) -> Iterator[tuple[str, str, Any]]:
    """Name of each video, what to call its place in messages, and a function that loads its array."""
    if source.is_file():
        yield from _hdf5_videos(source, member, skipped)
        return
    files = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(f"{source}: no {', '.join(SUFFIXES)} files there, and no HDF5 file")
    seen: dict[str, Path] = {}
    for path in files:
        if path.stem in seen:
            raise InputError(f"{path}: {seen[path.stem]} is of the same name; a video has one file")
        seen[path.stem] = path
    for video, path in seen.items():
        yield video, str(path), lambda path=path: _load(path, member)


def _hdf5_videos(source: Path, member: str | None, skipped: dict[str, str]) -> Iterator[tuple[str, str, Any]]:
    store = FeatureStore(source)
    skipped |= store.skipped
    suffix = "" if member is None or member == store.member else f"/{member}"
    names = [name for name in store.videos if name.endswith(suffix)]
    if not names:
        raise InputError(f"{source}: no video has a data set '{member}'")
    if member is None:
        _check_one_each(source, names)
    for name in names:
        yield name.removesuffix(suffix), f"{source}, {name}", lambda name=name: store.read(name)


def _check_one_each(source: Path, names: list[str]) -> None:
    """Raise InputError where videos' groups hold several data sets, of which one has to be named."""
    groups: dict[str, list[str]] = {}
    for name in names:
        group, _, last = name.rpartition("/")
        groups.setdefault(group, []).append(last)
    of = {frozenset(found) for group, found in groups.items() if group}
    if len(groups) > 1 and len(of) == 1 and len(shared := sorted(next(iter(of)))) > 1:
        raise InputError(
            f"{source}: each video has {len(shared)} data sets ({', '.join(shared[:5])}); name one with --member"
        )


def _load(path: Path, member: str | None) -> Any:
    if path.suffix.lower() in (".pt", ".pth"):
        content = read_torch(path)
        return _one_of(path, content, member) if isinstance(content, dict) else content
    with reading(path, "a complete array file"):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                check_archive(path, archive)
        try:
            content = np.load(path, mmap_mode="r", allow_pickle=False)  # mapping compares the size with the header
            if isinstance(content, np.lib.npyio.NpzFile):
                with content:
                    return _one_of(path, content, member)
            return np.array(content)
        except ValueError as error:
            if "allow_pickle" in str(error) or "Python objects" in str(error):
                raise InputError(
                    f"{path}: no plain array; what is in it only a pickle could read, and pickles are not executed. "
                    "Save it again as an array of numbers"
                ) from error
            raise


def _one_of(path: Path, content: Any, member: str | None) -> Any:
    names = list(content)
    if member is None and len(names) == 1:
        member = names[0]
    if member not in names:
        said = "name one with --member" if member is None else f"none is '{member}'"
        raise InputError(f"{path}: holds {len(names)} arrays ({', '.join(map(str, names[:5]))}); {said}")
    return content[member]


def _checked(path: str, value: Any, dim: int | None) -> NDArray[np.float32]:
    if not isinstance(value, np.ndarray) or not np.issubdtype(value.dtype, np.floating):
        kind = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
        raise InputError(f"{path}: holds {kind}, features are floating-point numbers")
    while value.ndim > 2 and 1 in value.shape:  # (1, clips, dim) and (clips, dim, 1, 1) are common
        value = value.squeeze(-1 if value.shape[-1] == 1 else value.shape.index(1))
    if value.ndim != 2 or 0 in value.shape:
        raise InputError(f"{path}: has shape {value.shape}, features are (clips, dim)")
    if dim is not None and value.shape[1] != dim:
        raise InputError(f"{path}: features of {value.shape[1]} numbers a clip, the files before have {dim}")
    with np.errstate(over="ignore"):
        features: NDArray[np.float32] = value.astype(np.float32)
    if not np.isfinite(features).all():
        raise InputError(f"{path}: holds NaN or infinite numbers; extract it again")
    return features
