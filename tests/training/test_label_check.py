from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cfmr.data.annotations import Annotation
from cfmr.data.features import FeatureStore, FeatureWriter
from cfmr.data.vocabulary import Vocabulary
from cfmr.models.dense.clips import ClipSet
from cfmr.models.dense.fit import DenseFit
from cfmr.models.dense.selection import first_reader
from cfmr.training.label_check import CurvePoint, check_labels, expected_gain

WORDS, DIM, CLIPS, VIDEOS = 4, 16, 24, 60
LOOKS = 3 * np.linalg.qr(np.random.default_rng(0).standard_normal((DIM, DIM)))[0][:WORDS]


def rows_and_features(path: Path, videos: int = VIDEOS) -> list[Annotation]:
    """Videos in which two things can be seen for a while each, and a label of each, with its span."""
    rng, rows = np.random.default_rng(1), []
    with FeatureWriter(path, {"extractor": "made-up", "version": 1}) as writer:
        for number in range(videos):
            clips = 0.3 * rng.standard_normal((CLIPS, DIM))
            for word, start in zip(rng.permutation(WORDS)[:2], (2, 14), strict=True):
                clips[start : start + 6] += LOOKS[word]
                rows.append(Annotation(f"v{number}", 24.0, f"w{word}", start + 3.0, (start, start + 6.0)))
            writer.add(f"v{number}", clips.astype(np.float32), duration=24.0)
    return rows


def fit_of(path: Path, rows: list[Annotation], negatives: list[Annotation]) -> DenseFit:
    vectors = np.random.default_rng(2).standard_normal((WORDS + 1, 50)).astype(np.float32)
    vocabulary = Vocabulary([f"w{word}" for word in range(WORDS)], vectors)
    found = ClipSet(rows, FeatureStore(path), vocabulary, max_num_words=5, negatives=negatives)
    return DenseFit(found, 0, first_reader(found.glances, found.seconds[found.videos]))


def test_labels_that_are_wrong_are_found_and_few_others(tmp_path: Path) -> None:
    rows = rows_and_features(tmp_path / "f.hdf5")
    wrong = {10, 31, 52, 73}  # said of the other thing's time
    rows = [replace(row, glance=(row.glance or 0.0) + (12 if row.glance == 5 else -12)) if n in wrong else row
            for n, row in enumerate(rows)]  # fmt: skip
    no = [replace(rows[0], absent=True), replace(rows[0], glance=23.5, absent=True)]  # the first is not true
    found = check_labels(fit_of(tmp_path / "f.hdf5", rows, no))
    doubted = [one.row for one in found.doubtful]
    assert wrong | {len(rows)} <= set(doubted)
    assert len(rows) + 1 not in doubted
    assert len(doubted) <= 10
    expected = {one.row: one.second for one in found.doubtful}
    assert all(abs((expected[row] or 0.0) - (rows[row].glance or 0.0)) > 6 for row in wrong)
    assert expected[len(rows)] is None


def test_spans_are_not_looked_at(tmp_path: Path) -> None:
    rows = rows_and_features(tmp_path / "f.hdf5", 30)
    blind = [replace(row, span=None) for row in rows]
    one, other = (check_labels(fit_of(tmp_path / "f.hdf5", some, [])) for some in (rows, blind))
    assert one == other


def test_more_labels_find_more_of_the_others(tmp_path: Path) -> None:
    found = check_labels(fit_of(tmp_path / "f.hdf5", rows_and_features(tmp_path / "f.hdf5"), [])).points
    assert [point.of for point in found] == [2 * VIDEOS] * 3
    assert found[0].labels < found[1].labels < found[2].labels == round(2 * 2 * VIDEOS / 3)
    assert found[0].found <= found[2].found > VIDEOS


@pytest.mark.parametrize("videos", [1, 2, 5])
def test_of_few_labels_nothing_is_said(tmp_path: Path, videos: int) -> None:
    found = check_labels(fit_of(tmp_path / "f.hdf5", rows_and_features(tmp_path / "f.hdf5", videos), []))
    assert found.points == []
    assert found.doubtful == []


def test_the_gain_of_further_labels_follows_the_curve() -> None:
    # missed: 0.8, 0.4, 0.2; halved with every doubling
    points = [CurvePoint(10, 200, 1000), CurvePoint(20, 600, 1000), CurvePoint(40, 800, 1000)]
    share, gain = expected_gain(points, 40, 40) or (0, 0)
    assert share == pytest.approx(0.8, abs=0.01)
    assert gain == pytest.approx(0.1, abs=0.01)


def test_a_curve_that_falls_by_chance_promises_nothing() -> None:
    points = [CurvePoint(10, 30, 100), CurvePoint(20, 25, 100), CurvePoint(40, 24, 100)]
    assert (expected_gain(points, 40, 20) or (0, 1))[1] == 0


@pytest.mark.parametrize("points", [[], [CurvePoint(10, 1, 5)], [CurvePoint(10, 1, 5), CurvePoint(10, 2, 5)]])
def test_without_a_curve_nothing_is_promised(points: list[CurvePoint]) -> None:
    assert expected_gain(points, 30, 20) is None


@pytest.mark.parametrize("found", [0, 50])
def test_all_and_nothing_found_are_no_end_of_the_scale(found: int) -> None:
    share, gain = expected_gain([CurvePoint(10, found, 50), CurvePoint(40, found, 50)], 60, 20) or (2, 2)
    assert 0 <= share <= 1
    assert gain == pytest.approx(0, abs=1e-9)


def test_videos_of_which_there_are_only_negative_labels_are_no_fold(tmp_path: Path) -> None:
    rows = rows_and_features(tmp_path / "f.hdf5", 40)
    shown, others = rows[:24], rows[24:]
    found = check_labels(fit_of(tmp_path / "f.hdf5", shown, [replace(row, absent=True) for row in others]))
    assert [point.of for point in found.points] == [24] * 3
    assert all(one.row < 24 for one in found.doubtful)
