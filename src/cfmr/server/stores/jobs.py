"""Long work in the background: commands of `cfmr` itself, one job after the other, each with a log and a way to stop.
Downloads have a queue of their own: the rest does not wait for a network.

A job is a folder with `job.json` and `log.txt`, so that one can see later what was done. The server only waits for
processes, so nothing they do, not even dying, disturbs it.

Several processes may serve one workspace. The folder is then their common queue: whoever holds its lock does the jobs
that wait, and all of them read how far it is.
"""

import contextlib
import fcntl
import json
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
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from cfmr.errors import InputError
from cfmr.files.atomic import make_directory, read_json, sweep, write_json
from cfmr.server.problems import Problem
from cfmr.server.stores.orphans import end_processes, marked

log = logging.getLogger(__name__)

YIELDING = ("add", "use")  # kinds that stop for others that come, and go on after them: they may take hours
QUEUES = {"turn": (), "downloads": ("fetch",)}  # name -> kinds that wait in it; the first has all that are in no other
State = Literal["queued", "running", "done", "failed", "cancelled"]
COMMAND = (sys.executable, "-m", "cfmr.cli")
PROGRESS = ("--progress", "json")
KEPT = 200  # jobs that are remembered
GRACE = 5.0  # seconds between asking a process to stop and stopping it
NICE = 10  # searching goes before
LOG_PIECE = 256 << 10
TOLD = 0.25  # seconds between two records of how far a job is
FIRST_GUESS = 2.0  # seconds of a stage after which the time left is guessed
LOOK = 0.2  # seconds between two looks at what other processes did
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass
class Job:
    """What is known of a job. Times are seconds since 1970.

    Attributes:
        kind: "add", "import", "rename", "reread", "learn", "switch", "fetch" or "use"; says what is done.
        title: what it does, for people.
        arguments: of what is done.
        message: what it is doing now, or how it ended.
        progress: from 0 to 1; None where it is not known.
        left: seconds until the present stage is done, by its pace so far; None where there is none yet.
        result: what came out, by kind.
    """

    id: str
    kind: str
    title: str
    arguments: dict[str, Any] = field(default_factory=dict)
    state: State = "queued"
    message: str = ""
    progress: float | None = None
    left: float | None = None
    created: float = field(default_factory=time.time)
    started: float | None = None
    finished: float | None = None
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        return self.state not in ("queued", "running")


_RECORD = TypeAdapter(Job)


class StepFailedError(Exception):
    """A step of a job failed; the message is for people."""


class CancelledError(Exception):
    """Someone asked the job to stop."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of `--progress json`.

    Attributes:
        label: what is going on, for people.
        done, total: how many of how many steps; total is None where it is not known.
        metrics: figures of an epoch that has ended.
    """

    label: str
    done: int
    total: int | None
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def share(self) -> float | None:
        """From 0 to 1; None where the total is not known."""
        return min(self.done / self.total, 1.0) if self.total else None

    def __str__(self) -> str:
        return self.label + "".join(f"  {name} {value:.4g}" for name, value in self.metrics.items())


def parse_progress(line: str) -> Progress | None:
    """A progress line of a `cfmr` command; None for any other output."""
    if not line.startswith("{"):
        return None
    try:
        value = json.loads(line)
        label, done, total = value["label"], value["done"], value["total"]
        figures = {k: float(v) for k, v in value.get("metrics", {}).items() if isinstance(v, int | float)}
        return Progress(str(label), int(done), None if total is None else int(total), figures)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


Handler = Callable[["JobContext", dict[str, Any]], dict[str, Any]]


class JobContext:
    """What a running job works with: it runs commands and reports progress.

    Args:
        folder: of the job.
        told: called when its message or progress has changed.
    """

    def __init__(self, job: Job, folder: Path, told: Callable[[Job], None]) -> None:
        self.job, self.folder = job, folder
        self._told = told
        self._process: subprocess.Popen[bytes] | None = None
        self._cancelled = threading.Event()
        self._lock = threading.Lock()
        self._pace = _Pace()
        self.yields = False

    def say(self, message: str, progress: float | None = None) -> None:
        """Tell people what is going on."""
        if self._cancelled.is_set():
            raise CancelledError
        self._tell(message, progress)

    def _tell(self, message: str, progress: float | None) -> None:
        self.job.message, self.job.progress = message, progress
        self.job.left = self._pace.left(progress)
        self._told(self.job)

    def run(self, *arguments: str | Path, stage: str) -> None:
        """Run a `cfmr` command.

        Args:
            arguments: of the command line.
            stage: of the job, for people; stands before the command's own progress. Other output goes to the log.

        Raises:
            StepFailedError: the command failed; its last line says why.
            CancelledError: it was stopped.
        """
        argv = [*COMMAND, *map(str, arguments), *PROGRESS]
        self._log("$ cfmr " + " ".join(map(str, arguments)))
        # PYTHONUNBUFFERED: lines come when they are written; NO_COLOR, TERM: without escapes
        environment = os.environ | {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "120"}
        environment |= marked(self.job.id)
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
        last = self._follow(process, stage)
        code = process.wait()
        self._process = None
        if self._cancelled.is_set():
            raise CancelledError
        if code != 0:
            why = last.removeprefix("cfmr: ") or "it said nothing"
            raise StepFailedError(why if code > 0 else f"it was ended by {signal.Signals(-code).name}")

    def _follow(self, process: "subprocess.Popen[bytes]", stage: str) -> str:
        assert process.stdout is not None
        last = ""
        for raw in process.stdout:
            for piece in raw.decode("utf-8", "replace").split("\r"):
                line = _ESCAPES.sub("", piece).rstrip()
                if not line:
                    continue
                progress = parse_progress(line)
                if progress is not None:
                    self._tell(f"{stage}: {progress.label}", progress.share)
                    if progress.metrics:
                        self._log(str(progress))
                    continue
                last = line
                self._log(line)
        return last

    def _log(self, line: str) -> None:
        with open(self.folder / "log.txt", "a", encoding="utf-8", errors="replace") as file:
            file.write(line + "\n")

    def give_way(self) -> None:
        """Stop, to go on after what waits."""
        self.yields = True
        self.cancel()

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


