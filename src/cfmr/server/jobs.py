"""Long work in the background: commands of `cfmr` itself, one job after the other, each with a log and a way to stop.

A job is a folder with `job.json` and `log.txt`, so that one can see later what was done. The server only waits for
processes, so nothing they do, not even dying, disturbs it.
"""

import contextlib
import logging
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from cfmr.errors import InputError
from cfmr.files import make_directory, read_json, write_json
from cfmr.server.problems import Problem

log = logging.getLogger(__name__)

State = Literal["queued", "running", "done", "failed", "cancelled"]
COMMAND = (sys.executable, "-m", "cfmr.cli")
KEPT = 200  # jobs that are remembered
GRACE = 5.0  # seconds between asking a process to stop and stopping it
NICE = 10  # searching goes before
LOG_PIECE = 256 << 10
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass
class Job:
    """What is known of a job. Times are seconds since 1970.

    Attributes:
        kind: "add" or "learn".
        title: what it does, for people.
        message: what it is doing now, or how it ended.
        progress: from 0 to 1; None where it is not known.
        result: what came out, by kind.
    """

    id: str
    kind: str
    title: str
    state: State = "queued"
    message: str = ""
    progress: float | None = None
    created: float = field(default_factory=time.time)
    started: float | None = None
    finished: float | None = None
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        return self.state not in ("queued", "running")


class StepFailedError(Exception):
    """A step of a job failed; the message is for people."""


class CancelledError(Exception):
    """Someone asked the job to stop."""


Read = Callable[[str], tuple[str, float | None] | None]
Body = Callable[["Work"], dict[str, Any]]


