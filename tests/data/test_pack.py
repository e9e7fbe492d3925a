import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cfmr.data.features import FeatureStore
from cfmr.data.pack import Packed, Packing, check_tokens, pack, pack_npz
from cfmr.errors import InputError

CLIPS = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "features"
    path.mkdir()
    return path


def packed(folder: Path, **options: Any) -> dict[str, np.ndarray]:
    target = folder.parent / "packed.hdf5"
    count = pack(folder, target, Packing(**options)).videos
    with FeatureStore(target) as store:
        assert count == len(store)
        return {video: store.read(video) for video in store.videos}


def test_a_folder_of_array_files_is_packed(folder: Path) -> None:
    torch = pytest.importorskip("torch")
    np.save(folder / "half.npy", CLIPS.astype(np.float16))
    np.save(folder / "double.npy", CLIPS.astype(np.float64))
    np.savez(folder / "zipped.npz", features=CLIPS)
    torch.save(torch.from_numpy(CLIPS), folder / "tensor.pt")
    torch.save({"features": torch.from_numpy(CLIPS)[None]}, folder / "dict.pth")
    (folder / "deeper").mkdir()
    np.save(folder / "deeper" / "s1.avi.npy", CLIPS[:, :, None, None])
    (folder / "readme.txt").write_text("not features")
    result = packed(folder)
    assert sorted(result) == ["dict", "double", "half", "s1.avi", "tensor", "zipped"]
    for features in result.values():
        assert features.dtype == np.float32
        np.testing.assert_array_equal(features, CLIPS)


def test_a_single_clip_stays_a_clip(folder: Path) -> None:
    np.save(folder / "v.npy", CLIPS[:1])
    assert packed(folder)["v"].shape == (1, 4)


class Evil:
    def __reduce__(self) -> Any:
        return print, ("executed",)


def test_an_array_that_needs_pickle_is_refused(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    np.save(folder / "v.npy", np.array([Evil()], object), allow_pickle=True)
    with pytest.raises(InputError, match=r"v\.npy: no plain array.*pickles are not executed"):
        packed(folder)
    assert "executed" not in capfd.readouterr().out


def test_a_tensor_file_that_asks_to_run_something_is_refused(folder: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"features": Evil()}, folder / "v.pt")
    with pytest.raises(InputError, match=r"v\.pt: asks to run 'builtins\.print'"):
        packed(folder)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.ones(4, np.float32), r"has shape \(4,\)"),
        (np.ones((0, 4), np.float32), r"has shape \(0, 4\)"),
        (np.ones((2, 3, 4), np.float32), r"has shape \(2, 3, 4\)"),
        (np.full((2, 4), np.nan, np.float32), "holds NaN"),
        (np.full((2, 4), 1e300), "holds NaN or infinite"),
        (np.ones((2, 4), np.int64), "holds int64"),
        (np.array(["a"]), "holds <U1"),
        (np.ones((2, 5), np.float32), "5 numbers a clip, the files before have 4"),
    ],
)
def test_an_array_that_is_no_features_is_named_and_the_others_are_packed(
    folder: Path, array: np.ndarray, says: str
) -> None:
    np.save(folder / "a.npy", CLIPS)
    np.save(folder / "b.npy", array)
    done = pack(folder, folder.parent / "packed.hdf5")
    assert done.videos == 1
    assert re.search(rf"b\.npy: .*{says}", done.failed["b"])


