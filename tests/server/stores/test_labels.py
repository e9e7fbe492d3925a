import multiprocessing
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from cfmr.data.annotations import Annotation
from cfmr.errors import InputError
from cfmr.server.problems import Problem
from cfmr.server.settings import resolve_settings
from cfmr.server.stores.labels import PIECE, LabelStore, negatives_of, normalized_sentence, split_held_out

DOG = Annotation("garden", 30.0, "a dog runs", 4.5, None)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """SQLite, and PostgreSQL where CFMR_TEST_POSTGRES names an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'labels.sqlite'}"
    given = os.environ.get("CFMR_TEST_POSTGRES")
    if not given:
        pytest.skip("CFMR_TEST_POSTGRES is not set")
    from sqlalchemy import create_engine, text

    with create_engine(given).begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS label_states"))
    return given


@pytest.fixture
def store(url: str) -> Iterator[LabelStore]:
    store = LabelStore(url)
    yield store
    store.close()


def sentences(store: LabelStore) -> list[str]:
    return [label.annotation.sentence for label in store.all()]


def test_a_label_is_there_after_the_store_was_opened_again(url: str) -> None:
    store = LabelStore(url)
    made = store.add(DOG, "Ada")
    store.close()
    (found,) = LabelStore(url).all()
    assert found == made
    assert found.author == "Ada"
    assert found.at.utcoffset() is not None


def test_a_span_survives(store: LabelStore) -> None:
    store.take_in([replace(DOG, span=(4.0, 9.5))], "Ada")
    assert store.all()[0].annotation.span == (4.0, 9.5)


def test_the_same_id_twice_is_one_label(store: LabelStore) -> None:
    first = store.add(DOG, "Ada", "a" * 32)
    assert store.add(DOG, "Ada", "a" * 32) == first
    assert len(store.all()) == 1
    with pytest.raises(Problem, match="another label"):
        store.add(replace(DOG, sentence="a cat"), "Ada", "a" * 32)


def test_changing_deleting_and_undoing_go_back_step_by_step(store: LabelStore) -> None:
    one = store.add(DOG, "Ada")
    two = store.change(one.id, one.revision, "Bob", sentence="a dog jumps")
    three = store.delete(two.id, two.revision, "Bob")
    assert sentences(store) == []
    four = store.undo(three.id, three.revision, "Ada")
    assert sentences(store) == ["a dog jumps"]
    assert four.author == "Ada"
    states = store.history(one.id)
    assert [s.annotation.sentence for s in states] == ["a dog runs", "a dog jumps", "a dog jumps", "a dog jumps"]
    assert [s.deleted for s in states] == [False, False, True, False]


def test_undoing_the_first_revision_takes_the_label_back(store: LabelStore) -> None:
    one = store.add(DOG, "Ada")
    assert store.undo(one.id, 1, "Ada").deleted
    assert store.counts() == {}


def test_who_comes_second_is_told(store: LabelStore) -> None:
    one = store.add(DOG, "Ada")
    store.change(one.id, 1, "Bob", glance=5.0)
    with pytest.raises(Problem, match="Bob changed this label") as error:
        store.change(one.id, 1, "Ada", glance=6.0)
    assert error.value.status_code == 409
    assert error.value.more == {"revision": 2}
    assert store.get(one.id).annotation.glance == 5.0


def test_a_deleted_label_cannot_be_changed(store: LabelStore) -> None:
    one = store.add(DOG, "Ada")
    store.delete(one.id, 1, "Ada")
    with pytest.raises(Problem, match="deleted"):
        store.change(one.id, 2, "Ada", glance=1.0)


def test_there_is_no_label_of_a_made_up_id(store: LabelStore) -> None:
    with pytest.raises(Problem, match="no such label"):
        store.undo("b" * 32, 1, "Ada")


def test_importing_twice_adds_once(store: LabelStore) -> None:
    rows = [DOG, replace(DOG, sentence="A dog  runs!"), replace(DOG, glance=7.0)]
    assert store.take_in(rows, "Ada") == (2, 1)
    assert store.take_in(rows, "Ada") == (0, 3)


def test_many_threads_lose_nothing(store: LabelStore) -> None:
    def work(who: int) -> None:
        for number in range(20):
            store.add(replace(DOG, sentence=f"dog {who} {number}"), str(who))

    threads = [threading.Thread(target=work, args=(who,)) for who in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(sentences(store))) == 120


def test_of_many_who_change_one_label_at_once_one_wins(store: LabelStore) -> None:
    one = store.add(DOG, "Ada")
    told: list[int] = []
    gate = threading.Barrier(8)

    def work(who: int) -> None:
        gate.wait()
        try:
            store.change(one.id, 1, str(who), sentence=f"dog {who}")
        except Problem as problem:
            told.append(problem.status_code)

    threads = [threading.Thread(target=work, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == [409] * 7
    assert store.get(one.id).revision == 2


def _label_in_a_process(url: str, who: int) -> None:
    store = LabelStore(url)
    for number in range(10):
        store.add(replace(DOG, sentence=f"dog {who} {number}"), str(who))


def test_processes_lose_nothing(url: str) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_label_in_a_process, args=(url, who)) for who in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert len(set(sentences(LabelStore(url)))) == 20


def test_the_database_is_in_wal_mode(tmp_path: Path) -> None:
    import sqlite3

    LabelStore(f"sqlite:///{tmp_path / 'x.sqlite'}").add(DOG, "Ada")
    assert sqlite3.connect(tmp_path / "x.sqlite").execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize("url", ["nonsense", "oracle://x", "sqlite:////no/such/folder/x.sqlite"])
def test_a_database_that_cannot_be_opened_is_named(url: str) -> None:
    with pytest.raises(InputError, match="--database"):
        LabelStore(url)


words = st.sampled_from(["a dog runs", "A dog runs.", "a cat", "it rains", "a bird sings"])
steps = st.lists(st.tuples(st.sampled_from("vw"), words, st.integers(0, 20), st.booleans()), max_size=40)


@settings(max_examples=25, deadline=None)
@given(steps)
def test_what_is_held_out_stays_so_and_is_never_trained_on(made: list[tuple[str, str, int, bool]]) -> None:
    store = LabelStore("sqlite://")
    sides: dict[str, bool] = {}
    for video, sentence, glance, again in made:
        if again and sides:  # change the oldest instead
            oldest = store.get(next(iter(sides)))
            store.change(oldest.id, oldest.revision, "Bob", sentence=sentence)
        else:
            label = store.add(Annotation(video, 30.0, sentence, float(glance), None), "Ada")
            sides[label.id] = label.held_out
        assert {label.id: label.held_out for label in store.all()} == sides
    training, held_out = split_held_out(store.all())
    said = {(row.video, normalized_sentence(row.sentence)) for row in held_out}
    assert not said & {(row.video, normalized_sentence(row.sentence)) for row in training}
    store.close()


def test_one_in_five_is_held_out_beginning_with_the_third(store: LabelStore) -> None:
    made = [store.add(replace(DOG, sentence=f"thing {n} happens"), "Ada").held_out for n in range(10)]
    assert made == [False, False, True, False, False] * 2
    store.take_in([replace(DOG, sentence=f"import {n}") for n in range(10)], "Ada")
    assert sum(label.held_out for label in store.all()) == 4


def test_a_sentence_said_again_is_on_the_same_side(store: LabelStore) -> None:
    made = [store.add(replace(DOG, sentence=f"thing {n} happens"), "Ada") for n in range(5)]
    again = [store.add(replace(m.annotation, sentence=f" {m.annotation.sentence.upper()}!"), "Bob") for m in made]
    assert [a.held_out for a in again] == [m.held_out for m in made]
    store.take_in([replace(m.annotation, glance=9.0) for m in made], "Ada")
    assert sum(label.held_out for label in store.all()) == 3


def test_a_table_of_another_shape_is_found_out_at_the_start(tmp_path: Path) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "x.sqlite") as connection:
        connection.execute("CREATE TABLE label_states (label TEXT)")
    with pytest.raises(InputError, match=r"--database: cannot be opened \(no such column"):
        LabelStore(f"sqlite:///{tmp_path / 'x.sqlite'}")


def test_while_many_are_imported_the_database_is_asked_few_times(tmp_path: Path) -> None:
    store = LabelStore(f"sqlite:///{tmp_path / 'labels.sqlite'}")
    asked: list[str] = []
    event.listen(store._engine, "before_cursor_execute", lambda *arguments: asked.append(arguments[2]))
    rows = [Annotation("v", 10.0, f"a ball {number}", 1.0, None) for number in range(PIECE)]
    assert store.take_in(rows, "Ann") == (PIECE, 0)
    assert len(asked) < 10, "others wait for the lock meanwhile"
    assert sum(label.held_out for label in store.all()) == PIECE // 5
    store.close()


def test_between_the_pieces_of_a_large_import_others_write(tmp_path: Path) -> None:
    store = LabelStore(f"sqlite:///{tmp_path / 'labels.sqlite'}")
    rows = [Annotation("v", 10.0, f"a ball {number}", float(number % 2), None) for number in range(2 * PIECE + 10)]
    rows += rows[:5]
    others: list[object] = []
    event.listen(store._engine, "commit", others.append)
    assert store.take_in(rows[:10], "Bob") == (10, 0)
    others.clear()
    assert store.take_in(rows, "Ann") == (2 * PIECE, 15)
    assert len(others) == 3
    assert len(store.all()) == 2 * PIECE + 10
    assert sum(label.held_out for label in store.all()) == (2 * PIECE + 10) // 5
    store.close()


def test_present_labels_are_not_read_again_until_someone_has_written(tmp_path: Path) -> None:
    """Nor are they counted: of many, that takes longer than a search."""
    ours, theirs = (LabelStore(f"sqlite:///{tmp_path / 'labels.sqlite'}") for _ in range(2))
    ours.add(DOG, "Ann")
    before = ours.present()
    asked: list[str] = []
    event.listen(ours._engine, "before_cursor_execute", lambda *arguments: asked.append(arguments[2]))
    assert ours.present() is before
    assert asked == []
    theirs.add(replace(DOG, glance=9.0), "Bob")
    assert [label.author for label in ours.present().labels] == ["Bob", "Ann"]
    ours.add(replace(DOG, glance=12.0), "Cy")
    assert [label.author for label in ours.present().labels] == ["Cy", "Bob", "Ann"]
    ours.close()
    theirs.close()


@pytest.mark.parametrize("name", ["what?", "100%", "a#b", "a b&c=d"])
def test_a_workspace_may_have_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "videos").mkdir()
    settings = resolve_settings(tmp_path / "index", tmp_path / "videos", workspace=tmp_path / name)
    for count in (1, 2):
        store = LabelStore(settings.database_url)
        store.add(Annotation("v", 10.0, f"{count}", 1.0, None), "Ann")
        assert len(store.all()) == count
        store.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["videos", name])


def test_sentences_that_differ_in_a_vowel_sign_are_different() -> None:
    assert normalized_sentence("कि") != normalized_sentence("का")
    assert normalized_sentence("caf\u00e9!") == normalized_sentence("CAFE\u0301")


NOT_DOG = replace(DOG, absent=True)


def test_a_negative_label_is_kept_as_one_and_never_held_out(store: LabelStore) -> None:
    made = [store.add(replace(NOT_DOG, sentence=f"no {n}"), "Ada") for n in range(6)]
    assert [label.annotation.absent for label in store.all()] == [True] * 6
    assert not any(label.held_out for label in made)
    assert store.counts() == {}
    assert split_held_out(store.all()) == ([], [])
    assert len(negatives_of(store.all())) == 6


def test_negative_labels_do_not_change_which_others_are_held_out(store: LabelStore) -> None:
    sides = []
    for number in range(5):
        store.add(replace(NOT_DOG, glance=float(number)), "Ada")
        sides.append(store.add(replace(DOG, sentence=f"a dog runs {number}"), "Ada").held_out)
    assert sides == [False, False, True, False, False]


def test_what_is_held_out_is_not_told_by_a_negative_label(store: LabelStore) -> None:
    for number in range(5):
        store.add(replace(DOG, sentence=f"a dog runs {number}"), "Ada")
        store.add(replace(NOT_DOG, sentence=f"A dog runs {number}!", glance=9.0), "Ada")
    assert [a.sentence for a in split_held_out(store.all())[1]] == ["a dog runs 2"]
    assert {a.sentence for a in negatives_of(store.all())} == {f"A dog runs {n}!" for n in (0, 1, 3, 4)}


def test_yes_and_no_at_one_second_are_two_labels_and_come_in_once(store: LabelStore) -> None:
    assert store.take_in([DOG, NOT_DOG], "Ada") == (2, 0)
    assert store.take_in([NOT_DOG, DOG], "Ada") == (0, 2)


def test_a_search_does_not_find_negative_labels(store: LabelStore) -> None:
    store.add(NOT_DOG, "Ada")
    assert store.present().said_alike("a dog runs") == []


def test_a_database_of_before_negative_labels_is_taken_on(tmp_path: Path) -> None:
    import sqlite3

    url = f"sqlite:///{tmp_path / 'labels.sqlite'}"
    LabelStore(url).add(DOG, "Ada")
    with sqlite3.connect(tmp_path / "labels.sqlite") as connection:
        connection.execute("ALTER TABLE label_states DROP COLUMN absent")
    store = LabelStore(url)
    assert [label.annotation for label in store.all()] == [DOG]
    store.add(NOT_DOG, "Ada")
    assert store.all()[0].annotation == NOT_DOG
