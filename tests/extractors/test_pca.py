from pathlib import Path

import numpy as np
import pytest

from cfmr.data.features import FeatureStore, FeatureWriter
from cfmr.errors import InputError
from cfmr.extractors.pca import Components, check_wanted, fit, reduce_features


def write(path: Path, videos: int = 4, dim: int = 12, rank: int = 3) -> Path:
    rng = np.random.default_rng(0)
    basis = rng.standard_normal((rank, dim))
    with FeatureWriter(path, {"extractor": "test", "version": 1, "dim": dim}) as writer:
        for number in range(videos):
            clips = rng.standard_normal((20, rank)) @ basis + 5
            writer.add(str(number), clips, duration=float(number), fingerprint=f"{number}")
    return path


def test_components_span_what_varies(tmp_path: Path) -> None:
    store = FeatureStore(write(tmp_path / "raw.hdf5"))
    components = fit(store, 3)
    assert components.share == pytest.approx(1.0)
    np.testing.assert_allclose(components.directions @ components.directions.T, np.eye(3), atol=1e-5)
    features = store.read("1")
    restored = components(features) @ components.directions + components.mean
    np.testing.assert_allclose(restored, features, atol=1e-3)
    spread = np.concatenate([components(store.read(video)) for video in store.videos]).std(axis=0)
    assert list(spread) == sorted(spread, reverse=True)


def test_features_are_reduced_with_what_was_written_with_them(tmp_path: Path) -> None:
    reduce_features(write(tmp_path / "raw.hdf5"), tmp_path / "f.hdf5", "2")
    store = FeatureStore(tmp_path / "f.hdf5")
    assert store.dim == store.attributes["dim"] == 2
    assert store.attributes["extractor"] == "test"
    assert store.duration("3") == 3.0


def test_videos_that_come_later_are_reduced_alike(tmp_path: Path) -> None:
    raw, out = write(tmp_path / "raw.hdf5"), tmp_path / "f.hdf5"
    first = reduce_features(raw, out, "2")
    with FeatureWriter(raw, {"extractor": "test"}) as writer:
        writer.add("late", np.full((5, 12), 7.0), duration=1.0, fingerprint="late")
    second = reduce_features(raw, out, "2")
    np.testing.assert_array_equal(first.directions, second.directions)
    assert FeatureStore(out).videos == ["0", "1", "2", "3", "late"]
    other = tmp_path / "test.hdf5"
    reduce_features(raw, other, f"{out}.pca.safetensors")
    np.testing.assert_array_equal(FeatureStore(other).read("late"), FeatureStore(out).read("late"))


@pytest.mark.parametrize("wanted", ["0", "13", "80"])
def test_more_components_than_there_are_is_named(tmp_path: Path, wanted: str) -> None:
    with pytest.raises(InputError, match=f"--pca {wanted}: .* has 80 clips of 12 numbers"):
        reduce_features(write(tmp_path / "raw.hdf5"), tmp_path / "f.hdf5", wanted)


def test_components_of_other_features_are_named(tmp_path: Path) -> None:
    reduce_features(write(tmp_path / "raw.hdf5"), tmp_path / "f.hdf5", "2")
    wide = write(tmp_path / "wide.hdf5", dim=14)
    with pytest.raises(InputError, match="reduces 12 numbers to 2, not 14"):
        reduce_features(wide, tmp_path / "g.hdf5", str(tmp_path / "f.hdf5.pca.safetensors"))
    with pytest.raises(InputError, match="not 12 to 3; delete it to fit anew"):
        reduce_features(tmp_path / "raw.hdf5", tmp_path / "f.hdf5", "3")


def test_a_truncated_or_missing_file_of_components_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        Components.load(tmp_path / "p.safetensors")
    (tmp_path / "p.safetensors").write_bytes(b"12345")
    with pytest.raises(InputError, match=r"p\.safetensors: not a file of principal components"):
        Components.load(tmp_path / "p.safetensors")


def test_what_is_asked_for_is_checked_before_anything_is_done(tmp_path: Path) -> None:
    check_wanted("500")
    with pytest.raises(InputError, match="--pca 0"):
        check_wanted("0")
    with pytest.raises(InputError, match=r"none\.safetensors: no such file"):
        check_wanted(str(tmp_path / "none.safetensors"))
