import sys
from collections.abc import Iterator
from typing import Any

import pytest

from cfmr import cluster
from cfmr.cluster import JOINING, Row, _join, connected, run_all
from cfmr.errors import InputError


def test_without_ray_the_user_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"--ray: needs Ray; pip install 'cfmr\[ray\]'"), connected("local"):
        pass


@pytest.mark.parametrize("address", ["", "nonsense", "127.0.0.1:6379", "http://head:10001"])
def test_an_address_that_is_none_is_refused_before_ray_is_looked_for(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match="not an address; give local, auto or ray://host:port"), connected(address):
        pass


class Passes:
    """Stands in for Ray: what each pass over the list answers, and whether it comes to the end of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *passes: tuple[list[Row], bool]) -> None:
        self.asked: list[tuple[list[str], bool]] = []
        self._left = list(passes)
        monkeypatch.setattr(cluster, "_run_once", self.once)

    def once(self, ray: Any, tasks: list[Row], *rest: Any, alone: bool) -> Iterator[Row]:
        self.asked.append(([task["name"] for task in tasks], alone))
        answers, whole = self._left.pop(0) if self._left else ([], False)
        yield from answers
        if whole:
            yield cluster._END


def answered(*names: str, failed: str = "") -> list[Row]:
    return [{"name": name, "failed": failed, "hopeless": ""} for name in names]


def run(*names: str) -> dict[str, str | None]:
    found = list(run_all(None, [{"name": name} for name in names], object, ()))
    assert len(found) == len(names)
    return {name: None if answer is None else answer["failed"] for answer, name in found}


def test_machines_that_die_one_after_the_other_do_not_end_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = Passes(monkeypatch, *[(answered(name), False) for name in "abcde"], (answered("f"), True))
    assert run(*"abcdef") == dict.fromkeys("abcdef", "")
    assert [len(names) for names, _ in passes.asked] == [6, 5, 4, 3, 2, 1]
    assert not any(alone for _, alone in passes.asked)


def test_what_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = Passes(monkeypatch, (answered("a"), True), (answered("b"), False))
    assert run("a", "b", "deadly") == {"a": "", "b": "", "deadly": None}
    rest = ["deadly"], True
    assert passes.asked == [(["a", "b", "deadly"], False), (["b", "deadly"], True), rest, rest]


def test_what_fails_is_tried_three_times_and_told_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = answered("broken", failed="no video")
    passes = Passes(monkeypatch, *[(broken + answered("a") * (n == 0), True) for n in range(9)])
    assert run("a", "broken") == {"a": "", "broken": "no video"}
    assert len(passes.asked) == cluster.TRIES


def test_an_answer_that_comes_twice_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    Passes(monkeypatch, (answered("a", "a"), False), (answered("b", "a"), True))
    assert run("a", "b") == {"a": "", "b": ""}


def test_what_no_further_try_can_change_ends_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    Passes(monkeypatch, ([{"name": "a", "failed": "", "hopeless": "host: no weights"}], True))
    with pytest.raises(InputError, match="host: no weights"):
        run("a")


class Heads:
    """A cluster whose head does not let in whoever comes, the first so many times."""

    def __init__(self, turned_away: int) -> None:
        self.turned_away, self.asked = turned_away, 0

    def init(self, **options: object) -> None:
        self.asked += 1
        if self.asked <= self.turned_away:
            raise ConnectionAbortedError("Initialization failure from server:")


def test_a_head_whose_process_died_is_asked_again() -> None:
    heads = Heads(JOINING - 1)
    _join(heads, "ray://head:10001")
    assert heads.asked == JOINING


def test_a_head_that_never_lets_in_is_asked_so_often_and_no_more() -> None:
    heads = Heads(100)
    with pytest.raises(ConnectionAbortedError):
        _join(heads, "ray://head:10001")
    assert heads.asked == JOINING
