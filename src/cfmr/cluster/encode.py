"""Encoding the videos of an index on a Ray cluster; rows come back to the one writer of the index."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cfmr.cluster.pool import Row, connected, gpus_for, run_all
from cfmr.data.features import FeatureStore
from cfmr.errors import InputError
from cfmr.index.build import IndexBuild
from cfmr.index.encode import Encoded, RowEncoder, Sources, VideoEncoder, Windowing
from cfmr.models.checkpoint import Checkpoint


class EncodingWorker:
    """What runs in each process of the pool.

    Args:
        features: the feature file, which every machine has to see under this path.
        durations: seconds by video, where an annotation file tells.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        features: str,
        durations: Mapping[str, float],
        window: float | None,
        backend: str,
        device: str,
    ) -> None:
        self._checkpoint, self._features, self._durations = checkpoint, features, durations
        self._window, self._backend, self._device = window, backend, device
        self._made: VideoEncoder | None = None

    def _encoder(self) -> VideoEncoder:
        if self._made is None:
            from cfmr.models.base import load_model

            if not Path(self._features).exists():
                raise InputError(
                    f"{self._features}: is not seen here; put it where every machine of the cluster sees it"
                )
            sources = Sources(FeatureStore(self._features), self._durations)
            model = load_model(self._checkpoint, self._backend, self._device)
            self._made = VideoEncoder(sources, RowEncoder(model, Windowing.of(self._checkpoint, self._window)))
        return self._made

    def __call__(self, task: Row) -> Row:
        """A video's rows; the line that says why there are none; or neither, if they have not changed."""
        answer: Row = {"name": task["name"], "failed": "", "hopeless": "", "fingerprint": ""}
        nothing: Row = {"rows": b"", "spans": b"", "width": 0, "duration": 0.0}
        try:
            encoder = self._encoder()
        except InputError as error:
            return {**answer, **nothing, "hopeless": f"{os.uname().nodename}: {error}"}
        try:
            encoder.sources.features.check([task["name"]], self._checkpoint.config.dataset.frame_dim)
            found = encoder.encode(task["name"], task["known"])
        except InputError as error:
            return {**answer, **nothing, "failed": str(error)}
        if found is None:
            return {**answer, **nothing}
        return {
            **answer,
            "fingerprint": found.fingerprint,
            "rows": np.ascontiguousarray(found.rows, np.float32).tobytes(),
            "spans": np.ascontiguousarray(found.spans, np.float64).tobytes(),
            "width": found.rows.shape[1],
            "duration": float(found.duration),
        }


def encode_on_ray(
    build: IndexBuild, names: Sequence[str], known: Mapping[str, str]
) -> Iterator[tuple[str, Encoded | InputError | None]]:
    """Videos as `VideoEncoder.encode` gives them, in any order; with an error in place of those that cannot be encoded.

    Args:
        known: fingerprints of what the index has already.

    Raises:
        InputError: the cluster does not answer, or its machines lack something.
    """
    if not names:
        return
    assert build.ray is not None
    durations = {name: build.sources.durations[name] for name in names if name in build.sources.durations}
    features = str(build.sources.features.path.resolve())
    with connected(build.ray) as ray:
        gpus = gpus_for(ray, build.device != "cpu")
        given = (build.checkpoint, features, durations, build.window, build.backend, build.device)
        tasks: list[Row] = [{"name": name, "known": known.get(name, "")} for name in names]
        for answer, name in run_all(ray, tasks, EncodingWorker, given, gpus):
            yield name, _read(answer, name)


def _read(answer: dict[str, Any] | None, name: str) -> Encoded | InputError | None:
    if answer is None:
        return InputError(f"video {name!r}: each process that encoded it died; is it too long for the memory there?")
    if answer["failed"]:
        return InputError(answer["failed"])
    if not answer["fingerprint"]:
        return None
    rows = np.frombuffer(answer["rows"], np.float32).reshape(-1, answer["width"])
    spans = np.frombuffer(answer["spans"], np.float64).reshape(-1, 2)
    return Encoded(rows, spans, answer["duration"], answer["fingerprint"])
