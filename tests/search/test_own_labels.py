import numpy as np
import pytest

from cfmr.data.word_vectors import WordVectors
from cfmr.search.own_labels import said_alike

VECTORS = WordVectors(
    ["man", "person", "open", "door", "red", "car", "bus", "dog"],
    np.array([[1, 0.2], [1, 0.0], [0, 1], [0.1, 1], [1, 1], [1, -1], [1, -0.8], [-1, 0.1]], np.float32),
)


def numbers(query: str, *sentences: str) -> list[int]:
    return [one.number for one in said_alike(query, sentences, VECTORS)]


@pytest.mark.parametrize(
    "label",
    ["A man opens the door.", "the door: a man is opening it", "MAN OPENS DOOR", "a man opened doors"],
)
def test_the_same_words_in_any_order_and_form_are_exact(label: str) -> None:
    (found,) = said_alike("a man opens a door", [label], VECTORS)
    assert (found.exact, found.likeness) == (True, 1.0)


def test_all_words_of_the_query_among_others_come_behind_exact_ones() -> None:
    found = said_alike("a red car", ["a red car turns left", "the car is red", "a red bus"], VECTORS)
    assert [(one.number, one.exact) for one in found] == [(1, True), (0, False)]


def test_one_near_word_amid_the_same_ones_is_near() -> None:
    (found,) = said_alike("a man opens a door", ["a person opens the door"], VECTORS)
    assert not found.exact
    assert 0.85 <= found.likeness < 1


@pytest.mark.parametrize(
    ("query", "label"),
    [
        ("a red car", "a red bus"),  # near, but there is only one other word to tell
        ("a man opens a door", "a dog opens the door"),  # not near
        ("a dog", "a man"),
        ("a man opens a door", "a door"),
        ("zyx", "a door"),
        ("", "a door"),
    ],
)
def test_what_says_something_else_is_not_found(query: str, label: str) -> None:
    assert numbers(query, label) == []


def test_words_without_a_vector_are_compared_as_they_are() -> None:
    assert numbers("grik opens the door", "grik opens a door") == [0]
    assert numbers("grik opens the door", "blorb opens a door") == []


def test_a_query_of_function_words_alone_is_found_word_for_word() -> None:
    assert numbers("it is", "it is", "it was") == [0]
