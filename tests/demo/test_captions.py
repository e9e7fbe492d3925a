import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfmr.data.vocabulary import tokenize
from cfmr.data.word_vectors import load_word_vectors
from cfmr.demo.actors import COLOURS, KINDS, Actor
from cfmr.demo.captions import caption, gerund, third_person
from cfmr.demo.events import Event
from cfmr.demo.script import held_out_pairs, write_script

CAR, BOAT = Actor("car", "red"), Actor("boat", "blue")


@pytest.mark.parametrize(
    ("phrase", "finite", "ongoing"),
    [
        ("go past it", "goes past it", "going past it"),
        ("run into it", "runs into it", "running into it"),
        ("vanish", "vanishes", "vanishing"),
        ("fly", "flies", "flying"),
        ("sway", "sways", "swaying"),
        ("move up", "moves up", "moving up"),
        ("be caged", "is caged", "being caged"),
        ("keep vanishing", "keeps vanishing", "keeping vanishing"),
    ],
)
def test_verbs_are_inflected(phrase: str, finite: str, ongoing: str) -> None:
    assert third_person(phrase) == finite
    assert gerund(phrase) == ongoing


def test_an_event_that_another_one_resembles_gets_no_sentence() -> None:
    rng = np.random.default_rng(0)
    one = Event("moves right", (CAR,), 1.0, 3.0, "right")
    enters = Event("enters", (CAR,), 8.0, 11.0, "right")
    assert all(caption(rng, one, [one, enters], "sea") is None for _ in range(20))
    assert caption(rng, enters, [one, enters], "sea") is not None


def test_the_colour_is_told_where_it_makes_the_difference() -> None:
    rng = np.random.default_rng(0)
    one, other = Event("spins", (CAR,), 1.0, 3.0), Event("spins", (Actor("car", "green"),), 8.0, 11.0)
    for _ in range(50):
        sentence = caption(rng, one, [one, other], "sea")
        assert sentence is None or set(tokenize(sentence)) & set(COLOURS["red"][1])


def test_who_meets_whom_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    one, other = Event("meets", (CAR, BOAT), 1.0, 3.0, "left"), Event("meets", (BOAT, CAR), 8.0, 11.0, "left")
    assert all(caption(rng, one, [one, other], "sea") is None for _ in range(20))


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32))
def test_a_sentence_names_its_actor_and_reads_as_one(seed: int) -> None:
    for sentence, event in write_script(np.random.default_rng(seed), held_out_pairs(0), test=True).sentences:
        assert sentence[0].isupper()
        assert sentence.endswith(".")
        assert "  " not in sentence
        assert "{" not in sentence
        assert set(tokenize(sentence)) & set(KINDS[event.actors[0].kind][1])


def test_every_word_of_the_world_has_a_vector() -> None:
    words = {
        word
        for seed in range(200)
        for sentence, _ in write_script(np.random.default_rng(seed), held_out_pairs(0), test=True).sentences
        for word in tokenize(sentence)
    }
    vectors = load_word_vectors("glove-6b-50d")
    assert len(words) > 150
    assert [word for word in sorted(words) if word not in vectors] == []
