from pathlib import Path

import numpy as np
import pytest

from cfmr.data.annotations import Annotation
from cfmr.data.features import FeatureStore, FeatureWriter
from cfmr.data.vocabulary import Vocabulary
from cfmr.models.dense.clips import ClipSet
from cfmr.models.dense.fit import DenseFit
from cfmr.models.dense.prior_weight import USUAL, _discounted, believed, choose_weight
from cfmr.models.dense.selection import choose_reader, first_reader
from cfmr.models.dense.word_prior import WordPrior
from cfmr.moments.span_reader import SpanReader

WORDS, DIM, CLIPS = 12, 24, 20
LOOKS = np.linalg.qr(np.random.default_rng(0).standard_normal((DIM, WORDS)))[0].T.astype(np.float32)


def made_up(path: Path, videos: int, denied: int = 0) -> DenseFit:
    """Videos in which two things can be seen for a while each, and a click on each; or, in the last ones, a no."""
    rng = np.random.default_rng(1)
    rows = []
    with FeatureWriter(path, {"extractor": "made-up", "version": 1}) as writer:
        for number in range(videos):
            clips = 0.3 * rng.standard_normal((CLIPS, DIM))
            for word, start in zip(rng.permutation(WORDS)[:2], (2, 12), strict=True):
                clips[start : start + 5] += LOOKS[word]
                rows.append(Annotation(f"v{number}", 20.0, f"w{word}", start + 2.5, None))
            writer.add(f"v{number}", clips.astype(np.float32), duration=20.0)
    vectors = np.random.default_rng(2).standard_normal((WORDS + 1, 50)).astype(np.float32)
    shown = len(rows) - 2 * denied
    rows_of = ClipSet(
        rows[:shown],
        FeatureStore(path),
        Vocabulary([f"w{word}" for word in range(WORDS)], vectors),
        max_num_words=5,
        negatives=rows[shown:],
    )
    return DenseFit(rows_of, 0, first_reader(rows_of.glances, rows_of.seconds[rows_of.videos]))


def prior(looks: np.ndarray) -> WordPrior:
    padded = np.concatenate([np.zeros((1, looks.shape[1]), np.float32), looks])
    return WordPrior(np.zeros(DIM, np.float32), np.eye(DIM, dtype=np.float32), padded, np.ones(len(padded), np.float32))


def test_looks_that_are_right_count_much(tmp_path: Path) -> None:
    assert choose_weight(made_up(tmp_path / "f.hdf5", 12), prior(LOOKS)) > 2


def test_looks_that_are_wrong_count_nothing_once_there_are_clicks(tmp_path: Path) -> None:
    fit = made_up(tmp_path / "f.hdf5", 60)
    wrong = LOOKS[np.roll(np.arange(WORDS), 1)]
    assert choose_weight(fit, prior(wrong)) == 0


@pytest.mark.parametrize("videos", [1, 2])
def test_with_one_or_two_videos_the_usual_weight_is_taken(tmp_path: Path, videos: int) -> None:
    assert choose_weight(made_up(tmp_path / "f.hdf5", videos), prior(LOOKS)) == USUAL


def test_fits_that_chose_the_reader_choose_the_weight_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = made_up(tmp_path / "f.hdf5", 30)
    choose_reader(fit, {})
    assert sorted(row for _, _, rows in fit.left_out for row in rows) == list(range(len(fit.rows)))
    runs = list[int]()
    monkeypatch.setattr(DenseFit, "run", lambda *_, **__: runs.append(1))
    choose_weight(fit, prior(LOOKS))
    assert not runs


@pytest.mark.parametrize(
    ("weight", "beside_all"), [(6.0, 5.6842), (1.0, 0.75), (0.8, 0.5647), (0.7, 0.0), (0.5, 0.0), (0.0, 0.0)]
)
def test_fits_to_all_rows_need_less_of_it_and_at_last_nothing(weight: float, beside_all: float) -> None:
    assert _discounted(weight) == beside_all


def test_curves_are_believed_for_what_was_known_before_the_clicks() -> None:
    few, many = SpanReader(curve_weight=0.1), SpanReader(curve_weight=4.0)
    assert believed(few, 0.0) == few
    assert 2 < believed(few, 6.0).curve_weight < 3
    assert believed(few, 1.0).curve_weight < believed(few, 2.0).curve_weight
    assert believed(many, 6.0) == many


def test_videos_of_which_there_are_only_negative_labels_are_not_held_out(tmp_path: Path) -> None:
    fit = made_up(tmp_path / "f.hdf5", 30, denied=26)
    assert fit.rows.num_shown == 4 < len(fit.rows.names)
    assert choose_weight(fit, prior(LOOKS)) > 0
