"""Feature files of others, packed into one feature file of ours: a file a video in one folder or several, HDF5 of other
layouts, and PRVR's rows of frames."""

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cfmr.data.features import FeatureStore, FeatureWriter, named_otherwise
from cfmr.data.layouts.prvr import FrameFeatures, is_features
from cfmr.errors import InputError
from cfmr.files.archive import check_archive
from cfmr.files.atomic import make_directory, replacing
from cfmr.files.reading import reading, require_regular
from cfmr.files.safe_pickle import read_torch

SUFFIXES = (".npy", ".npz", ".pt", ".pth")
USUAL_MEMBER = "features"  # the array that is meant where a file has several and none is named
EPSILON = 1e-5  # added to a clip's length before it is divided by, as the field's data loaders do
RATES_DIFFER = 1.2  # sources of one video whose numbers of clips differ more are of other clip lengths

Tokens = Literal["mean", "max"]
Features = NDArray[np.float32]


@dataclass(frozen=True)
class Packing:
    """How arrays become features.

    Attributes:
        member: which of several arrays in a file (or data sets in a video's group) to take.
        tokens: of arrays (clips, tokens, dim), whether a clip is the mean or the greatest of its tokens.
        unit: scale every clip of every source to length 1, as Moment-DETR and Lighthouse do before they join sources.
        time_columns: add where a clip starts and ends, as fractions of the video (their "tef").
    """

    member: str | None = None
    tokens: Tokens | None = None
    unit: bool = False
    time_columns: bool = False

    def attributes(self) -> dict[str, str | int | float]:
        """What of this decides what the features are; kept in the file."""
        return {"tokens": self.tokens or "", "unit": int(self.unit), "time_columns": int(self.time_columns)}


@dataclass(frozen=True)
class Packed:
    """What became of the files of a folder.

    Attributes:
        videos: how many the feature file holds.
        failed: by video that could not be packed, one line that names its file.
        skipped: what else lies in an HDF5 file, and why it is no video.
        cut: videos whose sources had different numbers of clips.
        most: by how many clips at most.
    """

    videos: int
    failed: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    cut: int = 0
    most: int = 0


Load = Callable[[], Any]
Source = dict[str, tuple[str, Load]]  # of each video what to call its place in messages, and what loads its array


def pack(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    packing: Packing | None = None,
    videos: Sequence[str] | None = None,
) -> Packed:
    """Pack features into an HDF5 file with one data set a video; float16 and float64 become float32.

    A broken-off run carries on where it was. A later run adds what is new and replaces what has changed. A file that
    cannot be used is passed over and named.

    Args:
        sources: folders of .npy, .npz, .pt or .pth files, whose names are those of the videos, PRVR's folders with
            feature.bin, or HDF5 files. Features of several are joined clip by clip, cut to the shortest.
        out: HDF5 file to write.
        packing: how arrays become features.
        videos: only these, and all of them; None: all that are in the first source, and so have to be in the others.

    Raises:
        InputError: a source lacks videos, which are listed before anything is written; or none could be used. Of the
            first it is said why: no features of (clips, dim), of another width than those before, NaN, several arrays
            and no `member`, or only readable by executing a pickle.
    """
    joined = _Joined.of(sources, packing or Packing(), videos)
    with FeatureWriter(out, joined.attributes()) as writer:
        for video, features in joined:
            content = hashlib.blake2b(np.ascontiguousarray(features).data, digest_size=12).hexdigest()
            if video not in writer or writer.attributes_of(video).get("content") != content:
                writer.add(video, features, content=content)
        return joined.packed(len(writer.videos))


def pack_npz(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    packing: Packing | None = None,
    videos: Sequence[str] | None = None,
) -> Packed:
    """The same into a folder of `VIDEO.npz` with the key `features`, as Moment-DETR and Lighthouse read them.

    Raises:
        InputError: as `pack`.
    """
    joined, folder = _Joined.of(sources, packing or Packing(), videos), make_directory(Path(out))
    written = 0
    for video, features in joined:
        if Path(video).name != video:
            joined.failed[video] = f"{video}: names a folder, where a file {video}.npz would have to be"
            continue
        with replacing(folder / f"{video}.npz") as temporary, open(temporary, "wb") as file:
            np.savez(file, features=features)
        written += 1
    return joined.packed(written)


@dataclass
class _Joined:
    """Features of the videos that are wanted, of all sources side by side; goes past what cannot be used."""

    paths: Sequence[Path]
    opened: Sequence[Source]
    wanted: Sequence[str]
    packing: Packing
    skipped: Mapping[str, str]
    failed: dict[str, str] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        packing: Packing,
        videos: Sequence[str] | None,
    ) -> "_Joined":
        paths = [Path(source) for source in ([sources] if isinstance(sources, str | os.PathLike) else sources)]
        skipped: dict[str, str] = {}
        opened = [_open(path, packing.member, skipped) for path in paths]
        wanted = list(opened[0]) if videos is None else list(dict.fromkeys(videos))
        for path, source in zip(paths, opened, strict=True):
            _check_there(path, source, wanted)
        return cls(paths, opened, wanted, packing, skipped)

    def attributes(self) -> dict[str, str | int | float]:
        """Where it is from, and how it was made."""
        return {"packed_from": " + ".join(path.name for path in self.paths), **self.packing.attributes()}

    def __iter__(self) -> Iterator[tuple[str, Features]]:
        widths: list[int] = []
        for video in self.wanted:
            try:
                parts = [_prepared(*source[video], self.packing) for source in self.opened]
                widths = _check_widths(parts, [source[video][0] for source in self.opened], widths)
                features, cut = _joined(video, parts, self.paths, self.packing)
            except InputError as error:
                self.failed[video] = str(error)
                continue
            self.cuts += [cut] if cut else []
            yield video, features
        if len(self.failed) == len(self.wanted):
            raise InputError(next(iter(self.failed.values()), f"{self.paths[0]}: holds no features"))

    def packed(self, videos: int) -> Packed:
        return Packed(videos, self.failed, self.skipped, len(self.cuts), max(self.cuts, default=0))


