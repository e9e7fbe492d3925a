"""The feature store: an HDF5 file with one dataset a video, float32 (clips, dim)."""

import contextlib
import hashlib
import json
import math
import os
import shutil
import unicodedata
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
import numpy.typing as npt

from cfmr.errors import InputError
from cfmr.files.atomic import make_directory, read_json, replacing, write_json
from cfmr.files.reading import limit_unpacked, reading

FORMAT = "cfmr-features-1"
MAX_DEPTH = 8  # of groups in each other
FILE_ENDINGS = ("mp4", "avi", "mkv", "webm", "mov")  # of video files, which names of videos have at times
LINK = "a link, and links are not followed"
PIECE = 1 << 20  # bytes of a dataset that are stored together
_UNSAID = {"precision": "float"}  # what older files say nothing of, and which of its values theirs is
Features = npt.NDArray[np.float32]


def pool_clips(features: npt.NDArray[Any], num_clips: int) -> Features:
    """Pool a sequence of any length to `num_clips` clips (Method, "Inputs").

    Boundaries are round(j / num_clips * n), half to even, clamped to n - 1; a clip is the mean of the features between
    two boundaries, or the one feature there where they coincide.

    Args:
        features: (n, dim), n >= 1.

    Returns:
        (num_clips, dim) float32.
    """
    n = len(features)
    bounds = np.minimum(np.round(np.arange(num_clips + 1) / num_clips * n).astype(np.int64), n - 1)
    counts = np.maximum(np.diff(bounds), 1)
    # reduceat gives the single row at a boundary that repeats, and its last sum (to the end) is not wanted
    sums = np.add.reduceat(np.asarray(features, dtype=np.float32), bounds, axis=0)[:num_clips]
    return np.asarray(sums / counts[:, None], dtype=np.float32)


def named_otherwise(video: str, there: Container[str]) -> str:
    """What to say of a video without features where only the ending of a file's name is in the way; else nothing."""
    stem, dot, ending = video.rpartition(".")
    if dot and ending.lower() in FILE_ENDINGS and stem in there:
        return f"; there is {stem}: take the .{ending} out of the annotations"
    longer = next((name for ending in FILE_ENDINGS if (name := f"{video}.{ending}") in there), None)
    return f"; there is {longer}: rename it to {video}" if longer is not None else ""


