import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from cfmr import extractors
from cfmr.data.features import FeatureStore, FeatureWriter
from cfmr.errors import InputError
from cfmr.extractors import Extraction, batch, get_extractor
from cfmr.extractors.batch import extract_all
from cfmr.video.decode import Video
from cfmr.video.files import find_videos
from tests.support.footage import write_video

CFMR = [sys.executable, "-m", "cfmr.cli"]


class Levels:
    """An extractor for tests: the mean gray level of every second."""

    name, version, dim, clips_per_second = "levels", 1, 2, 1.0
    seen: list[str] = []

    def __init__(self, threads: int = 1, scale: float = 1.0) -> None:
        self.scale = scale

    def attributes(self) -> dict[str, str | int | float]:
        return {"extractor": self.name, "version": self.version, "dim": self.dim, "scale": self.scale}

    def extract(self, path: Path, progress: Any = None) -> Extraction:
        Levels.seen.append(Path(path).stem)
        if Path(path).stem == "deadly":
            os.kill(os.getpid(), signal.SIGKILL)
        with Video(path) as video:
            levels = [[frame.gray(8, 8).mean() * self.scale, frame.time] for frame in video.frames(fps=1)]
            progress(0.5)
            return Extraction(np.array(levels, np.float32), video.end, video.damage)


@pytest.fixture(autouse=True)
def levels(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setitem(extractors.EXTRACTORS, "levels", f"{__name__}:Levels")
    Levels.seen = []
    return Levels.seen


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "videos").mkdir()
    for name, seconds in (("a", 3), ("b", 2), ("c", 1)):
        write_video(tmp_path / "videos" / f"{name}.mp4", [number / 10 for number in range(10 * seconds)])
    return tmp_path / "videos"


def run(folder: Path, out: Path, **options: Any) -> batch.Summary:
    return extract_all(find_videos([folder]), "levels", out, workers=1, **options)


