import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from cfmr.data.annotations import Annotation
from cfmr.data.word_vectors import WordVectors
from cfmr.errors import InputError
from cfmr.search.own_labels import FILE, SaidAlike, Sayings, read_own_labels
from cfmr.server.stores.labels import LabelStore

VECTORS = WordVectors(
    ["man", "person", "open", "door", "red", "car", "bus", "dog"],
    np.array([[1, 0.2], [1, 0.0], [0, 1], [0.1, 1], [1, 1], [1, -1], [1, -0.8], [-1, 0.1]], np.float32),
)


def alike(query: str, *sentences: str) -> list[SaidAlike]:
    sayings = Sayings(VECTORS)
    sayings.add(sentences)
    return sayings.alike(query)


def numbers(query: str, *sentences: str) -> list[int]:
    return [sentences.index(one.sentence) for one in alike(query, *sentences)]


@pytest.mark.parametrize(
    "label",
    ["A man opens the door.", "the door: a man is opening it", "MAN OPENS DOOR", "a man opened doors"],
)
def test_the_same_words_in_any_order_and_form_are_exact(label: str) -> None:
    (found,) = alike("a man opens a door", label)
    assert (found.exact, found.likeness) == (True, 1.0)


def test_all_words_of_the_query_among_others_come_behind_exact_ones() -> None:
    found = alike("a red car", "a red car turns left", "the car is red", "a red bus")
    assert [(one.sentence, one.exact) for one in found] == [("the car is red", True), ("a red car turns left", False)]


def test_one_near_word_amid_the_same_ones_is_near() -> None:
    (found,) = alike("a man opens a door", "a person opens the door")
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


def test_of_many_sentences_those_are_found_that_a_look_at_all_finds() -> None:
    rng = np.random.default_rng(0)
    words = ["man", "person", "open", "door", "red", "car", "bus", "dog", "runs", "table"]
    many = list(dict.fromkeys(" ".join(rng.choice(words, rng.integers(1, 6))) for _ in range(400)))
    for query in many[:40]:
        one_by_one = {found.sentence: found for said in many for found in alike(query, said)}
        assert {found.sentence: found for found in alike(query, *many)} == one_by_one


def test_a_sentence_is_added_once() -> None:
    sayings = Sayings(VECTORS)
    sayings.add(["a dog", "a cat"])
    sayings.add(["a dog"])
    assert [one.sentence for one in sayings.alike("a dog")] == ["a dog"]


# --- the labels of a workspace ----------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LabelStore]:
    made = LabelStore(f"sqlite:///{tmp_path / FILE}")
    yield made
    made.close()


def annotation(sentence: str, glance: float) -> Annotation:
    return Annotation("film", 30.0, sentence, glance, None)


def test_labels_of_the_page_are_read_as_they_are_now(store: LabelStore, tmp_path: Path) -> None:
    first = store.add(annotation("a dog barks", 3.0), "Ann")
    second = store.add(annotation("a cat sleeps", 9.0), "Bob")
    gone = store.add(annotation("a bird sings", 12.0), "Bob")
    store.change(first.id, 1, "Cleo", sentence="a dog runs")
    store.delete(gone.id, 1, "Bob")
    found = read_own_labels(tmp_path / FILE)
    assert sorted((label.id, label.sentence, label.glance, label.author) for label in found) == sorted(
        [(first.id, "a dog runs", 3.0, "Cleo"), (second.id, "a cat sleeps", 9.0, "Bob")]
    )
    assert {(label.video, label.duration) for label in found} == {("film", 30.0)}


def test_labels_are_read_where_nothing_can_be_written(store: LabelStore, tmp_path: Path) -> None:
    store.add(annotation("a dog barks", 3.0), "Ann")
    store.close()
    copy = tmp_path / "copy" / FILE
    copy.parent.mkdir()
    copy.write_bytes((tmp_path / FILE).read_bytes())
    copy.parent.chmod(0o500)
    try:
        assert [label.sentence for label in read_own_labels(copy)] == ["a dog barks"]
    finally:
        copy.parent.chmod(0o700)


def test_where_nobody_has_labelled_there_are_none(tmp_path: Path) -> None:
    assert read_own_labels(tmp_path / FILE) == []


@pytest.mark.parametrize("content", [b"no database at all, by far", b""])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(InputError, match=r"labels.sqlite: labels cannot be read"):
        read_own_labels(tmp_path / FILE)


def test_negative_labels_are_not_read_and_a_file_of_before_them_is(store: LabelStore, tmp_path: Path) -> None:
    store.add(Annotation("v", 9.0, "a dog runs", 2.0, None), "Ada")
    store.add(Annotation("v", 9.0, "a dog sits", 2.0, None, absent=True), "Ada")
    assert [label.sentence for label in read_own_labels(tmp_path / FILE)] == ["a dog runs"]
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        database.execute("ALTER TABLE label_states DROP COLUMN absent")
    assert len(read_own_labels(tmp_path / FILE)) == 2
