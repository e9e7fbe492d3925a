"""What all requests share: the state of the application, and how a route gets it."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated

import anyio
from fastapi import Depends, Query, Request
from pydantic import BaseModel, Field

from cfmr.files.atomic import written_at
from cfmr.index.workspace import COPIES, READING, REMOVED, UNREAD
from cfmr.server.problems import Problem
from cfmr.server.settings import Settings
from cfmr.server.stores.catalog import Catalog, Listing, Sources
from cfmr.server.stores.ground_truth import GroundTruth
from cfmr.server.stores.jobs import Jobs
from cfmr.server.stores.label_import import LabelImports
from cfmr.server.stores.labels import LabelStore
from cfmr.server.stores.media import Media
from cfmr.server.stores.models import ModelRegistry
from cfmr.server.stores.recent_answers import RecentAnswers
from cfmr.server.stores.videos import Library

SEARCHES = 2  # long ones, at once: each may wait for a disk or a network
CHECKS = 2  # of uploads, at once

VideoName = Annotated[str, Query(min_length=1, max_length=500, description="name of a video")]
Seconds = Annotated[float, Query(ge=0, le=1e6, allow_inf_nan=False)]


class ProblemDocument(BaseModel):
    """An error, as RFC 9457 has it."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = Field(description="one line that says what was wrong and what to do")


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """A video that the server knows: its length in seconds, and its file if that is in the folder."""

    name: str
    duration: float
    path: Path | None


@dataclass(frozen=True)
class AppState:
    """One server: its settings, its stores, and the model that answers.

    Attributes:
        short: the one thread of searches that take a few milliseconds, in the order in which they come.
        searching: how many others there are at once.
    """

    settings: Settings
    library: Library
    models: ModelRegistry
    media: Media
    labels: LabelStore
    imports: LabelImports
    jobs: Jobs
    ground_truth: GroundTruth
    answered: RecentAnswers[bytes] = field(default_factory=RecentAnswers)
    short: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "searches"))
    searching: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(SEARCHES))
    checking: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(CHECKS))

    @property
    def features(self) -> Path:
        """The feature file, or where it will be."""
        return self.settings.features or self.settings.workspace / "features.hdf5"

    @cached_property
    def catalog(self) -> Catalog:
        """Every video, as lists show it."""
        root = self.settings.place.root

        def marks() -> object:
            noted = [written_at(root / name) for name in (REMOVED, UNREAD, COPIES, READING)]
            return self.library.facts(), self.models.videos, noted, self.jobs.busy("add")

        def sources() -> Sources:
            place = self.settings.place
            reading = place.reading() if self.jobs.busy("add") else frozenset[str]()
            return Sources(
                self.library.facts(), self.models.videos, place.removed(), place.unread(), place.copies(), reading
            )

        return Catalog(marks, sources)

    def listing(self) -> Listing:
        """Every video as it is now."""
        return self.catalog.listing()

    def names(self) -> list[str]:
        """Every video that is indexed or in the folder, in order."""
        return self.listing().names

    def removed(self) -> frozenset[str]:
        """Videos that were taken out."""
        return self.settings.place.removed()

    def names_with(self, part: str) -> list[str]:
        """Videos whose names contain this, in any case."""
        return [entry.video for entry in self.listing().find(part) if entry.state != "removed"]

    def watchable_of(self, names: Iterable[str]) -> set[str]:
        """Those of some videos whose files were in the folder a moment ago."""
        indexed, there = self.models.videos, self.library.lookup()
        return {n for n in set(names) if there(n, indexed[n].path if n in indexed else None)}

    def path(self, name: str) -> Path | None:
        """A video's file, if it is in the folder."""
        indexed = self.models.videos.get(name)
        return self.library.find(name, indexed.path if indexed else None)

    def file(self, name: str) -> Path:
        """Raises Problem if there is no such file in the folder."""
        found = self.path(name)
        if found is None:
            raise Problem(404, f"{name[:200]}: there is no such video in the folder")
        return found

    def facts(self, name: str) -> VideoFacts:
        """Raises Problem if nothing is known of such a video, or its file cannot be read."""
        path, indexed = self.path(name), self.models.videos.get(name)
        if indexed is not None:
            return VideoFacts(name, indexed.duration, path)
        if path is None:
            raise Problem(404, f"{name[:200]}: there is no such video")
        return VideoFacts(name, self.media.duration(path), path)


async def app_state(request: Request) -> AppState:
    """The state that `create_app` was given; a coroutine, so that no thread is taken for it."""
    state: AppState = request.app.state.cfmr
    return state


State = Annotated[AppState, Depends(app_state)]