def test_workers_leave_the_other_cores_to_one_another(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = list[int]()
    extract = Levels.extract

    def looked_at(self: Levels, *arguments: Any) -> Extraction:
        threads.extend(one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas")
        return extract(self, *arguments)

    monkeypatch.setattr(Levels, "extract", looked_at)
    with threadpool_limits(2, "blas"):
        before = [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]
        run(folder, tmp_path / "f.hdf5")
        after = [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]
    assert set(threads) == {1}
    assert before == after


def test_every_video_is_extracted_with_its_duration(folder: Path, tmp_path: Path) -> None:
    summary = run(folder, tmp_path / "f.hdf5")
    store = FeatureStore(tmp_path / "f.hdf5")
    assert sorted(summary.extracted) == store.videos == ["a", "b", "c"]
    assert store.read("a").shape == (3, 2)
    assert store.duration("b") == pytest.approx(2.0)
    assert store.attributes["extractor"] == "levels"


def test_nothing_finished_is_done_again(folder: Path, tmp_path: Path, levels: list[str]) -> None:
    run(folder, tmp_path / "f.hdf5")
    write_video(folder / "d.mp4", [0.0, 0.1])
    summary = run(folder, tmp_path / "f.hdf5")
    assert levels[3:] == ["d"]
    assert (summary.extracted, sorted(summary.kept)) == (["d"], ["a", "b", "c"])
    assert FeatureStore(tmp_path / "f.hdf5").videos == ["a", "b", "c", "d"]


def test_a_video_that_has_changed_is_done_again(folder: Path, tmp_path: Path, levels: list[str]) -> None:
    run(folder, tmp_path / "f.hdf5")
    write_video(folder / "b.mp4", [number / 10 for number in range(50)])
    run(folder, tmp_path / "f.hdf5")
    assert levels[3:] == ["b"]
    assert FeatureStore(tmp_path / "f.hdf5").read("b").shape == (5, 2)


def test_a_second_folder_with_the_same_names_adds(folder: Path, tmp_path: Path, levels: list[str]) -> None:
    write_video(tmp_path / "other" / "a.mp4", [number / 10 for number in range(40)])
    run(folder, tmp_path / "f.hdf5")
    for _ in range(2):
        summary = run(tmp_path / "other", tmp_path / "f.hdf5")
        assert summary.called == {"a": "other/a"}
    store = FeatureStore(tmp_path / "f.hdf5")
    assert store.videos == ["a", "b", "c", "other/a"]
    assert (store.clips("a"), store.clips("other/a")) == (3, 4)
    assert store.attributes_of("other/a")["path"] == str((tmp_path / "other" / "a.mp4").resolve())
    assert levels[3:] == ["a"]


def test_a_renamed_video_is_not_done_again(folder: Path, tmp_path: Path, levels: list[str]) -> None:
    run(folder, tmp_path / "f.hdf5")
    (folder / "b.mp4").rename(folder / "kitchen.mp4")
    summary = run(folder, tmp_path / "f.hdf5")
    assert (summary.extracted, sorted(summary.kept), summary.called) == ([], ["a", "b", "c"], {"kitchen": "b"})
    assert len(levels) == 3


def test_names_that_are_no_text_are_extracted(folder: Path, tmp_path: Path) -> None:
    (folder / "a.mp4").rename(folder / os.fsdecode(b"caf\xe9.mp4"))
    for workers in (1, 2):
        out = tmp_path / f"{workers}.hdf5"
        extract_all(find_videos([folder]), "efficientnet-lite0", out, workers=workers)
        assert FeatureStore(out).videos == ["b", "c", "caf\\xe9"]


def test_an_interrupted_batch_carries_on(
    folder: Path, tmp_path: Path, levels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(label: str, done: int, total: int | None) -> None:
        if "2 of 3 videos" in label:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path / "f.hdf5", progress=interrupted)
    assert not (tmp_path / "f.hdf5").exists()
    run(folder, tmp_path / "f.hdf5")
    assert sorted(levels) == ["a", "b", "c"]
    assert FeatureStore(tmp_path / "f.hdf5").videos == ["a", "b", "c"]


def test_progress_rises_to_the_whole(folder: Path, tmp_path: Path) -> None:
    calls: list[tuple[str, int, int | None]] = []
    run(folder, tmp_path / "f.hdf5", progress=lambda *told: calls.append(told))
    assert [done for _, done, _ in calls] == sorted(done for _, done, _ in calls)
    label, done, total = calls[-1]
    assert done == total
    assert re.fullmatch(r"extracting: 3 of 3 videos, [\d,]+ h of video an hour", label)


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(folder: Path, tmp_path: Path, shared: Path) -> None:
    (folder / "broken.mp4").write_bytes(b"no video at all")
    (folder / "corrupted.mp4").write_bytes((shared / "video" / "corrupted.mp4").read_bytes())
    for _ in range(2):
        summary = run(folder, tmp_path / "f.hdf5")
        assert list(summary.failed) == ["broken"]
        assert "broken.mp4: cannot be read as a video" in summary.failed["broken"]
        assert "corrupted.mp4: damaged at 2.8 s" in summary.damaged["corrupted"]
        assert FeatureStore(tmp_path / "f.hdf5").videos == ["a", "b", "c", "corrupted"]


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), MemoryError(), ValueError("odd")])
def test_whatever_a_video_does_to_its_decoder_the_rest_goes_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    extract = Levels.extract

    def failing(self: Levels, path: Path, progress: Any = None) -> Extraction:
        if path.stem == "b":
            raise error
        return extract(self, path, progress)

    monkeypatch.setattr(Levels, "extract", failing)
    summary = run(folder, tmp_path / "f.hdf5")
    assert list(summary.failed) == ["b"]
    assert "b.mp4: cannot be read" in summary.failed["b"]
    assert set(summary.extracted) == {"a", "c"}


def test_a_batch_of_which_nothing_can_be_read_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(b"no video at all")
    with pytest.raises(InputError, match="nothing could be read"):
        run(tmp_path, tmp_path / "f.hdf5")
    assert [path.name for path in tmp_path.iterdir()] == ["v.mp4"]


def test_features_of_other_options_are_not_mixed(folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path / "f.hdf5")
    with pytest.raises(InputError, match=r"f\.hdf5: holds features with scale 1\.0, not 2\.0"):
        run(folder, tmp_path / "f.hdf5", scale=2.0)


def test_an_unknown_extractor_or_option_is_named() -> None:
    with pytest.raises(InputError, match="--extractor none: not known; choose one of efficientnet-lite0"):
        get_extractor("none")
    with pytest.raises(InputError, match="--extractor levels: takes no --weights"):
        get_extractor("levels", weights=Path("w"))


def test_a_process_that_dies_costs_one_video(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "c.mp4").rename(folder / "deadly.mp4")
    monkeypatch.setattr(batch, "_work", work_with_levels)
    summary = extract_all(find_videos([folder]), "levels", tmp_path / "f.hdf5", workers=2)
    assert sorted(summary.extracted) == ["a", "b"]
    assert "deadly.mp4: the process that read it died" in summary.failed["deadly"]