def test_where_nothing_can_be_packed_the_first_reason_is_said_and_nothing_written(folder: Path) -> None:
    np.save(folder / "b.npy", np.ones(4, np.float32))
    with pytest.raises(InputError, match=r"b\.npy: has shape \(4,\)"):
        packed(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["features"]


def test_what_has_changed_is_packed_again(folder: Path) -> None:
    np.save(folder / "a.npy", CLIPS)
    np.save(folder / "b.npy", CLIPS)
    packed(folder)
    np.save(folder / "a.npy", CLIPS + 1)
    result = packed(folder)
    np.testing.assert_array_equal(result["a"], CLIPS + 1)
    np.testing.assert_array_equal(result["b"], CLIPS)


def test_what_an_hdf5_file_has_besides_features_is_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f.hdf5", "w") as file:
        file["a"], file["fps"], file["gone"] = CLIPS, 25.0, h5py.SoftLink("/nowhere")
    done = pack(tmp_path / "f.hdf5", tmp_path / "out.hdf5")
    assert done.videos == 1
    assert done.skipped == {"fps": "no features (clips, dim)", "gone": "a link, and links are not followed"}


def test_an_array_larger_than_its_file_is_refused(folder: Path) -> None:
    np.save(folder / "v.npy", CLIPS)
    content = (folder / "v.npy").read_bytes()
    (folder / "v.npy").write_bytes(content.replace(b"(3, 4), }        ", b"(30000000, 4), } "))
    with pytest.raises(InputError, match=r"v\.npy: not a complete array file"):
        packed(folder)


def test_an_archive_that_unpacks_to_far_more_than_it_holds_is_refused(folder: Path) -> None:
    np.savez_compressed(folder / "v.npz", np.zeros((20_000_000, 4), np.float32))
    with pytest.raises(InputError, match=r"v\.npz: arr_0\.npy is said to hold 320 MB"):
        packed(folder)


@pytest.mark.parametrize("name", ["v.npy", "v.npz", "v.pt"])
def test_a_truncated_file_is_named(folder: Path, name: str) -> None:
    torch = pytest.importorskip("torch")
    path = folder / name
    if name == "v.pt":
        torch.save(torch.ones(100, 4), path)
    else:
        (np.save if name == "v.npy" else np.savez)(path, np.ones((100, 4)))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        packed(folder)


def test_of_several_arrays_one_is_named(folder: Path) -> None:
    np.savez(folder / "v.npz", rgb=CLIPS, flow=CLIPS + 1)
    with pytest.raises(InputError, match=r"holds 2 arrays \(rgb, flow\); name one with --member"):
        packed(folder)
    with pytest.raises(InputError, match="none is 'audio'"):
        packed(folder, member="audio")
    np.testing.assert_array_equal(packed(folder, member="flow")["v"], CLIPS + 1)


def test_two_files_of_one_video_are_named(folder: Path) -> None:
    np.save(folder / "v.npy", CLIPS)
    np.savez(folder / "v.npz", CLIPS)
    with pytest.raises(InputError, match="a video has one file"):
        packed(folder)


def test_an_empty_folder_and_a_missing_one_are_named(folder: Path) -> None:
    for path, says in (
        (folder, r"no \.npy, \.npz, \.pt, \.pth files there"),
        (folder / "gone", "no such folder or file"),
    ):
        with pytest.raises(InputError, match=says):
            pack(path, folder / "out.hdf5")


def test_a_member_of_each_videos_group_is_taken_out_of_hdf5(tmp_path: Path) -> None:
    source = tmp_path / "groups.hdf5"
    with h5py.File(source, "w") as file:
        for video in ("v1", "v2"):
            file[f"{video}/c3d"], file[f"{video}/i3d"] = CLIPS, CLIPS + 1
    assert pack(source, tmp_path / "out.hdf5", Packing("i3d")).videos == 2
    with FeatureStore(tmp_path / "out.hdf5") as store:
        assert store.videos == ["v1", "v2"]
        np.testing.assert_array_equal(store.read("v1"), CLIPS + 1)
    with pytest.raises(InputError, match="no video has a data set 'audio'"):
        pack(source, tmp_path / "other.hdf5", Packing("audio"))


def test_of_groups_that_hold_one_or_several_data_sets_the_one_named_is_taken(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "one.hdf5", "w") as one, h5py.File(tmp_path / "two.hdf5", "w") as two:
        for video in ("a", "b"):
            one.create_group(video)["c3d_features"] = CLIPS
            two.create_group(video)["rgb"] = CLIPS
            two[video]["flow"] = CLIPS + 1
    assert pack(tmp_path / "one.hdf5", tmp_path / "f.hdf5", Packing("c3d_features")).videos == 2
    with pytest.raises(
        InputError, match=r"two\.hdf5: each video has 2 data sets \(flow, rgb\); name one with --member"
    ):
        pack(tmp_path / "two.hdf5", tmp_path / "g.hdf5")


# --- several sources --------------------------------------------------------------------------------------------------


def sources(root: Path, **folders: dict[str, np.ndarray]) -> list[Path]:
    for name, videos in folders.items():
        (root / name).mkdir()
        for video, features in videos.items():
            np.savez(root / name / f"{video}.npz", features=features)
    return [root / name for name in folders]


def test_features_of_several_folders_are_joined_and_cut_to_the_shortest(tmp_path: Path) -> None:
    slow, clip = np.full((5, 3), 2.0, np.float16), np.arange(8, dtype=np.float32).reshape(4, 2)
    folders = sources(tmp_path, slowfast={"v": slow, "w": slow[:4]}, clip={"v": clip, "w": clip})
    assert pack(folders, tmp_path / "f.hdf5") == Packed(2, cut=1, most=1)
    with FeatureStore(tmp_path / "f.hdf5") as store:
        np.testing.assert_array_equal(store.read("v"), np.concatenate([slow[:4], clip], axis=1))
        assert store.attributes["packed_from"] == "slowfast + clip"


def test_clips_may_be_scaled_and_told_where_they_are(tmp_path: Path) -> None:
    folders = sources(tmp_path, a={"v": np.full((4, 2), 3.0)}, b={"v": np.full((4, 1), -7.0)})
    pack(folders, tmp_path / "f.hdf5", Packing(unit=True, time_columns=True))
    with FeatureStore(tmp_path / "f.hdf5") as store:
        row = [0.5**0.5, 0.5**0.5, -1.0]
        expected = [[*row, start, start + 0.25] for start in (0.0, 0.25, 0.5, 0.75)]
        np.testing.assert_allclose(store.read("v"), expected, atol=1e-5)
        assert {"unit": 1, "time_columns": 1}.items() <= store.attributes.items()


def test_videos_that_a_source_lacks_are_listed_before_anything_is_written(tmp_path: Path) -> None:
    folders = sources(tmp_path, a={"v": CLIPS, "w": CLIPS}, b={"v": CLIPS})
    with pytest.raises(InputError, match="b: no features for 1 of 2 videos: w"):
        pack(folders, tmp_path / "f.hdf5")
    assert not list(tmp_path.glob("f.hdf5*"))
    assert pack(folders, tmp_path / "f.hdf5", videos=["v", "v"]) == Packed(1)
    with pytest.raises(InputError, match="a: no features for 1 of 1 videos: x"):
        pack(folders, tmp_path / "g.hdf5", videos=["x"])


def test_clips_of_different_lengths_are_not_joined(tmp_path: Path) -> None:
    folders = sources(tmp_path, a={"v": np.ones((10, 2))}, b={"v": np.ones((20, 2))})
    with pytest.raises(InputError, match=r"v: 10 in .*a, 20 in .*b clips"):
        pack(folders, tmp_path / "f.hdf5")


@pytest.mark.parametrize(("tokens", "expected"), [("mean", 1.0), ("max", 2.0)])
def test_tokens_of_a_clip_become_their_mean_or_their_greatest(folder: Path, tokens: str, expected: float) -> None:
    values = np.stack([np.zeros((3, 4)), np.ones((3, 4)), np.full((3, 4), 2.0)], axis=1).astype(np.float16)
    np.save(folder / "v.npy", values)
    with pytest.raises(InputError, match=r"has shape \(3, 3, 4\).*--tokens mean or --tokens max"):
        packed(folder)
    np.testing.assert_array_equal(packed(folder, tokens=tokens)["v"], np.full((3, 4), expected))
    with FeatureStore(folder.parent / "packed.hdf5") as store:
        assert store.attributes["tokens"] == tokens
    with pytest.raises(InputError, match="--tokens median: known are mean and max"):
        check_tokens("median")


def test_the_array_called_features_is_taken_of_several(folder: Path) -> None:
    np.savez(folder / "v.npz", features=CLIPS, mask=np.ones(3))
    np.testing.assert_array_equal(packed(folder)["v"], CLIPS)


def test_rows_of_frames_as_prvr_has_them_are_packed(folder: Path) -> None:
    (folder / "feature.bin").write_bytes(CLIPS.astype("<f4").tobytes())
    (folder / "id.txt").write_text("v_0 v_1 w_0")
    (folder / "shape.txt").write_text("3 4")
    (folder / "video2frames.txt").write_text("{'v': ['v_0', 'v_1'], 'w': ['w_0']}")
    result = packed(folder)
    np.testing.assert_array_equal(result["v"], CLIPS[:2])
    np.testing.assert_array_equal(result["w"], CLIPS[2:])


def test_a_feature_file_becomes_a_folder_of_npz_and_the_same_file_again(folder: Path, tmp_path: Path) -> None:
    np.savez(folder / "v1.npz", features=CLIPS)
    np.savez(folder / "v2_0.0_150.0.npz", features=CLIPS + 1)
    pack(folder, tmp_path / "first.hdf5")
    told = pack_npz(tmp_path / "first.hdf5", tmp_path / "npz")
    assert told.videos == 2
    assert sorted(path.name for path in (tmp_path / "npz").iterdir()) == ["v1.npz", "v2_0.0_150.0.npz"]
    with np.load(tmp_path / "npz" / "v1.npz") as content:
        assert list(content) == ["features"]
        np.testing.assert_array_equal(content["features"], CLIPS)
    pack(tmp_path / "npz", tmp_path / "second.hdf5")
    with FeatureStore(tmp_path / "first.hdf5") as first, FeatureStore(tmp_path / "second.hdf5") as second:
        assert first.videos == second.videos
        for video in first.videos:
            np.testing.assert_array_equal(first.read(video), second.read(video))


def test_a_video_named_like_a_folder_is_not_written_as_npz(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "f.hdf5", "w") as file:
        file["deep/one"], file["plain"] = CLIPS, CLIPS
    told = pack_npz(tmp_path / "f.hdf5", tmp_path / "npz")
    assert (told.videos, list(told.failed)) == (1, ["deep/one"])


def test_names_that_differ_by_a_files_ending_are_pointed_out(folder: Path, tmp_path: Path) -> None:
    np.save(folder / "v1.npy", CLIPS)
    np.save(folder / "v2.mp4.npy", CLIPS)
    with pytest.raises(InputError, match=r"2 videos: v1\.mp4; there is v1: take the \.mp4 out of the annotations"):
        pack(folder, tmp_path / "f.hdf5", videos=["v1.mp4", "v2.mp4"])
    with pytest.raises(InputError, match=r"1 videos: v2; there is v2\.mp4: rename it to v2"):
        pack(folder, tmp_path / "f.hdf5", videos=["v2"])
    pack(folder, tmp_path / "f.hdf5")
    with FeatureStore(tmp_path / "f.hdf5") as store, pytest.raises(InputError, match="there is v1: take the"):
        store.check(["v1.mp4"], 4)