class FeatureStore:
    """A feature file, read a video at a time. Opened when first read, so it may be sent to a worker process.

    Our own files and published ones are read alike: a dataset a video, or, as some C3D releases have it, a group a
    video that holds one dataset of one and the same name. Datasets in nested groups have their path as identifier.

    Nothing outside the file is read: links are passed over, and a dataset whose numbers lie elsewhere is refused.
    Values that are no features (single numbers, lists, texts) are passed over as well; `skipped` names both.

    Raises:
        InputError: the file is missing, truncated, locked by a writer or no HDF5.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._open: tuple[int, h5py.File] | None = None
        self._ours = False
        self._member: str | None = None
        self._names: list[str] | None = None
        self._skipped: dict[str, str] = {}
        self._forms: dict[str, str] | None = None
        self._last: tuple[h5py.File, str, h5py.Dataset] | None = None  # what was asked for last: most ask several times
        self._file()

    def __reduce__(self) -> tuple[type["FeatureStore"], tuple[Path]]:
        return FeatureStore, (self.path,)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; it opens again when read again."""
        if self._open is not None:
            self._open[1].close()
            self._open = self._last = None

    def _file(self) -> h5py.File:
        if self._open is None or self._open[0] != os.getpid():  # HDF5 handles do not survive a fork
            if not self.path.is_file():
                raise InputError(f"{self.path}: no such feature file; `cfmr extract` writes one")
            with reading(self.path, "an HDF5 file", "extract or download it again"):
                file = h5py.File(self.path, "r")
                self._ours = _plain(file.attrs.get("format")) == FORMAT
                self._member = None if self._ours else _member_of_groups(file)
            self._open = os.getpid(), file
        return self._open[1]

    @property
    def attributes(self) -> dict[str, Any]:
        """What the file says of itself: extractor, version, dim, fps, stride, clips_per_second."""
        return self._attributes(self._file())

    @property
    def videos(self) -> list[str]:
        """Identifiers of all videos, sorted."""
        if self._names is None:
            file = self._file()
            with reading(self.path, "an HDF5 file", "extract or download it again"):
                if self._ours or self._member is not None:
                    names = _linked_names(file, self._member, self._skipped)
                    self._names = sorted(map(_video, names) if self._ours else names)
                else:
                    self._names = sorted(_dataset_names(file, self._skipped, _Places(file)))
        return self._names

    @property
    def skipped(self) -> dict[str, str]:
        """What else lies in the file, by its path, and why it is no video."""
        return self._skipped if self.videos or self._skipped else {}

    @property
    def member(self) -> str | None:
        """The name of the one data set in each video's group; None where videos are data sets themselves."""
        self._file()
        return self._member

    @property
    def dim(self) -> int:
        """Width of a feature. Raises InputError if the file is empty."""
        name = next(iter(self.videos), None)
        if name is None:
            raise InputError(f"{self.path}: holds no features")
        return int(self._dataset(name).shape[1])

    def __len__(self) -> int:
        return len(self.videos)

    def __contains__(self, video: object) -> bool:
        return isinstance(video, str) and self._find(video) is not None

    def read(self, video: str) -> Features:
        """Features of one video, (clips, dim) float32. Raises InputError if it is missing, empty or unreadable."""
        dataset = self._dataset(video)
        with self._reading(video):
            stored = _stored(dataset)
            if stored == 0:
                raise ValueError("they were never written, or not all of them")
            limit_unpacked(self.path, dataset.nbytes, stored, f"the data set of {video}")
            with np.errstate(over="ignore", invalid="ignore"):  # what is no finite number then is found out
                return np.asarray(dataset[()], dtype=np.float32)

    def _reading(self, video: str) -> contextlib.AbstractContextManager[None]:
        return reading(self.path, f"complete in the features of {video}", "extract them again")

    def clips(self, video: str) -> int:
        """Number of features of one video, without reading them."""
        return int(self._dataset(video).shape[0])

    def attributes_of(self, video: str) -> dict[str, Any]:
        """Attributes of one video; a file of ours has its `duration` in seconds."""
        return self._attributes(self._dataset(video))

    def _attributes(self, owner: Any) -> dict[str, Any]:
        with reading(self.path, "an HDF5 file whose attributes can be read"):
            return {key: _plain(value) for key, value in owner.attrs.items()}

    def duration(self, video: str) -> float | None:
        """Length of a video in seconds, where the file tells."""
        value = self.attributes_of(video).get("duration")
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(f"{self.path}: the duration of {video} is no number; extract it again")
        return float(value)

    def check(self, videos: Iterable[str], dim: int) -> None:
        """Make sure that every one of `videos` is there with finite features of width `dim`.

        Raises:
            InputError: one line with the count and the first ten of what is wrong.
        """
        wanted = list(dict.fromkeys(videos))
        missing = [video for video in wanted if video not in self]
        if missing:
            raise InputError(
                f"{self.path}: no features for {_some(missing, len(wanted))}"
                f"{named_otherwise(missing[0], self) or '; extract them, or take their rows out'}"
            )
        widths = {video: int(self._dataset(video).shape[1]) for video in wanted}
        wrong = [video for video, width in widths.items() if width != dim]
        if wrong:
            raise InputError(
                f"{self.path}: features are {widths[wrong[0]]} wide where the configuration says {dim} "
                f"(`frames_input_size`, `frame_dim`), in {_some(wrong, len(wanted))}"
            )
        # a sum is finite only if every value is
        broken = [video for video in wanted if not np.isfinite(self.read(video).sum(dtype=np.float64))]
        if broken:
            raise InputError(
                f"{self.path}: NaN or infinite features in {_some(broken, len(wanted))}; extract them again"
            )

    def _find(self, video: str) -> h5py.Dataset | None:
        file = self._file()
        if (last := self._last) is not None and last[0] is file and last[1] == video:
            return last[2]
        name = _key(video) if self._ours else video if self._member is None else f"{video}/{self._member}"
        with reading(self.path, "an HDF5 file"):
            found = _inside(file, name)
        if found is None and (other := self._normal_forms.get(unicodedata.normalize("NFC", video), video)) != video:
            return self._find(other)
        if not isinstance(found, h5py.Dataset):
            return None
        self._last = file, video, found
        return found

    @property
    def _normal_forms(self) -> dict[str, str]:
        """Videos whose names are in no normal form, or another than NFC, by that: as some systems name files."""
        if self._forms is None:
            forms = {unicodedata.normalize("NFC", name): name for name in self.videos if not name.isascii()}
            self._forms = {form: name for form, name in forms.items() if form != name}
        return self._forms

    def _dataset(self, video: str) -> h5py.Dataset:
        dataset = self._find(video)
        if dataset is None:
            raise InputError(f"{self.path}: no features for {video}")
        shape = dataset.shape
        if shape is None or len(shape) != 2 or 0 in shape:
            raise InputError(f"{self.path}: features of {video} have shape {shape}, expected (clips, dim)")
        if dataset.dtype.kind not in "fiu":
            raise InputError(f"{self.path}: features of {video} are {dataset.dtype}, numbers are expected")
        if dataset.external or dataset.is_virtual:
            raise InputError(
                f"{self.path}: the features of {video} lie in other files, which are not read; copy them into this one"
            )
        return dataset