class _Pace:
    """Tells how long a stage will take, from how far it has come since it began; what was done before is not counted.

    A stage begins where progress falls, or was not known before.
    """

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None
        self._last = 0.0

    def left(self, progress: float | None) -> float | None:
        """Seconds until the stage is done; None where nothing can be said yet."""
        if progress is None:
            self._first = None
            return None
        now = time.monotonic()
        if self._first is None or progress < self._last:
            self._first = now, progress
        self._last = progress
        since, began = self._first
        if now - since < FIRST_GUESS or progress <= began:
            return None
        return round((now - since) * (1 - progress) / (progress - began), 1)


def _queue_of(kind: str) -> str:
    return next((name for name, kinds in QUEUES.items() if kind in kinds), "turn")


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


class Jobs:
    """Jobs of one workspace, done one after the other in the order in which they came.

    Args:
        folder: of their records.

    Attributes:
        handlers: the body of each kind of job. It gets a `JobContext` and the job's arguments, and returns the result.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = make_directory(folder)
        self.handlers: dict[str, Handler] = {}
        self._jobs: dict[str, Job] = {}
        self._seen: dict[str, int] = {}  # when the record was written that was read last
        self._works: dict[str, JobContext] = {}
        self._recorded_at: dict[str, float] = {}
        self._lock = threading.RLock()
        self._wakes: dict[str, queue.SimpleQueue[bool]] = {name: queue.SimpleQueue() for name in QUEUES}
        self._closing = threading.Event()
        self._threads = [
            threading.Thread(target=self._work_off, args=(name,), name=f"jobs {name}", daemon=True) for name in QUEUES
        ]
        self._sweep()

    def begin(self) -> None:
        """Do what is waiting, and what comes. Jobs that were running when a server died are marked so."""
        for thread in self._threads:
            thread.start()
        self._wake(True)

    def _wake(self, go_on: bool) -> None:
        for wake in self._wakes.values():
            wake.put(go_on)

    def all(self) -> list[Job]:
        """The newest first."""
        self._read()
        return sorted(self._jobs.values(), key=lambda job: -job.created)[:KEPT]

    def get(self, job: str) -> Job:
        """Raises Problem if there is no such job."""
        self._read()
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

    def start(self, kind: str, title: str, arguments: dict[str, Any] | None = None) -> Job:
        """Put a job in the queue; if one that does the same waits there already, that is the job."""
        with self._records_lock():
            for waiting in self._jobs.values():
                if waiting.state == "queued" and (waiting.kind, waiting.arguments) == (kind, arguments or {}):
                    return waiting
            job = Job(uuid.uuid4().hex[:12], kind, title, arguments or {})
            make_directory(self.folder / job.id)
            self._jobs[job.id] = job
            self._record(job)
        self._wake(True)
        return job

    def busy(self, kind: str, arguments: dict[str, Any] | None = None) -> bool:
        """Whether a job of a kind waits or runs; of these arguments, if some are given."""
        return any(job.kind == kind and not job.over and arguments in (None, job.arguments) for job in self.all())

    def cancel(self, job_id: str) -> Job:
        """Stop a job. Raises Problem if it is over."""
        with self._records_lock():
            job = self.get(job_id)
            if job.state == "queued":
                self._end(job, "cancelled", "cancelled")
                return job
            if job.over:
                raise Problem(409, "this job is over")
            work = self._works.get(job.id)
            if work is None:  # another process runs it
                self._cancel_marker(job).touch()
        if work is not None:
            work.cancel()
        return job

    def close(self) -> None:
        """Stop what runs here and start nothing more; what waits is done by whoever serves next."""
        self._closing.set()
        self._wake(False)
        for work in list(self._works.values()):
            work.cancel()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(2 * GRACE)

    # --- doing --------------------------------------------------------------------------------------------------------

    def _work_off(self, name: str) -> None:
        while self._wakes[name].get() and not self._closing.is_set():
            try:
                with self._queue_lock(name) as mine:
                    while mine and not self._closing.is_set() and (job := self._next(name)) is not None:
                        self._do(job)
            except Exception:  # a full disk, say; the next job may do better
                log.exception("jobs")

    @contextlib.contextmanager
    def _queue_lock(self, name: str) -> Iterator[bool]:
        """The lock of whoever runs the jobs of a queue of this workspace; False if closed while waiting for it."""
        with open(self.folder / f"{name}.lock", "a") as file:
            while not self._closing.is_set():
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    self._closing.wait(LOOK)
                else:
                    yield True
                    return
            yield False

    def _next(self, name: str) -> Job | None:
        """The oldest queued job. Holding the queue lock, a job still marked running belongs to a dead process."""
        with self._records_lock():
            ours = [job for job in self._jobs.values() if _queue_of(job.kind) == name]
            for job in ours:
                if job.state == "running":
                    end_processes(job.id)
                    self._end(job, "failed", "the server ended while this job ran")
            waiting = [job for job in ours if job.state == "queued"]
            if not waiting:
                return None
            job = min(waiting, key=lambda job: (job.kind in YIELDING, job.created))
            self._works[job.id] = JobContext(job, self.folder / job.id, self._told)
            job.state, job.started = "running", time.time()
            self._record(job)
            return job

    def _do(self, job: Job) -> None:
        work = self._works[job.id]
        over = threading.Event()
        threading.Thread(target=self._listen, args=(work, over), daemon=True).start()
        try:
            job.result = self.handlers[job.kind](work, job.arguments)
            self._end(job, "done", job.message)
        except CancelledError:
            if work.yields and not self._cancel_marker(job).exists() and not self._closing.is_set():
                self._wait_again(job)
            else:
                self._end(job, "cancelled", "cancelled")
        except (StepFailedError, InputError, Problem) as error:
            self._end(job, "failed", error.detail if isinstance(error, Problem) else str(error))
        except Exception:
            log.exception("job %s", job.id)
            self._end(job, "failed", "something went wrong here; the server's log says what")
        finally:
            over.set()
            with self._lock:
                self._works.pop(job.id, None)

    def _listen(self, work: JobContext, over: threading.Event) -> None:
        """Cancel the job if another process was asked to; let it give way to others."""
        while not over.wait(LOOK):
            if self._cancel_marker(work.job).exists():
                work.cancel()
                return
            if work.job.kind in YIELDING and self._others_wait():
                work.give_way()
                return

    def _others_wait(self) -> bool:
        return any(
            job.state == "queued" and job.kind not in YIELDING and _queue_of(job.kind) == "turn" for job in self.all()
        )

    def _wait_again(self, job: Job) -> None:
        with self._records_lock():
            job.message, job.started, job.progress, job.left, job.state = "", None, None, None, "queued"
            self._record(job)

    def _cancel_marker(self, job: Job) -> Path:
        return self.folder / job.id / "cancel"

    def _end(self, job: Job, state: State, message: str) -> None:
        job.message, job.finished, job.progress = message, time.time(), 1.0 if state == "done" else None
        job.left = None
        self._record(replace(job, state=state))  # who sees that it is over finds it recorded
        job.state = state

    def _sweep(self) -> None:
        """Remove what a server left that was killed as it began to record a job."""
        with self._records_lock():
            for folder in self.folder.iterdir():
                if folder.is_dir():
                    sweep(folder)
                    with contextlib.suppress(OSError):  # it holds something
                        folder.rmdir()

    # --- records ------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _records_lock(self) -> Iterator[None]:
        """Exclusive lock on the job records; re-reads them first."""
        with self._lock, open(self.folder / "records.lock", "a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self._read()
            yield

    def _told(self, job: Job) -> None:
        """Let other processes know how far a job is, now and then."""
        if time.monotonic() - self._recorded_at.get(job.id, 0.0) >= TOLD:
            self._recorded_at[job.id] = time.monotonic()
            self._record(job)

    def _record(self, job: Job) -> None:
        with self._lock, contextlib.suppress(InputError):  # a full disk: the job itself will say so
            write_json(self.folder / job.id / "job.json", asdict(job))

    def _read(self) -> None:
        """Take up what other processes recorded."""
        with self._lock:
            for path in self.folder.glob("*/job.json"):
                name = path.parent.name
                if name not in self._works:
                    self._read_one(name, path)

    def _read_one(self, name: str, path: Path) -> None:
        try:
            written = path.stat().st_mtime_ns
            if self._seen.get(name) == written:
                return
            self._seen[name] = written
            job = _RECORD.validate_python(read_json(path))
        except (OSError, InputError, ValidationError):
            return
        if job.id != name:
            return
        known = self._jobs.setdefault(name, job)
        vars(known).update(vars(job))
