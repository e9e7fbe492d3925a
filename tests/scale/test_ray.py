"""Extraction and encoding on a real Ray cluster of three nodes on this machine."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cfmr.cluster.encode import ray_encoder
from cfmr.cluster.extract import extract_on_ray
from cfmr.cluster.pool import check_nodes, ray_session
from cfmr.console.index_report import report_lines
from cfmr.data.features import FeatureStore, FeatureWriter
from cfmr.errors import InputError
from cfmr.extractors.batch import extract_all
from cfmr.search.retriever import MomentRetriever
from cfmr.video.files import find_videos
from tests.support.footage import write_video
from tests.support.searchable import Searchable, make_searchable

from .milvus_server import free_ports
from .workers import Unlucky

ray = pytest.importorskip("ray")

EXTRACTOR = "efficientnet-lite0"
ROOT = Path(__file__).resolve().parents[2]


STARTS = 3  # of a node; now and then Ray waits for one of which it has started nothing


def started(start: Callable[[], Any]) -> Any:
    """What `start` gives, tried a few times."""
    for left in reversed(range(STARTS)):
        try:
            return start()
        except Exception as error:  # Ray raises no narrower one
            if not left or "timed out" not in str(error).lower():
                raise
    raise AssertionError("a start either succeeds or raises")


class Nodes:
    """A cluster of a head and two more nodes of one core each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.node = {"num_cpus": 1, "object_store_memory": 100 << 20}
        (self.port,) = free_ports(1)
        head = {**self.node, "include_dashboard": False, "ray_client_server_port": self.port}
        self.cluster = started(lambda: Cluster(initialize_head=True, head_node_args=head))
        self.others: list[Any] = []
        try:
            self.add_one()
            self.add_one()
            ray.init(address=self.cluster.address, log_to_driver=False, logging_level="ERROR")
        except BaseException:
            self.stop()
            raise

    def add_one(self) -> None:
        self.others.append(started(lambda: self.cluster.add_node(**self.node)))

    def kill_one(self) -> None:
        """Without a farewell, as a machine that loses its power."""
        self.cluster.remove_node(self.others.pop(), allow_graceful=False)

    def lose_one(self) -> None:
        """One that came and is gone a moment later."""
        self.add_one()
        self.kill_one()

    def stop(self) -> None:
        ray.shutdown()
        self.cluster.shutdown()


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{ROOT / 'src'}{os.pathsep}{ROOT}")  # of the cluster's processes
        patch.setenv("RAY_BACKEND_LOG_LEVEL", "fatal")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")  # what it listens on is this machine's alone
        patch.setenv("OMP_NUM_THREADS", "1")
        made = Nodes()
        try:
            yield made
        finally:
            made.stop()


@pytest.fixture(scope="module")
def sixty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sixty")
    for number in range(60):
        times = [tick / 10 for tick in range(10 + number % 7)]
        write_video(
            folder / f"v{number:02}.mp4", times, levels=[20 + (7 * number + i) % 200 for i in range(len(times))]
        )
    return folder


def assert_same_features(one: Path, other: Path) -> None:
    left, right = FeatureStore(one), FeatureStore(other)
    assert left.videos == right.videos
    assert left.attributes == right.attributes
    for video in left.videos:
        np.testing.assert_allclose(left.read(video), right.read(video), atol=1e-5)
        assert left.attributes_of(video) == right.attributes_of(video)


def test_a_node_that_is_killed_costs_nothing(nodes: Nodes, sixty: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []

    def progress(label: str, done: int, total: int | None) -> None:
        told.append((label, done, total))
        if "15 of 60 videos" in label:
            nodes.kill_one()

    summary, _ = extract_on_ray([str(sixty)], EXTRACTOR, tmp_path / "f.hdf5", "auto", progress, worker=Unlucky)
    assert len(nodes.others) == 1, "a node was killed while it worked"
    assert len(summary.extracted) == len(set(summary.extracted)) == 60
    assert not summary.failed
    counts = [int(label.split()[1]) for label, _, _ in told]
    assert counts == list(range(61)), "each video was taken once"
    assert told[-1][1] == told[-1][2]
    assert "h of video an hour" in told[-1][0]
    extract_all(find_videos([sixty]), EXTRACTOR, tmp_path / "alone.hdf5", workers=1)
    assert_same_features(tmp_path / "f.hdf5", tmp_path / "alone.hdf5")
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "cache") == ["alone.hdf5", "f.hdf5"]


def small_folder(tmp_path: Path, *names: str) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for number, name in enumerate(names):
        write_video(folder / f"{name}.mp4", [tick / 10 for tick in range(10 + number)])
    return folder


def test_a_video_that_kills_its_worker_is_named_and_the_rest_finishes(nodes: Nodes, tmp_path: Path) -> None:
    folder = small_folder(tmp_path, "a", "b", "deadly", "sometimes", "c")
    (folder / "broken.mp4").write_bytes(b"no video at all")
    summary, _ = extract_on_ray([str(folder)], EXTRACTOR, tmp_path / "f.hdf5", "auto", worker=Unlucky)
    assert sorted(summary.extracted) == ["a", "b", "c", "sometimes"] == FeatureStore(tmp_path / "f.hdf5").videos
    assert sorted(summary.failed) == ["broken", "deadly"]
    assert "deadly.mp4: each process that read it died" in summary.failed["deadly"]
    assert "broken.mp4: cannot be read as a video" in summary.failed["broken"]


