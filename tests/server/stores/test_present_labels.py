import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from cfmr.data.annotations import Annotation
from cfmr.server.stores.present_labels import Label, PresentLabels

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def label(name: str, minute: int = 0, sentence: str = "a dog runs", video: str = "street") -> Label:
    return Label(name, 1, Annotation(video, 9.0, sentence, 1.0, None), "Ada", NOON + timedelta(minutes=minute))


def ids(present: PresentLabels) -> list[str]:
    return [one.id for one in present.labels]


def test_the_newest_come_first_and_are_counted_by_video() -> None:
    present = PresentLabels.of([label("a", 1), label("b", 2, video="park"), label("c", 3)])
    assert ids(present) == ["c", "b", "a"]
    assert present.counts == {"street": 2, "park": 1}
    assert present.states == 3


def test_new_states_change_delete_and_add() -> None:
    before = PresentLabels.of([label("a", 1), label("b", 2)])
    changed = replace(label("a", 4, "a cat sits"), revision=2)
    deleted = replace(label("b", 5), revision=2, deleted=True)
    after = before.with_more([deleted, changed, label("c", 3), label("a", 1)])
    assert ids(after) == ["a", "c"]
    assert after.labels[0].annotation.sentence == "a cat sits"
    assert after.states == 5
    assert ids(before) == ["b", "a"]
    back = after.with_more([replace(label("b", 6), revision=3)])
    assert (ids(back), back.states) == (["b", "a", "c"], 6)


def test_what_is_known_changes_nothing() -> None:
    before = PresentLabels.of([label("a", 1)])
    assert before.with_more([label("a", 1)]) is before


def test_a_label_that_comes_late_is_put_in_its_place() -> None:
    before = PresentLabels.of([label("a", 1), label("c", 3)])
    assert ids(before.with_more([label("b", 2)])) == ["c", "b", "a"]


def test_labels_are_found_by_what_they_say_also_those_that_came_later() -> None:
    before = PresentLabels.of([label("a", 1), label("b", 2, "a cat sits")])
    assert [one.id for one, _ in before.said_alike("the dog is running")] == ["a"]
    after = before.with_more([label("c", 3), replace(label("a", 4), revision=2, deleted=True)])
    assert [one.id for one, _ in after.said_alike("the dog is running")] == ["c"]


def test_changed_step_by_step_they_are_as_if_read_at_once() -> None:
    rng = random.Random(0)
    states: dict[str, Label] = {}
    present = PresentLabels.of([])
    for step in range(60):
        changed = []
        for _ in range(rng.choice([1, 3, 200])):
            name = f"l{rng.randrange(300)}"
            before = states.get(name)
            new = label(name, rng.randrange(1000), rng.choice(["a dog runs", "a cat sits"]), f"v{rng.randrange(9)}")
            revision = 1 if before is None else before.revision + 1
            states[name] = replace(new, revision=revision, deleted=rng.random() < 0.3, held_out=step % 2 == 0)
            changed.append(states[name])
        present = present.with_more(changed)
        present.said_alike("a dog")
        whole = PresentLabels.of(states.values())
        assert ids(present) == ids(whole)
        assert present.by_video == whole.by_video
        assert (present.counts, present.held_out, present.states) == (whole.counts, whole.held_out, whole.states)
        assert present.said_alike("a dog runs") == whole.said_alike("a dog runs")