_work = batch._work


def work_with_levels(*arguments: Any) -> None:
    """What a worker does, in a process that knows the extractor for tests."""
    extractors.EXTRACTORS["levels"] = f"{__name__}:Levels"
    _work(*arguments)


def test_a_killed_extraction_resumes_where_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(6):
        write_video(folder / f"{number}.mp4", [second / 2 for second in range(60)], size=(32, 32))
    command = [*CFMR, "extract", str(folder), "--out", str(tmp_path / "f.hdf5"), "--workers", "1"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    parts = tmp_path / "f.hdf5.parts"
    deadline = time.monotonic() + 60
    while not list(parts.glob("*.npz")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = len(list(parts.glob("*.npz")))
    assert 0 < finished < 6
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{6 - finished} videos extracted, {finished} were there already" in done.stdout
    assert len(FeatureStore(tmp_path / "f.hdf5")) == 6


def test_the_command_names_what_it_could_not_read(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.mp4").write_bytes(b"no video at all")
    out = ["--out", str(tmp_path / "f.hdf5"), "--workers", "1"]
    whole = subprocess.run([*CFMR, "extract", str(folder), *out], capture_output=True, text=True, check=False)
    assert whole.returncode == 0
    assert "3 videos extracted" in whole.stdout
    assert "broken.mp4: cannot be read as a video" in whole.stderr
    named = subprocess.run(
        [*CFMR, "extract", str(folder / "broken.mp4"), str(folder), *out], capture_output=True, text=True, check=False
    )
    assert named.returncode == 2


class Precise(Levels):
    """One with a choice of precision, of which it makes another by default each time."""

    choices = ["int8", "float"]

    def __init__(self, threads: int = 1, precision: str | None = None) -> None:
        super().__init__(threads)
        self.precision = precision or Precise.choices.pop(0)

    def attributes(self) -> dict[str, str | int | float]:
        return {**super().attributes(), "precision": self.precision}


@pytest.fixture
def precise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(extractors.EXTRACTORS, "levels", f"{__name__}:Precise")
    monkeypatch.setattr(Precise, "choices", ["int8", "float"])


@pytest.mark.usefixtures("precise")
def test_videos_are_added_in_the_precision_of_those_before(folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path / "f.hdf5")
    write_video(folder / "d.mp4", [0.0, 0.1])
    assert run(folder, tmp_path / "f.hdf5").extracted == ["d"]
    assert FeatureStore(tmp_path / "f.hdf5").attributes["precision"] == "int8"


@pytest.mark.usefixtures("precise")
def test_a_broken_off_run_goes_on_in_its_precision(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path / "f.hdf5", progress=interrupting(after=2))
    run(folder, tmp_path / "f.hdf5")
    assert FeatureStore(tmp_path / "f.hdf5").attributes["precision"] == "int8"
    assert Precise.choices == ["float"]


@pytest.mark.usefixtures("precise")
def test_processes_extract_in_the_precision_that_was_chosen(folder: Path, tmp_path: Path) -> None:
    maker, options = batch.make_extractor("levels", tmp_path / "f.hdf5", 1, {})
    assert maker.attributes()["precision"] == options["precision"] == "int8"
    assert get_extractor("levels", **options).attributes() == maker.attributes()


@pytest.mark.usefixtures("precise")
def test_files_that_say_no_precision_go_on_in_floats(folder: Path, tmp_path: Path) -> None:
    with FeatureWriter(tmp_path / "f.hdf5", Levels().attributes()) as writer:
        writer.add("z", np.zeros((2, 2)))
    run(folder, tmp_path / "f.hdf5")
    store = FeatureStore(tmp_path / "f.hdf5")
    assert store.attributes["precision"] == "float"
    assert store.videos == ["a", "b", "c", "z"]


@pytest.mark.usefixtures("precise")
def test_another_precision_is_not_mixed_in(folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path / "f.hdf5")
    with pytest.raises(InputError, match=r"f\.hdf5: holds features with precision 'int8', not 'float'"):
        run(folder, tmp_path / "f.hdf5", precision="float")


def interrupting(after: int) -> Any:
    """A progress that is interrupted when told for the n-th time that a video is done."""
    seen: set[str] = set()

    def told(label: str, done: int, total: int) -> None:
        seen.add(label.split(" videos")[0])
        if len(seen) > after:
            raise KeyboardInterrupt

    return told
