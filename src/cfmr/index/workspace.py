"""A workspace: what is made of a folder of videos, and which of its models answers.

    WORKSPACE/                `.cfmr` in the folder of the videos, unless another place is named
      workspace.json          which folder; where its first index is
      served.json             the model that answers, replaced in one rename; everything follows it
      removed.json            videos that are not to be found any more
      unread.json             files that could not be read, and why
      copies.json             files with the content of another, and of which
      reading.json            videos that are being read; believed only while someone reads
      features.hdf5
      index/                  of the first model
      models/NNNN/            learned on the page: index/, run/checkpoint/, model.json, which names the basis if
                              the features are a checkpoint's
      checkpoints/NAME/       of a CLIP-like checkpoint: features.hdf5, index/, and model.json once all is read
      label-check.json        what the last check of the labels found
      labels.sqlite  jobs/  cache/  arriving/

Wherever an index is named, the folder of the videos or the workspace may be named in its place.
"""

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from cfmr.errors import NO_ROOM, InputError
from cfmr.files.atomic import cannot_write, data_folder, make_directory, read_json, write_json
from cfmr.index.base import BeingWrittenError
from cfmr.index.location import is_address

FORMAT, VERSION = "cfmr-workspace", 1
FOLDER = ".cfmr"
NAME, SERVED, REMOVED, UNREAD = "workspace.json", "served.json", "removed.json", "unread.json"
LEARNED, CHECKPOINTS = "models", "checkpoints"  # folders of models that came later
MODEL = "model.json"  # in a model's folder, once it is finished
READING, COPIES = "reading.json", "copies.json"
ORIGINAL = "original"
BESIDE = "page"  # the workspace of an index that was named, beside it
MANIFEST = "manifest.json"
Written = TypeVar("Written")
PATIENCE = 20.0  # seconds to wait for an index that is being written; reading a folder writes for a moment at a time


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model of a workspace.

    Attributes:
        id: "original", the number of one that was learned, or the name of a CLIP-like checkpoint.
        checkpoint: None where there is none: of a model that was not trained, or of an index that was named alone.
        features: the feature file that its index is made of.
        basis: the CLIP-like checkpoint whose features it was learned from; None for the first features.
    """

    id: str
    index: Path
    checkpoint: Path | None
    features: Path
    basis: str | None = None


@dataclass(frozen=True, slots=True)
class Workspace:
    """A workspace on the disk.

    Attributes:
        root: the workspace itself.
        videos: the folder of the videos.
        index: of the first model; an address where it is on a server.
        features: the feature file, or where it will be.
        checkpoint: of the first model, if it has one.
    """

    root: Path
    videos: Path
    index: Path
    features: Path
    checkpoint: Path | None = None

    @property
    def own(self) -> bool:
        """Whether the first index is made here, of whatever the folder holds."""
        return self.index == self.root / "index"

    def models(self) -> list[ServedModel]:
        """Every finished model, the original first."""
        learned, checkpoints = (
            sorted(path.parent.name for path in (self.root / kind).glob(f"*/{MODEL}"))
            for kind in (LEARNED, CHECKPOINTS)
        )
        return [self.original, *map(self.learned, learned), *map(self.of_checkpoint, checkpoints)]

    @property
    def original(self) -> ServedModel:
        """The first model."""
        return ServedModel(ORIGINAL, self.index, self.checkpoint, self.features)

    def learned(self, name: str) -> ServedModel:
        """A model that was learned on the page, of the features that it was learned from."""
        folder = self.root / LEARNED / name
        basis = self._basis_of(folder)
        features = self.features if basis is None else self.of_checkpoint(basis).features
        return ServedModel(name, folder / "index", folder / "run" / "checkpoint", features, basis)

    def _basis_of(self, folder: Path) -> str | None:
        said: Any = None
        with contextlib.suppress(InputError):
            said = read_json(folder / MODEL)
        basis = said.get("basis") if isinstance(said, dict) else None
        known = isinstance(basis, str) and Path(basis).name == basis and self.of_checkpoint(basis).features.exists()
        return basis if known else None

    def of_checkpoint(self, name: str) -> ServedModel:
        """The model that is a CLIP-like checkpoint, or where it will be."""
        folder = self.root / CHECKPOINTS / name
        return ServedModel(name, folder / "index", None, folder / "features.hdf5")

    def served(self) -> ServedModel:
        """The model that answers: the one last chosen, if it is still there."""
        chosen: Any = None
        with contextlib.suppress(InputError):
            chosen = read_json(self.root / SERVED)
        name = chosen.get("model") if isinstance(chosen, dict) else None
        models = self.models()
        return next((model for model in models if model.id == name), models[0])

    def serve(self, model: str) -> None:
        """Let another model answer, here and wherever the workspace is searched."""
        write_json(self.root / SERVED, {"model": model})

    def unread(self) -> dict[str, str]:
        """Files that could not be read when the folder was read last, with a line each that says why."""
        return _texts(self.root / UNREAD)

    def copies(self) -> dict[str, str]:
        """Files with the content of another when the folder was read last, and of which."""
        return _texts(self.root / COPIES)

    def note_copies(self, copies: Mapping[str, str]) -> None:
        """Note which files are copies of which videos."""
        write_json(self.root / COPIES, dict(copies))

    def reading(self) -> frozenset[str]:
        """Videos that are being read, if anyone reads; a run that was killed leaves its own."""
        try:
            return read_names(self.root / READING)
        except InputError:
            return frozenset()

    def note_reading(self, names: Iterable[str]) -> None:
        """Note which videos are being read; a full disk is told by what needs the room."""
        with contextlib.suppress(InputError):
            write_json(self.root / READING, sorted(names))

    # --- removed videos -----------------------------------------------------------------------------------------------

    def removed(self) -> frozenset[str]:
        """Videos that are in no index of the workspace and come into none. Raises InputError if the list is damaged."""
        return read_names(self.root / REMOVED)

    def remove(self, names: Iterable[str]) -> None:
        """Note that videos are removed."""
        self._note(lambda before: before | set(names))

    def restore(self, names: Iterable[str]) -> None:
        """Let removed videos be indexed again.

        Raises:
            InputError: one of them was not removed.
        """
        wanted = set(names)
        for name in sorted(wanted - self.removed()):
            raise InputError(f"{self.root}: {name!r} was not removed, so it cannot be restored")
        self._note(lambda before: before - wanted)

    def _note(self, change: Callable[[frozenset[str]], frozenset[str]]) -> None:
        with open(self.root / "removed.lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            write_json(self.root / REMOVED, sorted(change(self.removed())))


def _texts(path: Path) -> dict[str, str]:
    """A JSON object of texts; nothing where there is none."""
    try:
        found = read_json(path)
    except InputError:
        return {}
    return {str(name): str(text) for name, text in found.items()} if isinstance(found, dict) else {}


def read_names(path: Path) -> frozenset[str]:
    """Names of videos from a JSON list; none where there is no file. Raises InputError if it is something else."""
    if not path.exists():
        return frozenset()
    names = read_json(path)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: a JSON list of names of videos is expected")
    return frozenset(names)


# --- finding one ------------------------------------------------------------------------------------------------------


def open_workspace(root: Path) -> Workspace:
    """The workspace at a place.

    Raises:
        InputError: there is none, it is damaged, or a later version has written it.
    """
    path = root / NAME
    value = read_json(path)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise InputError(f"{path}: not a workspace of cfmr; name another place with --workspace")
    version = value.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise InputError(f"{path}: written by a newer cfmr (workspace version {version}); update cfmr")
    texts = {key: value.get(key) for key in ("videos", "index", "features", "checkpoint")}
    if not all(isinstance(texts[key], str) for key in ("videos", "index", "features")):
        raise InputError(f"{path}: keys 'videos', 'index' and 'features' are expected; delete the file to make it anew")
    checkpoint = texts["checkpoint"]
    return Workspace(
        root,
        _from_root(root, str(texts["videos"])),
        _from_root(root, str(texts["index"])),
        _from_root(root, str(texts["features"])),
        _from_root(root, checkpoint) if isinstance(checkpoint, str) else None,
    )


def write_workspace(place: Workspace) -> None:
    """Write down what a workspace is of, unless that is there already."""
    value: dict[str, Any] = {"format": FORMAT, "version": VERSION}
    value |= {key: _to_root(place.root, getattr(place, key)) for key in ("videos", "index", "features")}
    value["checkpoint"] = None if place.checkpoint is None else _to_root(place.root, place.checkpoint)
    with contextlib.suppress(InputError):
        if read_json(place.root / NAME) == value:
            return
    write_json(place.root / NAME, value)


def _to_root(root: Path, path: Path) -> str:
    """A path as it is written: relative where both move together."""
    if is_address(path):
        return str(path)
    near = path.is_relative_to(root) or path.is_relative_to(root.parent)
    return os.path.relpath(path, root) if near else str(path)


def _from_root(root: Path, text: str) -> Path:
    return Path(text) if is_address(text) else Path(os.path.normpath(root / text))


def find_workspace(given: Path) -> Workspace | None:
    """The workspace of a folder of videos, or the one that is named itself; None if there is none.

    Raises:
        InputError: it is damaged, or a later version has written it.
    """
    if is_address(given) or not given.is_dir():
        return None
    given = given.resolve()
    places = [place for place in (given, given / FOLDER, _among_data(given)) if (place / NAME).is_file()]
    places.sort(key=lambda place: not os.access(place, os.W_OK))
    return open_workspace(places[0]) if places else None


def need_workspace(given: Path) -> Workspace:
    """Like `find_workspace`. Raises InputError if there is none."""
    if not given.exists():
        raise InputError(f"{given}: no such folder")
    found = find_workspace(given)
    if found is None:
        raise InputError(f"{given}: nothing has been read of this folder yet; read it with: cfmr index --in {given}")
    return found


def make_workspace(videos: Path, wanted: Path | None = None) -> Workspace:
    """The workspace of a folder of videos, made if there is none yet.

    Args:
        wanted: where; by default `.cfmr` in the folder, and among the user's data if nothing can be written there.

    Raises:
        InputError: no such folder, no place can be written, or there is something else.
    """
    if not videos.is_dir():
        kind = "is a file; name the folder it lies in" if videos.exists() else "no such folder"
        raise InputError(f"{videos}: {kind}")
    videos = videos.resolve()
    root = wanted.resolve() if wanted is not None else _default_place(videos)
    if root.is_relative_to(videos) and not any(part.startswith(".") for part in root.relative_to(videos).parts):
        raise InputError(f"{root}: among the videos; choose a place elsewhere, or a name that begins with a dot")
    if (root / NAME).exists():
        found = open_workspace(root)
        if found.videos == videos:
            return found
        if found.videos.is_dir():
            raise InputError(f"{root}: the workspace of {found.videos}; choose another place with --workspace")
        place = replace(found, videos=videos)  # the folder was moved
        write_workspace(place)
        return place
    if root.exists() and (others := sorted(path.name for path in root.iterdir())):
        raise InputError(f"{root}: not empty and no workspace (it has {others[0]!r}); name another with --workspace")
    place = Workspace(make_directory(root), videos, root / "index", root / "features.hdf5")
    write_workspace(place)
    return place


def _default_place(videos: Path) -> Path:
    place = videos / FOLDER
    try:
        place.mkdir(exist_ok=True)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise cannot_write(place, error) from error
        return _among_data(videos)
    return place if os.access(place, os.W_OK) else _among_data(videos)


def _among_data(videos: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(videos)).hexdigest()[:12]
    return data_folder() / "workspaces" / f"{videos.name or 'root'}-{digest}"


def workspace_of_index(index: Path) -> Workspace | None:
    """The workspace that an index belongs to: as its first one, or as that of a learned model."""
    if is_address(index):
        return None
    index = index.resolve()
    for root in (index.parent, index.parent / BESIDE, index.parent.parent.parent):
        if (root / NAME).is_file():
            place = open_workspace(root)
            if any(model.index == index for model in place.models()):
                return place
    return None


def served_index(given: Path) -> Path:
    """Where the index is that a path names: the path itself, or the index that its workspace serves.

    Raises:
        InputError: the workspace has no index yet, or is damaged.
    """
    if is_address(given) or (given / MANIFEST).exists() or (place := find_workspace(given)) is None:
        return given
    index = place.served().index
    if not is_address(index) and not (index / MANIFEST).exists():
        raise InputError(f"{given}: no video of this folder has been read yet; read it with: cfmr index --in {given}")
    return index


def when_free(write: Callable[[], Written], patience: float = PATIENCE) -> Written:
    """Write to an index as soon as no other process does.

    Raises:
        InputError: another process went on writing, or what `write` raises.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            return write()
        except BeingWrittenError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
