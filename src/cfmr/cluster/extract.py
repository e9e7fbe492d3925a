"""Extracting many videos on a Ray cluster: a pool of processes that follows its size, one writer here.

The processes send features back and this one writes them, video by video, as `extract_all` does: so no machine of the
cluster needs to share a disk with another, a worker that dies leaves nothing half written, and a video is written once
whatever is repeated. An hour of video is 67 MB of features (EfficientNet-Lite0).
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from cfmr.cluster.pool import Row, Worker, gpus_per_worker, map_tasks, ray_session
from cfmr.cluster.remote_files import Source, downloaded, is_remote, list_sources
from cfmr.data.features import FeatureWriter
from cfmr.errors import InputError
from cfmr.extractors import get_extractor
from cfmr.extractors.batch import Meter, Summary, attributes_of, keep, make_extractor, nothing_read
from cfmr.extractors.recognition import Found, recognise
from cfmr.progress import Progress, silent


class ExtractingWorker(Worker):
    """Extracts one video after the other, in a process of the pool."""

    EMPTY: ClassVar[Row] = {"damage": "", "features": b"", "dim": 0, "duration": 0.0}

    def __init__(self, name: str, options: dict[str, Any]) -> None:
        super().__init__()
        self._name, self._options = name, options

    def prepare(self) -> None:
        """Make the extractor."""
        self._extractor = get_extractor(self._name, threads=1, **self._options)

    def answer(self, task: Row) -> Row:
        """A video's features."""
        path = Path(task["where"])
        try:
            with downloaded(task["where"]) as path:
                found = self._extractor.extract(path)
        except InputError as error:
            raise InputError(str(error).replace(str(path), task["where"])) from error
        features = np.ascontiguousarray(found.features, np.float32)
        return {
            "damage": found.damage or "",
            "features": features.tobytes(),
            "dim": features.shape[1],
            "duration": float(found.duration),
        }


def extract_on_ray(
    videos: Sequence[str],
    extractor: str,
    out: str | os.PathLike[str],
    address: str,
    progress: Progress = silent,
    worker: type[Worker] = ExtractingWorker,
    **options: Any,
) -> tuple[Summary, dict[str, Source]]:
    """Extract the features of many videos into one HDF5 file, as `cfmr.extractors.batch.extract_all` does.

    Args:
        videos: video files, folders of them, and addresses of either; what is no address must be seen by all machines
            under the same path.
        extractor: name in the registry.
        out: the HDF5 file.
        address: of the cluster; see `cfmr.cluster.pool.ray_session`.
        progress: told after every video.
        worker: what runs in the cluster's processes.
        options: of the extractor.

    Returns:
        what became of each video, and where they lie.

    Raises:
        InputError: as `extract_all`; also if the cluster does not answer or lacks something.
    """
    maker, options = make_extractor(extractor, out, 1, options)
    sources = list_sources(videos)
    summary = Summary()
    with FeatureWriter(out, maker.attributes()) as writer:
        sources = _recognised(sources, writer, summary)
        waiting = _waiting(sources, writer, summary)
        meter = Meter({video: source.size for video, source in sources.items()}, summary.kept, progress)
        if waiting:
            with ray_session(address) as ray:
                gpus = gpus_per_worker(ray, options.get("device") == "cuda")
                tasks: list[Row] = [{"name": s.video, "where": s.where} for s in waiting]
                for answer, video in map_tasks(ray, tasks, worker, (extractor, options), gpus):
                    _take(answer, sources[video], writer, summary)
                    meter.finish(video, float(answer["duration"]) if answer else 0.0)
        if not writer.videos:
            raise InputError(nothing_read(summary))
    return summary, sources


def _recognised(sources: dict[str, Source], writer: FeatureWriter, summary: Summary) -> dict[str, Source]:
    """The sources by the names that they have, or get, in the feature file."""
    names = recognise({video: Found(s.where, s.fingerprint) for video, s in sources.items()}, writer)
    summary.called = {video: name for video, name in names.items() if video != name}
    return {names[video]: replace(source, video=names[video]) for video, source in sources.items()}


def _waiting(sources: dict[str, Source], writer: FeatureWriter, summary: Summary) -> list[Source]:
    """What is still to do; the largest first, so that nobody is left alone with it at the end."""
    waiting = [s for video, s in sources.items() if not keep(video, s.fingerprint, writer, summary)]
    return sorted(waiting, key=lambda source: -source.size)


def _take(answer: Row | None, source: Source, writer: FeatureWriter, summary: Summary) -> None:
    if answer is None:
        summary.failed[source.video] = f"{source.where}: each process that read it died; is it damaged, or too large?"
        return
    if answer["failed"]:
        summary.failed[source.video] = answer["failed"]
        return
    features = np.frombuffer(answer["features"], np.float32).reshape(-1, answer["dim"])
    writer.add(
        source.video, features, **attributes_of(answer["duration"], source.fingerprint, source.where, answer["damage"])
    )
    summary.extracted.append(source.video)
    if answer["damage"]:
        summary.damaged[source.video] = answer["damage"]


def named(given: Sequence[str], source: Source) -> bool:
    """Whether a video was named itself, rather than found in a folder."""
    return source.where in {path if is_remote(path) else str(Path(path).resolve()) for path in given}
