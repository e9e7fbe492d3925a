"""The videos of a server, as labels of other tools refer to them."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import PurePosixPath

from cfmr.handover.clips import read_source
from cfmr.handover.labels.rows import Names
from cfmr.handover.timecode import Rate
from cfmr.server.context import AppState
from cfmr.server.problems import Problem
from cfmr.video.files import VideoFolder, fingerprint_of


class LabelVideos:
    """Every video that is indexed or in the folder; what was asked of one is remembered.

    Args:
        state: of the server.
    """

    def __init__(self, state: AppState) -> None:
        self._state = state
        self._durations: dict[str, float] = {}
        self._rates: dict[str, Rate] = {}

    @cached_property
    def _names(self) -> Names:
        return Names(self._state.names())

    @cached_property
    def _folder(self) -> VideoFolder:
        return VideoFolder(self._state.library.folder)

    def find(self, references: Sequence[str], fingerprint: str | None = None) -> str:
        """The name of the video that is meant. Raises ValueError that says why there is none."""
        try:
            return self._names.find(references)
        except ValueError:
            found = self._folder.find("", fingerprint) if fingerprint else None
            if found is None:
                raise
            return self._state.library.name_of(found)

    def duration(self, video: str) -> float:
        """Seconds. Raises ValueError if it cannot be read."""
        if video not in self._durations:
            try:
                self._durations[video] = self._state.facts(video).duration
            except Problem as problem:
                raise ValueError(problem.detail) from None
        return self._durations[video]

    def rate(self, video: str) -> Rate:
        """Frames a second of its time line. Raises ValueError if its file cannot be read."""
        if video not in self._rates:
            try:
                self._rates[video] = read_source(video, self._state.file(video), read=self._state.media.timing).rate
            except Problem as problem:
                raise ValueError(problem.detail) from None
        return self._rates[video]

    def file_name(self, video: str) -> str:
        """Of its file, or its name where that is gone."""
        path = self._state.path(video)
        return PurePosixPath(video).name if path is None else path.name

    def fingerprint(self, video: str) -> str | None:
        """Of its content; None where its file is gone."""
        path = self._state.path(video)
        try:
            return None if path is None else fingerprint_of(path)
        except OSError:
            return None
