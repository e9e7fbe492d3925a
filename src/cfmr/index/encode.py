"""Features of videos to index rows."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.data.annotations import LONGEST, load_annotations
from cfmr.data.features import FeatureStore
from cfmr.errors import InputError
from cfmr.files.atomic import read_json
from cfmr.index.base import Value
from cfmr.index.codec import Codec, Floats
from cfmr.models.base import RowModel
from cfmr.models.checkpoint import Checkpoint
from cfmr.video.files import VideoFolder, restored_path, stored_path

LONGEST_CLIP = 600.0  # seconds that one clip may stand for; some published features have few clips of a long video
LONGER = 1.25  # a video up to so many times the longest trained on is still one window


def read_metadata(path: Path) -> dict[str, dict[str, Value]]:
    """Values to filter by: a JSON object {video: {key: value}}. Raises InputError naming the video."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: a JSON object is expected, {{video: {{key: value}}}}")
    for video, values in content.items():
        if not isinstance(values, dict) or not all(isinstance(v, str | int | float | bool) for v in values.values()):
            raise InputError(f"{path}: the metadata of {video!r} is not an object of texts, numbers or booleans")
    return content


@dataclass(frozen=True)
class VideoSources:
    """What is known of videos besides their features.

    Args:
        features: to be indexed.
        durations: seconds by video, where an annotation file tells.
        folder: where the video files lie.
        metadata: values by video.
        sentences: that people have said of such videos, to check and tune with.
    """

    features: FeatureStore
    durations: Mapping[str, float] = field(default_factory=dict)
    folder: Path | None = None
    metadata: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    sentences: Sequence[str] = ()

    @classmethod
    def load(
        cls,
        features: Path,
        annotations: Sequence[Path] = (),
        folder: Path | None = None,
        metadata: Path | None = None,
    ) -> "VideoSources":
        """From files.

        Args:
            features: HDF5 feature file.
            annotations: tell durations and sentences.
            folder: where the video files lie.
            metadata: JSON {video: {key: value}}.

        Raises:
            InputError: a file cannot be used; names the file, row or video.
        """
        if folder is not None and not folder.is_dir():
            raise InputError(f"{folder}: no such folder; --videos names the folder with the video files")
        rows = [row for path in annotations for row in load_annotations(path)]
        return cls(
            FeatureStore(features),
            {row.video: row.duration for row in rows},
            folder,
            read_metadata(metadata) if metadata else {},
            [row.sentence for row in rows],
        )

    def duration(self, video: str, clips: int) -> float:
        """Seconds of a video. Raises InputError if nothing tells."""
        if video in self.durations:
            return self.durations[video]
        seconds = self.features.duration(video)
        if seconds is None and (rate := clips_per_second(self.features.attributes)):
            seconds = clips / rate
        if seconds is None or not seconds > 0:
            raise InputError(
                f"{self.features.path}: does not say how long {video} is; "
                "give --annotations FILE, a JSON list of [video, duration, ...]"
            )
        if seconds > min(LONGEST, clips * LONGEST_CLIP):
            raise InputError(
                f"{self.features.path}: says that {video} lasts {seconds:,.0f} s, with {clips} clips; "
                "extract it again, or give its duration with --annotations"
            )
        return seconds

    def path(self, video: str) -> str | None:
        """The video file, if the feature file or the folder has it."""
        said = self.features.attributes_of(video)
        known, fingerprint = said.get("path"), said.get("fingerprint")
        if self._videos is not None:
            place = None if known is None else restored_path(str(known))
            if (found := self._videos.find(video, fingerprint, place)) is not None:
                return stored_path(found.resolve())
        return None if known is None else str(known)

    @cached_property
    def _videos(self) -> VideoFolder | None:
        return None if self.folder is None else VideoFolder(self.folder)


def clips_per_second(attributes: Mapping[str, Any]) -> float | None:
    """Rate of a feature file's clips, where its attributes tell."""
    try:
        if "clips_per_second" in attributes:
            return float(attributes["clips_per_second"])
        return float(attributes["fps"]) / float(attributes["stride"])
    except (KeyError, ValueError, ZeroDivisionError):
        return None


