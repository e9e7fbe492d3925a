"""Killed at any change of the disk, a command leaves a state from which the same command goes on."""

import json
from pathlib import Path

import numpy as np

from cfmr.config import load_config
from cfmr.data.features import FeatureStore, FeatureWriter
from cfmr.data.pack import pack
from cfmr.data.prepare import prepare
from cfmr.data.vocabulary import Vocabulary
from cfmr.files.atomic import read_json, write_json
from cfmr.models.checkpoint import Checkpoint
from tests.support.killing import killed_everywhere
from tests.support.worlds import WORD_DIM, World


def features(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((6, 4)).astype(np.float32)


def test_a_json_file_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    def check(folder: Path) -> None:
        assert read_json(folder / "a.json") in (1, 2)

    kills = killed_everywhere(
        lambda folder: write_json(folder / "a.json", 1),
        lambda folder: write_json(folder / "a.json", 2),
        check,
        tmp_path,
    )
    assert kills >= 2


def test_a_checkpoint_is_the_old_or_the_new_one(tmp_path: Path, world: World) -> None:
    config = load_config(world.config)
    vocabulary = Vocabulary(["dog"], np.ones((2, WORD_DIM), np.float32))

    def save(folder: Path, epoch: int) -> None:
        weights = {"w": np.full(3, epoch, np.float32)}
        Checkpoint(config, vocabulary, weights, {"epoch": epoch}, dict(weights)).save(folder / "last")

    def check(folder: Path) -> None:
        found = Checkpoint.load(folder / "last")
        assert found.parameters["w"].tolist() == [found.state["epoch"]] * 3

    (tmp_path / "kills").mkdir()
    kills = killed_everywhere(lambda folder: save(folder, 1), lambda folder: save(folder, 2), check, tmp_path / "kills")
    assert kills >= 10


def test_an_extraction_loses_nothing_finished(tmp_path: Path) -> None:
    def extract(folder: Path) -> None:
        with FeatureWriter(folder / "f.hdf5", {"extractor": "x"}) as writer:
            for number, video in enumerate("abc"):
                if video not in writer:
                    writer.add(video, features(number), duration=3.0)

    def start(folder: Path) -> None:
        with FeatureWriter(folder / "f.hdf5", {"extractor": "x"}) as writer:
            writer.add("a", features(0), duration=3.0)

    def check(folder: Path) -> None:
        with FeatureStore(folder / "f.hdf5") as store:
            assert store.videos in (["a"], ["a", "b", "c"])
            for video in store.videos:
                np.testing.assert_array_equal(store.read(video), features("abc".index(video)))

    assert killed_everywhere(start, extract, check, tmp_path) >= 8


def test_packing_goes_on(tmp_path: Path) -> None:
    def start(folder: Path) -> None:
        (folder / "arrays").mkdir()
        for number in range(3):
            np.save(folder / "arrays" / f"{number}.npy", features(number))

    def check(folder: Path) -> None:
        if (folder / "f.hdf5").exists():
            with FeatureStore(folder / "f.hdf5") as store:
                assert store.videos == ["0", "1", "2"]

    work = lambda folder: pack(folder / "arrays", folder / "f.hdf5")  # noqa: E731
    assert killed_everywhere(start, work, check, tmp_path) >= 8


def test_preparing_writes_whole_files(tmp_path: Path) -> None:
    video = {"duration": 82.7, "timestamps": [[0.8, 19.8]], "sentences": ["a man runs"]}

    def start(folder: Path) -> None:
        (folder / "raw").mkdir()
        for name in ("train", "val_1"):
            (folder / "raw" / f"{name}.json").write_text(json.dumps({"v_1": video}))

    def check(folder: Path) -> None:
        for path in (folder / "out").glob("*.json"):
            assert len(read_json(path)) == 1

    work = lambda folder: prepare("activitynet", folder / "raw", folder / "out")  # noqa: E731
    assert killed_everywhere(start, work, check, tmp_path) >= 4