def test_a_job_that_was_broken_off_goes_on_where_it_was(nodes: Nodes, tmp_path: Path) -> None:
    folder = small_folder(tmp_path, *"abcdefgh")

    def interrupt(label: str, done: int, total: int | None) -> None:
        if "3 of 8 videos" in label:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_on_ray([str(folder)], EXTRACTOR, tmp_path / "f.hdf5", "auto", interrupt)
    assert not (tmp_path / "f.hdf5").exists()
    summary, _ = extract_on_ray([str(folder)], EXTRACTOR, tmp_path / "f.hdf5", "auto")
    assert (len(summary.kept), len(summary.extracted)) == (3, 5)
    summary, _ = extract_on_ray([str(folder)], EXTRACTOR, tmp_path / "f.hdf5", "auto")
    assert (len(summary.kept), len(summary.extracted)) == (8, 0)


def test_videos_may_lie_behind_an_address(nodes: Nodes, tmp_path: Path) -> None:
    folder = small_folder(tmp_path, "a", "b")
    (folder / "sub").mkdir()
    write_video(folder / "sub" / "c.mp4", [0.0, 0.1])
    (folder / "broken.mp4").write_bytes(b"no video at all")
    summary, _ = extract_on_ray([folder.as_uri()], EXTRACTOR, tmp_path / "f.hdf5", "auto")
    assert sorted(summary.extracted) == ["a", "b", "sub/c"]
    assert summary.failed["broken"].startswith(f"{folder.as_uri()}/broken.mp4: cannot be read as a video")


def test_a_cluster_is_used_from_outside(nodes: Nodes, tmp_path: Path) -> None:
    folder = small_folder(tmp_path, "a", "b")
    command = [sys.executable, "-m", "cfmr.cli", "extract", str(folder), "--out", str(tmp_path / "f.hdf5")]
    address = f"ray://127.0.0.1:{nodes.port}"
    done = subprocess.run([*command, "--ray", address], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 videos extracted")
    extract_all(find_videos([folder]), EXTRACTOR, tmp_path / "alone.hdf5", workers=1)
    assert_same_features(tmp_path / "f.hdf5", tmp_path / "alone.hdf5")


# --- encoding --------------------------------------------------------------------------------------------------------


@pytest.fixture
def made(tmp_path: Path) -> Searchable:
    return make_searchable(tmp_path)


def build(made: Searchable, out: Path, **arguments: Any) -> Any:
    return made.build(out, encode=ray_encoder("auto"), **arguments)


def test_an_index_that_a_cluster_encodes_is_the_same(nodes: Nodes, made: Searchable, tmp_path: Path) -> None:
    report = build(made, tmp_path / "i")
    assert (report.added, report.failed) == (12, {})
    here, there = MomentRetriever.load(made.index), MomentRetriever.load(tmp_path / "i")
    for video in here.videos():
        spans, scores = here.index.curve(here.encode("the red dog runs").vector, video.id)
        other_spans, other_scores = there.index.curve(here.encode("the red dog runs").vector, video.id)
        np.testing.assert_allclose(scores, other_scores, atol=1e-5)
        np.testing.assert_allclose(spans, other_spans)
    meta = tmp_path / "meta.json"
    meta.write_text(json.dumps({"v03": {"camera": "left"}}))

    # again: one video has changed, and one has features that cannot be used
    with FeatureWriter(made.world.features, {"extractor": "made-up", "version": 1}) as writer:
        writer.add("broken", np.full((5, 12), np.nan, np.float32), duration=5.0)
    report = build(made, tmp_path / "i", metadata=meta)
    assert (report.added, report.unchanged, report.replaced) == (0, 11, 1)
    assert list(report.failed) == ["broken"]
    assert "NaN or infinite features" in "\n".join(report_lines(report, tmp_path / "i"))


# --- what a user can get wrong ---------------------------------------------------------------------------------------


def test_a_cluster_without_the_package_is_named(nodes: Nodes) -> None:
    with pytest.raises(InputError, match=r"--ray auto: .* cannot import cfmr; install the same there"):
        check_nodes(ray, "auto", "a_package_that_is_not_there")


def test_a_machine_that_has_just_died_stops_nobody(nodes: Nodes) -> None:
    nodes.lose_one()
    check_nodes(ray, "auto", "cfmr")


def test_an_extractor_that_lacks_something_there_ends_the_job(nodes: Nodes, tmp_path: Path) -> None:
    folder = small_folder(tmp_path, "a")
    with pytest.raises(InputError, match=r"--extractor i3d: .*--weights"):
        extract_on_ray([str(folder)], "i3d", tmp_path / "f.hdf5", "auto")


def test_an_address_that_is_none_is_refused() -> None:
    with (
        pytest.raises(InputError, match="--ray nonsense: not an address; give local, auto or ray://host:port"),
        ray_session("nonsense"),
    ):
        pass


def test_where_nobody_answers_one_line_says_so(tmp_path: Path) -> None:
    folder = small_folder(tmp_path, "a")
    command = [sys.executable, "-m", "cfmr.cli", "extract", str(folder), "--out", str(tmp_path / "f.hdf5")]
    address = "ray://127.0.0.1:1"
    done = subprocess.run([*command, "--ray", address], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"cfmr: --ray {address}: no cluster answers there")


def test_an_address_with_no_videos_is_named(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for place, message in (
        (empty.as_uri(), "no video in this folder"),
        ((tmp_path / "nowhere").as_uri(), "no such file or folder"),
        ("s4://bucket/videos", "cannot be opened"),
    ):
        with pytest.raises(InputError, match=message):
            extract_on_ray([place], EXTRACTOR, tmp_path / "f.hdf5", "local")
