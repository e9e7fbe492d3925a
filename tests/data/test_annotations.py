import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfmr.data.annotations import Annotation, as_row, load_annotations, load_negatives, parse_row, save_annotations
from cfmr.errors import InputError

GOOD = ["AO8RW", 33.67, [0.0, 6.9], "a person is putting a book on a shelf.", 1.0]


def write(tmp_path: Path, rows: Any) -> Path:
    path = tmp_path / "rows.json"
    path.write_text(rows if isinstance(rows, str) else json.dumps(rows), encoding="utf-8")
    return path


def row(**changes: Any) -> list[Any]:
    keys = ("video", "duration", "span", "sentence", "glance")
    return [changes.get(key, value) for key, value in zip(keys, GOOD, strict=True)]


def test_a_row_becomes_an_annotation(tmp_path: Path) -> None:
    assert load_annotations(write(tmp_path, [GOOD])) == [
        Annotation("AO8RW", 33.67, "a person is putting a book on a shelf.", 1.0, (0.0, 6.9))
    ]


def test_a_training_row_needs_no_span_and_a_test_row_no_glance(tmp_path: Path) -> None:
    rows = load_annotations(write(tmp_path, [row(span=None), row(glance=None), GOOD[:4]]))
    assert [(r.span, r.glance) for r in rows] == [(None, 1.0), ((0.0, 6.9), None), ((0.0, 6.9), None)]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (row(span=[6.9, 1.0]), "ends at 1 s, before it starts at 6.9 s"),
        (row(span=[-1.0, 2.0]), "outside the video"),
        (row(span=[40.0, 41.0]), "outside the video"),
        (row(span=[0.0]), "for [start, end]"),
        (row(span=["0", "1"]), "a number of seconds"),
        (row(span=[0, math.nan]), "a number of seconds"),
        (row(glance=99.0), "glance at 99 s, outside the video of 33.67 s"),
        (row(glance=34.0), "glance at 34 s, outside the video of 33.67 s"),
        (row(glance=-0.5), "outside the video"),
        (row(glance=True), "a number of seconds"),
        (row(sentence="  \n"), "empty sentence"),
        (row(sentence=None), "no sentence"),
        (row(duration=0), "a video needs a length"),
        (row(duration=-3.0), "a video needs a length"),
        (row(duration=math.inf), "a number of seconds"),
        (row(duration="33"), "a number of seconds"),
        (row(video=""), "names no video"),
        (row(video=7), "names no video"),
        (GOOD[:3], "is not [video, duration"),
        ([*GOOD, "q1", 1], "is not [video, duration"),
        ([*GOOD, ["q1"]], "for its sentence's name"),
        ([*GOOD, True], "for its sentence's name"),
        ({"video": "x"}, "is not [video, duration"),
        ("AO8RW", "is not [video, duration"),
    ],
)
def test_a_bad_row_is_named_by_file_and_number(tmp_path: Path, bad: Any, says: str) -> None:
    path = write(tmp_path, [GOOD, bad])
    with pytest.raises(InputError) as error:
        load_annotations(path)
    message = str(error.value)
    assert message.startswith(f"{path}: row 2 ")
    assert says in message
    assert "\n" not in message


@pytest.mark.parametrize("text", ["[[", '[["a", 1.0, [0, 1], "x", 0.5]', "nonsense", "\x00\x01"])
def test_a_truncated_file_is_named(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError, match="not valid JSON") as error:
        load_annotations(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(("content", "says"), [({}, "a JSON list"), ([], "no annotation")])
def test_a_file_without_rows_is_named(tmp_path: Path, content: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        load_annotations(write(tmp_path, content))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.json: no such file"):
        load_annotations(tmp_path / "gone.json")


def test_what_training_or_measuring_needs_can_be_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, [GOOD, row(glance=None, span=None)])
    with pytest.raises(InputError, match="row 2 has no glance"):
        load_annotations(path, glances=True)
    with pytest.raises(InputError, match=r"row 2 has no \[start, end\]"):
        load_annotations(path, spans=True)


def test_a_moment_that_ends_after_its_video_is_cut_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, [GOOD, row(span=[30.0, 35.0], glance=34.5), row(span=None, glance=34.5)])
    with caplog.at_level(logging.INFO, logger="cfmr.data.annotations"):
        rows = load_annotations(path)
    assert [(r.span, r.glance) for r in rows[1:]] == [((30.0, 33.67), 33.67), (None, 33.67)]
    assert "2 of 3 moments" in caplog.text


