import numpy as np
import pytest

from cfmr.training.questions import NOISE, SHARED, chances_of, choose_questions, remaining_variance, sentence_vectors

Array = np.ndarray
NOBODY, NOWHERE = np.zeros((0, 4)), np.zeros(0, np.intp)


def asked(sentences: Array, videos: list[int], labelled: Array = NOBODY, of: list[int] | None = None) -> Array:
    return remaining_variance(sentences, np.array(videos), labelled, np.array(of or [], np.intp))


def test_labels_leave_what_they_leave_of_a_gaussian_process() -> None:
    rng = np.random.default_rng(0)
    candidates, labelled = rng.standard_normal((5, 4)), rng.standard_normal((3, 4))
    of, labelled_of = np.array([0, 0, 1, 2, 3]), np.array([0, 1, 7])

    def features(sentences: Array, videos: Array) -> Array:
        """What is true of all videos, and of each alone."""
        alone = np.einsum("nw,nv->nwv", sentences, np.eye(8)[videos]).reshape(len(sentences), -1)
        return np.hstack([np.sqrt(SHARED) * sentences, np.sqrt(1 - SHARED) * alone])

    phi, seen = features(candidates, of), features(labelled, labelled_of)
    left = phi @ np.linalg.inv(np.eye(phi.shape[1]) + seen.T @ seen / NOISE) @ phi.T
    np.testing.assert_allclose(asked(candidates, of.tolist(), labelled, labelled_of.tolist()), left, atol=1e-9)


def test_a_sentence_unlike_all_labelled_ones_comes_first() -> None:
    labelled = np.eye(4)[[0, 0, 1]]
    assert choose_questions(asked(np.eye(4)[[0, 1, 2]], [0, 1, 2], labelled, [5, 6, 7]), np.ones(3), 1) == [2]


def test_of_equal_sentences_one_in_a_video_that_shows_nothing_like_it_comes_first() -> None:
    left = asked(np.eye(4)[[0, 0]], [0, 1], np.eye(4)[[0, 1]], [0, 1])
    assert choose_questions(left, np.ones(2), 1) == [1]


def test_a_sentence_like_many_that_are_looked_for_comes_before_a_stray_one() -> None:
    sentences = np.array([[0, 1.0, 0, 0], [1, 0, 0.1, 0], [1, 0, 0, 0.1], [1, 0, 0, 0], [1, 0.1, 0, 0]])
    assert choose_questions(asked(sentences, [0, 1, 2, 3, 4]), np.ones(5), 1) != [0]


def test_after_an_answer_the_next_question_is_about_something_else() -> None:
    sentences = np.array([[1, 0, 0, 0], [1, 0.01, 0, 0], [0, 0.9, 0, 0.0]])
    assert sorted(choose_questions(asked(sentences, [0, 0, 1]), np.ones(3), 2)) != [0, 1]


def test_a_question_whose_answer_is_surely_no_is_not_asked() -> None:
    left = asked(np.eye(4), [0, 1, 2, 3])
    assert sorted(choose_questions(left, np.array([1.0, 0.0, 0.5, 0.0]), 4)) == [0, 2]


def test_of_equally_new_ones_the_likelier_comes_first() -> None:
    assert choose_questions(asked(np.eye(4), [0, 1, 2, 3]), np.array([0.2, 0.4, 0.9, 0.1]), 2) == [2, 1]


def test_each_question_is_chosen_once_and_no_more_than_there_are() -> None:
    left = asked(np.ones((3, 4)), [0, 0, 0])
    assert sorted(choose_questions(left, np.ones(3), 10)) == [0, 1, 2]
    assert choose_questions(left[:0, :0], np.ones(0), 10) == []


@pytest.mark.parametrize("scores", [[], [3.0], [1.0, 2.0, 900.0], [-5.0, -5.0]])
def test_chances_add_up_to_one_however_large_scores_are(scores: list[float]) -> None:
    chances = chances_of(scores)
    assert len(chances) == len(scores)
    assert chances.sum() == pytest.approx(1.0 if scores else 0.0)
    assert list(np.argsort(chances, kind="stable")) == list(np.argsort(scores, kind="stable"))


def test_sentence_vectors_have_a_mean_of_zero_and_a_mean_square_of_one() -> None:
    found = sentence_vectors(np.random.default_rng(1).standard_normal((20, 4)) * 7 + 3)[:, :-1]
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-12)
    assert (found**2).sum(axis=1).mean() == pytest.approx(1)


def test_of_one_sentence_alone_something_is_learned_too() -> None:
    alone = sentence_vectors(np.ones((3, 4)))
    left = remaining_variance(alone, np.arange(3), alone[:0], NOWHERE)
    assert len(choose_questions(left, np.ones(3), 3)) == 3