def write_part(folder: Path, video: str, features: npt.NDArray[Any], **attributes: str | int | float) -> Path:
    """Write the features of one video, (clips, dim), where a FeatureWriter collects them."""
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(f"features of {video} have shape {features.shape}, expected (clips, dim)")
    part = folder / f"{hashlib.sha256(video.encode()).hexdigest()[:24]}.npz"
    meta = json.dumps({"video": video, "attributes": attributes})
    with replacing(part) as temporary, open(temporary, "wb") as file:
        np.savez(file, features=np.asarray(features, dtype=np.float32), meta=np.asarray(meta))
    return part


def precision_of(path: Path) -> str | None:
    """The precision of the features that a FeatureWriter would add to, or None where there are none yet.

    Raises:
        InputError: what lies at `path` cannot be read.
    """
    header = _parts_of(path) / "attributes.json"
    if path.is_file():
        with FeatureStore(path) as store:
            said = store.attributes
    elif header.is_file():
        said = read_json(header)
    else:
        return None
    return str(said.get("precision", _UNSAID["precision"])) if isinstance(said, dict) else None


def _parts_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.parts")


class FeatureWriter:
    """Writes a feature file so that nothing finished is lost or done twice, even by kill -9.

    Each video goes to `NAME.parts/` beside the file as soon as it is done; `close` assembles the parts (and what an
    earlier file of that name held) and renames. A writer opened again on either carries on.

        with FeatureWriter("features.hdf5", {"extractor": "efficientnet-lite0", "version": 1}) as writer:
            for video in videos:
                if video not in writer:
                    writer.add(video, features, duration=12.5)

    After an exception the parts stay and the final name is untouched. Other processes may write parts too:
    `write_part(writer.parts, ...)` there, `writer.take` of what it returns here.

    Raises:
        InputError: the place cannot be written, or already holds features of other attributes.
    """

    def __init__(self, path: str | os.PathLike[str], attributes: dict[str, str | int | float]) -> None:
        self.path = Path(path)
        self.attributes = dict(attributes)
        self.parts = _parts_of(self.path)
        self._done: dict[str, dict[str, Any]] = {}
        self._in_parts: dict[str, Path] = {}
        self._called: dict[str, str] = {}  # a video's name -> the one it has in the file as it is
        self._noted = False
        if self.path.is_dir():
            raise InputError(f"{self.path}: is a folder; name a file to write the features to")
        if self.path.exists():
            with FeatureStore(self.path) as store:
                self._agree(store.attributes)
                self._done = {video: store.attributes_of(video) for video in store.videos}
        header = self.parts / "attributes.json"
        make_directory(self.parts)
        if header.exists():
            self._agree(read_json(header))
        else:
            write_json(header, self.attributes)
        for part in sorted(self.parts.glob("*.npz")):
            self.take(part)

    def _agree(self, found: Any) -> None:
        if not isinstance(found, dict):
            raise InputError(f"{self.parts / 'attributes.json'}: not the attributes of features; delete {self.parts}")
        for key, value in self.attributes.items():
            if (held := found.get(key, _UNSAID.get(key))) != value:
                raise InputError(
                    f"{self.path}: holds features with {key} {held!r}, not {value!r}; "
                    f"give another --out, or delete it and {self.parts.name}"
                )

    def take(self, part: Path) -> None:
        """Count a part that `write_part` has finished; one that a power cut left unreadable is to be done again."""
        try:
            with reading(part), np.load(part, allow_pickle=False) as content:
                meta = json.loads(str(content["meta"]))
                video, attributes = str(meta["video"]), dict(meta["attributes"])
        except InputError:
            part.unlink(missing_ok=True)
        else:
            self._done[video], self._in_parts[video] = attributes, part

    @property
    def videos(self) -> list[str]:
        """Identifiers of all finished videos, sorted."""
        return sorted(self._done)

    def __contains__(self, video: object) -> bool:
        return video in self._done

    def attributes_of(self, video: str) -> dict[str, Any]:
        """What was written with a finished video."""
        return self._done[video]

    def add(self, video: str, features: npt.NDArray[Any], **attributes: str | int | float) -> None:
        """Write the features of one video, (clips, dim); it counts as finished when this returns."""
        self.take(write_part(self.parts, video, features, **attributes))

    def note(self, video: str, **attributes: str | int | float) -> None:
        """Change what is said of a finished video; its features stay."""
        self._done[video] = self._done[video] | attributes
        self._noted = True

    def rename(self, video: str, name: str) -> None:
        """Call a finished video otherwise. Raises InputError if another has that name."""
        if name in self._done:
            raise InputError(f"{self.path}: there is a video {name!r} already")
        self._done[name] = self._done.pop(video)
        if video in self._in_parts:
            self.add(name, _read_part(part := self._in_parts.pop(video)), **self._done[name])
            part.unlink(missing_ok=True)
        else:
            self._called[name] = self._called.pop(video, video)
        self._noted = True

    def close(self) -> None:
        """Assemble the file under its final name and remove the parts."""
        if self._in_parts or self._noted or not self.path.exists():
            self.copy(self.videos, self.path)
        shutil.rmtree(self.parts, ignore_errors=True)
        self._in_parts, self._called = {}, {}

    @property
    def pending(self) -> list[str]:
        """Finished videos that are not in the file yet, sorted."""
        return sorted(self._in_parts)

    def copy(self, videos: Sequence[str], target: Path) -> None:
        """Write a feature file of some finished videos; of all of them, it is the file itself."""
        with replacing(target) as temporary:
            self._assemble(videos, temporary)

    def _assemble(self, videos: Sequence[str], target: Path) -> None:
        old = FeatureStore(self.path) if self.path.exists() else contextlib.nullcontext()
        # rdcc_nbytes: pieces go to the disk at once, since HDF5 crashes where the last of them find it full at closing
        with _disk_errors(), old as store, h5py.File(target, "w", libver="latest", rdcc_nbytes=0) as file:
            _write_attributes(file, {"format": FORMAT, **self.attributes})
            for video in videos:
                if video in self._in_parts:
                    features = _read_part(self._in_parts[video])
                else:
                    assert store is not None
                    features = store.read(self._called.get(video, video))
                # fletcher32: a checksum of every piece, which HDF5 itself compares when it reads
                dataset = file.create_dataset(_key(video), data=features, chunks=_piece(features), fletcher32=True)
                _write_attributes(dataset, self._done[video])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is None:
            self.close()
        elif not self._in_parts:
            shutil.rmtree(self.parts, ignore_errors=True)


