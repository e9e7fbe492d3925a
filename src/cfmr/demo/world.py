"""A folder of rendered videos with annotations: the demo's stand-in for what a user brings along."""

import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cfmr.data.annotations import Annotation, save_annotations
from cfmr.demo.rendering import render
from cfmr.demo.script import Script, held_out_pairs, write_script
from cfmr.errors import InputError
from cfmr.files.atomic import make_directory, read_json, replacing, write_json
from cfmr.files.processes import interrupt_blocked
from cfmr.progress import Progress, silent

VERSION = 2  # of the world: raised whenever the same seed would render something else
FEWEST_VIDEOS = 10
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class World:
    """Where a rendered world lies and what is in it.

    Attributes:
        videos: the directory of the MP4 files; a video's name is its file's stem.
        annotations: split -> annotation file.
        unseen: for each test sentence whether it tells of an actor doing what no training video shows it do.
    """

    videos: Path
    annotations: dict[str, Path]
    unseen: tuple[bool, ...]


def split_sizes(videos: int) -> dict[str, int]:
    """How many of the videos train, validate and test: 220, 30 and 50 of 300.

    Raises:
        InputError: fewer videos than three splits can share.
    """
    if videos < FEWEST_VIDEOS:
        raise InputError(f"--videos {videos}: the demo needs at least {FEWEST_VIDEOS} videos")
    test, val = max(2, round(videos / 6)), max(2, round(videos / 10))
    return {"train": videos - test - val, "val": val, "test": test}


def video_script(seed: int, split: str, number: int) -> Script:
    """The script of one video; it does not depend on how many others there are."""
    rng = np.random.default_rng([seed, 1 + SPLITS.index(split), number])
    return write_script(rng, held_out_pairs(seed), test=split == "test")


def annotate(seed: int, split: str, number: int, script: Script) -> list[tuple[Annotation, bool]]:
    """The video's annotations, each with whether its pair of actor and event is held out of training.

    Training rows have a glance, drawn uniformly from the moment, and no span; validation and test rows have both.
    """
    rng = np.random.default_rng([seed, 1 + SPLITS.index(split), number, 1])
    hidden = held_out_pairs(seed)
    rows = []
    for sentence, event in script.sentences:
        span = round(event.start, 2), round(event.end, 2)
        glance = round(float(rng.uniform(*span)), 2)
        known = None if split == "train" else span
        row = Annotation(_name(split, number), round(script.duration, 2), sentence, glance, known)
        rows.append((row, any((actor.kind, event.kind) in hidden for actor in event.actors)))
    return rows


def render_videos(out: str | os.PathLike[str], videos: int = 300, seed: int = 0, progress: Progress = silent) -> World:
    """Render the world of a seed into `out`/videos and `out`/annotations; what is there from before is kept.

    A world of fewer videos is not part of a larger one's split, but its files are the same where names are. Videos of
    another seed or version are replaced, those beyond the number asked for are removed.

    Args:
        out: directory, made if needed.
        videos: how many, at least 10.
        seed: of everything random.
        progress: told how many videos are done.

    Raises:
        InputError: too few videos asked for, or `out` cannot be written.
    """
    out = Path(out)
    sizes = split_sizes(videos)
    if seed < 0:
        raise InputError(f"--seed {seed}: a seed is a whole number from 0 on")
    folder = make_directory(out / "videos")
    names = {_name(split, n): (split, n) for split, size in sizes.items() for n in range(size)}
    key = {"version": VERSION, "seed": seed}
    _clear(folder, out / "world.json", key, set(names))
    write_json(out / "world.json", key)
    _render_all(
        folder, seed, [names[name] for name in names if not (folder / f"{name}.mp4").exists()], len(names), progress
    )
    files, unseen = {}, []
    for split, size in sizes.items():
        rows = [r for n in range(size) for r in annotate(seed, split, n, video_script(seed, split, n))]
        files[split] = out / "annotations" / f"{split}.json"
        save_annotations(files[split], [row for row, _ in rows])
        unseen = [new for _, new in rows]
    return World(folder, files, tuple(unseen))


def _name(split: str, number: int) -> str:
    return f"{split}-{number:04d}"


def _clear(folder: Path, record: Path, key: dict[str, int], names: set[str]) -> None:
    """Remove the videos of another world, and nothing that the demo has not made."""
    same = record.exists() and read_json(record) == key
    for split in SPLITS:
        for path in folder.glob(f"{split}-[0-9][0-9][0-9][0-9].mp4"):
            if not same or path.stem not in names:
                path.unlink()


def _render_one(folder: Path, seed: int, split: str, number: int) -> None:
    script = video_script(seed, split, number)
    with replacing(folder / f"{_name(split, number)}.mp4") as path:
        render(script, path)


def _render_all(folder: Path, seed: int, todo: list[tuple[str, int]], total: int, progress: Progress) -> None:
    done = total - len(todo)

    def tell() -> None:
        progress(f"rendering: {done:,} of {total:,} videos", done, total)

    tell()
    if not todo:
        return
    from cfmr.extractors.batch import available_cores

    workers = min(available_cores(), len(todo))
    context = multiprocessing.get_context("spawn")
    ignored = signal.SIGINT, signal.SIG_IGN  # when interrupted, the parent decides
    with ProcessPoolExecutor(workers, context, initializer=signal.signal, initargs=ignored) as pool:
        with interrupt_blocked():
            jobs = [pool.submit(_render_one, folder, seed, split, number) for split, number in todo]
        try:
            for job in as_completed(jobs):
                job.result()
                done += 1
                tell()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
