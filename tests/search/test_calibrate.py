from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfmr.data.annotations import Annotation
from cfmr.errors import InputError
from cfmr.moments.rejection import best_threshold
from cfmr.search.calibrate import absent_sentences, auroc, cross_checked, measured

SCORES = st.lists(st.floats(-5, 5, allow_nan=False), min_size=1, max_size=30).map(np.array)


def test_scores_apart_are_told_apart() -> None:
    matching, other = np.array([3.0, 4, 5, 6]), np.array([0.0, 1, 2, 1])
    score, right = cross_checked(matching, other)
    assert 2 < score < 3
    assert right == 1
    assert auroc(matching, other) == 1


def test_a_threshold_is_not_judged_on_the_sentences_it_was_chosen_on() -> None:
    rng = np.random.default_rng(0)
    chosen, judged = [], []
    for _ in range(300):
        matching, other = rng.normal(size=(2, 20))
        chosen.append(best_threshold(matching, other)[1])
        judged.append(cross_checked(matching, other)[1])
    assert np.mean(chosen) > 0.56, "chance looks like knowledge"
    assert np.mean(judged) == pytest.approx(0.5, abs=0.02)


@given(SCORES, SCORES)
def test_the_area_counts_pairs(matching: np.ndarray, other: np.ndarray) -> None:
    pairs = [1.0 if yes > no else 0.5 if yes == no else 0.0 for yes in matching for no in other]
    assert auroc(matching, other) == pytest.approx(np.mean(pairs))
    assert auroc(matching, other) == pytest.approx(1 - auroc(other, matching))


@given(SCORES, SCORES)
def test_a_judgement_is_a_share(matching: np.ndarray, other: np.ndarray) -> None:
    assert 0 <= cross_checked(matching, other)[1] <= 1


# --- what is not there ------------------------------------------------------------------------------------------------

ROWS = [Annotation(f"v{n}", 10.0, f"the red {kind} rolls", 1.0, None) for n, kind in enumerate(("ball", "car", "cup"))]


def test_names_stand_alone_or_in_the_place_of_a_word_that_tells_something() -> None:
    found = absent_sentences(ROWS, ["zebra", "piano", "castle", "otter"])
    assert (found[0], found[2]) == ("zebra", "castle")
    for sentence, name, row in ((found[1], "piano", ROWS[1]), (found[3], "otter", ROWS[0])):
        words = row.sentence.split()
        assert sentence.split()[0] == "the"
        assert sum(a != b for a, b in zip(sentence.split(), words, strict=True)) == 1
        assert name in sentence.split()


class Words:
    """A retriever of three videos that scores the share of a sentence's words that a video is about."""

    about = {row.video: set(row.sentence.split()) for row in ROWS}

    def videos(self) -> list[Any]:
        return [SimpleNamespace(id=name) for name in self.about]

    def encode(self, sentence: str) -> None:
        if not set.union(*self.about.values()) & set(sentence.split()):
            raise InputError("no word of the query is known")

    def search(self, sentence: str, top: int, videos: list[str] | None = None) -> Any:
        words = set(sentence.split())
        scores = [len(words & said) / len(words) for name, said in self.about.items() if not videos or name in videos]
        return SimpleNamespace(best=max(scores))


def test_the_threshold_of_a_collection_lies_between_what_is_there_and_what_is_not() -> None:
    retriever: Any = Words()
    metrics = measured(retriever, ROWS, ["the zebra rolls", "a piano", "the red castle sings"])
    assert metrics["threshold_absent"] == 2  # of a piano nothing is known
    assert 2 / 3 < metrics["thresholds"]["collection"] < 1
    assert metrics["threshold_auroc"]["collection"] == 1
    assert metrics["threshold_auroc"]["left_out"] == 1  # no other video shows the same


def test_without_absent_sentences_the_sentences_own_video_is_left_out() -> None:
    retriever: Any = Words()
    metrics = measured(retriever, ROWS)
    assert metrics["threshold_absent"] == 0
    assert metrics["threshold_auroc"]["collection"] == metrics["threshold_auroc"]["left_out"]