class Work:
    """What a running job works with: it runs commands and says how far it is."""

    def __init__(self, job: Job, folder: Path) -> None:
        self.job, self.folder = job, folder
        self._process: subprocess.Popen[bytes] | None = None
        self._cancelled = threading.Event()
        self._lock = threading.Lock()

    def say(self, message: str, progress: float | None = None) -> None:
        """Tell people what is going on."""
        if self._cancelled.is_set():
            raise CancelledError
        self.job.message, self.job.progress = message, progress

    def run(self, *arguments: str | Path, read: Read = lambda line: None) -> None:
        """Run a `cfmr` command.

        Args:
            arguments: of the command line.
            read: makes a message and a progress of a line of output, where it says something.

        Raises:
            StepFailedError: the command failed; its last line says why.
            CancelledError: it was stopped.
        """
        argv = [*COMMAND, *map(str, arguments)]
        self._log("$ cfmr " + " ".join(map(str, arguments)))
        # PYTHONUNBUFFERED: lines come when they are written; NO_COLOR, TERM: without escapes
        environment = os.environ | {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "120"}
        with self._lock:
            if self._cancelled.is_set():
                raise CancelledError
            process = self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # a group of its own, so that all of it can be stopped
            )
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, NICE)
        last = self._follow(process, read)
        code = process.wait()
        self._process = None
        if self._cancelled.is_set():
            raise CancelledError
        if code != 0:
            why = last.removeprefix("cfmr: ") or "it said nothing"
            raise StepFailedError(why if code > 0 else f"it was ended by {signal.Signals(-code).name}")

    def _follow(self, process: "subprocess.Popen[bytes]", read: Read) -> str:
        assert process.stdout is not None
        last = ""
        for raw in process.stdout:
            for piece in raw.decode("utf-8", "replace").split("\r"):
                line = _ESCAPES.sub("", piece).rstrip()
                if not line:
                    continue
                last = line
                self._log(line)
                found = read(line)
                if found is not None:
                    self.job.message, self.job.progress = found
        return last

    def _log(self, line: str) -> None:
        with open(self.folder / "log.txt", "a", encoding="utf-8", errors="replace") as file:
            file.write(line + "\n")

    def cancel(self) -> None:
        """Stop: first by asking, then by force."""
        self._cancelled.set()
        with self._lock:
            process = self._process
        if process is None:
            return
        _signal(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
            return
        _signal(process.pid, signal.SIGKILL)


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


class Jobs:
    """Jobs of one server, done one after the other in the order in which they came.

    Args:
        folder: of their records; jobs that a server left behind when it ended are marked so.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = make_directory(folder)
        self._jobs = {job.id: job for job in _recorded(self.folder)}
        self._works: dict[str, Work] = {}
        self._waiting: queue.SimpleQueue[tuple[Job, Body] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work_off, name="jobs", daemon=True)
        self._thread.start()

    def all(self) -> list[Job]:
        """The newest first."""
        return sorted(self._jobs.values(), key=lambda job: -job.created)

    def get(self, job: str) -> Job:
        """Raises Problem if there is no such job."""
        try:
            return self._jobs[job]
        except KeyError:
            raise Problem(404, "there is no such job") from None

    def log(self, job: str, offset: int = 0) -> tuple[str, int]:
        """A piece of a job's log from a byte on, and where the next piece begins."""
        path = self.folder / self.get(job).id / "log.txt"
        try:
            with open(path, "rb") as file:
                file.seek(offset)
                piece = file.read(LOG_PIECE)
        except FileNotFoundError:
            return "", 0
        return piece.decode("utf-8", "replace"), offset + len(piece)

    def start(self, kind: str, title: str, body: Body) -> Job:
        """Put a job in the queue; if one of its kind waits there already, that is the job.

        Args:
            body: the work; what it returns becomes the job's result.
        """
        with self._lock:
            waiting = next((j for j in self._jobs.values() if j.kind == kind and j.state == "queued"), None)
            if waiting is not None:
                return waiting
            job = Job(uuid.uuid4().hex[:12], kind, title)
            make_directory(self.folder / job.id)
            self._jobs[job.id] = job
            self._record(job)
        self._waiting.put((job, body))
        return job

    def busy(self, kind: str) -> bool:
        """Whether a job of a kind waits or runs."""
        return any(job.kind == kind and not job.over for job in self._jobs.values())

    def cancel(self, job_id: str) -> Job:
        """Stop a job. Raises Problem if it is over."""
        job = self.get(job_id)
        with self._lock:
            if job.state == "queued":
                self._end(job, "cancelled", "cancelled")
                return job
            work = self._works.get(job.id)
        if work is None:
            raise Problem(409, "this job is over")
        work.cancel()
        return job

    def close(self) -> None:
        """Stop what runs and start nothing more."""
        self._waiting.put(None)
        for job in self.all():
            if not job.over:
                with contextlib.suppress(Problem):
                    self.cancel(job.id)
        self._thread.join(2 * GRACE)

    def _work_off(self) -> None:
        while (item := self._waiting.get()) is not None:
            job, body = item
            if job.state == "queued":
                self._do(job, body)

    def _do(self, job: Job, body: Body) -> None:
        work = Work(job, self.folder / job.id)
        with self._lock:
            self._works[job.id] = work
            job.state, job.started = "running", time.time()
            self._record(job)
        try:
            job.result = body(work)
            self._end(job, "done", job.message)
        except CancelledError:
            self._end(job, "cancelled", "cancelled")
        except (StepFailedError, InputError, Problem) as error:
            self._end(job, "failed", error.detail if isinstance(error, Problem) else str(error))
        except Exception:
            log.exception("job %s", job.id)
            self._end(job, "failed", "something went wrong here; the server's log says what")
        finally:
            self._works.pop(job.id, None)

    def _end(self, job: Job, state: State, message: str) -> None:
        job.message, job.finished, job.progress = message, time.time(), 1.0 if state == "done" else None
        self._record(replace(job, state=state))  # who sees that it is over finds it recorded
        job.state = state

    def _record(self, job: Job) -> None:
        with contextlib.suppress(InputError):  # a full disk: the job itself will say so
            write_json(self.folder / job.id / "job.json", asdict(job))


def _recorded(folder: Path) -> Sequence[Job]:
    jobs = []
    for path in folder.glob("*/job.json"):
        try:
            job = Job(**read_json(path))
        except (InputError, TypeError):
            continue
        if not job.over:
            job.state, job.message, job.progress = "failed", "the server ended while this job ran", None
            job.finished = path.stat().st_mtime
        jobs.append(job)
    return sorted(jobs, key=lambda job: job.created)[-KEPT:]
