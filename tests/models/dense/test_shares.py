from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cfmr.models.dense.fit import DenseFit
from cfmr.models.dense.model import Projections
from cfmr.models.dense.selection import choose_reader
from cfmr.models.dense.shares import SHARES, choose_share, learned_curves, leave_out
from tests.models.dense.test_prior_weight import made_up


@pytest.fixture
def fit(tmp_path: Path) -> DenseFit:
    made = made_up(tmp_path / "f.hdf5", 60)
    fold = (np.arange(60) % 3)[made.rows.videos]
    made.left_out = leave_out(made, fold, 100, lambda done, total: None)
    return made


def knows_nothing(maps: Projections) -> Projections:
    draw = np.random.default_rng(3)
    return replace(maps, clip=draw.standard_normal(maps.clip.shape), word=draw.standard_normal(maps.word.shape))


def test_a_regression_that_knows_more_than_the_fits_has_the_greatest_share(fit: DenseFit) -> None:
    fit.left_out = [(knows_nothing(maps), regression, rows) for maps, regression, rows in fit.left_out]
    assert choose_share(fit) > SHARES[-1] - 0.05


def test_a_regression_that_knows_nothing_has_next_to_none(fit: DenseFit) -> None:
    fit.left_out = [(maps, knows_nothing(regression), rows) for maps, regression, rows in fit.left_out]
    assert choose_share(fit) < 0.15  # what is believed beforehand is 0.17


def test_of_few_glances_a_regression_gets_little_whatever_they_say(fit: DenseFit) -> None:
    fit.left_out = [(knows_nothing(maps), regression, rows[:1]) for maps, regression, rows in fit.left_out]
    assert choose_share(fit) < 0.75 * SHARES[-1]


def test_every_row_is_left_out_once(fit: DenseFit) -> None:
    assert sorted(row for _, _, rows in fit.left_out for row in rows) == list(range(len(fit.rows)))


def test_curves_over_all_videos_hold_those_of_the_own_one(fit: DenseFit) -> None:
    maps, _, rows = fit.left_out[0]
    videos = np.unique(fit.rows.videos[rows]).tolist()
    over = learned_curves(fit, maps, rows)
    for row, own, all_of_them in zip(rows, fit.curves(maps, rows), over, strict=True):
        place = videos.index(fit.rows.videos[row]) * len(own)
        np.testing.assert_allclose(all_of_them[place : place + len(own)], own, rtol=1e-4, atol=1e-4)


def test_the_share_that_is_chosen_is_the_models(tmp_path: Path) -> None:
    made = made_up(tmp_path / "g.hdf5", 40)
    chosen = choose_reader(made, {})
    assert 0 < chosen["regression_share"] == made.model([], 64).regression_share
