"""The models that can be served, and the one that is: it changes while searches go on."""

import contextlib
import dataclasses
import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cfmr.errors import InputError
from cfmr.files.atomic import make_directory, read_json, write_json, written_at
from cfmr.files.reading import natural
from cfmr.index.base import Value, Video
from cfmr.index.embedded.manifest import NAME as MANIFEST
from cfmr.index.location import has_index
from cfmr.index.workspace import CHECKPOINTS, LEARNED, MODEL, ORIGINAL, SERVED
from cfmr.search.composed import ComposedQuery
from cfmr.search.retriever import MomentRetriever, SearchResult
from cfmr.server.problems import Problem
from cfmr.server.settings import Settings

log = logging.getLogger(__name__)

LOOK = 0.25  # seconds between two looks at what other processes changed


class Retriever(Protocol):
    """What the server needs of a `MomentRetriever`."""

    @property
    def generation(self) -> int: ...
    def videos(self) -> list[Video]: ...
    def reload(self) -> bool: ...
    def search(
        self,
        query: str | ComposedQuery,
        top: int = 5,
        videos: Sequence[str] | None = None,
        where: Mapping[str, Value] | None = None,
        min_score: float | None = None,
    ) -> SearchResult: ...
    def curve(
        self, query: str | ComposedQuery, video: str, *, part: tuple[float, float] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...


Load = Callable[[Path], Retriever]


def load_retriever(path: Path) -> Retriever:
    """Open an index and make it ready for the first sentence."""
    retriever = MomentRetriever.load(path)
    with contextlib.suppress(InputError):  # the word may be unknown: the text encoder is loaded all the same
        retriever.encode("a person")
    return retriever


@dataclass(frozen=True, slots=True)
class Model:
    """A model with its index.

    Attributes:
        created: seconds since 1970; 0 for the one the server was started with.
        labels: how many labels it learned from.
        comparison: held-out labels before and after; see `compare`.
        features: its feature file, if it is not the first one.
        basis: the CLIP-like checkpoint whose features it has learned from; None for the first features.
        note: what somebody wrote about it.
    """

    id: str
    index: Path
    checkpoint: Path | None
    created: float = 0.0
    labels: int = 0
    comparison: dict[str, Any] = field(default_factory=dict)
    features: Path | None = None
    basis: str | None = None
    note: str = ""


@dataclass(frozen=True)
class _Serving:
    """A model and its opened index, replaced as a whole."""

    model: Model
    retriever: Retriever | None
    videos: dict[str, Video]


class ModelRegistry:
    """Which model answers. Other processes may change that, or add to its index; it is taken up within `LOOK` seconds.

    Args:
        settings: where the first model and the workspace are.
        load: opens an index.

    Raises:
        InputError: the index is there but cannot be opened.
    """

    def __init__(self, settings: Settings, load: Load = load_retriever) -> None:
        self._load = load
        self.folder = make_directory(settings.workspace / LEARNED)
        self._place = settings.place
        self._choice = settings.workspace / SERVED
        self._original = Model(ORIGINAL, settings.index, settings.checkpoint)
        self._lock = threading.Lock()
        self._now = self._begin()
        self._seen, self._looked = self._marks(), time.monotonic()

    def _begin(self) -> _Serving:
        """What was served last, if it is still whole; else the model the server was started with."""
        if (chosen := self._place.served().id) != ORIGINAL:
            with contextlib.suppress(InputError, Problem):
                return self._open(self.model(chosen))
        if not self._has_original:
            return _Serving(self._original, None, {})
        return self._open(self._original)

    @property
    def _has_original(self) -> bool:
        """Whether there is the index that the server was started with; one of its own counts once it is written."""
        index = self._original.index
        return (index / MANIFEST).exists() if self._place.own else has_index(index)

    def _open(self, model: Model) -> _Serving:
        retriever = self._load(model.index)
        return _Serving(model, retriever, {video.id: video for video in retriever.videos()})

    def _marks(self) -> tuple[int, int]:
        """When the choice of a model and the index of the present one were written; 0 for never."""
        return written_at(self._choice), written_at(self._now.model.index / MANIFEST)

    def _refresh(self) -> _Serving:
        """The current model, reloaded if another process changed it; requests meanwhile use the previous one."""
        if time.monotonic() - self._looked >= LOOK and self._lock.acquire(blocking=False):
            try:
                self._looked = time.monotonic()
                marks = self._marks()
                if marks != self._seen:
                    self._reload(chosen=marks[0] != self._seen[0])
            except InputError as error:
                log.warning("what another process changed is left: %s", error)
                self._seen = self._marks()
            finally:
                self._lock.release()
        return self._now

    def _reload(self, *, chosen: bool) -> None:
        now = self._now
        if chosen or now.retriever is None:
            self._now = self._begin()
        else:
            now.retriever.reload()
            self._now = dataclasses.replace(now, videos={v.id: v for v in now.retriever.videos()})
        self._seen = self._marks()

    @property
    def current(self) -> Model:
        """The model that answers."""
        return self._refresh().model

    @property
    def ready(self) -> bool:
        """Whether anything can be searched."""
        return self._refresh().retriever is not None

    @property
    def retriever(self) -> Retriever:
        """The index that is searched. Raises Problem if there is none yet."""
        retriever = self._refresh().retriever
        if retriever is None:
            if self._place.own:
                raise Problem(409, "nothing can be searched yet: no video has been read")
            raise Problem(409, "there is no model yet: label some moments, then train on them")
        return retriever

    @property
    def videos(self) -> dict[str, Video]:
        """Indexed videos by name."""
        return self._refresh().videos

    def models(self) -> list[Model]:
        """Every model that can be served, the newest first."""
        places = (*self.folder.glob(f"*/{MODEL}"), *(self._place.root / CHECKPOINTS).glob(f"*/{MODEL}"))
        learned = [m for path in places if (m := self._read(path)) is not None]
        first = [self._original] if self._has_original else []
        return sorted(learned, key=lambda m: -m.created) + first

    def model(self, name: str) -> Model:
        """Raises Problem if there is no such model."""
        found = next((m for m in self.models() if m.id == name), None)
        if found is None:
            raise Problem(404, "there is no such model")
        return found

    def _read(self, path: Path) -> Model | None:
        try:
            value = read_json(path)
            folder, trained = path.parent, path.parent.parent == self.folder
            made_with = self._place.learned(folder.name) if trained else self._place.of_checkpoint(folder.name)
            return Model(
                folder.name,
                folder / "index",
                folder / "run" / "checkpoint" if trained else None,
                float(value["created"]),
                int(value["labels"]),
                dict(value["comparison"]),
                None if made_with.features == self._place.features else made_with.features,
                made_with.basis,
                str(value.get("note", "")),
            )
        except (InputError, KeyError, TypeError, ValueError):
            return None

    def new_folder(self) -> Path:
        """The folder of a model to be. It counts only once `keep` was called."""
        for path in self.folder.iterdir():  # what broken-off jobs left
            if not (path / MODEL).exists():
                shutil.rmtree(path, ignore_errors=True)
        number = max((natural(path.name) or 0 for path in self.folder.iterdir()), default=0) + 1
        return make_directory(self.folder / f"{number:04}")

    def keep(self, folder: Path, labels: int, comparison: dict[str, Any], basis: str | None = None) -> Model:
        """Make a finished model one that can be served; see `Model`."""
        said = {"created": time.time(), "labels": labels, "comparison": comparison, "basis": basis}
        write_json(folder / MODEL, said)
        return self.model(folder.name)

    def delete(self, name: str) -> None:
        """Remove a model that came later from the disk.

        Raises:
            Problem: there is no such model, it is in use, it is the one the server was started with, or others have
                learned from its features.
        """
        with self._lock:
            model = self.model(name)
            if model.id == ORIGINAL:
                raise Problem(409, "the original model cannot be deleted here")
            if model.id == self._now.model.id:
                raise Problem(409, "this model is in use; use another one first")
            if heirs := [other.id for other in self.models() if other.basis == name]:
                raise Problem(409, f"model {heirs[0]} has learned from its features; delete that one first")
            folder = model.index.parent
            (folder / MODEL).unlink()  # from here on it is no model any more
            shutil.rmtree(folder, ignore_errors=True)

    def annotate(self, name: str, note: str) -> None:
        """Keep what somebody wrote about a model that came later. Raises Problem for any other."""
        with self._lock:
            model = self.model(name)
            if model.id == ORIGINAL:
                raise Problem(409, "a note can be kept for models that were trained or downloaded here only")
            path = model.index.parent / MODEL
            write_json(path, read_json(path) | {"note": note})

    def open(self, model: Model) -> Retriever:
        """A model's index, beside the one that is served."""
        return self._load(model.index)

    def switch(self, name: str) -> Model:
        """Serve another model from now on; searches under way finish on the one before.

        Raises:
            InputError, Problem: it cannot be opened; what is served stays.
        """
        with self._lock:
            self._now = self._open(self.model(name))
            self._place.serve(name)
            self._seen = self._marks()
            return self._now.model

    def reload(self) -> None:
        """Take up what was added to the index. Raises InputError if it is damaged; what is served stays."""
        with self._lock:
            self._reload(chosen=False)
