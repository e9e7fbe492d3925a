import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfmr.data.layouts import prvr, qvhighlights
from cfmr.data.layouts.rows import read_rows
from cfmr.errors import InputError

QV = {"qid": 7, "query": "a dog runs", "duration": 150, "vid": "x_0.0_150.0", "relevant_windows": [[0, 6], [20, 24.5]]}
TVR = {"vid_name": "friends_1", "duration": 61.4, "ts": [1.5, 9], "desc": "Joey eats", "type": "vt", "desc_id": 90}
RANKED = {
    "pair_id": 0,
    "query_id": 5,
    "query": "A man talks.",
    "video_name": "house_1",
    "timestamp": [63.5, 77.4],
    "duration": 90.0,
    "caption": "A man talks.",
    "similarity": 1.0,
    "relevance": 4,
}


def lines(path: Path, *objects: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in objects))
    return path


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_every_window_of_a_sentence_becomes_a_row_that_bears_its_qid(tmp_path: Path) -> None:
    layout, rows = read_rows(lines(tmp_path / "a.jsonl", QV))
    assert layout == "qvhighlights"
    assert [row.values for row in rows] == [
        ["x_0.0_150.0", 150, [0, 6], "a dog runs", None, 7],
        ["x_0.0_150.0", 150, [20, 24.5], "a dog runs", None, 7],
    ]


def test_unknown_windows_and_none_at_all_are_told_apart(tmp_path: Path) -> None:
    unknown = {key: value for key, value in QV.items() if key != "relevant_windows"}
    null = {**QV, "qid": "b", "relevant_windows": None}
    nothing = {**QV, "qid": "c", "relevant_windows": []}
    _, rows = read_rows(lines(tmp_path / "a.jsonl", unknown, null, nothing))
    assert [row.values[2] for row in rows] == [None, None, []]


def test_ratings_of_clips_come_along(tmp_path: Path) -> None:
    rated = {**QV, "relevant_clip_ids": [0, 1], "saliency_scores": [[4, 4, 2], [0, 1, 3]]}
    _, rows = read_rows(lines(tmp_path / "a.jsonl", rated))
    assert rows[0].extra == {"clip_ids": [0, 1], "saliency": [[4, 4, 2], [0, 1, 3]]}


def test_glances_may_be_given_one_a_window(tmp_path: Path) -> None:
    _, rows = read_rows(lines(tmp_path / "a.jsonl", {**QV, "glances": [2.5, 21]}))
    assert [row.values[4] for row in rows] == [2.5, 21]


def test_tvr_and_tvr_ranking_are_read(tmp_path: Path) -> None:
    layout, (row,) = read_rows(lines(tmp_path / "tvr.jsonl", TVR))
    assert (layout, row.values) == ("tvr", ["friends_1", 61.4, [1.5, 9], "Joey eats", None, 90])
    assert row.extra == {"type": "vt"}
    layout, rows = read_rows(lines(tmp_path / "r.jsonl", RANKED, {**RANKED, "video_name": "house_2", "relevance": 0}))
    assert layout == "tvr-ranking"
    assert [(row.values[0], row.extra["query_id"], row.extra["relevance"]) for row in rows] == [
        ("house_1", 5, 4),
        ("house_2", 5, 0),
    ]
    as_list = written(tmp_path / "r.json", json.dumps([RANKED]))
    assert read_rows(as_list).rows[0].values == rows[0].values


def test_glances_of_viga_and_of_d3g_are_read(tmp_path: Path) -> None:
    entry = {"duration": 30.0, "timestamps": [[0, 4], [5, 9]], "sentences": ["A man", "Two"]}
    for key in ("glance", "glances"):
        _, rows = read_rows(written(tmp_path / "a.json", json.dumps({"v_1": {**entry, key: [1, 8.5]}})))
        assert [row.values for row in rows] == [["v_1", 30.0, [0, 4], "A man", 1], ["v_1", 30.0, [5, 9], "Two", 8.5]]


def test_frames_are_turned_into_seconds_where_a_video_has_frames(tmp_path: Path) -> None:
    tacos = {"timestamps": [[30, 60]], "sentences": ["He took a pan"], "fps": 30.0, "num_frames": 300}
    _, (row,) = read_rows(written(tmp_path / "a.json", json.dumps({"s1.avi": tacos})))
    assert row.values == ["s1.avi", 10.0, [1.0, 2.0], "He took a pan", None]


