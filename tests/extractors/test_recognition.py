import unicodedata
from pathlib import Path

import numpy as np
import pytest

from cfmr.data.features import FeatureStore, FeatureWriter
from cfmr.extractors.recognition import Found, recognise

OLD, NEW = "10-" + "a" * 16, "11-" + "b" * 16
SAMPLES = "-" + "c" * 16


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "f.hdf5"


def write(out: Path, **videos: dict[str, str]) -> None:
    with FeatureWriter(out, {"extractor": "made-up"}) as writer:
        for video, attributes in videos.items():
            writer.add(video, np.ones((2, 3), np.float32), duration=1.0, **attributes)


def names(out: Path, **found: Found) -> list[str]:
    with FeatureWriter(out, {"extractor": "made-up"}) as writer:
        return list(recognise(found, writer).values())


def test_what_is_unknown_keeps_its_name(out: Path) -> None:
    assert names(out, a=Found("/v/a.mp4", NEW), b=Found("/v/b.mp4", NEW)) == ["a", "b"]


def test_another_folder_with_the_same_names_takes_no_ones_place(out: Path) -> None:
    write(out, a={"fingerprint": OLD, "path": "/cam1/a.mp4"})
    assert names(out, a=Found("/cam2/a.mp4", NEW)) == ["cam2/a"]
    write(out, **{"cam2/a": {"fingerprint": NEW, "path": "/x/cam2/a.mp4"}})
    assert names(out, a=Found("/y/cam2/a.mp4", "12-" + "d" * 16)) == ["y/cam2/a"]
    assert names(out, a=Found("/y/cam2/a.mp4", NEW)) == ["cam2/a"]  # /x has gone


def test_a_file_that_has_changed_is_the_same_video(out: Path) -> None:
    write(out, a={"fingerprint": OLD, "path": "/v/a.mp4"})
    assert names(out, a=Found("/v/a.mp4", NEW)) == ["a"]


def test_a_file_that_was_moved_keeps_its_name_and_its_new_place_is_noted(out: Path) -> None:
    write(out, a={"fingerprint": OLD, "path": "/v/a.mp4"})
    assert names(out, kitchen=Found("/w/kitchen.mp4", OLD)) == ["a"]
    assert FeatureStore(out).attributes_of("a")["path"] == "/w/kitchen.mp4"
    assert FeatureStore(out).read("a").tolist() == np.ones((2, 3)).tolist()


def test_a_copy_beside_the_original_is_another_video(out: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    write(out, a={"fingerprint": OLD, "path": str(tmp_path / "a.mp4")})
    found = {"a": Found(str(tmp_path / "a.mp4"), OLD), "copy": Found(str(tmp_path / "copy.mp4"), OLD)}
    assert names(out, **found) == ["a", "copy"]


def test_files_of_earlier_versions_which_know_no_places_go_on(out: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "é")
    write(out, a={"fingerprint": OLD}, **{decomposed: {"fingerprint": NEW}})
    found = {"a": Found("/v/a.mp4", OLD + SAMPLES), "é": Found("/v/é.mp4", NEW + SAMPLES)}
    assert names(out, **found) == ["a", decomposed]
    assert names(out, a=Found("/v/a.mp4", NEW + SAMPLES[:-1] + "d")) == ["a"]
    store = FeatureStore(out)
    assert "é" in store
    assert store.read("é").shape == (2, 3)


def test_two_files_never_share_a_name(out: Path) -> None:
    write(out, a={"fingerprint": OLD, "path": "/gone/a.mp4"})
    got = names(out, b=Found("/v/b.mp4", OLD), a=Found("/v/a.mp4", NEW), c=Found("/v/c.mp4", OLD))
    assert got == ["a", "v/a", "c"]