def _read_part(part: Path) -> Features:
    """The features in a finished part; one that was damaged since is removed, so that the next run does it again."""
    try:
        with reading(part, "a whole part", "run the same command again"), np.load(part, allow_pickle=False) as content:
            features: Features = np.asarray(content["features"], np.float32)
            if features.ndim != 2 or 0 in features.shape:
                raise ValueError(f"its features have shape {features.shape}")
            return features
    except InputError:
        part.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    """HDF5 reports some failed writes (when closing) as RuntimeError."""
    try:
        yield
    except RuntimeError as error:
        raise OSError(str(error)) from error


def _write_attributes(owner: Any, values: dict[str, Any]) -> None:
    """Texts get a fixed length: those of variable length lie in a heap, in which HDF5 loops where it is damaged."""
    for name, value in values.items():
        if isinstance(value, str):
            encoded = value.encode()
            owner.attrs.create(name, encoded, dtype=h5py.string_dtype("utf-8", max(len(encoded), 1)))
        else:
            owner.attrs[name] = value


def _piece(features: Features) -> tuple[int, int]:
    """Shape of the pieces in which a dataset is stored: whole rows, about a megabyte."""
    rows, dim = features.shape
    return max(1, min(rows, PIECE // (4 * dim))), dim


def _key(video: str) -> str:
    """Name of a dataset of ours: flat, since a slash would make a group and `a` may stand beside `a/b`."""
    return "%2E" if video == "." else video.replace("%", "%25").replace("/", "%2F")


def _video(key: str) -> str:
    return key.replace("%2F", "/").replace("%2E", ".").replace("%25", "%")


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _some(names: list[str], total: int) -> str:
    listed = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    return f"{len(names)} of {total} videos: {listed}"


def _inside(file: h5py.File, name: str) -> Any:
    """What lies at a path in the file itself; None where there is nothing, or a link on the way."""
    node = file
    for part in name.split("/"):
        try:
            if not isinstance(node, h5py.Group) or not isinstance(node.get(part, getlink=True), h5py.HardLink):
                return None
            node = node[part]
        except (KeyError, ValueError):  # no such name, or one that no file can hold
            return None
    return node


def _stored(dataset: h5py.Dataset) -> int:
    """Bytes of the file that hold a dataset; 0 where a part of it was never written."""
    stored = int(dataset.id.get_storage_size())
    if dataset.chunks is not None:
        pieces = math.prod(-(-size // piece) for size, piece in zip(dataset.shape, dataset.chunks, strict=True))
        stored = stored if dataset.id.get_num_chunks() == pieces else 0
    return stored


class _Places:
    """Which objects of a file have been met. One that lies in several places counts once: groups within themselves
    would never end, and a thousand names of one data set would be as many copies of it."""

    def __init__(self, file: h5py.File) -> None:
        self._paths = {int(h5py.h5o.get_info(file.id).addr): ""}

    def why_not(self, group: h5py.Group, name: str, path: str) -> str | None:
        """Why a member of a group is passed over; None if it is met for the first time."""
        if not isinstance(name, str):
            return "its name is no UTF-8; rename it"
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            return LINK
        address = int(group.id.links.get_info(name.encode("utf-8", "surrogateescape")).u)
        known = self._paths.setdefault(address, path)
        return None if known == path else f"the same as '{known or '/'}', which counts once"


def _shown(name: str | bytes) -> str:
    """The name of an object; h5py gives bytes where it is no UTF-8."""
    return name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name


def _linked_names(file: h5py.File, member: str | None, skipped: dict[str, str]) -> Iterator[str]:
    """Names of a file's videos, whose features are the datasets of these names, or all of one name in their groups."""
    places = _Places(file)
    for name in file:
        if (why := places.why_not(file, name, _shown(name))) is not None:
            skipped[_shown(name)] = why
        elif member is not None and _inside(file, f"{name}/{member}") is None:
            skipped[name] = f"has no '{member}', as the other videos have"
        else:
            yield name


def _dataset_names(group: h5py.Group, skipped: dict[str, str], places: _Places, prefix: str = "") -> Iterator[str]:
    """Paths of the datasets that may be features; what is none is entered into `skipped`."""
    for name in group:
        path = prefix + _shown(name)
        if (why := places.why_not(group, name, path)) is not None:
            skipped[path] = why
            continue
        found = group[name]
        if isinstance(found, h5py.Group) and path.count("/") < MAX_DEPTH:
            yield from _dataset_names(found, skipped, places, f"{path}/")
        elif not isinstance(found, h5py.Dataset) or len(found.shape or ()) < 2 or found.dtype.kind not in "fiu":
            skipped[path] = "no features (clips, dim)"
        else:
            yield path


def _member_of_groups(file: h5py.File) -> str | None:
    """The name of the one dataset in each video's group, in files built that way; None where videos are datasets."""
    names = set()
    first = None
    for count, name in enumerate(file):
        if not isinstance(name, str) or not isinstance(file.get(name, getlink=True), h5py.HardLink):
            continue  # what is passed over anyhow
        group = _inside(file, name)
        if not isinstance(group, h5py.Group) or len(group) != 1:
            return None
        first = first or group
        names.add(next(iter(group)))
        if len(names) > 1 or count >= 20:
            break
    member = names.pop() if len(names) == 1 else None
    return member if first and member and isinstance(_inside(first, member), h5py.Dataset) else None
