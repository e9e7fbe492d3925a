"""What runs in a process of the cluster, run here; the cluster itself is in tests/scale."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from cfmr.cluster.encode import EncodingWorker, _read, ray_encoder
from cfmr.data.features import FeatureStore
from cfmr.errors import InputError
from cfmr.index.encode import Encoded, VideoEncoder, VideoSources
from cfmr.index.model_source import CheckpointModel
from cfmr.models.checkpoint import Checkpoint
from tests.support.searchable import Searchable, make_searchable


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Searchable:
    return make_searchable(tmp_path_factory.mktemp("made"))


def worker(made: Searchable, features: Path | None = None) -> EncodingWorker:
    durations = {f"v{number:02}": 30.0 for number in range(12)}
    checkpoint = Checkpoint.load(made.checkpoint)
    return EncodingWorker(checkpoint, str(features or made.world.features), durations, None, "pytorch", "cpu")


def test_a_worker_encodes_as_this_process_does(made: Searchable) -> None:
    work = worker(made)
    found = _read(work({"name": "v03", "known": ""}), "v03")
    model = CheckpointModel.load(made.checkpoint)
    sources = VideoSources(FeatureStore(made.world.features), {"v03": 30.0})
    expected = VideoEncoder(sources, model.encoder).encode("v03")
    assert isinstance(found, Encoded)
    assert expected is not None
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_array_equal(found.spans, expected.spans)
    assert (found.duration, found.fingerprint) == (expected.duration, expected.fingerprint)
    assert _read(work({"name": "v03", "known": expected.fingerprint}), "v03") is None


def test_what_cannot_be_encoded_is_told_in_a_line(made: Searchable, tmp_path: Path) -> None:
    failed = _read(worker(made)({"name": "nosuch", "known": ""}), "nosuch")
    assert isinstance(failed, InputError)
    assert "nosuch" in str(failed)
    fatal = worker(made, tmp_path / "away.hdf5")({"name": "v03", "known": ""})["fatal"]
    assert "away.hdf5: is not seen here; put it where every machine of the cluster sees it" in fatal
    assert "each process that encoded it died" in str(_read(None, "v03"))


def test_only_a_checkpoint_is_worth_a_cluster(made: Searchable) -> None:
    class Light:
        name = "CLIP"

    encode = ray_encoder("local")
    with pytest.raises(InputError, match="--ray: encoding with CLIP is too little work for a cluster"):
        next(encode(Light(), VideoSources(FeatureStore(made.world.features)), ["v03"], {}))  # type: ignore[arg-type]