def test_saving_and_loading_changes_nothing(tmp_path: Path) -> None:
    rows = [Annotation("a", 2.5, "un café, s'il vous plaît", None, None), Annotation("b", 9.0, "x", 1.0, (0.5, 9.0))]
    save_annotations(tmp_path / "rows.json", rows)
    assert load_annotations(tmp_path / "rows.json") == rows


@given(
    duration=st.floats(1e-3, 1e5),
    cut=st.tuples(st.floats(0, 0.999), st.floats(0, 1.05), st.floats(0, 1)),
    sentence=st.text(min_size=1).filter(str.strip),
)
def test_whatever_is_read_lies_in_its_video(duration: float, cut: tuple[float, float, float], sentence: str) -> None:
    start, end, glance = (part * duration for part in cut)
    start, end = min(start, end), max(start, end)
    if start >= duration:
        return
    annotation, late = parse_row(["v", duration, [start, end], sentence, glance])
    assert annotation.span is not None
    assert 0 <= annotation.span[0] <= annotation.span[1] <= duration
    assert annotation.glance is not None
    assert 0 <= annotation.glance <= duration
    assert late == (end > duration)
    assert parse_row(as_row(annotation)) == (annotation, False)


@pytest.mark.parametrize(
    "name",
    [
        "charades/glance_train_charades",
        "charades/glance_test_charades",
        "tacos/glance_train_tacos",
        "tacos/glance_val_tacos",
        "tacos/glance_test_tacos",
        "activitynet/glance_test_activitynet",
    ],
)
def test_the_files_of_the_field_are_read_whole(shared: Path, name: str) -> None:
    path = shared / "data" / f"{name}.json"
    raw = json.loads(path.read_text())
    rows = load_annotations(path, glances=True, spans=True)
    assert [(r.video, r.sentence) for r in rows] == [(r[0], r[3]) for r in raw]
    without_spans = [parse_row([r[0], r[1], None, r[3], r[4]])[0] for r in raw]
    assert [r.glance for r in without_spans] == [r.glance for r in rows]


def test_rows_that_share_a_sixth_element_are_moments_of_one_sentence(tmp_path: Path) -> None:
    rows = load_annotations(write(tmp_path, [[*GOOD, 7], [*row(span=[10, 12], glance=11.0), 7], GOOD]))
    assert [r.qid for r in rows] == [7, 7, None]
    assert [as_row(r) for r in rows] == [[*GOOD, 7], [*row(span=[10.0, 12.0], glance=11.0), 7], GOOD]


def test_sentences_that_nothing_fits_are_left_out(tmp_path: Path) -> None:
    nothing = [*row(span=[], glance=None), "q2"]
    assert as_row(parse_row(nothing)[0]) == nothing
    assert [r.sentence for r in load_annotations(write(tmp_path, [nothing, GOOD]))] == [GOOD[3]]
    with pytest.raises(InputError, match="nothing in it fits a video"):
        load_annotations(write(tmp_path, [nothing]))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"qid": 1, "query": "a dog", "vid": "v", "duration": 9}\n' * 2, "is QVHighlights jsonl"),
        ('{"v": {"timestamps": [[0, 1]], "sentences": ["a"], "duration": 4}}', "an object with the videos' names"),
        ("AAAAA 0.0 6.9##a person opens a door.\n", "is Charades-STA text"),
        ("v1#enc#0 a dog runs\n", "is PRVR captions"),
    ],
)
def test_a_file_of_another_layout_is_named_with_what_to_do(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError, match="cfmr prepare NAME --raw") as error:
        load_annotations(write(tmp_path, text))
    assert says in str(error.value)


def test_a_negative_label_is_read_beside_the_moments_and_written_as_it_was(tmp_path: Path) -> None:
    path = write(tmp_path, [GOOD, row(span=[], glance=3.0), row(span=[], glance=None)])
    assert [found.absent for found in load_annotations(path)] == [False]
    (negative,) = load_negatives(path)
    assert (negative.glance, negative.span, negative.absent) == (3.0, None, True)
    assert as_row(negative) == row(span=[], glance=3.0)