def windows(duration: float, length: float | None) -> list[tuple[float, float]]:
    """Windows of `length` seconds that overlap by at least half and cover a video; the video itself if it is no longer.

    Args:
        duration: seconds.
        length: seconds; None for never cutting.
    """
    if length is None or duration <= length:
        return [(0.0, duration)]
    count = int(np.ceil((duration - length) / (length / 2))) + 1
    return [(float(s), float(s) + length) for s in np.linspace(0, duration - length, count)]


@dataclass(frozen=True, slots=True)
class Windowing:
    """How long videos are cut: those longer than `longest` seconds into windows of `length` seconds."""

    length: float | None
    longest: float

    @classmethod
    def of(cls, checkpoint: Checkpoint, length: float | None) -> "Windowing":
        """From what the model was trained on, unless a length is asked for."""
        trained = checkpoint.state.get("durations")
        if length is not None:
            return cls(length, length)
        if not trained:
            return cls(None, 0.0)
        return cls(float(trained["median"]), LONGER * float(trained["longest"]))

    def cut(self, duration: float) -> list[tuple[float, float]]:
        """The windows of a video."""
        return [(0.0, duration)] if duration <= self.longest else windows(duration, self.length)


class RowEncoder:
    """Features of a video to index rows with spans in absolute seconds."""

    def __init__(self, model: RowModel, windowing: Windowing) -> None:
        self.windowing = windowing
        self._curve = model.readout != "anchors"
        mapped = model.row_map()
        self.codec = None if mapped is None else Codec(mapped[0].shape[2], *mapped)
        self._model = model

    def rows(self, features: Floats, duration: float) -> tuple[Floats, NDArray[np.float64]]:
        """Rows (n, width) and spans (n, 2) in seconds."""
        rate = len(features) / duration
        cuts = self.windowing.cut(duration)
        rows, spans = [], []
        for number, (start, end) in enumerate(cuts):
            first = min(int(start * rate), len(features) - 1)
            last = min(max(int(np.ceil(end * rate)), first + 1), len(features))
            found, fractions = self._model.encode_rows(features[first:last], (last - first) / rate)
            seconds = first / rate + fractions.astype(np.float64) * (last - first) / rate
            if self._curve:  # of two windows that overlap, each gives the half nearer to its middle
                kept = _nearest_to(seconds.mean(1), cuts, number, rate)
                found, seconds = found[kept], seconds[kept]
            rows.append(found)
            spans.append(seconds)
        return self._model.finish_rows(np.concatenate(rows), features), np.minimum(np.concatenate(spans), duration)


@dataclass(frozen=True, slots=True)
class Encoded:
    """What becomes of a video's features: rows (n, width), spans (n, 2) in seconds, and its length in seconds.

    `fingerprint`: equal for equal features, duration and windows.
    """

    rows: Floats
    spans: NDArray[np.float64]
    duration: float
    fingerprint: str


@dataclass(frozen=True)
class VideoEncoder:
    """From a video's name to what is indexed of it."""

    sources: VideoSources
    rows: RowEncoder

    def encode(self, name: str, known: str = "") -> Encoded | None:
        """Read and encode a video; None if that would give what has the fingerprint `known`.

        Raises:
            InputError: its features or its duration are missing.
        """
        features = self.sources.features.read(name)
        duration = self.sources.duration(name, len(features))
        digest = hashlib.blake2b(np.ascontiguousarray(features).data, digest_size=12)
        digest.update(repr((duration, self.rows.windowing)).encode())
        if digest.hexdigest() == known:
            return None
        rows, spans = self.rows.rows(features, duration)
        return Encoded(rows, spans, duration, digest.hexdigest())


def _nearest_to(
    times: NDArray[np.float64], cuts: Sequence[tuple[float, float]], number: int, rate: float
) -> NDArray[np.bool_]:
    """Which times belong to a window because no other one's middle is nearer; `rate` in clips a second."""
    middles = np.array([(start + end) / 2 for start, end in cuts])
    edges = [-np.inf, *(np.round((middles[1:] + middles[:-1]) / 2 * rate) / rate), np.inf]  # between clips
    kept: NDArray[np.bool_] = (times >= edges[number]) & (times < edges[number + 1])
    return kept
