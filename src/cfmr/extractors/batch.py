"""Extracting many videos: in worker processes, resumable, carrying on past what cannot be read."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from cfmr.data.features import FeatureWriter, precision_of, write_part
from cfmr.errors import InputError
from cfmr.extractors import Attributes, Extractor, get_extractor, takes
from cfmr.extractors.recognition import Found, recognise
from cfmr.files.processes import interrupt_blocked
from cfmr.files.reading import brief
from cfmr.progress import Progress, silent
from cfmr.video.files import fingerprint_of, same_content, shown, stored_path

TOLD = 1.0  # seconds between two words on how many files were looked at
Taken = Callable[[FeatureWriter, bool], None]
Reading = Callable[[frozenset[str]], None]


def nothing(_: FeatureWriter, __: bool) -> None:
    """What is done with finished videos by default."""


def untold(_: frozenset[str]) -> None:
    """Who is told of the videos that are being read by default."""


@dataclass(slots=True)
class Summary:
    """What became of a batch.

    Attributes:
        extracted: videos done now.
        kept: videos whose features were there already.
        damaged: video -> one line, for those of both that could be read in part.
        failed: video -> one line, for those that have no features.
        called: a video's own name -> the one it has in the feature file, where that is another.
    """

    extracted: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    damaged: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    called: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Task:
    video: str
    path: Path
    fingerprint: str
    where: str


@dataclass(frozen=True, slots=True)
class _Result:
    task: _Task
    part: Path | None = None
    duration: float = 0.0
    damage: str = ""
    error: str = ""


def extract_all(
    videos: dict[str, Path],
    extractor: str,
    out: str | os.PathLike[str],
    workers: int | None = None,
    progress: Progress = silent,
    taken: Taken = nothing,
    reading: Reading = untold,
    **options: Any,
) -> Summary:
    """Extract the features of many videos into one HDF5 file.

    Features are kept video by video as they come, so a run that was broken off, even killed, carries on where it was; a
    finished file is added to. A video is done again if its file has changed; see `recognise` for the names of videos
    whose files have moved, or that are called like another. With more than one worker the caller's
    main module must be importable (`if __name__ == "__main__":`).

    Args:
        videos: identifier -> file, as `cfmr.video.files.find_videos` gives them.
        extractor: name in the registry.
        out: the HDF5 file.
        workers: processes; by default one a core.
        progress: told how many bytes are done.
        taken: called before the first video and after each, with what is finished, and whether that is all.
        reading: told which videos are being read, when that changes.
        options: of the extractor.

    Raises:
        InputError: no such extractor, a missing package or weights, or `out` cannot be written or holds other features.
    """
    cores = available_cores()
    if workers is None and options.get("device") not in (None, "cpu"):
        workers = 1  # one process keeps a GPU busy
    maker, options = make_extractor(extractor, out, cores, options)
    summary = Summary()
    with FeatureWriter(out, maker.attributes()) as writer:
        videos, tasks = _tasks(videos, writer, summary, progress)
        if taken is not nothing:
            tasks[:0] = [tasks.pop()] if tasks else []  # the smallest: there is something to work with soon
        workers = max(1, min(workers or cores, len(tasks)))
        sizes = {video: path.stat().st_size for video, path in videos.items() if video not in summary.failed}
        meter = Meter(sizes, summary.kept, progress, reading)
        if workers == 1:
            results = (_extract(maker, task, writer.parts, meter.inside(task.video)) for task in tasks)
        else:
            setup = (extractor, max(1, cores // workers), options, writer.parts)
            results = _in_processes(tasks, workers, setup, meter)
        taken(writer, not tasks)
        for number, result in enumerate(results, 1):
            _count(result, writer, summary)
            meter.finish(result.task.video, result.duration)
            taken(writer, number == len(tasks))
        if not writer.videos:
            raise InputError(nothing_read(summary))
    return summary


def make_extractor(
    name: str, out: str | os.PathLike[str], threads: int, options: dict[str, Any]
) -> tuple[Extractor, dict[str, Any]]:
    """An extractor for a feature file, and options with which another process makes its like.

    Where the extractor has a choice of precision, that is the one of the features which `out` holds already.

    Raises:
        InputError: as `get_extractor`; also if that precision is none for this machine.
    """
    if not takes(name, "precision"):
        return get_extractor(name, threads, **options), options
    maker = get_extractor(name, threads, **{"precision": precision_of(Path(out)), **options})
    return maker, {**options, "precision": maker.attributes()["precision"]}


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _tasks(
    videos: dict[str, Path], writer: FeatureWriter, summary: Summary, progress: Progress
) -> tuple[dict[str, Path], list[_Task]]:
    """The videos by the names they get, and what is still to do; the largest first, so that no worker is left alone
    with it at the end."""
    found: dict[str, Found] = {}
    told = time.monotonic()
    for number, (video, path) in enumerate(videos.items()):
        if time.monotonic() - told > TOLD:  # on a share this may take minutes
            told = time.monotonic()
            progress(f"extracting: looked at {number:,} of {len(videos):,} files", number, None)
        try:
            found[video] = Found(stored_path(path.resolve()), fingerprint_of(path))
        except OSError as error:
            summary.failed[video] = f"{path}: cannot be read ({error.strerror or error})"
    names = recognise(found, writer)
    summary.called = {video: name for video, name in names.items() if video != name}
    tasks = [
        _Task(names[video], videos[video], one.fingerprint, one.where)
        for video, one in found.items()
        if not keep(names[video], one.fingerprint, writer, summary)
    ]
    tasks.sort(key=lambda task: -task.path.stat().st_size)
    return {names.get(video, video): path for video, path in videos.items()}, tasks


def keep(video: str, fingerprint: str, writer: FeatureWriter, summary: Summary) -> bool:
    """Whether the features of a file are there already; if so it is counted among the kept."""
    if video not in writer or not same_content(writer.attributes_of(video).get("fingerprint"), fingerprint):
        return False
    summary.kept.append(video)
    if damage := writer.attributes_of(video).get("damage"):
        summary.damaged[video] = str(damage)
    return True


def attributes_of(duration: float, fingerprint: str, where: str, damage: str | None) -> Attributes:
    """What the feature file says of one video."""
    attributes: Attributes = {"duration": duration, "fingerprint": fingerprint, "path": where}
    return attributes | {"damage": shown(damage)} if damage else attributes


def _extract(extractor: Extractor, task: _Task, parts: Path, progress: Callable[[float], None]) -> _Result:
    try:
        # matrices are small: with a pool for every core in each worker, threads would wait for one another, busily
        with threadpool_limits(1, "blas"):
            extraction = extractor.extract(task.path, progress)
        attributes = attributes_of(extraction.duration, task.fingerprint, task.where, extraction.damage)
    except InputError as error:
        return _Result(task, error=str(error))
    except (OSError, MemoryError, ValueError, RuntimeError) as error:  # one video never ends the others
        return _Result(task, error=f"{task.path}: cannot be read ({brief(error)})")
    part = write_part(parts, task.video, extraction.features, **attributes)
    return _Result(task, part, extraction.duration, extraction.damage or "")


def _count(result: _Result, writer: FeatureWriter, summary: Summary) -> None:
    video = result.task.video
    if result.part is None:
        summary.failed[video] = result.error
        return
    writer.take(result.part)
    summary.extracted.append(video)
    if result.damage:
        summary.damaged[video] = result.damage


def nothing_read(summary: Summary) -> str:
    first = next(iter(summary.failed.values()), "no video was named")
    others = f" (and {len(summary.failed) - 1} more)" if len(summary.failed) > 1 else ""
    return f"nothing could be read: {first}{others}"


class Meter:
    """How far a batch is, by the size of files: their length is not known before they are read.

    Args:
        sizes: bytes by video, of all that can be read.
        kept: videos that were there already.
        progress: told of every change.
        reading: told which videos are being read.
    """

    def __init__(
        self, sizes: Mapping[str, int], kept: Iterable[str], progress: Progress, reading: Reading = untold
    ) -> None:
        self._sizes = {video: size + 1 for video, size in sizes.items()}  # an empty file counts, too
        self._within = dict.fromkeys(kept, 1.0)
        self._done = len(self._within)
        self._seconds, self._began, self._progress = 0.0, time.monotonic(), progress
        self._begun, self._tell_reading = frozenset[str](), reading
        self.update()

    def update(self) -> None:
        """Tell how far it is."""
        label = f"extracting: {self._done:,} of {len(self._sizes):,} videos"
        if self._seconds:
            label += f", {self._seconds / max(time.monotonic() - self._began, 1e-9):,.0f} h of video an hour"
        done = sum(int(self._sizes[video] * part) for video, part in self._within.items())
        self._progress(label, done, sum(self._sizes.values()))
        begun = frozenset(video for video, part in self._within.items() if part < 1)
        if begun != self._begun:
            self._begun = begun
            self._tell_reading(begun)

    def inside(self, video: str) -> Callable[[float], None]:
        """To be called with the share of a video that is done."""

        def report(part: float) -> None:
            self._within[video] = min(part, 1.0)
            self.update()

        return report

    def finish(self, video: str, seconds: float) -> None:
        """A video of some seconds is done; of none where it could not be read."""
        self._done += 1
        self._seconds += seconds
        self.inside(video)(1.0)


class _Worker:
    """A process that extracts one video after the other. If it dies, we know over which."""

    def __init__(self, setup: tuple[Any, ...]) -> None:
        context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_work, args=(other, *setup), daemon=True)
        with interrupt_blocked():
            self.process.start()
        other.close()
        self.task: _Task | None = None

    def give(self, task: _Task) -> None:
        self.task = task
        self.pipe.send(task)

    def stop(self) -> None:
        self.pipe.close()
        self.process.terminate()
        self.process.join()


def _work(pipe: Connection, name: str, threads: int, options: dict[str, Any], parts: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    extractor = get_extractor(name, threads=threads, **options)
    while True:
        try:
            task = pipe.recv()
        except (EOFError, ConnectionError):
            return
        try:
            pipe.send(_extract(extractor, task, parts, pipe.send))
        except InputError as error:  # the place cannot be written: no use in going on
            pipe.send(error)
        except BrokenPipeError:
            return


def _in_processes(tasks: list[_Task], workers: int, setup: tuple[Any, ...], meter: Meter) -> Any:
    """Results as they come. A process that dies costs the video it was at, and is replaced."""
    waiting = tasks[::-1]
    crew: dict[Connection, _Worker] = {}
    try:
        while waiting or crew:
            while waiting and len(crew) < workers:
                worker = _Worker(setup)
                crew[worker.pipe] = worker
                worker.give(waiting.pop())
            for pipe in wait(list(crew)):
                worker = crew[pipe]  # type: ignore[index]
                assert worker.task is not None
                try:
                    message = worker.pipe.recv()
                except (EOFError, ConnectionError):
                    message = _Result(worker.task, error=_death(worker))
                    del crew[worker.pipe]
                if isinstance(message, float):
                    meter.inside(worker.task.video)(message)
                    continue
                if isinstance(message, InputError):
                    raise message
                if worker.pipe in crew and waiting:
                    worker.give(waiting.pop())
                elif worker.pipe in crew:
                    del crew[worker.pipe]
                    worker.stop()
                yield message
    finally:
        for worker in crew.values():
            worker.stop()


def _death(worker: _Worker) -> str:
    worker.process.join()
    assert worker.task is not None
    return f"{worker.task.path}: the process that read it died (exit code {worker.process.exitcode}); is it damaged?"
