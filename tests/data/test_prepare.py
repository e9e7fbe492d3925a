import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cfmr.data.annotations import load_annotations
from cfmr.data.prepare import check_features, prepare
from cfmr.errors import InputError

CSV = "id,subject,length\nAAAAA,x,30.5\nBBBBB,y,12.0\n"
STA = "AAAAA 0.0 6.9##a person is putting a book on a shelf.\nBBBBB 2.0 12.5##person opens a door.\n"


def charades(folder: Path, text: str = STA, table: str = CSV, name: str = "charades_sta_train.txt") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "Charades_v1_train.csv").write_text(table)
    (folder / name).write_text(text)
    return folder


def by_video(folder: Path, content: Any, name: str = "train.json") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def tacos_video(**changes: Any) -> dict[str, Any]:
    entry = {"timestamps": [[30, 60]], "sentences": ["He took a pan"], "fps": 30.0, "num_frames": 300, "glance": [45]}
    return {**entry, **changes}


def rows_of(path: Path) -> list[Any]:
    return json.loads(path.read_text())


@pytest.mark.parametrize("dataset", ["charades", "activitynet", "tacos"])
def test_the_published_files_become_the_fields_glance_files_row_for_row(
    shared: Path, tmp_path: Path, dataset: str
) -> None:
    splits = prepare(dataset, shared / "data" / dataset / "raw", tmp_path)
    compared = 0
    for split in splits:
        theirs = shared / "data" / dataset / split.path.name
        if not theirs.exists():
            continue
        compared += 1
        ours, published = rows_of(split.path), rows_of(theirs)
        assert split.rows == len(ours) == len(published)
        drawn = any("without a glance" in note for note in split.notes)
        if drawn:  # theirs were drawn too, from a seed that is not published
            assert [row[:4] for row in ours] == [row[:4] for row in published]
        else:
            assert ours == published
    assert compared == {"charades": 3, "activitynet": 1, "tacos": 3}[dataset]


