import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfmr.data.features import FeatureStore, FeatureWriter
from cfmr.errors import InputError
from cfmr.index.encode import RowEncoder, VideoEncoder, VideoSources, Windowing, windows
from cfmr.models.base import PlainRows, load_model
from cfmr.models.checkpoint import Checkpoint
from cfmr.moments.span_reader import SpanReader
from tests.support.searchable import Searchable, make_searchable


@pytest.fixture
def made(tmp_path: Path) -> Searchable:
    return make_searchable(tmp_path)


@given(st.floats(0.5, 10_000), st.floats(1, 500))
def test_windows_cover_the_video_and_overlap_by_half(duration: float, length: float) -> None:
    found = windows(duration, length)
    assert found[0][0] == 0
    assert found[-1][1] == pytest.approx(duration) if duration > length else found == [(0.0, duration)]
    for (start, end), (following, _) in itertools.pairwise(found):
        assert end - start == pytest.approx(length)
        assert start < following <= start + length / 2 + 1e-6


def test_a_window_of_a_long_video_is_encoded_as_a_short_video_would_be(made: Searchable) -> None:
    model = load_model(Checkpoint.load(made.checkpoint))
    features = np.random.default_rng(0).standard_normal((120, 12)).astype(np.float32)
    rows, spans = RowEncoder(model, Windowing(30.0, 30.0)).rows(features, 120.0)
    alone, fractions = model.encode_rows(features[15:45], 22.5)
    count = len(alone)
    np.testing.assert_allclose(rows[count : 2 * count], alone, atol=1e-5)
    np.testing.assert_allclose(spans[count : 2 * count], 15 + 30 * fractions, rtol=1e-6)


class ClipModel(PlainRows):
    """A model read by curve whose rows are its clips, relative to the window's mean."""

    readout = SpanReader()

    def video_vectors(self, features: np.ndarray, duration: float) -> tuple[np.ndarray, np.ndarray]:
        edges = np.arange(len(features) + 1) / len(features)
        return features, np.stack([edges[:-1], edges[1:]], axis=1).astype(np.float32)


@given(st.integers(1, 400), st.floats(5, 60), st.floats(0.5, 4))
def test_windows_give_a_model_read_by_curve_each_clip_once(clips: int, length: float, rate: float) -> None:
    features = np.arange(clips, dtype=np.float32)[:, None]
    rows, spans = RowEncoder(ClipModel(), Windowing(length, length)).rows(features, clips / rate)
    times = spans.mean(1)
    assert (np.diff(times) > 0).all(), "in the order of time"
    assert len(rows) == clips
    np.testing.assert_allclose(rows[:, 0], (times * rate - 0.5), atol=0.51)


@pytest.fixture
def features(tmp_path: Path) -> Path:
    with FeatureWriter(tmp_path / "f.hdf5", {"fps": 30, "stride": 15}) as writer:
        writer.add("a", np.ones((40, 4), np.float32))
        writer.add("b", np.ones((40, 4), np.float32), duration=25.0)
    return tmp_path / "f.hdf5"


def test_a_duration_is_taken_from_annotations_the_file_or_its_rate(features: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(json.dumps([["b", 24.0, [1.0, 2.0], "a dog runs.", 1.5]]))
    plain, told = VideoSources.load(features), VideoSources.load(features, [tmp_path / "rows.json"])
    assert (plain.duration("a", 40), plain.duration("b", 40), told.duration("b", 40)) == (20.0, 25.0, 24.0)
    assert list(told.sentences) == ["a dog runs."]


def test_what_has_not_changed_is_not_encoded_again(features: Path) -> None:
    encoder = VideoEncoder(VideoSources(FeatureStore(features)), RowEncoder(ClipModel(), Windowing(None, 0.0)))
    first = encoder.encode("a")
    assert first is not None
    assert encoder.encode("a", first.fingerprint) is None
    other = VideoEncoder(VideoSources(FeatureStore(features), {"a": 21.0}), encoder.rows)
    changed = other.encode("a", first.fingerprint)
    assert changed is not None
    assert changed.fingerprint != first.fingerprint


def test_a_folder_of_videos_that_is_not_there_is_named(features: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nosuch: no such folder; --videos names the folder"):
        VideoSources.load(features, folder=tmp_path / "nosuch")
