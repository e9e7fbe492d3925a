import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cfmr.errors import InputError
from cfmr.files.atomic import read_json, write_json
from cfmr.server.problems import Problem
from cfmr.server.stores import jobs as module
from cfmr.server.stores.jobs import Job, JobContext, Jobs, Progress, parse_progress
from cfmr.server.stores.orphans import marked, processes_of


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    monkeypatch.setattr(module, "COMMAND", (sys.executable, "-c"))
    monkeypatch.setattr(module, "PROGRESS", ())
    monkeypatch.setattr(module, "GRACE", 0.3)
    jobs = Jobs(tmp_path / "jobs")
    jobs.begin()
    yield jobs
    jobs.close()


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def progress(done: int, total: int) -> str:
    """Python that writes a line of `--progress json`."""
    line = json.dumps({"label": f"epoch {done}", "done": done, "total": total})
    return f"import sys; print({line!r}, file=sys.stderr, flush=True)"


FIRST = progress(1, 2)


def run(jobs: Jobs, code: str, kind: str = "learn") -> Job:
    jobs.handlers[kind] = runs
    return jobs.start(kind, "a title", {"code": code})


def runs(work: JobContext, arguments: dict[str, Any]) -> dict[str, object]:
    work.run(arguments["code"], stage="Testing")
    return {"model": "0001"}


def test_a_job_runs_a_command_and_keeps_what_it_printed(jobs: Jobs) -> None:
    job = run(jobs, f"{FIRST}; print('epoch 1'); print('caf\\u00e9\\x1b[1m\\rlast')")
    until(lambda: job.over)
    assert (job.state, job.progress, job.result) == ("done", 1.0, {"model": "0001"})
    assert job.message == "Testing: epoch 1"
    text, offset = jobs.log(job.id)
    assert text.split("\n")[1:] == ["epoch 1", "café", "last", ""]
    assert jobs.log(job.id, offset) == ("", offset)
    assert read_json(jobs.folder / job.id / "job.json")["state"] == "done"


def test_the_last_line_of_a_command_that_fails_says_why(jobs: Jobs) -> None:
    job = run(jobs, "import sys; print('cfmr: no such file', file=sys.stderr); sys.exit(2)")
    until(lambda: job.over)
    assert (job.state, job.message) == ("failed", "no such file")


def test_a_command_that_is_killed_is_said_to_be(jobs: Jobs) -> None:
    job = run(jobs, "import os; os.kill(os.getpid(), 9)")
    until(lambda: job.over)
    assert (job.state, job.message) == ("failed", "it was ended by SIGKILL")


def test_a_job_that_goes_wrong_inside_does_not_stop_the_next(jobs: Jobs) -> None:
    def broken(work: JobContext, _: dict[str, Any]) -> dict[str, object]:
        raise ZeroDivisionError

    def refused(work: JobContext, _: dict[str, Any]) -> dict[str, object]:
        raise InputError("labels.json: no such file")

    jobs.handlers |= {"add": broken, "learn": refused}
    first, second = jobs.start("add", "a"), jobs.start("learn", "b")
    third = run(jobs, "pass", "switch")
    until(lambda: all(job.over for job in (first, second, third)))  # a reading gives way to the others
    assert (first.state, second.state, third.state) == ("failed", "failed", "done")
    assert second.message == "labels.json: no such file"
    assert "log" in first.message


@pytest.mark.parametrize("stubborn", [False, True])
def test_cancelling_ends_the_process_and_its_children(jobs: Jobs, tmp_path: Path, stubborn: bool) -> None:
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN)" if stubborn else "pass"
    child = f"import signal,time; {ignore}; open({str(tmp_path / 'child')!r}, 'w'); time.sleep(60)"
    job = run(jobs, f"import subprocess,sys,signal; {ignore}; subprocess.run([sys.executable, '-c', {child!r}])")
    until(lambda: (tmp_path / "child").exists())
    began = time.monotonic()
    jobs.cancel(job.id)
    until(lambda: job.over)
    assert job.state == "cancelled"
    assert time.monotonic() - began < 10
    with pytest.raises(Problem, match="over"):
        jobs.cancel(job.id)


def test_one_of_a_kind_waits_at_a_time_and_a_waiting_one_can_be_cancelled(jobs: Jobs) -> None:
    running = run(jobs, f"import time; {FIRST}; print('epoch 1', flush=True); time.sleep(60)")
    until(lambda: running.message)
    first, second = run(jobs, "pass", "add"), run(jobs, "pass", "add")
    assert first is second
    assert jobs.busy("add")
    assert jobs.cancel(first.id).state == "cancelled"
    jobs.cancel(running.id)
    until(lambda: running.over)
    assert not jobs.busy("add")


