from pathlib import Path

import numpy as np
import pytest

from cfmr.data.annotations import Annotation
from cfmr.data.features import FeatureStore, FeatureWriter
from cfmr.data.vocabulary import Vocabulary
from cfmr.models.dense.clips import ClipSet
from cfmr.models.dense.fit import DenseFit
from cfmr.models.dense.objective import Batch
from cfmr.models.dense.selection import first_reader
from cfmr.moments.span_reader import SpanReader

VIDEOS = 8


def made_up(path: Path, denied: int) -> DenseFit:
    """A label in each video, and so many negative ones in one or the other."""
    draw = np.random.default_rng(0)
    with FeatureWriter(path, {"extractor": "made-up", "version": 1}) as writer:
        for number in range(VIDEOS):
            writer.add(f"v{number}", draw.standard_normal((20, 6)).astype(np.float32), duration=20.0)
    vectors = draw.standard_normal((3, 50)).astype(np.float32)
    rows = ClipSet(
        [Annotation(f"v{number}", 20.0, "dog", 5.0, None) for number in range(VIDEOS)],
        FeatureStore(path),
        Vocabulary(["dog", "cat"], vectors),
        max_num_words=5,
        negatives=[Annotation(f"v{i % VIDEOS}", 20.0, "cat", 1.0, None, absent=True) for i in range(denied)],
    )
    return DenseFit(rows, 0, first_reader(rows.glances, rows.seconds[rows.videos]))


@pytest.mark.parametrize("denied", [0, 3, 200])
def test_negative_labels_do_not_make_the_others_rarer(
    tmp_path: Path, denied: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, seen = made_up(tmp_path / "f.hdf5", denied), list[tuple[int, int]]()
    make = fit.batch

    def batch(rows: np.ndarray, draw: np.random.Generator) -> Batch:
        seen.append((int((rows < VIDEOS).sum()), int((rows >= VIDEOS).sum())))
        return make(rows, draw)

    monkeypatch.setattr(fit, "batch", batch)
    fit.run(np.arange(VIDEOS), 1)
    assert set(seen) == {(VIDEOS, denied)}
    assert len(seen) == 100


def near_misses(path: Path, words: int = 4, videos: int = 60) -> tuple[DenseFit, np.ndarray]:
    """Videos in which one clip shows what is said and the glance misses it by up to three; and that clip of each."""
    draw = np.random.default_rng(1)
    looks = 6 * draw.standard_normal((words, 12))
    shown, rows = draw.integers(4, 16, videos), []
    with FeatureWriter(path, {"extractor": "made-up", "version": 1}) as writer:
        for number, clip in enumerate(shown.tolist()):
            features = draw.standard_normal((20, 12))
            features[clip] += looks[number % words]
            writer.add(f"v{number}", features.astype(np.float32), duration=20.0)
            glance = clip + 0.5 + float(draw.integers(-3, 4))
            rows.append(Annotation(f"v{number}", 20.0, f"word{number % words}", glance, None))
    vocabulary = Vocabulary([f"word{i}" for i in range(words)], draw.standard_normal((words + 1, 8)).astype(np.float32))
    clips = ClipSet(rows, FeatureStore(path), vocabulary, max_num_words=5)
    return DenseFit(clips, 0, SpanReader(width=0.3, duration=20.0, longest=20.0)), shown


def test_a_regression_looks_around_a_glance_for_what_its_sentence_names(tmp_path: Path) -> None:
    fit, shown = near_misses(tmp_path / "f.hdf5")
    rows = np.arange(len(shown))
    bells = np.array([fit.target(row) for row in rows])
    located = np.array(list(fit._located(fit.regression(rows), rows)))
    np.testing.assert_allclose(located.sum(axis=1), 1, atol=1e-5)
    there = (rows, shown)
    assert located[there].mean() > 2 * bells[there].mean()
    assert located[bells < 1e-9].max() < 1e-6  # nowhere else in the video


def test_rows_of_one_video_are_regressed_on_as_they_are(tmp_path: Path) -> None:
    fit, _ = near_misses(tmp_path / "f.hdf5")
    one = np.array([7])
    for found, expected in zip(
        fit.regression(one).arrays(), fit._regressed_on(one, fit._targets).arrays(), strict=True
    ):
        assert np.isfinite(found).all()
        np.testing.assert_array_equal(found, expected)
