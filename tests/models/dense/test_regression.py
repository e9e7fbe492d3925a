import numpy as np
import pytest

from cfmr.models.dense.model import NUM_WAVES, Projections, unit, waves
from cfmr.models.dense.regression import NUM_PLACES, regress

WORDS, COMPONENTS, SIZE = 10, 6, 8


def world(rows: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sentences, what is shown at their glances (a linear map, noise, and a last component that is noise alone), and
    where, which is anywhere."""
    rng = np.random.default_rng(seed)
    asked = rng.standard_normal((rows, WORDS)) / np.sqrt(WORDS) + 0.5
    shown = (asked - 0.5) @ np.random.default_rng(5).standard_normal((WORDS, COMPONENTS)) + 3.0
    shown += noise * rng.standard_normal(shown.shape)
    shown[:, -1] = 3.0 + 10 * rng.standard_normal(rows)
    return asked.astype(np.float32), shown.astype(np.float32), rng.permutation(waves(rows))


def clips(maps: Projections, shown: np.ndarray, places: np.ndarray) -> np.ndarray:
    return unit(shown @ maps.clip + places @ maps.place)


def sentences(maps: Projections, asked: np.ndarray, known: int) -> np.ndarray:
    return unit(asked @ maps.word + (maps.own[0] if known else 0))


def test_what_a_sentence_says_is_among_the_ten_nearest_of_a_hundred_rows_not_seen() -> None:
    maps = regress(*world(400, noise=0.3), known_words=3, size=SIZE)
    asked, shown, places = world(100, noise=0.3, seed=1)
    scores = sentences(maps, asked, 3) @ clips(maps, shown, places).T
    better = (scores > scores.diagonal()[:, None]).sum(axis=1)
    assert (better < 10).mean() > 0.5  # by chance 0.1


def test_what_no_sentence_names_counts_for_little() -> None:
    maps = regress(*world(400, noise=0.3), known_words=3, size=SIZE)
    weights = np.linalg.norm(maps.clip, axis=1)
    assert weights[-1] < weights[:-1].min() / 3


def test_a_sentence_that_says_when_is_placed_though_nothing_is_shown() -> None:
    asked, shown, _ = world(400, noise=0.3)
    shown = np.random.default_rng(3).standard_normal(shown.shape)
    begins = asked[:, 0] > np.median(asked[:, 0])
    places = waves(20)[np.where(begins, 3, 16)]
    maps = regress(asked, shown, places, known_words=3, size=SIZE)
    scores = sentences(maps, asked, 3) @ clips(maps, np.zeros((20, COMPONENTS)), waves(20)).T
    assert ((scores[:, :10].mean(axis=1) > scores[:, 10:].mean(axis=1)) == begins).mean() > 0.9


def test_without_words_of_its_own_the_mean_sentence_stays_in() -> None:
    maps = regress(*world(400, noise=0.3), known_words=0, size=SIZE)
    assert maps.own.shape == (0, SIZE)
    assert np.isfinite(maps.word).all()


def test_it_has_the_shapes_of_a_fit_and_nothing_beyond_its_components() -> None:
    maps = regress(*world(400, noise=0.3), known_words=3, size=SIZE)
    shapes = [array.shape for array in maps.arrays()]
    assert shapes == [(COMPONENTS, SIZE), (COMPONENTS, SIZE), (NUM_WAVES, SIZE), (WORDS, SIZE), (3, SIZE)]
    assert not maps.clip[:, COMPONENTS + NUM_PLACES :].any()


def test_of_more_components_than_a_vector_holds_the_last_are_left_out() -> None:
    asked, shown, places = world(400, noise=0.3)
    maps = regress(asked, shown, places, known_words=3, size=COMPONENTS)
    assert maps.clip.shape == (COMPONENTS, COMPONENTS)
    assert not maps.clip[-NUM_PLACES:].any()
    assert maps.clip[:-NUM_PLACES].any(axis=1).all()


@pytest.mark.parametrize("constant", ["asked", "shown", "both"])
def test_where_nothing_varies_it_is_finite(constant: str) -> None:
    asked, shown, places = world(70, noise=0.3)
    if constant != "shown":
        asked[:] = asked[0]
    if constant != "asked":
        shown[:] = 0
    maps = regress(asked, shown, places, known_words=3, size=SIZE)
    assert all(np.isfinite(array).all() for array in maps.arrays())