def test_downloads_do_not_wait_for_the_rest_and_each_has_its_own_place(jobs: Jobs) -> None:
    running = run(jobs, f"import time; {FIRST}; time.sleep(60)")
    first = run(jobs, "pass", "fetch")
    until(lambda: first.over)
    assert (running.over, first.state) == (False, "done")
    slow = run(jobs, "import time; time.sleep(60)", "fetch")
    until(lambda: slow.state == "running")
    others = [run(jobs, f"print({number})", "fetch") for number in range(2)]
    assert len({job.id for job in others}) == 2
    jobs.cancel(slow.id)
    until(lambda: all(job.over for job in others))
    jobs.cancel(running.id)


def test_closing_ends_what_runs(jobs: Jobs) -> None:
    job = run(jobs, f"import time; {FIRST}; print('epoch 1', flush=True); time.sleep(60)")
    until(lambda: job.message)
    jobs.close()
    assert job.state == "cancelled"


def test_jobs_are_remembered_those_left_running_marked_and_those_left_waiting_done(tmp_path: Path) -> None:
    from dataclasses import asdict

    for number, state in enumerate(("done", "running", "queued")):
        write_json(tmp_path / str(number) / "job.json", asdict(Job(str(number), "learn", "x", state=state)))  # type: ignore[arg-type]
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "job.json").write_text('{"id": 5')
    jobs = Jobs(tmp_path)
    jobs.handlers["learn"] = lambda work, arguments: {}
    jobs.begin()
    until(lambda: all(job.over for job in jobs.all()))
    assert [(j.id, j.state) for j in reversed(jobs.all())] == [("0", "done"), ("1", "failed"), ("2", "done")]
    assert "server ended" in jobs.get("1").message
    jobs.close()


@pytest.fixture
def other(jobs: Jobs) -> Iterator[Jobs]:
    """What another process has, over the same folder."""
    other = Jobs(jobs.folder)
    other.handlers["learn"] = runs
    yield other
    other.close()


def test_processes_see_each_others_jobs_and_do_one_at_a_time(jobs: Jobs, other: Jobs) -> None:
    first = run(jobs, f"import time; {FIRST}; print('epoch 1', flush=True); time.sleep(60)")
    until(lambda: first.message == "Testing: epoch 1")
    other.begin()
    until(lambda: (seen := other.get(first.id)).state == "running" and seen.message == "Testing: epoch 1")
    assert other.busy("learn")
    second = other.start("learn", "b", {"code": "pass"})
    assert jobs.start("learn", "c", {"code": "pass"}).id == second.id  # it waits there already
    assert "epoch 1" in other.log(first.id)[0]
    other.cancel(first.id)
    until(lambda: first.over)
    assert first.state == "cancelled"
    until(lambda: other.get(second.id).over)
    assert jobs.get(second.id).state == "done"
    assert other.get(first.id).state == "cancelled"


def test_a_job_that_waits_in_another_process_can_be_cancelled(jobs: Jobs, other: Jobs) -> None:
    first = run(jobs, f"import time; {FIRST}; print('epoch 1', flush=True); time.sleep(60)")
    until(lambda: first.message == "Testing: epoch 1")
    second = run(jobs, "pass")
    assert other.cancel(second.id).state == "cancelled"
    jobs.cancel(first.id)
    until(lambda: first.over)
    assert jobs.get(second.id).state == "cancelled"
    assert other.log(second.id) == ("", 0)


def test_the_work_of_a_process_that_closes_is_taken_over(jobs: Jobs, other: Jobs) -> None:
    first = run(jobs, f"import time; {FIRST}; print('epoch 1', flush=True); time.sleep(60)")
    until(lambda: first.message == "Testing: epoch 1")
    other.begin()
    second = other.start("learn", "b", {"code": "pass"})
    jobs.close()
    until(lambda: other.get(second.id).over)
    assert (other.get(first.id).state, other.get(second.id).state) == ("cancelled", "done")


def test_a_line_of_progress_says_how_far_a_command_is() -> None:
    found = parse_progress('{"label": "epoch", "done": 2, "total": 4, "metrics": {"loss": 0.25}}')
    assert found == Progress("epoch", 2, 4, {"loss": 0.25})
    assert (str(found), found and found.share) == ("epoch  loss 0.25", 0.5)
    unknown = parse_progress('{"label": "loading the model", "done": 0, "total": null}')
    assert unknown is not None
    assert (str(unknown), unknown.share) == ("loading the model", None)


@pytest.mark.parametrize(
    "line",
    [
        "epoch 1: loss 0.2",
        "{",
        "{}",
        "[1, 2]",
        '{"label": "x", "done": "many", "total": 3}',
        '{"label": "x", "done": 1}',
        '{"label": "x", "done": 1, "total": 2, "metrics": 7}',
    ],
)
def test_any_other_line_is_output(line: str) -> None:
    assert parse_progress(line) is None


