"""Jobs of the library: importing a folder, reading videos again, renaming one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cfmr.data.features import FeatureStore, FeatureWriter
from cfmr.errors import InputError
from cfmr.index.folder import drop_videos
from cfmr.server.context import AppState
from cfmr.server.problems import Problem
from cfmr.server.stores.jobs import JobContext, StepFailedError
from cfmr.server.stores.videos import check_video, videos_below
from cfmr.server.work.watch import TITLE, forget_read
from cfmr.video.files import fingerprint_of, stored_path

MOST_FILES = 10_000  # of one folder
NAMED = 100  # refused files that a result names


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that would come in, and the video that has the same content, if any."""

    path: Path
    size: int
    already: str | None


def candidates(state: AppState, folder: str) -> Iterator[Candidate]:
    """Video files of a folder on the server that are not in the library's folder, each content once.

    Raises:
        Problem, InputError: as `videos_below`.
    """
    came: dict[tuple[int, str], str] = {}
    for path in videos_below(folder, state.settings.folders)[:MOST_FILES]:
        if path.resolve().is_relative_to(state.library.folder):
            continue
        try:
            size = path.stat().st_size
            already = state.library.twin(path)
            if already is None:
                already = came.get(key := (size, fingerprint_of(path)))
                came.setdefault(key, path.name)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
        yield Candidate(path, size, already)


def take_in(state: AppState, path: Path) -> tuple[str, bool]:
    """Link or copy a file into the library's folder; the video's name, and whether its content was there already.

    Raises:
        Problem, InputError: it is no video, or cannot be copied.
    """
    try:
        if (twin := state.library.twin(path)) is not None:
            return twin, True
        check_video(path, path.name)
        return state.library.name_of(state.library.keep(path.resolve(), path.name)), False
    except OSError as error:
        raise InputError(f"{path.name}: cannot be copied ({error.strerror or error})") from error


def import_folder(state: AppState, job: JobContext, arguments: dict[str, Any]) -> dict[str, Any]:
    """Job: take in the videos of a folder, one after the other, and have them read."""
    files = list(candidates(state, arguments["folder"]))
    added: list[str] = []
    already: list[str] = []
    refused: dict[str, str] = {}
    for number, file in enumerate(files):
        job.say(f"Importing: {number:,} of {len(files):,} videos", number / max(len(files), 1))
        try:
            video, there = take_in(state, file.path)
            (already if there else added).append(video)
            if video in state.removed():  # it is wanted again
                state.settings.place.restore([video])
        except (Problem, InputError) as error:
            refused[file.path.name] = error.detail if isinstance(error, Problem) else str(error)
    if added or already:
        state.jobs.start("add", TITLE)
    job.say(_imported(len(added), len(already), len(refused)), 1.0)
    return {"added": len(added), "already": len(already), "refused": dict(list(refused.items())[:NAMED])}


def _imported(added: int, already: int, refused: int) -> str:
    parts = [f"{added:,} {'video' if added == 1 else 'videos'} imported"]
    parts += [f"{already:,} already here"] if already else []
    parts += [f"{refused:,} refused"] if refused else []
    return ", ".join(parts)


def read_again(state: AppState, job: JobContext, arguments: dict[str, Any]) -> dict[str, Any]:
    """Job: forget what was read of some videos, so that the next reading does them anew."""
    videos: Sequence[str] = arguments["videos"]
    for features in _feature_files(state):
        with _writer(features) as writer:
            for video in videos:
                if video in writer:
                    writer.note(video, fingerprint="")  # that of no file
        forget_read(features)
    state.jobs.start("add", TITLE)
    job.say(f"{len(videos):,} {'video is' if len(videos) == 1 else 'videos are'} read again", 1.0)
    return {"videos": list(videos)}


def rename_video(state: AppState, job: JobContext, arguments: dict[str, Any]) -> dict[str, Any]:
    """Job: call a video otherwise: its file, what was read of it, its labels, and then its place in the index.

    Raises:
        StepFailedError: its file is gone, or another has that name.
    """
    video, stem = arguments["video"], arguments["name"]
    job.say("Renaming")
    try:
        place = state.library.rename(state.file(video), stem)
    except Problem as problem:
        raise StepFailedError(problem.detail) from problem
    except OSError as error:
        raise StepFailedError(f"{video}: cannot be renamed ({error.strerror or error})") from error
    name = state.library.name_of(place)
    if name == video:
        return {"video": name}
    for features in _feature_files(state):
        with _writer(features) as writer:
            if video in writer and name not in writer:
                writer.rename(video, name)
                writer.note(name, path=stored_path(place.resolve()))
    state.labels.move(video, name)
    drop_videos(state.settings.place, [video])
    state.models.reload()
    state.jobs.start("add", TITLE)
    job.say(f"{video} is now {name}", 1.0)
    return {"video": name}


def _feature_files(state: AppState) -> list[Path]:
    """Those that models are made of: a downloaded one has its own."""
    files = dict.fromkeys([state.features, *(model.features for model in state.settings.place.models())])
    return [path for path in files if path.exists()]


def _writer(path: Path) -> FeatureWriter:
    with FeatureStore(path) as features:
        attributes = {key: value for key, value in features.attributes.items() if key != "format"}
    return FeatureWriter(path, attributes)
