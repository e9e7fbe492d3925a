import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfmr.demo.actors import KINDS
from cfmr.demo.events import DUETS, EVENTS
from cfmr.demo.scenes import HEIGHT, WIDTH
from cfmr.demo.script import (
    FEWEST,
    LARGEST_SHARE,
    LONGEST,
    MOST,
    SHORTEST,
    SMALLEST_SHARE,
    Script,
    held_out_pairs,
    write_script,
)

FRAME = 1 / 12


def written(seed: int, test: bool = False) -> Script:
    return write_script(np.random.default_rng(seed), held_out_pairs(0), test)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_a_script_keeps_to_the_lengths_and_numbers_promised(seed: int, test: bool) -> None:
    script = written(seed, test)
    assert SHORTEST - FRAME <= script.duration <= LONGEST + FRAME
    assert FEWEST <= len(script.sentences) <= MOST
    for event in script.events:
        assert 0 <= event.start < event.end <= script.duration
        share = (event.end - event.start) / script.duration
        assert SMALLEST_SHARE - FRAME / SHORTEST <= share <= LARGEST_SHARE + FRAME / SHORTEST


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_no_actor_does_two_things_at_once_or_stands_on_screen_twice(seed: int) -> None:
    script = written(seed)
    for actor in {actor for event in script.events for actor in event.actors}:
        for spans in (
            [(event.start, event.end) for event in script.events if actor in event.actors],
            [(one.shows, one.hides) for one in script.appearances if one.actor == actor],
        ):
            ordered = sorted(spans)
            assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ordered))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_every_event_is_acted_on_screen_by_all_its_actors(seed: int) -> None:
    script = written(seed)
    for event in script.events:
        players = [one for one in script.appearances if any(act.event is event for act in one.acts)]
        assert len(players) == len(event.actors)
        for one in players:
            assert one.shows <= event.start
            assert event.end <= one.hides
            middle = one.pose((event.start + event.end) / 2)
            assert -one.size < middle.x < WIDTH + one.size
            assert -one.size < middle.y < HEIGHT + one.size


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_an_actor_moves_without_jumps(seed: int) -> None:
    for one in written(seed).appearances:
        times = np.arange(one.shows, one.hides, FRAME)
        poses = [one.pose(float(time)) for time in times]
        for before, after in itertools.pairwise(poses):
            assert abs(before.x - after.x) < 30
            assert abs(before.y - after.y) < 30


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_training_never_shows_a_pair_that_is_held_out(seed: int) -> None:
    hidden = held_out_pairs(0)
    assert not any((actor.kind, event.kind) in hidden for event in written(seed).events for actor in event.actors)


def test_test_videos_show_pairs_that_are_held_out() -> None:
    hidden = held_out_pairs(0)
    told = [event for seed in range(20) for _, event in written(seed, test=True).sentences]
    new = sum(any((actor.kind, event.kind) in hidden for actor in event.actors) for event in told)
    assert 0.25 < new / len(told) < 0.75


@pytest.mark.parametrize("seed", range(5))
def test_every_actor_and_every_event_is_seen_in_training_in_other_company(seed: int) -> None:
    hidden = held_out_pairs(seed)
    for actor in KINDS:
        assert 0 < sum((actor, event) in hidden for event in EVENTS) < len(EVENTS) / 2
    for event in EVENTS:
        assert 0 < sum((actor, event) in hidden for actor in KINDS) < len(KINDS) / 2


def test_the_world_is_as_rich_as_promised() -> None:
    seen = [event for seed in range(150) for event in written(seed).events]
    assert {event.kind for event in seen} == set(EVENTS)
    assert {actor.kind for event in seen for actor in event.actors} == set(KINDS)
    assert any(len(event.actors) == 2 for event in seen if event.kind in DUETS)


def test_the_same_seed_writes_the_same_script() -> None:
    assert written(11) == written(11)
    assert written(11) != written(12)