def test_the_fields_glance_files_are_taken_as_they_are(shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "charades"
    for split in prepare("charades", source, tmp_path):
        assert rows_of(split.path) == rows_of(source / split.path.name)


def test_every_prepared_file_can_be_loaded_and_its_glances_lie_in_their_moments(shared: Path, tmp_path: Path) -> None:
    for dataset in ("charades", "activitynet", "tacos"):
        for split in prepare(dataset, shared / "data" / dataset / "raw", tmp_path / dataset):
            for row in load_annotations(split.path, glances=True, spans=True):
                assert row.span is not None
                assert row.glance is not None
                assert row.span[0] - 1e-6 <= row.glance <= row.span[1] + 1e-6


def test_prepared_files_bear_the_names_that_the_configurations_use(shared: Path, tmp_path: Path) -> None:
    for dataset in ("charades", "activitynet", "tacos"):
        made = {split.path.name for split in prepare(dataset, shared / "data" / dataset / "raw", tmp_path / dataset)}
        for config in (Path(__file__).parents[2] / "config" / dataset).glob("*3d*.json"):
            named = json.loads(config.read_text())["dataset"]
            assert {Path(named[key]).name for key in ("train_data", "val_data", "test_data")} <= made


def test_charades_takes_lengths_from_the_csv_and_glances_from_the_text(tmp_path: Path) -> None:
    text = "AAAAA 0.0 6.9##1.5##a person: 2 books.\n\nBBBBB 2.0 10.5##3##person opens a door.\n"
    raw = charades(tmp_path / "raw", text, name="glance_charades_sta_train.txt")
    split, debug = prepare("charades", raw, tmp_path / "out")
    assert rows_of(debug.path) == rows_of(split.path)
    assert rows_of(split.path) == [
        ["AAAAA", 30.5, [0.0, 6.9], "a person: 2 books.", 1.5],
        ["BBBBB", 12.0, [2.0, 10.5], "person opens a door.", 3.0],
    ]
    assert split.notes == []


def test_activitynet_is_in_seconds_and_tacos_in_frames(tmp_path: Path) -> None:
    entry = {"duration": 55.15, "timestamps": [[0, 4.14], [4.14, 33]], "sentences": ["A man", "Two"], "glance": [1, 9]}
    (split,) = prepare("activitynet", by_video(tmp_path / "a", {"v_1": entry}), tmp_path / "out")
    assert rows_of(split.path) == [["v_1", 55.15, [0, 4.14], "A man", 1], ["v_1", 55.15, [4.14, 33], "Two", 9]]
    (split,) = prepare("tacos", by_video(tmp_path / "t", {"s1.avi": tacos_video()}), tmp_path / "out")
    assert rows_of(split.path) == [["s1.avi", 10.0, [1.0, 2.0], "He took a pan", 1.5]]


def test_glances_are_drawn_inside_the_moment_from_the_seed(tmp_path: Path) -> None:
    raw = charades(tmp_path / "raw", STA + "AAAAA 1.001 1.004##x\n" * 20)
    drawn = [
        [row[4] for row in rows_of(prepare("charades", raw, tmp_path / str(n), seed)[0].path)]
        for n, seed in enumerate((0, 0, 1))
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(0 <= glance <= 6.9 for glance in (drawn[0][0], drawn[2][0]))
    assert all(1.001 <= glance <= 1.004 for glance in drawn[0][2:])


def test_what_cannot_be_used_is_left_out_and_said(tmp_path: Path) -> None:
    entry = {
        "duration": 20.0,
        "timestamps": [[1, 5], [9, 8], [4, 4], [25, 30], [5, 99], [6, 20.5], [1, 5]],
        "sentences": ["first", "reversed", "no length", "outside", "too long", "rounded", "first"],
    }
    raw = by_video(tmp_path / "raw", {"v": entry})
    (split,) = prepare("activitynet", raw, tmp_path / "out")
    assert [(row[2], row[3]) for row in rows_of(split.path)] == [
        ([1, 5], "first"),
        ([5, 20.0], "too long"),
        ([6, 20.5], "rounded"),
        ([1, 5], "first"),
    ]
    said = " | ".join(split.notes)
    for text in (
        "that end before they start: 1; left out",
        "without a length: 1; left out",
        "that start after the end of their video: 1; left out",
        "that reach further beyond the end of their video: 1; cut there",
        "end up to 0.5 s after their video, as the data set rounds: 1; kept",
        "there more than once (same video, moment and sentence): 1; kept",
        "without a glance in the source: 4; one was drawn",
    ):
        assert text in said
    assert [row.span for row in load_annotations(split.path)][2] == (6, 20.0)


@pytest.mark.parametrize(
    ("text", "table", "says"),
    [
        (STA, "id,subject\nAAAAA,x\n", r"Charades_v1_train\.csv: no column 'length' \(there are id, subject\)"),
        (STA, "", r"no column 'id' \(there are none\)"),
        (STA, "id,length\nAAAAA,long\n", r"Charades_v1_train\.csv: line 2 has no number in column 'length'"),
        (STA, "id,length\nAAAAA,0\n", r"line 2 has a video of 0 s"),
        (STA, "id,length\nAAAAA,30\n", r"no length for 1 videos \(BBBBB\)"),
        ("AAAAA 0.0##x\n", CSV, r"line 1 is not 'VIDEO start end##sentence'"),
        ("AAAAA 0.0 1.0##x\nAAAAA a b##y\n", CSV, r"line 2 is not 'VIDEO start end##sentence'"),
        ("AAAAA 0.0 1.0##\n", CSV, r"line 1 \(AAAAA\) has an empty sentence"),
        ("AAAAA 0.0 1.0##99##x\n", CSV, r"line 1 \(AAAAA\) has its glance at 99 s"),
        ("\n", CSV, r"charades_sta_train\.txt: there is no moment in it"),
    ],
)
def test_a_malformed_charades_file_is_named_with_its_line(tmp_path: Path, text: str, table: str, says: str) -> None:
    raw = charades(tmp_path / "raw", text, table)
    with pytest.raises(InputError, match=says):
        prepare("charades", raw, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_charades_csv_has_to_be_there(tmp_path: Path) -> None:
    raw = charades(tmp_path / "raw")
    (raw / "Charades_v1_train.csv").unlink()
    with pytest.raises(InputError, match="which have the lengths, are not there"):
        prepare("charades", raw, tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"s1.avi": {"timestamps": [[1, 2', r"train\.json: not valid JSON"),
        ("3", "JSON object with the videos' names"),
        ({"s1": tacos_video(fps=0)}, r"train\.json: video s1 is malformed: its fps is 0"),
        ({"s1": tacos_video(num_frames=0)}, "its num_frames is 0"),
        ({"s1": tacos_video(sentences=[])}, "1 timestamps, 0 sentences and 1 glances"),
        ({"s1": tacos_video(timestamps=[[1]])}, "video s1 is malformed"),
        ({"s1": tacos_video(timestamps=[["a", "b"]])}, "video s1 is malformed"),
        ({"s1": {"timestamps": []}}, "video s1 has no 'fps'"),
        ({"s1": None}, "video s1 is malformed"),
        ({"s1": tacos_video(sentences=[""])}, r"video s1, moment 1 \(s1\) has an empty sentence"),
        ([["s1", 3.0]], "row 1 is not"),
        ({}, "no moment in it"),
    ],
)
def test_a_malformed_json_file_is_named_with_its_place(tmp_path: Path, content: Any, says: str) -> None:
    raw = by_video(tmp_path / "raw", content)
    with pytest.raises(InputError, match=says):
        prepare("tacos", raw, tmp_path / "out")


def test_a_broken_split_leaves_no_half_of_a_data_set(tmp_path: Path) -> None:
    raw = by_video(by_video(tmp_path / "raw", {"s1": tacos_video()}), "{", name="test.json")
    with pytest.raises(InputError, match=r"test\.json"):
        prepare("tacos", raw, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_published_files_are_never_overwritten(tmp_path: Path) -> None:
    raw = by_video(tmp_path / "raw", {"s1": tacos_video()})
    with pytest.raises(InputError, match="give another folder"):
        prepare("tacos", raw, raw)


def test_a_folder_without_annotations_and_an_unknown_data_set_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected are charades_sta_train\.txt, charades_sta_test\.txt"):
        prepare("charades", tmp_path, tmp_path / "out")
    with pytest.raises(InputError, match="known are charades, activitynet, tacos"):
        prepare("didemo", tmp_path, tmp_path / "out")


@pytest.fixture
def split(tmp_path: Path) -> Path:
    videos = {f"s{n}": tacos_video() for n in range(15)}
    return prepare("tacos", by_video(tmp_path / "raw", videos), tmp_path / "out")[0].path


def feature_file(path: Path, clips: dict[str, Any]) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in clips.items():
            file[name] = values
    return path


def ones(count: int = 15, dtype: Any = np.float32) -> dict[str, Any]:
    return {f"s{n}": np.ones((20, 4), dtype) for n in range(count)}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_sound_features_are_described(tmp_path: Path, split: Path, dtype: Any) -> None:
    features = {**ones(dtype=dtype), "s0": np.ones((21, 4), dtype)}
    said = " ".join(check_features(feature_file(tmp_path / "f.hdf5", features), [split], 4))
    assert "all 15 videos are there, 4 numbers a clip" in said
    assert "2 clips a second" in said
    assert "out of line" not in said


def test_missing_videos_are_counted_and_the_first_ten_named(tmp_path: Path, split: Path) -> None:
    with pytest.raises(InputError, match=r"12 of 15 videos: s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, \.\.\.;"):
        check_features(feature_file(tmp_path / "f.hdf5", ones(3)), [split])


def test_a_wrong_width_and_nan_are_named(tmp_path: Path, split: Path) -> None:
    path = feature_file(tmp_path / "f.hdf5", {**ones(), "s7": np.full((20, 4), np.nan)})
    with pytest.raises(InputError, match=r"NaN.*1 of 15 videos: s7"):
        check_features(path, [split])
    with pytest.raises(InputError, match="4 wide where the configuration says 1024"):
        check_features(path, [split], 1024)


def test_clips_per_second_out_of_line_are_named(tmp_path: Path, split: Path) -> None:
    features = {**ones(), "s3": np.ones((80, 4), np.float32)}
    said = " ".join(check_features(feature_file(tmp_path / "f.hdf5", features), [split]))
    assert "1 videos are out of line with that: s3 (8)" in said
    same = " ".join(check_features(feature_file(tmp_path / "g.hdf5", ones()), [split]))
    assert "every video has 20 clips, whatever its length" in same


def test_groups_instead_of_data_sets_are_named(tmp_path: Path, split: Path) -> None:
    one = {f"{name}/c3d_features": values for name, values in ones().items()}
    assert "all 15 videos" in check_features(feature_file(tmp_path / "one.hdf5", one), [split])[0]
    two = {**one, **{f"{name}/i3d": values for name, values in ones().items()}}
    with pytest.raises(InputError, match=r"a group of data sets for each video \(c3d_features, i3d\).*--member"):
        check_features(feature_file(tmp_path / "two.hdf5", two), [split])


def jsonl(path: Path, *objects: dict[str, Any]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(value) + "\n" for value in objects))
    return path


def sentence(qid: Any, windows: Any, **changes: Any) -> dict[str, Any]:
    return {
        "qid": qid,
        "query": f"sentence {qid}",
        "duration": 150,
        "vid": "v1",
        "relevant_windows": windows,
        **changes,
    }


def test_several_windows_of_a_sentence_become_rows_with_a_glance_each(tmp_path: Path) -> None:
    jsonl(tmp_path / "raw" / "highlight_train_release.jsonl", sentence(3, [[0, 10], [40, 50]]), sentence("b", [[5, 6]]))
    (split,) = prepare("qvhighlights", tmp_path / "raw", tmp_path / "out")
    assert split.path.name == "glance_train_qvhighlights.json"
    rows = rows_of(split.path)
    assert [[row[0], row[1], row[2], row[3], row[5]] for row in rows] == [
        ["v1", 150, [0, 10], "sentence 3", 3],
        ["v1", 150, [40, 50], "sentence 3", 3],
        ["v1", 150, [5, 6], "sentence b", "b"],
    ]
    assert all(row[2][0] <= row[4] <= row[2][1] for row in rows)
    assert [row.qid for row in load_annotations(split.path, glances=True)] == [3, 3, "b"]


def test_sentences_that_nothing_fits_test_but_do_not_train(tmp_path: Path) -> None:
    for name in ("train", "test"):
        jsonl(tmp_path / "raw" / f"{name}.jsonl", sentence(1, [[0, 10]]), sentence(2, []), sentence(3, None))
    train, test = prepare("soccer", tmp_path / "raw", tmp_path / "out")
    assert [row[5] for row in rows_of(train.path)] == [1]
    assert any("that nothing in their video fits: 1; left out of training" in note for note in train.notes)
    assert any("with neither glance nor start and end: 1; left out of training" in note for note in train.notes)
    assert [row[2] for row in rows_of(test.path)] == [[0, 10], [], None]


def test_a_file_is_taken_for_the_split_in_its_name_and_one_file_may_be_named(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    jsonl(raw / "charades_train_release.jsonl", sentence("s1", [[0, 3]]))
    named = jsonl(raw / "charades_test_release.jsonl", sentence("s1", [[0, 3]]))
    assert [split.path.name for split in prepare("charades", raw, tmp_path / "out")] == [
        "glance_train_charades.json",
        "glance_test_charades.json",
        "glance_debug_charades.json",
    ]
    (split,) = prepare("mine", named, tmp_path / "out")
    assert split.path.name == "glance_test_mine.json"
    jsonl(raw / "subs_train.jsonl", sentence("s1", [[0, 3]]))
    with pytest.raises(InputError, match=r"charades_train_release\.jsonl and subs_train\.jsonl are both for train"):
        prepare("charades", raw, tmp_path / "out")


def test_windows_of_jsonl_that_make_no_sense_are_counted_as_those_of_other_layouts(tmp_path: Path) -> None:
    windows = [[1, 5], [9, 8], [160, 170], [100, 151], [5, 400]]
    jsonl(tmp_path / "raw" / "train.jsonl", sentence(1, windows))
    (split,) = prepare("mine", tmp_path / "raw", tmp_path / "out")
    assert [row[2] for row in rows_of(split.path)] == [[1, 5], [100, 151], [5, 150]]
    said = " | ".join(split.notes)
    assert "end before they start: 1" in said
    assert "start after the end of their video: 1" in said
    assert "reach further beyond the end of their video: 1" in said


def test_captions_without_times_are_not_prepared(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "charadestrain.caption.txt").write_text("v1#enc#0 a dog runs\n")
    with pytest.raises(InputError, match="without times to train on"):
        prepare("mine", tmp_path / "raw" / "charadestrain.caption.txt", tmp_path / "out")
