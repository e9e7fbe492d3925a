"""Workers on a Ray cluster: connecting, and running a list of tasks through a pool until each has an answer.

Ray Data reads the list, sizes the pool to the cluster and repeats what a dead node took with it. Here is only what it
leaves open: telling which task is behind a worker that keeps dying, and letting the rest finish.
"""

import contextlib
import importlib
import logging
import os
import socket
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any, ClassVar
from urllib.parse import urlsplit

from cfmr.errors import InputError

CONNECTING = 10.0  # seconds
JOINING = 3  # times that a cluster is asked to be let in
TRIES = 3  # times that a task is done before it is given up
RETRIES = 2  # that Ray makes of a task whose worker died, within a try

Row = dict[str, Any]  # what Ray Data moves: texts, numbers and bytes; all rows of a kind have the same keys
_END: Row = {}  # comes after the answers of a pass that went through the whole list


class Worker(ABC):
    """What runs in each process of a pool: gets ready when the first task comes, then answers one task after the other.

    Every answer has the task's name, a line `failed` where the task could not be done, and a line `fatal` where no
    further try can change that.
    """

    EMPTY: ClassVar[Row]  # what an answer holds where there is nothing to tell

    def __init__(self) -> None:
        self._is_ready = False

    @abstractmethod
    def prepare(self) -> None:
        """Get ready. Raises InputError if something is missing on this machine."""

    @abstractmethod
    def answer(self, task: Row) -> Row:
        """What is to be told of a task. Raises InputError if it cannot be done."""

    def __call__(self, task: Row) -> Row:
        """The answer to a task, whatever happens."""
        told: Row = {"name": task["name"], "failed": "", "fatal": "", **self.EMPTY}
        try:
            if not self._is_ready:
                self.prepare()
                self._is_ready = True
        except InputError as error:
            return told | {"fatal": f"{os.uname().nodename}: {error}"}
        try:
            return told | self.answer(task)
        except InputError as error:
            return told | {"failed": str(error)}


@contextlib.contextmanager
def ray_session(address: str) -> Iterator[Any]:
    """Ray, connected to a cluster for as long as the block runs.

    Args:
        address: "local" (this machine, its cores), "auto" (the cluster this machine is part of) or `ray://host:port`.

    Raises:
        InputError: Ray is missing, the address is none, nobody answers there, or its machines lack this package.
    """
    if address not in ("local", "auto") and not address.startswith("ray://"):
        raise InputError(f"--ray {address}: not an address; give local, auto or ray://host:port")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # a worker that died is reported in one line, at the end
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InputError("--ray: needs Ray; pip install 'cfmr[ray]'") from error
    ours = not ray.is_initialized()
    if ours:
        _check_reachable(address)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                _join(ray, address)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            told = str(error).strip().split("\n")[0][:200]
            raise InputError(f"--ray {address}: no cluster answers there ({told})") from error
    try:
        check_nodes(ray, address, "cfmr")
        yield ray
    finally:
        if ours:
            ray.shutdown()


def _join(ray: Any, address: str) -> None:
    """Connect. The process that a head starts for whoever comes by `ray://` dies now and then as it is forked (Ray's
    issue 63202, one in fifteen), and Ray says so after half a minute; the next one knows nothing of it."""
    for left in reversed(range(JOINING)):
        try:
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
            return
        except ConnectionAbortedError:
            if not left:
                raise


def _check_reachable(address: str) -> None:
    """Ray itself waits half a minute for a port that is closed."""
    if not address.startswith("ray://"):
        return
    try:
        parts = urlsplit(address)
        socket.create_connection((parts.hostname or "", parts.port or 10001), timeout=CONNECTING).close()
    except (OSError, ValueError) as error:
        raise InputError(f"--ray {address}: no cluster answers there ({error})") from error


