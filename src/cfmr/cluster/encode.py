"""Encoding the videos of an index on a Ray cluster; rows come back to the one writer of the index."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from cfmr.cluster.pool import Row, Worker, gpus_per_worker, map_tasks, ray_session
from cfmr.data.features import FeatureStore
from cfmr.errors import InputError
from cfmr.index.build import Answer, Encode
from cfmr.index.encode import Encoded, VideoEncoder, VideoSources
from cfmr.index.model_source import CheckpointModel, IndexModel
from cfmr.models.checkpoint import Checkpoint


class EncodingWorker(Worker):
    """Encodes one video after the other, in a process of the pool.

    Args:
        features: the feature file, which every machine has to see under this path.
        durations: seconds by video, where an annotation file tells.
    """

    EMPTY: ClassVar[Row] = {"fingerprint": "", "rows": b"", "spans": b"", "width": 0, "duration": 0.0}

    def __init__(
        self,
        checkpoint: Checkpoint,
        features: str,
        durations: Mapping[str, float],
        window: float | None,
        backend: str,
        device: str,
    ) -> None:
        super().__init__()
        self._model = checkpoint, window, backend, device
        self._features, self._durations = features, durations

    def prepare(self) -> None:
        """Load the model."""
        if not Path(self._features).exists():
            raise InputError(f"{self._features}: is not seen here; put it where every machine of the cluster sees it")
        model = CheckpointModel(*self._model)
        self._frame_dim = model.frame_dim
        self._encoder = VideoEncoder(VideoSources(FeatureStore(self._features), self._durations), model.encoder)

    def answer(self, task: Row) -> Row:
        """A video's rows; nothing if they have not changed."""
        self._encoder.sources.features.check([task["name"]], self._frame_dim)
        found = self._encoder.encode(task["name"], task["known"])
        if found is None:
            return {}
        return {
            "fingerprint": found.fingerprint,
            "rows": np.ascontiguousarray(found.rows, np.float32).tobytes(),
            "spans": np.ascontiguousarray(found.spans, np.float64).tobytes(),
            "width": found.rows.shape[1],
            "duration": float(found.duration),
        }


def ray_encoder(address: str) -> Encode:
    """The strategy that encodes videos on a Ray cluster, for `cfmr.index.build.build_index`.

    Args:
        address: of the cluster; see `cfmr.cluster.pool.ray_session`.
    """

    def encode(
        model: IndexModel, sources: VideoSources, names: Sequence[str], known: Mapping[str, str]
    ) -> Iterator[tuple[str, Answer]]:
        """Videos in any order. Raises InputError if the cluster does not answer, or its machines lack something."""
        if not isinstance(model, CheckpointModel):
            raise InputError(f"--ray: encoding with {model.name} is too little work for a cluster; leave it out")
        if not names:
            return
        durations = {name: sources.durations[name] for name in names if name in sources.durations}
        features = str(sources.features.path.resolve())
        with ray_session(address) as ray:
            gpus = gpus_per_worker(ray, model.device != "cpu")
            given = (model.checkpoint, features, durations, model.window, model.backend, model.device)
            tasks: list[Row] = [{"name": name, "known": known.get(name, "")} for name in names]
            for answer, name in map_tasks(ray, tasks, EncodingWorker, given, gpus):
                yield name, _read(answer, name)

    return encode


def _read(answer: dict[str, Any] | None, name: str) -> Answer:
    if answer is None:
        return InputError(f"video {name!r}: each process that encoded it died; is it too long for the memory there?")
    if answer["failed"]:
        return InputError(answer["failed"])
    if not answer["fingerprint"]:
        return None
    rows = np.frombuffer(answer["rows"], np.float32).reshape(-1, answer["width"])
    spans = np.frombuffer(answer["spans"], np.float64).reshape(-1, 2)
    return Encoded(rows, spans, answer["duration"], answer["fingerprint"])