def test_charades_text_and_cpls_list_are_read(tmp_path: Path) -> None:
    (tmp_path / "Charades_v1_test.csv").write_text("id,length\nAAAAA,30.5\n")
    _, (row,) = read_rows(written(tmp_path / "a.txt", "AAAAA 0.0 6.9##2.5##a person sits.\n"))
    assert row.values[2:] == [[0.0, 6.9], "a person sits.", 2.5]
    layout, (row,) = read_rows(written(tmp_path / "cpl.json", '[["AAAAA", 30.5, [0, 6.9], "a person sits."]]'))
    assert (layout, row.values) == ("rows", ["AAAAA", 30.5, [0, 6.9], "a person sits."])


def test_captions_without_times_are_read(tmp_path: Path) -> None:
    layout, rows = read_rows(written(tmp_path / "a.caption.txt", "v1#enc#0 a dog runs\nv1#enc#1 it sleeps\n"))
    assert layout == "prvr"
    assert [row.values for row in rows] == [
        ["v1", None, None, "a dog runs", None, "v1#enc#0"],
        ["v1", None, None, "it sleeps", None, "v1#enc#1"],
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (json.dumps(QV) + "\n" + json.dumps(QV)[:40], "line 2 is no whole JSON object; is the file complete"),
        (json.dumps(QV) + "\n" + json.dumps(QV), "line 2 has qid 7, which line 1 has already"),
        (json.dumps(QV) + '\n{"qid": 8}\n', "line 2 has no 'vid'"),
        (json.dumps({**QV, "qid": 1.5}), "line 1 has 1.5 for 'qid'"),
        (json.dumps({**QV, "relevant_windows": "0-6"}), "line 1 has '0-6' for 'relevant_windows'"),
        (json.dumps({**QV, "glances": [1]}), "line 1 has 2 windows and not as many 'glances'"),
        (json.dumps({**QV, "relevant_clip_ids": [1], "saliency_scores": []}), "different lengths"),
        (json.dumps({**QV, "relevant_clip_ids": [-1], "saliency_scores": [[1]]}), "no whole numbers from 0 on"),
        (json.dumps({**QV, "relevant_clip_ids": [0, 1], "saliency_scores": [[1], [1, 2]]}), "as many numbers"),
        (json.dumps({**TVR, "desc_id": None}), "line 1 has None for 'desc_id'"),
        (json.dumps({**RANKED, "relevance": 5}), "line 1 has relevance 5"),
        ('{"question": 1, "answer": 2}\n{"question": 1}\n', "line 1 has the keys question, answer; no layout"),
        ('{"question": 1, "answer": 2}', "has the keys question, answer; no layout"),
        ('[{"question": 1}]', "row 1 has the keys question; no layout"),
        (json.dumps([QV, 3]), "row 2 is no object"),
        ("WEBVTT\n\n00:00 --> 00:01\nhello", "begins with 'WEBVTT'"),
        ("", "is empty"),
        ("[]", "no annotation in it"),
        ("v1#enc#0 a dog runs\nv1#enc#1\n", "line 2 is not 'VIDEO#enc#0 sentence'"),
        ("v1#enc#0 a dog\nv1#enc#0 a cat\n", "line 2 has caption 'v1#enc#0', which line 1 has already"),
        ('{"qid": 1, "pred_relevant_windows": []}', "is predictions .* where annotations are expected"),
        ('{"video2idx": {}}', "is a TVR submission"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    path = written(tmp_path / "a.jsonl", text)
    with pytest.raises(InputError, match=says) as error:
        read_rows(path)
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({key: item for key, item in QV.items() if key != "qid"}, "QVHighlights jsonl .*, but has no 'qid'"),
        ({key: item for key, item in QV.items() if key != "vid"}, "QVHighlights jsonl .*, but has no 'vid'"),
        ({key: item for key, item in TVR.items() if key != "desc"}, "TVR jsonl .*, but has no 'desc'"),
        ({"video": "v", "start": 1}, "no layout of annotations that is known"),
    ],
)
@pytest.mark.parametrize("several", [True, False])
def test_a_key_that_is_all_that_a_layout_lacks_is_named(
    tmp_path: Path, value: dict[str, Any], says: str, several: bool
) -> None:
    with pytest.raises(InputError, match=says):
        read_rows(lines(tmp_path / "a.jsonl", *([value, value] if several else [value])))
    with pytest.raises(InputError, match=says):
        read_rows(written(tmp_path / "a.json", json.dumps([value])))