def check_nodes(ray: Any, address: str, package: str) -> None:
    """Make sure that every machine has this version of a package.

    A machine that died is listed for some seconds more; one that has left by the time it is asked is passed over.

    Raises:
        InputError: names the machine and what it has.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = version("cfmr")

    def installed(name: str) -> str:
        try:
            importlib.import_module(name)
            return version("cfmr")
        except ImportError:
            return ""

    installed.__module__ = "__main__"  # so that Ray sends the function itself, not where to import it from
    ask = ray.remote(num_cpus=0)(installed)
    nodes = [node for node in ray.nodes() if node["Alive"]]
    affinities = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in nodes]
    asked = [ask.options(scheduling_strategy=affinity).remote(package) for affinity in affinities]
    for node, answer in zip(nodes, asked, strict=True):
        try:
            found = ray.get(answer, timeout=120)
        except (ray.exceptions.RayError, TimeoutError) as error:
            if isinstance(error, ray.exceptions.TaskUnschedulableError) or not _is_alive(ray, node["NodeID"]):
                continue
            raise InputError(f"--ray {address}: {node['NodeManagerAddress']} does not answer ({error})") from error
        if found != here:
            has = f"has cfmr {found}, this machine {here}" if found else "cannot import cfmr"
            raise InputError(
                f"--ray {address}: {node['NodeManagerAddress']} {has}; install the same there, with the same extras"
            )


def _is_alive(ray: Any, identity: str) -> bool:
    return any(node["NodeID"] == identity and node["Alive"] for node in ray.nodes())


def map_tasks(
    ray: Any, tasks: Sequence[Row], worker: type, arguments: Sequence[Any], gpus: int = 0
) -> Iterator[tuple[Row | None, str]]:
    """Answers to tasks, in whatever order they come; each task is answered once.

    Args:
        tasks: each with a "name" of its own.
        worker: a `Worker` made with `arguments` in every process of the pool. A task that failed is tried again, and
            its answer given when there are no tries left; a fatal answer ends everything.
        gpus: that a worker takes.

    Yields:
        an answer and its task's name; (None, name) for a task whose worker died each time.

    Raises:
        InputError: a worker found something that no further try can change.
    """
    waiting = {task["name"]: task for task in tasks}
    failed: dict[str, Row] = {}
    tries = 0
    while waiting and tries < TRIES:
        before, whole = len(waiting), False
        for answer in _run_once(ray, list(waiting.values()), worker, arguments, gpus, alone=tries > 0):
            if answer == _END:
                whole = True
            elif answer["fatal"]:
                raise InputError(answer["fatal"])
            elif answer["failed"] and tries + 1 < TRIES:
                failed[answer["name"]] = answer
            elif waiting.pop(answer["name"], None) is not None:
                yield answer, answer["name"]
        if whole or len(waiting) == before:  # one that a dead machine broke off says nothing of what is left
            tries += 1
    for name in waiting:
        yield failed.get(name), name


def _run_once(
    ray: Any, tasks: list[Row], worker: type, arguments: Sequence[Any], gpus: int, alone: bool
) -> Iterator[Row]:
    """One pass. Tasks whose worker keeps dying yield nothing; a complete pass ends with `_END`.

    `alone`: a process is given one task at a time, so that one that kills it takes no other with it.
    """
    if ray.util.client.ray.is_connected():
        yield from _run_there(ray, tasks, worker, arguments, gpus, alone)
        return
    context = ray.data.DataContext.get_current().copy()
    context.max_errored_blocks = -1
    context.enable_progress_bars = False
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what fails for good is reported at the end
    with ray.data.DataContext.current(context), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of retries given here; there is no other way to bound them
        workers = max(1, min(_slots(ray, gpus), len(tasks)))
        rows = ray.data.from_items(tasks, override_num_blocks=len(tasks)).map(
            worker,
            fn_constructor_args=tuple(arguments),
            compute=ray.data.ActorPoolStrategy(
                min_size=workers, max_size=None, max_tasks_in_flight_per_actor=1 if alone else 2
            ),
            num_cpus=1,
            num_gpus=gpus,
            max_restarts=-1,
            max_task_retries=RETRIES,
        )
    try:
        yield from rows.iter_rows()
    except ray.exceptions.RayError:  # what a dead machine held is lost: it comes again in the next pass
        return
    yield _END


class PassIterator:
    """One pass of which the answers are asked for from outside the cluster; Ray Data only works inside."""

    def __init__(self, tasks: list[Row], worker: type, arguments: Sequence[Any], gpus: int, alone: bool) -> None:
        import ray
        import ray.data

        self._answers = _run_once(ray, tasks, worker, arguments, gpus, alone)

    def next_answer(self) -> Row | None:
        """The next answer; None when there are no more."""
        return next(self._answers, None)


def _run_there(
    ray: Any, tasks: list[Row], worker: type, arguments: Sequence[Any], gpus: int, alone: bool
) -> Iterator[Row]:
    """`_run_once`, by a process of the cluster."""
    there = ray.remote(num_cpus=0)(PassIterator).remote(tasks, worker, tuple(arguments), gpus, alone)
    try:
        while (answer := ray.get(there.next_answer.remote())) is not None:
            yield answer
    except ray.exceptions.RayError:  # the process died with its machine
        return
    finally:
        ray.kill(there)


def _slots(ray: Any, gpus: int) -> int:
    """Workers that the cluster has room for now."""
    resources = ray.cluster_resources()
    return int(resources.get("GPU", 0) // gpus if gpus else resources.get("CPU", 1))


def gpus_per_worker(ray: Any, useful: bool) -> int:
    """One GPU a worker where the cluster has any and the work can use it."""
    return 1 if useful and ray.cluster_resources().get("GPU", 0) else 0
