import itertools
import multiprocessing
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfmr.data.features import FeatureStore, FeatureWriter, pool_clips, write_part
from cfmr.errors import InputError

ATTRIBUTES = {"extractor": "test", "version": 1, "clips_per_second": 2.0}


def features(clips: int = 4, dim: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((clips, dim)).astype(np.float32)


def write(path: Path, **videos: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in videos.items():
            file[name] = values
    return path


@given(n=st.integers(1, 300), num_clips=st.integers(1, 250), seed=st.integers(0, 9))
@settings(deadline=None)
def test_pooling_is_the_mean_between_rounded_boundaries(n: int, num_clips: int, seed: int) -> None:
    rows = features(n, 3, seed)
    pooled = pool_clips(rows, num_clips)
    bounds = [min(int(np.round(j / num_clips * n)), n - 1) for j in range(num_clips + 1)]
    for j, (start, end) in enumerate(itertools.pairwise(bounds)):
        expected = rows[start] if start == end else rows[start:end].mean(axis=0)
        np.testing.assert_allclose(pooled[j], expected, rtol=1e-5, atol=1e-6)
    assert pooled.shape == (num_clips, 3)
    assert pooled.dtype == np.float32


@given(num_clips=st.integers(1, 64))
@settings(deadline=None)
def test_pooling_a_constant_video_changes_nothing(num_clips: int) -> None:
    np.testing.assert_allclose(pool_clips(np.full((37, 2), 1.5), num_clips), 1.5)


def test_features_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "f.hdf5"
    with FeatureWriter(path, ATTRIBUTES) as writer:
        writer.add("b", features(seed=1), duration=2.5)
        writer.add("a", features(seed=0), duration=2.0)
    store = FeatureStore(path)
    assert store.videos == ["a", "b"]
    assert store.dim == 3
    assert "a" in store
    assert "c" not in store
    assert store.duration("b") == 2.5
    assert {key: store.attributes[key] for key in ATTRIBUTES} == ATTRIBUTES
    np.testing.assert_array_equal(store.read("b"), features(seed=1))
    assert list(tmp_path.iterdir()) == [path]


@given(names=st.sets(st.text(st.sampled_from("a/.% é"), min_size=1).filter(lambda name: name.strip("/")), max_size=6))
@settings(deadline=None, max_examples=25)
def test_any_identifier_is_kept(names: set[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("names") / "f.hdf5"
    with FeatureWriter(path, ATTRIBUTES) as writer:
        for number, name in enumerate(sorted(names)):
            writer.add(name, features(seed=number))
    store = FeatureStore(path)
    assert store.videos == sorted(names)
    for number, name in enumerate(sorted(names)):
        np.testing.assert_array_equal(store.read(name), features(seed=number))


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_float_types_are_read_as_float32(tmp_path: Path, dtype: type) -> None:
    store = FeatureStore(write(tmp_path / "f.hdf5", v=np.ones((2, 3), dtype)))
    assert store.read("v").dtype == np.float32


def test_a_group_a_video_is_read_as_published_c3d_files_have_it(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f.hdf5", "w") as file:
        file["v_1/c3d_features"] = features()
        file["v_2/c3d_features"] = features(seed=1)
    store = FeatureStore(tmp_path / "f.hdf5")
    assert store.videos == ["v_1", "v_2"]
    np.testing.assert_array_equal(store.read("v_2"), features(seed=1))


def test_datasets_in_nested_groups_are_named_by_their_path(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f.hdf5", "w") as file:
        file["kitchen/monday"] = features()
        file["garden"] = features(seed=1)
    store = FeatureStore(tmp_path / "f.hdf5")
    assert store.videos == ["garden", "kitchen/monday"]
    assert "kitchen" not in store
    np.testing.assert_array_equal(store.read("kitchen/monday"), features())


def test_missing_videos_are_listed_up_to_ten_and_counted(tmp_path: Path) -> None:
    store = FeatureStore(write(tmp_path / "f.hdf5", v=features()))
    names = [f"w{number:02}" for number in range(13)]
    with pytest.raises(InputError) as error:
        store.check(["v", *names], 3)
    assert "13 of 14 videos" in str(error.value)
    assert "w09, ..." in str(error.value)
    assert "w10" not in str(error.value)


def test_a_wrong_width_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"3 wide where the configuration says 5.*v"):
        FeatureStore(write(tmp_path / "f.hdf5", v=features())).check(["v"], 5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_named(tmp_path: Path, value: float) -> None:
    broken = features()
    broken[1, 2] = value
    store = FeatureStore(write(tmp_path / "f.hdf5", good=features(), bad=broken))
    with pytest.raises(InputError, match=r"1 of 2 videos: bad;"):
        store.check(["good", "bad"], 3)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.hdf5: no such feature file"):
        FeatureStore(tmp_path / "none.hdf5")


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "f.hdf5", v=features(1000, 64))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"f\.hdf5: not an HDF5 file, or not complete"):
        FeatureStore(path)


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (0, 3)])
def test_features_of_another_shape_are_named(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"features of v have shape"):
        FeatureStore(write(tmp_path / "f.hdf5", v=np.zeros(shape))).read("v")


def _read_in_child(store: FeatureStore) -> float:
    return float(store.read("v").sum())


def test_a_store_can_be_read_by_other_processes(tmp_path: Path) -> None:
    store = FeatureStore(write(tmp_path / "f.hdf5", v=features()))
    expected = float(store.read("v").sum())
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(_read_in_child, (store,)) == expected


def test_a_broken_off_writer_carries_on(tmp_path: Path) -> None:
    path = tmp_path / "f.hdf5"
    FeatureWriter(path, ATTRIBUTES).add("a", features(), duration=1.0)
    assert not path.exists()
    with FeatureWriter(path, ATTRIBUTES) as writer:
        assert "a" in writer
        assert writer.attributes_of("a") == {"duration": 1.0}
        writer.add("b", features(seed=1))
    assert FeatureStore(path).videos == ["a", "b"]


def test_a_killed_writer_loses_nothing_finished(tmp_path: Path) -> None:
    path = tmp_path / "f.hdf5"
    script = (
        "import os, signal, sys, numpy as np; from cfmr.data.features import FeatureWriter;"
        f"w = FeatureWriter(sys.argv[1], {ATTRIBUTES!r}); w.add('a', np.ones((2, 3)));"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == -signal.SIGKILL
    with FeatureWriter(path, ATTRIBUTES) as writer:
        assert writer.videos == ["a"]
    np.testing.assert_array_equal(FeatureStore(path).read("a"), np.ones((2, 3)))


def test_parts_of_other_processes_are_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "f.hdf5"
    with FeatureWriter(path, ATTRIBUTES) as writer, multiprocessing.get_context("spawn").Pool(1) as pool:
        writer.take(pool.apply(write_part, (writer.parts, "a", features()), {"duration": 1.0}))
        assert writer.attributes_of("a") == {"duration": 1.0}
    np.testing.assert_array_equal(FeatureStore(path).read("a"), features())


def test_a_half_written_part_is_done_again(tmp_path: Path) -> None:
    path = tmp_path / "f.hdf5"
    FeatureWriter(path, ATTRIBUTES).add("a", features())
    part = next((tmp_path / "f.hdf5.parts").glob("*.npz"))
    part.write_bytes(part.read_bytes()[:40])
    assert "a" not in FeatureWriter(path, ATTRIBUTES)


def test_new_videos_are_added_to_a_finished_file(tmp_path: Path) -> None:
    path = tmp_path / "f.hdf5"
    for number, name in enumerate("ab"):
        with FeatureWriter(path, ATTRIBUTES) as writer:
            writer.add(name, features(seed=number), duration=float(number))
    store = FeatureStore(path)
    assert store.videos == ["a", "b"]
    assert store.duration("a") == 0.0
    np.testing.assert_array_equal(store.read("a"), features(seed=0))


def test_features_of_another_extractor_are_not_mixed_in(tmp_path: Path) -> None:
    path = tmp_path / "f.hdf5"
    with FeatureWriter(path, ATTRIBUTES) as writer:
        writer.add("a", features())
    with pytest.raises(InputError, match=r"extractor 'test', not 'other'"):
        FeatureWriter(path, {**ATTRIBUTES, "extractor": "other"})


def test_an_exception_leaves_no_file_under_the_final_name(tmp_path: Path) -> None:
    path = tmp_path / "f.hdf5"

    def broken_off() -> None:
        with FeatureWriter(path, ATTRIBUTES) as writer:
            writer.add("a", features())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert not path.exists()
    assert "a" in FeatureWriter(path, ATTRIBUTES)


def _fill_disk(path: Path, results: "multiprocessing.Queue[str]") -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    writer = FeatureWriter(path, ATTRIBUTES)
    for number in range(4):
        writer.add(str(number), features(1000, 20))
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # as a full disk: writes fail, small ones pass
    try:
        writer.close()
    except InputError as error:
        results.put(str(error))
    except BaseException as error:  # noqa: BLE001
        results.put(repr(error))


def test_a_full_disk_is_one_clear_line_and_nothing_half_written(tmp_path: Path) -> None:
    path = tmp_path / "f.hdf5"
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[str] = context.Queue()
    process = context.Process(target=_fill_disk, args=(path, results))
    process.start()
    assert "f.hdf5: cannot be written" in results.get(timeout=30)
    process.join()
    assert [entry.name for entry in tmp_path.iterdir()] == ["f.hdf5.parts"]
    with FeatureWriter(path, ATTRIBUTES) as writer:
        assert writer.videos == ["0", "1", "2", "3"]


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        FeatureWriter(tmp_path / "file" / "f.hdf5", ATTRIBUTES)


def test_links_are_never_followed_and_named(tmp_path: Path) -> None:
    write(tmp_path / "other.hdf5", secret=features())
    path = write(tmp_path / "f.hdf5", v=features())
    with h5py.File(path, "a") as file:
        file["dangling"] = h5py.SoftLink("/nowhere")
        file["outside"] = h5py.ExternalLink("other.hdf5", "/secret")
        file["all"] = h5py.ExternalLink("other.hdf5", "/")
    with FeatureStore(path) as store:
        assert store.videos == ["v"]
        assert sorted(store.skipped) == ["all", "dangling", "outside"]
        for name in ("outside", "all/secret", "dangling"):
            assert name not in store
            with pytest.raises(InputError, match=f"no features for {name}"):
                store.read(name)


def test_what_lies_in_several_places_of_a_file_counts_once(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f.hdf5", "w") as file:
        file["v"] = features()
        file["g/w"] = features()
        for number in range(9):  # every walk through them would be nine times as long as the one before
            file[f"g/again{number}"] = file["g"]
            file[f"z{number}"] = file["v"] if number else file["/"]
    with FeatureStore(tmp_path / "f.hdf5") as store:
        assert store.videos == ["g/w", "v"]
        assert store.skipped["g/again8"] == "the same as 'g', which counts once"
        assert store.skipped["z0"] == "the same as '/', which counts once"
        assert store.skipped["z1"] == "the same as 'v', which counts once"


@pytest.mark.parametrize("group", ["", "/c3d_features"])
def test_a_name_that_is_no_text_or_a_link_takes_nothing_from_the_rest(tmp_path: Path, group: str) -> None:
    with h5py.File(tmp_path / "f.hdf5", "w") as file:
        file[b"\xe9" + group.encode()] = features()
        file["0"] = h5py.SoftLink("/nowhere")
        for video in "ab":
            file[video + group] = features()
    with FeatureStore(tmp_path / "f.hdf5") as store:
        assert store.videos == ["a", "b"]
        assert store.skipped["\\xe9"] == "its name is no UTF-8; rename it"
        assert len(store.read("b")) == len(features())


def test_numbers_that_lie_in_another_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"SECRET-PASSWORD!" * 3)
    write(tmp_path / "other.hdf5", secret=features())
    with h5py.File(tmp_path / "f.hdf5", "w") as file:
        file.create_dataset("stored", (4, 3), "f4", external=[(str(tmp_path / "secret"), 0, 48)])
        layout = h5py.VirtualLayout((4, 3), "f4")
        layout[:] = h5py.VirtualSource(tmp_path / "other.hdf5", "secret", (4, 3))
        file.create_virtual_dataset("virtual", layout)
    with FeatureStore(tmp_path / "f.hdf5") as store:
        for name in ("stored", "virtual"):
            with pytest.raises(InputError, match=f"the features of {name} lie in other files"):
                store.read(name)


@pytest.mark.parametrize("layout", [{}, {"chunks": (10, 3)}, {"chunks": (10, 3), "compression": "gzip"}])
def test_features_that_were_never_written_are_named(tmp_path: Path, layout: dict[str, Any]) -> None:
    with h5py.File(tmp_path / "f.hdf5", "w") as file:
        file.create_dataset("v", (100, 3), "f4", **layout)
        if layout:
            file["v"][:10] = 1
    with pytest.raises(InputError, match=r"features of v, or damaged \(they were never written"):
        FeatureStore(tmp_path / "f.hdf5").read("v")


def test_a_little_that_unpacks_to_a_lot_is_refused_before_there_is_room_for_it(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f.hdf5", "w") as file:
        data = file.create_dataset("v", (200_000, 100), "f4", chunks=(10_000, 100), compression="gzip")
        for at in range(0, 200_000, 10_000):
            data[at : at + 10_000] = 0
    with pytest.raises(InputError, match="the data set of v is said to hold 80 MB"):
        FeatureStore(tmp_path / "f.hdf5").read("v")


def test_values_that_are_no_features_are_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path / "f.hdf5", a=features(), b=features(), fps=np.float32(25), ids=np.arange(3))
    with h5py.File(path, "a") as file:
        file["names"] = ["a", "b"]
        file["words"] = [["a", "b"]]
    with FeatureStore(path) as store:
        assert store.videos == ["a", "b"]
        assert sorted(store.skipped) == ["fps", "ids", "names", "words"]


def test_a_file_that_is_being_written_is_said_to_be_locked(tmp_path: Path) -> None:
    path = write(tmp_path / "f.hdf5", v=features())
    code = "import h5py, sys; f = h5py.File(sys.argv[1], 'r+'); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(InputError, match=r"f\.hdf5: locked, another program is writing it"):
            FeatureStore(path)
        holder.communicate()


def test_a_flipped_bit_is_found_when_its_video_is_read(tmp_path: Path) -> None:
    path = tmp_path / "f.hdf5"
    with FeatureWriter(path, ATTRIBUTES) as writer:
        writer.add("v", features(1000, 8), duration=1.0)
        writer.add("w", features(1000, 8, seed=1), duration=1.0)
    content = bytearray(path.read_bytes())
    content[content.find(features(1000, 8)[500].tobytes())] ^= 1
    path.write_bytes(content)
    with FeatureStore(path) as store:
        np.testing.assert_array_equal(store.read("w"), features(1000, 8, seed=1))
        with pytest.raises(InputError, match="features of v"):
            store.read("v")


def test_a_duration_that_is_no_number_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "f.hdf5", v=features())
    with h5py.File(path, "a") as file:
        file["v"].attrs["duration"] = "long"
    with pytest.raises(InputError, match="the duration of v is no number"):
        FeatureStore(path).duration("v")


def test_a_video_is_called_otherwise_and_keeps_its_features(tmp_path: Path) -> None:
    path = tmp_path / "features.hdf5"
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    with FeatureWriter(path, {"extractor": "x"}) as writer:
        writer.add("old", rows, duration=4.0)
        writer.add("other", rows + 1, duration=4.0)
    with FeatureWriter(path, {"extractor": "x"}) as writer:
        writer.add("fresh", rows + 2, duration=4.0)
        writer.rename("fresh", "newest")
        writer.rename("old", "middle")
        writer.rename("middle", "new")
        writer.note("new", path="/videos/new.mp4")
        with pytest.raises(InputError, match="there is a video 'other' already"):
            writer.rename("new", "other")
    with FeatureStore(path) as store:
        assert store.videos == ["new", "newest", "other"]
        np.testing.assert_array_equal(store.read("new"), rows)
        np.testing.assert_array_equal(store.read("newest"), rows + 2)
        assert store.attributes_of("new") == {"duration": 4.0, "path": "/videos/new.mp4"}