def test_one_object_over_several_lines_is_read_as_one_on_a_line(tmp_path: Path) -> None:
    _, one = read_rows(lines(tmp_path / "a.jsonl", QV))
    _, pretty = read_rows(written(tmp_path / "a.json", json.dumps(QV, indent=1)))
    assert [row.values for row in pretty] == [row.values for row in one]


def test_a_feature_file_in_place_of_annotations_is_named(tmp_path: Path) -> None:
    (tmp_path / "f.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(InputError, match="is an HDF5 file with numbers in it"):
        read_rows(tmp_path / "f.hdf5")


WINDOWS = st.lists(st.tuples(st.floats(0, 50), st.floats(50, 150)).map(list), max_size=4)


@given(
    st.dictionaries(
        st.one_of(st.integers(), st.text(min_size=1)),
        st.tuples(st.text(), st.text(min_size=1), st.one_of(st.none(), WINDOWS)),
        min_size=1,
        max_size=6,
    )
)
def test_what_is_written_as_jsonl_is_read_again(tmp_path_factory: pytest.TempPathFactory, content: Any) -> None:
    path = tmp_path_factory.mktemp("jsonl") / "a.jsonl"
    objects = [
        {"qid": qid, "query": query, "vid": vid, "duration": 150, "relevant_windows": windows}
        for qid, (query, vid, windows) in content.items()
    ]
    qvhighlights.write(path, objects)
    again: dict[Any, Any] = {}
    for row in read_rows(path).rows:
        vid, _, span, query, _, qid = row.values
        windows = again.setdefault(qid, (query, vid, None if span is None else []))[2]
        if span:
            windows.append(span)
    assert again == {qid: (query, vid, windows) for qid, (query, vid, windows) in content.items()}


def frame_features(folder: Path, **changes: str | bytes) -> Path:
    import numpy as np

    folder.mkdir()
    content: dict[str, str | bytes] = {
        "feature.bin": np.arange(12, dtype="<f4").tobytes(),
        "id.txt": "v1_0 v1_1 v2_0 v2_1",
        "shape.txt": "4 3\n",
        "video2frames.txt": "{'v1': ['v1_0', 'v1_1'], 'v2': ['v2_1']}",
    } | {name.replace("__", "."): value for name, value in changes.items()}
    for name, value in content.items():
        (folder / name).write_bytes(value if isinstance(value, bytes) else value.encode())
    return folder


def test_frames_in_one_file_are_gathered_to_videos(tmp_path: Path) -> None:
    features = prvr.FrameFeatures(frame_features(tmp_path / "f"))
    assert features.videos == ["v1", "v2"]
    assert features.read("v1").tolist() == [[0, 1, 2], [3, 4, 5]]
    assert features.read("v2").tolist() == [[9, 10, 11]]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"shape__txt": "4"}, r"shape\.txt: holds '4'"),
        ({"shape__txt": "5 3"}, r"id\.txt: has 4 names, shape\.txt says 5"),
        ({"feature__bin": b"\0" * 40}, r"feature\.bin: has 40 bytes, 4 rows of 3 numbers are 48"),
        ({"video2frames__txt": "__import__('os').system('echo no')"}, r"video2frames\.txt: is no plain dict"),
        ({"video2frames__txt": "{'v1': ['v1_0', "}, r"video2frames\.txt: is no plain dict"),
        ({"video2frames__txt": "{'v1': 3}"}, r"video 'v1' has no list of frames"),
    ],
)
def test_frame_features_that_do_not_belong_together_are_named(
    tmp_path: Path, changes: dict[str, Any], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=says):
        prvr.FrameFeatures(frame_features(tmp_path / "f", **changes))
    assert capfd.readouterr().out == ""


def test_a_frame_without_a_row_is_named(tmp_path: Path) -> None:
    features = prvr.FrameFeatures(frame_features(tmp_path / "f", video2frames__txt="{'v1': ['v1_0', 'v1_9']}"))
    with pytest.raises(InputError, match="no row for frame v1_9 of v1"):
        features.read("v1")


def test_the_files_that_are_missing_are_named(tmp_path: Path) -> None:
    folder = frame_features(tmp_path / "f")
    (folder / "id.txt").unlink()
    with pytest.raises(InputError, match=r"id\.txt is not there"):
        prvr.FrameFeatures(folder)