SLEEPER = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"


def test_a_job_whose_server_was_killed_is_ended_before_another_begins(tmp_path: Path) -> None:
    folder = tmp_path / "jobs"
    server = os.fork()
    if server == 0:
        module.COMMAND = (sys.executable, "-c")  # type: ignore[assignment]
        first = Jobs(folder)
        first.handlers["learn"] = runs
        first.begin()
        first.start("learn", "a title", {"code": SLEEPER})
        time.sleep(60)
        os._exit(1)

    def job_id() -> str:
        return next((path.parent.name for path in folder.glob("*/log.txt")), "")

    until(lambda: job_id() and len(list(processes_of(job_id()))) == 2)
    os.kill(server, signal.SIGKILL)
    os.waitpid(server, 0)
    assert len(list(processes_of(job_id()))) == 2, "the command and what it started outlive their server"
    left: list[int] = []
    second = Jobs(folder)
    second.handlers["learn"] = lambda work, _: left.extend(processes_of(job_id())) or {}
    second.begin()
    following = second.start("learn", "again")
    until(lambda: following.over)
    second.close()
    assert left == []
    assert second.get(job_id()).state == "failed"


def test_a_command_of_a_job_ends_when_its_server_dies(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    code = (
        "from pathlib import Path; import time; from cfmr.server.stores.orphans import end_with_server; "
        f"end_with_server(); Path({str(ready)!r}).touch(); time.sleep(60)"
    )
    server = os.fork()
    if server == 0:
        subprocess.Popen([sys.executable, "-c", code], env=os.environ | marked("a-job"))
        time.sleep(60)
        os._exit(1)
    until(ready.exists)
    os.kill(server, signal.SIGKILL)
    os.waitpid(server, 0)
    until(lambda: not list(processes_of("a-job")))


ALONE = """
import fcntl, pathlib, sys, time
with open({busy!r}, "w") as file:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pathlib.Path({overlap!r}).touch()
    time.sleep(0.15)
"""
KILLS = int(os.environ.get("CFMR_KILLS", "8"))  # 100 in a campaign


def test_servers_killed_at_random_lose_no_job_and_never_do_two_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COMMAND", (sys.executable, "-c"))
    folder, overlap, promised = tmp_path / "jobs", tmp_path / "overlap", tmp_path / "promised"
    code = ALONE.format(busy=str(tmp_path / "busy"), overlap=str(overlap))
    rng = random.Random(0)

    def serve(number: int) -> None:
        jobs = Jobs(folder)
        for kind in range(KILLS):
            jobs.handlers[str(kind)] = runs
        jobs.begin()
        job = jobs.start(str(number), "a title", {"code": code})
        with open(promised, "a") as file:
            file.write(f"{job.id}\n")
        time.sleep(60)

    for number in range(KILLS):
        server = os.fork()
        if server == 0:
            serve(number)
            os._exit(1)
        time.sleep(rng.uniform(0, 0.6))
        os.kill(server, signal.SIGKILL)
        os.waitpid(server, 0)
    last = Jobs(folder)
    for kind in range(KILLS):
        last.handlers[str(kind)] = runs
    last.begin()
    until(lambda: all(job.over for job in last.all()))
    last.close()
    known = {job.id: job.state for job in last.all()}
    assert not overlap.exists()
    assert set(promised.read_text().split() if promised.exists() else []) <= set(known)
    assert set(known.values()) <= {"done", "failed"}


def test_a_long_reading_gives_way_to_what_waits_and_goes_on_after_it(jobs: Jobs, tmp_path: Path) -> None:
    mark = tmp_path / "done"
    long = run(jobs, f"import time, os.path; time.sleep(0 if os.path.exists({str(mark)!r}) else 60)", "add")
    until(lambda: long.state == "running")
    short = run(jobs, f"open({str(mark)!r}, 'w').close()", "learn")
    until(lambda: short.over and long.over)
    assert (short.state, long.state) == ("done", "done")
    assert short.finished is not None
    assert long.started is not None
    assert long.started >= short.finished


def test_a_reading_that_is_cancelled_does_not_come_back(jobs: Jobs) -> None:
    long = run(jobs, "import time; time.sleep(60)", "add")
    until(lambda: long.state == "running")
    jobs.cancel(long.id)
    until(lambda: long.over)
    assert long.state == "cancelled"


def test_the_time_left_follows_from_the_pace_of_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 10.0, 11.0, 21.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    pace = module._Pace()
    assert pace.left(0.5) is None  # half was done before
    assert pace.left(0.55) is None  # too early to tell
    assert pace.left(0.6) == 40.0
    assert pace.left(None) is None
    assert pace.left(0.2) is None  # another stage
    assert pace.left(0.4) == 30.0
