import os
import sys
from collections.abc import Iterator
from importlib.metadata import version
from types import ModuleType
from typing import Any, ClassVar

import pytest

from cfmr.cluster import pool as cluster
from cfmr.cluster.pool import JOINING, Row, Worker, _join, check_nodes, map_tasks, ray_session
from cfmr.errors import InputError


def test_without_ray_the_user_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"--ray: needs Ray; pip install 'cfmr\[ray\]'"), ray_session("local"):
        pass


@pytest.mark.parametrize("address", ["", "nonsense", "127.0.0.1:6379", "http://head:10001"])
def test_an_address_that_is_none_is_refused_before_ray_is_looked_for(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match="not an address; give local, auto or ray://host:port"), ray_session(address):
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
    return [{"name": name, "failed": failed, "fatal": ""} for name in names]


def run(*names: str) -> dict[str, str | None]:
    found = list(map_tasks(None, [{"name": name} for name in names], object, ()))
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
    Passes(monkeypatch, ([{"name": "a", "failed": "", "fatal": "host: no weights"}], True))
    with pytest.raises(InputError, match="host: no weights"):
        run("a")


class Halver(Worker):
    """Halves numbers, where its machine has what it needs."""

    EMPTY: ClassVar[Row] = {"half": 0}

    def __init__(self, ready: bool = True) -> None:
        super().__init__()
        self.ready, self.prepared = ready, 0

    def prepare(self) -> None:
        self.prepared += 1
        if not self.ready:
            raise InputError("no numbers here")

    def answer(self, task: Row) -> Row:
        if task["number"] % 2:
            raise InputError(f"{task['number']} is odd")
        return {"half": task["number"] // 2}


def test_a_worker_gets_ready_once_and_every_answer_has_the_same_keys() -> None:
    worker = Halver()
    assert worker({"name": "a", "number": 4}) == {"name": "a", "failed": "", "fatal": "", "half": 2}
    assert worker({"name": "b", "number": 3}) == {"name": "b", "failed": "3 is odd", "fatal": "", "half": 0}
    assert worker.prepared == 1


def test_what_a_machine_lacks_is_fatal_and_told_with_its_name() -> None:
    answer = Halver(ready=False)({"name": "a", "number": 4})
    assert answer["fatal"] == f"{os.uname().nodename}: no numbers here"
    assert answer["half"] == 0


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


class Machines:
    """Stands in for Ray: machines, and what each answers to the question which version it has.

    A text is what it says, an exception what Ray raises; a machine in `dying` is listed the first time only.
    """

    class exceptions:  # noqa: N801 - as Ray names its module
        class RayError(Exception): ...

        class TaskUnschedulableError(RayError): ...

    def __init__(self, answers: dict[str, str | Exception], dying: tuple[str, ...] = ()) -> None:
        self.answers, self.dying, self.listed = answers, dying, 0

    def nodes(self) -> list[dict[str, Any]]:
        self.listed += 1
        gone = self.dying if self.listed > 1 else ()
        return [{"NodeID": name, "NodeManagerAddress": name, "Alive": name not in gone} for name in self.answers]

    def remote(self, **options: object) -> Any:
        return lambda task: Question()

    def get(self, answer: str, timeout: float) -> str:
        found = self.answers[answer]
        if isinstance(found, Exception):
            raise found
        return found


class Question:
    """A task; what it gives back is the name of the machine it was sent to."""

    def options(self, scheduling_strategy: str) -> "Question":
        self.place = scheduling_strategy
        return self

    def remote(self, package: str) -> str:
        return self.place


@pytest.fixture
def asked_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ray", "ray.util", "ray.util.scheduling_strategies"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules[name].NodeAffinitySchedulingStrategy = lambda name, soft: name  # type: ignore[attr-defined]


HERE = version("cfmr")


@pytest.mark.usefixtures("asked_by_name")
@pytest.mark.parametrize(
    "machines",
    [
        Machines({"head": HERE, "gone": Machines.exceptions.TaskUnschedulableError("doesn't exist any more")}),
        Machines({"head": HERE, "gone": Machines.exceptions.RayError("its worker died")}, dying=("gone",)),
        Machines({"head": HERE, "gone": TimeoutError()}, dying=("gone",)),
    ],
    ids=["left before the question", "died over it", "died in silence"],
)
def test_a_machine_that_has_just_died_is_passed_over(machines: Machines) -> None:
    check_nodes(machines, "auto", "cfmr")


@pytest.mark.usefixtures("asked_by_name")
@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("", "two cannot import cfmr; install the same there"),
        ("0.0.1", f"two has cfmr 0.0.1, this machine {HERE}; install the same there"),
        (Machines.exceptions.RayError("broken"), r"two does not answer \(broken\)"),
        (TimeoutError("late"), r"two does not answer \(late\)"),
    ],
)
def test_a_machine_that_cannot_work_is_named(answer: str | Exception, told: str) -> None:
    with pytest.raises(InputError, match=f"--ray auto: {told}"):
        check_nodes(Machines({"head": HERE, "two": answer}), "auto", "cfmr")
