"""A folder becomes searchable, with the real extractor and the built-in model on small videos."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cfmr import MomentRetriever
from cfmr.cli import main
from cfmr.data.features import FeatureStore, FeatureWriter
from cfmr.errors import InputError
from cfmr.extractors import batch
from cfmr.index import folder
from cfmr.index.folder import read_folder
from cfmr.index.workspace import make_workspace
from tests.support.footage import write_film


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos and a file that is none."""
    root = tmp_path_factory.mktemp("filmed")
    for number, name in enumerate(("one", "two", "below/three")):
        write_film(root / f"{name}.mp4", frames=50 + 25 * number, size=(64, 48 + 16 * number))
    (root / "broken.mp4").write_bytes(b"no film")
    return root


@pytest.fixture(scope="module")
def read(filmed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, read; to be copied."""
    root = tmp_path_factory.mktemp("read") / "videos"
    shutil.copytree(filmed, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cfmr.index.build.CHECKED_SENTENCES", 40)
        read_folder(make_workspace(root), lambda report, *_: report, workers=1)
    return root


@pytest.fixture
def videos(read: Path, tmp_path: Path) -> Path:
    shutil.copytree(read, tmp_path / "videos")
    return tmp_path / "videos"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cfmr.index.build.CHECKED_SENTENCES", 40)


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr("sys.argv", ["cfmr", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def names(videos: Path) -> set[str]:
    return {video.id for video in MomentRetriever.load(videos).videos()}


ALL = {"one", "two", "below/three"}


def test_each_video_can_be_searched_before_the_next_is_read(
    filmed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(filmed, tmp_path / "videos")
    monkeypatch.setattr(folder, "STEP", 0.0)
    monkeypatch.setattr(folder, "SHARE", 0.0)
    searchable: list[int] = []

    def calibrate(report: object, location: Path, _: object) -> object:
        searchable.append(len(MomentRetriever.load(location).videos()))
        return report

    report = read_folder(make_workspace(tmp_path / "videos"), calibrate, workers=1)  # type: ignore[arg-type]
    assert searchable == [1, 2, 3]
    assert report.indexed is not None
    assert report.indexed.added == 3
    assert list(report.files.failed) == ["broken"]
    assert make_workspace(tmp_path / "videos").unread().keys() == {"broken"}


def test_nothing_is_read_twice_and_what_is_new_is_taken_in(
    videos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(batch, "available_cores", lambda: 1)
    assert run(monkeypatch, "index", "--in", videos) == 0
    assert "0 videos extracted, 3 were there already" in capsys.readouterr().out
    write_film(videos / "four.mp4", frames=30)
    (videos / "one.mp4").rename(videos / "first.mp4")
    assert run(monkeypatch, "index", "--in", videos) == 0
    said = capsys.readouterr()
    assert "1 video extracted, 3 were there already" in said.out
    assert "1 added, 1 replaced" in said.out
    assert "broken.mp4" in said.err
    assert names(videos) == ALL | {"four"}
    paths = {video.id: video.path for video in MomentRetriever.load(videos).videos()}
    assert paths["one"] == str(videos / "first.mp4")


def test_the_same_workspace_answers_the_shell_and_python(
    videos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "search", "a", "dog", "--in", videos) == 0
    found = capsys.readouterr().out
    monkeypatch.setenv("CFMR_INDEX", str(videos))
    assert run(monkeypatch, "search", "a dog") == 0
    assert capsys.readouterr().out.splitlines()[:3] == found.splitlines()[:3]
    best = MomentRetriever.load(videos).search("a dog")[0]
    assert found.split()[2] == best.video


def test_a_retriever_follows_when_another_model_is_chosen(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, retriever = make_workspace(videos), MomentRetriever.load(videos)
    other = place.root / "models" / "0001"
    shutil.copytree(place.index, other / "index")
    (other / "model.json").write_text("{}")
    folder.edit_index(other / "index", remove=["two"])
    place.serve("0001")
    assert retriever.reload()
    assert {video.id for video in retriever.videos()} == ALL - {"two"}
    assert not retriever.reload()


def test_a_removed_video_is_found_by_no_model_and_stays_away(
    videos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = make_workspace(videos)
    other = place.root / "models" / "0001"
    shutil.copytree(place.index, other / "index")
    (other / "model.json").write_text("{}")
    assert run(monkeypatch, "index", "--in", videos, "--remove", "two") == 0
    monkeypatch.setenv("CFMR_INDEX", str(videos))
    assert run(monkeypatch, "index", "--remove", "one") == 0
    assert names(other / "index") == names(videos) == {"below/three"}
    assert run(monkeypatch, "index", "--in", videos, "--remove", "nosuch") == 2
    assert "no video 'nosuch' is indexed" in capsys.readouterr().err
    assert run(monkeypatch, "index", "--in", videos) == 0
    assert names(videos) == {"below/three"}
    assert run(monkeypatch, "index", "--in", videos, "--restore", "two") == 0
    assert names(videos) == {"below/three", "two"}


def test_a_run_that_was_killed_goes_on(filmed: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    shutil.copytree(filmed, videos)
    code = "import cfmr.index.build as b; b.CHECKED_SENTENCES = 40; import cfmr.cli; cfmr.cli.main()"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", code, "index", "--in", str(videos)], env=environment, start_new_session=True
    )
    parts = videos / ".cfmr" / "features.hdf5.parts"
    while process.poll() is None and not list(parts.glob("*.npz")):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    place = make_workspace(videos)
    report = read_folder(place, lambda report, *_: report, workers=1)
    assert len(report.files.kept) >= 1
    assert names(videos) == ALL


def test_a_folder_that_goes_away_is_named_and_nothing_is_lost(
    videos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (videos / "broken.mp4").unlink()
    place = make_workspace(videos, tmp_path / "work")
    extract = batch._extract

    def unplugged(*arguments: object) -> object:
        result = extract(*arguments)  # type: ignore[arg-type]
        if videos.exists():
            videos.rename(tmp_path / "unplugged")
        return result

    monkeypatch.setattr(batch, "_extract", unplugged)
    with pytest.raises(InputError, match="the folder cannot be reached any more; what was read is kept"):
        read_folder(place, lambda report, *_: report, workers=1)
    with pytest.raises(InputError, match="no such file or folder"):
        read_folder(place, lambda report, *_: report, workers=1)
    monkeypatch.setattr(batch, "_extract", extract)
    (tmp_path / "unplugged").rename(videos)  # it is back
    report = read_folder(place, lambda report, *_: report, workers=1)
    assert len(report.files.kept) == 1
    assert {video.id for video in MomentRetriever.load(place.root).videos()} == ALL


def test_a_video_of_no_length_is_named_and_does_not_stop_the_rest(videos: Path) -> None:
    place = make_workspace(videos)
    with FeatureStore(place.features) as store:
        attributes = store.attributes
    del attributes["format"]
    with FeatureWriter(place.features, attributes) as writer:
        writer.note("two", duration=1e12)
    shutil.rmtree(place.index)
    report = read_folder(place, lambda report, *_: report, workers=1)
    assert report.files.failed["two"].endswith("does not say how long it is; is it damaged?")
    assert names(videos) == ALL - {"two"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--in", "nosuch"], "nosuch: no such folder"),
        (["--in", "."], "no video in this folder"),
        (["--in", ".", "--engine", "ivf"], "--engine: with --in the folder's own features and model are used"),
        (["--restore", "a"], "name what to index: --in VIDEOS, or --out INDEX"),
        ([], "name what to index: --in VIDEOS, or --out INDEX"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_line(
    options: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "index", *options) == 2
    assert said in capsys.readouterr().err


def test_searching_needs_to_know_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "search", "a dog") == 2
    assert "name where to search: --in VIDEOS, or --index INDEX" in capsys.readouterr().err
    assert run(monkeypatch, "search", "a dog", "--in", tmp_path) == 2
    assert "nothing has been read of this folder yet" in capsys.readouterr().err


def test_the_built_in_model_has_no_checkpoint_to_evaluate(
    videos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "evaluate", "--in", videos) == 2
    assert "--in VIDEOS needs --truth" in capsys.readouterr().err
    assert run(monkeypatch, "evaluate", "--in", videos, "--truth", "labels.json") == 2
    assert "the model in use was not trained, so it has no checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize("room", [300, 30_000, 600_000, 4_000_000])
def test_a_full_disk_while_reading_is_one_line_and_the_next_run_goes_on(
    filmed: Path, tmp_path: Path, room: int
) -> None:
    shutil.copytree(filmed, tmp_path / "videos")
    command = [sys.executable, "-m", "cfmr", "index", "--in", str(tmp_path / "videos"), "--progress", "none"]

    def full() -> None:  # as a full disk: what is larger cannot be written
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))

    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=full)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "make room" in done.stderr
    assert subprocess.run(command, capture_output=True, text=True).returncode == 0
    assert names(tmp_path / "videos") == ALL
