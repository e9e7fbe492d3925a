"""Whatever JSON is in a file, it is read, or named in one line."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cfmr.data.layouts.predictions import read_answers
from cfmr.data.layouts.queries import read_queries
from cfmr.data.prepare import prepare
from cfmr.errors import InputError
from cfmr.moments.scoring import score_file

OBJECTS: list[Any] = [
    {"qid": 1, "query": "a dog", "duration": 9, "vid": "v", "relevant_windows": [[0, 6]], "relevant_clip_ids": [0],
     "saliency_scores": [[4, 4, 2]], "glances": [3.0]},
    {"vid_name": "v", "duration": 9, "ts": [1.5, 8], "desc": "a dog", "type": "v", "desc_id": 1},
    {"query_id": 1, "query": "a dog", "video_name": "v", "timestamp": [1, 2], "duration": 9.0, "relevance": 4},
    {"qid": 1, "query": "a dog", "vid": "v", "pred_relevant_windows": [[0, 5, 0.9]], "pred_saliency_scores": [0.1, 0.2],
     "pred_exist_score": 0.5},
    {"video2idx": {"v": 0}, "VCMR": [{"desc_id": 1, "desc": "", "predictions": [[0, 1, 2, 0.5]]}]},
    {"v": {"duration": 9.0, "timestamps": [[0, 4]], "sentences": ["a dog"], "glance": [1]}},
    {"s": {"timestamps": [[30, 60]], "sentences": ["a dog"], "fps": 30.0, "num_frames": 300, "glances": [45]}},
    [["v", 9.0, [0, 4], "a dog", 1.0, 1]],
]  # fmt: skip
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.just(10**400),
    st.just([]),
    st.just({}),
)
VALUES = st.recursive(SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=3), st.just([[0, 1]])), max_leaves=4)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inner for place in places(item, (*path, key)))]


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return value


DAMAGED = st.sampled_from(OBJECTS).flatmap(
    lambda value: st.builds(lambda path, new: put(value, path, new), st.sampled_from(places(value)), VALUES)
)


def check_read_or_named(folder: Path, value: Any) -> None:
    path = folder / "train.json"
    path.write_text(json.dumps(value))
    truth, windows, submission = folder / "truth.jsonl", folder / "windows.jsonl", folder / "submission.json"
    for whole, content in ((truth, OBJECTS[0]), (windows, OBJECTS[3]), (submission, OBJECTS[4])):
        whole.write_text(json.dumps(content))
    for read in (
        read_queries,
        read_answers,
        lambda path: score_file(truth, path),
        lambda path: score_file(path, windows),
        lambda path: score_file(path, submission),
        lambda path: prepare("mine", path, folder / "out"),
    ):
        try:
            read(path)
        except InputError as error:
            message = str(error)
            assert "\n" not in message
            assert str(folder) in message


@given(DAMAGED)
@example(put(OBJECTS[0], ("duration",), 10**400))
@example(put(OBJECTS[3], ("pred_relevant_windows", 0, 0), 10**400))
def test_a_value_of_any_kind_in_any_place_is_read_or_named(
    tmp_path_factory: pytest.TempPathFactory, value: Any
) -> None:
    check_read_or_named(tmp_path_factory.mktemp("json"), value)


@pytest.mark.parametrize("value", OBJECTS, ids=range(len(OBJECTS)))
def test_a_number_without_measure_in_any_place_is_read_or_named(tmp_path: Path, value: Any) -> None:
    for place in places(value):
        for number in (10**400, -(10**400), 1 << 63, 1e308, -1e308, float("inf"), float("nan"), -1, 0):
            check_read_or_named(tmp_path, put(value, place, number))


@given(st.text(max_size=200), st.sampled_from(["{", "[", "", "v#enc#0 "]))
def test_any_text_is_read_or_named(tmp_path_factory: pytest.TempPathFactory, text: str, start: str) -> None:
    path: Path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_bytes((start + text).encode("utf-8", "surrogatepass"))
    for read in (read_queries, read_answers):
        try:
            read(path)
        except InputError as error:
            message = str(error)
            assert str(path.parent) in message