def _check_there(path: Path, source: Source, wanted: Sequence[str]) -> None:
    missing = [video for video in wanted if video not in source]
    if missing:
        listed = ", ".join(missing[:10]) + (", ..." if len(missing) > 10 else "")
        told = named_otherwise(missing[0], source)
        raise InputError(f"{path}: no features for {len(missing)} of {len(wanted)} videos: {listed}{told}")


def _check_widths(parts: Sequence[Features], places: Sequence[str], before: Sequence[int]) -> list[int]:
    """Widths of the parts. Raises InputError if they are not those of the videos before."""
    found = [part.shape[1] for part in parts]
    for place, width, usual in zip(places, found, before or found, strict=True):
        if width != usual:
            raise InputError(f"{place}: features of {width} numbers a clip, the files before have {usual}")
    return found


def _joined(video: str, parts: Sequence[Features], paths: Sequence[Path], packing: Packing) -> tuple[Features, int]:
    """Features of all sources side by side, and by how many clips the longest was cut."""
    counts = [len(part) for part in parts]
    least, most = min(counts), max(counts)
    if most > least + 2 and most > RATES_DIFFER * least:
        told = ", ".join(f"{count} in {path}" for count, path in zip(counts, paths, strict=True))
        raise InputError(f"{video}: {told} clips; clips of different lengths cannot be joined")
    columns = [part[:least] for part in parts]
    if packing.time_columns:
        starts = np.arange(least, dtype=np.float32) / least
        columns.append(np.stack([starts, starts + 1 / least], axis=1).astype(np.float32))
    return np.concatenate(columns, axis=1), most - least


# --- sources ----------------------------------------------------------------------------------------------------------


def _open(path: Path, member: str | None, skipped: dict[str, str]) -> Source:
    if path.is_file():
        return {name: (place, load) for name, place, load in _hdf5_videos(path, member, skipped)}
    if is_features(path):
        frames = FrameFeatures(path)
        return {video: (f"{path}, {video}", partial(frames.read, video)) for video in frames.videos}
    if not path.exists():
        raise InputError(f"{path}: no such folder or file")
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(f"{path}: no {', '.join(SUFFIXES)} files there, and no HDF5 file")
    seen: dict[str, Path] = {}
    for file in files:
        if file.stem in seen:
            raise InputError(f"{file}: {seen[file.stem]} is of the same name; a video has one file")
        seen[file.stem] = file
    return {video: (str(file), partial(_load, file, member)) for video, file in seen.items()}


def _hdf5_videos(source: Path, member: str | None, skipped: dict[str, str]) -> Iterator[tuple[str, str, Load]]:
    store = FeatureStore(source)
    skipped |= store.skipped
    suffix = "" if member is None or member == store.member else f"/{member}"
    names = [name for name in store.videos if name.endswith(suffix)]
    if not names:
        raise InputError(f"{source}: no video has a data set '{member}'")
    if member is None:
        _check_one_each(source, names)
    for name in names:
        yield name.removesuffix(suffix), f"{source}, {name}", partial(store.read, name)


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
        require_regular(path)
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
    if member is None and (len(names) == 1 or USUAL_MEMBER in names):
        member = names[0] if len(names) == 1 else USUAL_MEMBER
    if member not in names:
        said = "name one with --member" if member is None else f"none is '{member}'"
        raise InputError(f"{path}: holds {len(names)} arrays ({', '.join(map(str, names[:5]))}); {said}")
    return content[member]


def _prepared(place: str, load: Load, packing: Packing) -> Features:
    features = _checked(place, load(), packing.tokens)
    if packing.unit:
        features = features / (np.linalg.norm(features, axis=1, keepdims=True) + np.float32(EPSILON))
    return features


def _checked(path: str, value: Any, tokens: Tokens | None) -> Features:
    if not isinstance(value, np.ndarray) or not np.issubdtype(value.dtype, np.floating):
        kind = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
        raise InputError(f"{path}: holds {kind}, features are floating-point numbers")
    while value.ndim > 2 and 1 in value.shape:  # (1, clips, dim) and (clips, dim, 1, 1) are common
        value = value.squeeze(-1 if value.shape[-1] == 1 else value.shape.index(1))
    if value.ndim == 3 and 0 not in value.shape:
        if tokens is None:
            raise InputError(
                f"{path}: has shape {value.shape}, features are (clips, dim); if it is (clips, tokens, dim), say what "
                "a clip is to be: --tokens mean or --tokens max"
            )
        single = value.astype(np.float32)
        value = single.mean(1) if tokens == "mean" else single.max(1)
    if value.ndim != 2 or 0 in value.shape:
        raise InputError(f"{path}: has shape {value.shape}, features are (clips, dim)")
    with np.errstate(over="ignore"):
        features: Features = value.astype(np.float32)
    if not np.isfinite(features).all():
        raise InputError(f"{path}: holds NaN or infinite numbers; extract it again")
    return features


def check_tokens(name: str | None) -> Tokens | None:
    """Raises InputError for a way of reducing tokens that is not known."""
    if name not in (None, "mean", "max"):
        raise InputError(f"--tokens {name}: known are mean and max")
    return name  # type: ignore[return-value]
