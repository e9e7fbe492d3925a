import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfmr.data.layouts.predictions import Prediction, Submission, read_answers, write_predictions, write_submission
from cfmr.data.layouts.queries import Query, read_queries
from cfmr.errors import InputError
from cfmr.moments.average_precision import average_precision
from cfmr.moments.rejection import auroc, set_iou
from cfmr.moments.scoring import score
from tests.support import answers as made

# What the field's own scoring functions give for the same truths and answers: Moment-DETR's evaluation of QVHighlights
# ("windows"), GMR's ("rejection"), TVR's ("collection"), MS-SL's ("ranking"), TVR-Ranking's ("graded").
FIGURES = json.loads((Path(__file__).parent / "field_figures.json").read_text())


def jsonl(path: Path, objects: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in objects))
    return path


def whole(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value))
    return path


def figures(truth: Path, answers: Path) -> dict[str, float]:
    return score(read_queries(truth), read_answers(answers), answers.name)


@pytest.fixture
def windows(tmp_path: Path) -> tuple[Path, Path]:
    rng = Random(7)
    truth = made.windows_truth(rng, 120)
    return jsonl(tmp_path / "truth.jsonl", truth), jsonl(tmp_path / "pred.jsonl", made.window_answers(rng, truth))


@pytest.fixture
def collection(tmp_path: Path) -> tuple[Path, Path]:
    rng = Random(9)
    truth = made.tvr_truth(rng, 150, 30)
    submission = made.tvr_submission(rng, truth, 30)
    return jsonl(tmp_path / "truth.jsonl", truth), whole(tmp_path / "submission.json", submission)


def test_windows_and_clips_score_as_in_the_fields_script(windows: tuple[Path, Path]) -> None:
    found = figures(*windows)
    assert {name: found[name] for name in FIGURES["windows"]} == FIGURES["windows"]


def test_rejection_scores_as_in_the_fields_script(tmp_path: Path) -> None:
    rng = Random(8)
    truth = made.windows_truth(rng, 150, nothing=0.4)
    answers = made.window_answers(rng, truth, exist=True)
    found = figures(jsonl(tmp_path / "truth.jsonl", truth), jsonl(tmp_path / "pred.jsonl", answers))
    assert {name: found[name] for name in FIGURES["rejection"]} == FIGURES["rejection"]
    unsure = [{key: value for key, value in answer.items() if key != "pred_exist_score"} for answer in answers]
    found = figures(tmp_path / "truth.jsonl", jsonl(tmp_path / "windows.jsonl", unsure))
    assert {name: found[name] for name in FIGURES["rejection_by_windows"]} == FIGURES["rejection_by_windows"]


def test_a_submission_over_a_collection_scores_as_in_the_fields_scripts(collection: tuple[Path, Path]) -> None:
    found = figures(*collection)
    assert {name: found[name] for name in FIGURES["collection"]} == FIGURES["collection"]


def test_a_ranking_of_all_videos_scores_as_in_the_fields_script(tmp_path: Path) -> None:
    rng = Random(11)
    truth = made.tvr_truth(rng, 90, 130)
    ranking = whole(tmp_path / "ranking.json", made.complete_ranking(rng, truth, 130))
    assert figures(jsonl(tmp_path / "truth.jsonl", truth), ranking) == FIGURES["ranking"]


@pytest.mark.parametrize("kind", made.DEGENERATE)
@pytest.mark.parametrize(("script", "seed", "nothing"), [("windows", 12, 0.0), ("rejection", 13, 0.4)])
def test_degenerate_answers_score_as_in_the_fields_scripts(
    tmp_path: Path, kind: str, script: str, seed: int, nothing: float
) -> None:
    rng = Random(seed)
    truth = made.windows_truth(rng, 60, nothing=nothing)
    answers = made.degenerate_answers(rng, truth, kind)
    found = figures(jsonl(tmp_path / "truth.jsonl", truth), jsonl(tmp_path / "pred.jsonl", answers))
    expected = FIGURES[f"degenerate {script}, {kind}"]
    assert {name: found[name] for name in expected} == expected


def test_graded_relevance_scores_as_in_the_fields_script(tmp_path: Path) -> None:
    rng = Random(10)
    truth = made.graded_truth(rng, 25, 8)
    submission = whole(tmp_path / "submission.json", made.graded_submission(rng, truth, 8))
    assert figures(jsonl(tmp_path / "truth.jsonl", truth), submission) == FIGURES["graded"]


def test_moments_besides_the_first_are_asked_of_sentences_with_several(tmp_path: Path) -> None:
    truth = [{**QUERY, "relevant_windows": [[0, 10], [20, 30]]}, {**QUERY, "qid": 2, "relevant_windows": [[50, 60]]}]
    answers = [
        {**ANSWER, "pred_relevant_windows": [[0, 10, 0.9], [1, 10, 0.8], [20, 30, 0.7]]},
        {**ANSWER, "qid": 2, "pred_relevant_windows": [[50, 60, 0.9]]},
    ]
    found = figures(jsonl(tmp_path / "truth.jsonl", truth), jsonl(tmp_path / "pred.jsonl", answers))
    assert (found["mR@1"], found["mR@3"]) == (75.0, 100.0)
    assert (found["mR+@1"], found["mR+@3"]) == (0.0, 100.0)
    single = figures(jsonl(tmp_path / "one.jsonl", truth[1:]), jsonl(tmp_path / "pred.jsonl", answers[1:]))
    assert not [name for name in single if name.startswith("mR")]


def test_predictions_survive_being_written_and_score_the_same(windows: tuple[Path, Path], tmp_path: Path) -> None:
    truth, answers = windows
    read = read_answers(answers)
    assert isinstance(read, list)
    write_predictions(tmp_path / "again.jsonl", read)
    theirs = [json.loads(line) for line in answers.read_text().splitlines()]
    assert [json.loads(line) for line in (tmp_path / "again.jsonl").read_text().splitlines()] == theirs
    assert figures(truth, tmp_path / "again.jsonl") == figures(truth, answers)


def test_a_submission_survives_being_written(collection: tuple[Path, Path], tmp_path: Path) -> None:
    submission = read_answers(collection[1])
    assert isinstance(submission, Submission)
    write_submission(tmp_path / "again.json", submission)
    assert json.loads((tmp_path / "again.json").read_text()) == json.loads(collection[1].read_text())


QUERY = {"qid": 1, "query": "a dog runs", "duration": 150, "vid": "v", "relevant_windows": [[0, 6]]}
ANSWER = {"qid": 1, "query": "a dog runs", "vid": "v", "pred_relevant_windows": [[0, 5, 0.9]]}


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"qid": 2, "pred_relevant_windows": []}, "has no answer for 1 of 1 sentences by qid: 1"),
        ({**ANSWER, "vid": "w"}, "qid 1 is of w, in the truth of v"),
        ({**ANSWER, "pred_relevant_windows": [[5, 0, 0.9]]}, "line 1 has a window that ends at 0 s, before it starts"),
        ({**ANSWER, "pred_relevant_windows": [[5]]}, r"line 1 has 'pred_relevant_windows' that are not \[\[start"),
        ({**ANSWER, "pred_relevant_windows": [["a", 2, 3]]}, "'pred_relevant_windows' that are not all numbers"),
        ({**ANSWER, "pred_saliency_scores": [None]}, "'pred_saliency_scores' that are not all numbers"),
        ({**ANSWER, "pred_exist_score": "yes"}, "'pred_exist_score' that are not all numbers"),
        (QUERY, "is QVHighlights jsonl .* where predictions"),
    ],
)
def test_answers_that_make_no_sense_are_named(tmp_path: Path, answer: dict[str, Any], says: str) -> None:
    truth = read_queries(jsonl(tmp_path / "truth.jsonl", [QUERY]))
    path = jsonl(tmp_path / "pred.jsonl", [answer])
    with pytest.raises(InputError, match=says) as error:
        score(truth, read_answers(path), str(path))
    assert str(error.value).startswith(str(path))


def test_names_that_are_text_here_and_numbers_there_are_told(tmp_path: Path) -> None:
    truth = {"query": "a dog", "vid": "v", "duration": 20, "relevant_windows": [[0, 4]]}
    for asked, answered, says in ((1, "1", "'1', text, where the truth has numbers"), ("1", 1, "1, numbers, where")):
        (tmp_path / "truth.jsonl").write_text(json.dumps({"qid": asked, **truth}))
        (tmp_path / "p.jsonl").write_text(json.dumps({"qid": answered, "pred_relevant_windows": [[0, 4, 1]]}))
        with pytest.raises(InputError, match=says):
            score(read_queries(tmp_path / "truth.jsonl"), read_answers(tmp_path / "p.jsonl"), "p.jsonl")


def test_answers_to_sentences_that_are_not_asked_and_repeated_ones_are_named(tmp_path: Path) -> None:
    truth = read_queries(jsonl(tmp_path / "truth.jsonl", [QUERY]))
    path = jsonl(tmp_path / "pred.jsonl", [ANSWER, {**ANSWER, "qid": 9}])
    with pytest.raises(InputError, match=r"answers what the truth does not have, 1 of 1 sentences by qid: 9"):
        score(truth, read_answers(path), str(path))
    with pytest.raises(InputError, match="line 2 has qid 1, which line 1 has already"):
        read_answers(jsonl(path, [ANSWER, ANSWER]))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"relevant_windows": [[6, 0]]}, r"line 1 \(v\) has a window that ends at 0 s, before it starts at 6 s"),
        ({"relevant_windows": [[140, 400]]}, r"has a window from 140 to 400 s, outside its video of 150 s"),
        ({"relevant_windows": [[0, float("nan")]]}, "nan where a number of seconds is expected"),
        ({"relevant_windows": [[0]]}, r"\[start, end\] is expected"),
        ({"vid": ""}, "names no video"),
        ({"query": " "}, "has no sentence"),
        ({"duration": "long"}, "'long' where a number of seconds"),
    ],
)
def test_truths_that_make_no_sense_are_named(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_queries(jsonl(tmp_path / "truth.jsonl", [{**QUERY, **change}]))


def test_a_rated_clip_outside_its_video_is_named(tmp_path: Path) -> None:
    rated = {**QUERY, "relevant_clip_ids": [75], "saliency_scores": [[4, 4, 4]]}
    truth = read_queries(jsonl(tmp_path / "truth.jsonl", [rated]))
    path = jsonl(tmp_path / "pred.jsonl", [{**ANSWER, "pred_saliency_scores": [0.5]}])
    with pytest.raises(InputError, match="clip 75 is rated in a video of 75 clips"):
        score(truth, read_answers(path), str(path))


def test_a_submission_without_a_video_of_the_truth_is_named(collection: tuple[Path, Path], tmp_path: Path) -> None:
    value = json.loads(collection[1].read_text())
    del value["video2idx"]["v3"]
    with pytest.raises(InputError, match="its video2idx has no video v3"):
        figures(collection[0], whole(tmp_path / "less.json", value))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"video2idx": {}}, "'video2idx' that is not"),
        ({"VCMR": 3}, "'VCMR' that is no list"),
        ({"VCMR": [{"desc_id": 1}]}, "VCMR, row 1 has no 'predictions'"),
        ({"VCMR": [{"desc_id": 1, "predictions": [[1]]}]}, r"VCMR, row 1 has 'predictions' that are not"),
    ],
)
def test_a_submission_that_makes_no_sense_is_named(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_answers(whole(tmp_path / "s.json", {"video2idx": {"v": 0}, "VCMR": [], **change}))


def test_rows_of_our_own_format_are_sentences_too(tmp_path: Path) -> None:
    rows = [
        ["v", 30.0, [0, 5], "a dog", 1.0],
        ["v", 30.0, [8, 31], "a cat", None, "q"],
        ["v", 30.0, [1, 2], "a cat", 1, "q"],
    ]
    rows += [["v", 30.0, [], "a bird", None, "r"], ["v", 30.0, None, "a fish", 3.0]]
    queries = read_queries(whole(tmp_path / "rows.json", rows))
    assert [(query.qid, query.windows) for query in queries] == [
        (1, ((0.0, 5.0),)),
        ("q", ((8.0, 30.0), (1.0, 2.0))),
        ("r", ()),
        (5, None),
    ]
    with pytest.raises(InputError, match="row 3 has the name 'q' of another sentence"):
        read_queries(whole(tmp_path / "rows.json", [*rows[:2], ["v", 30.0, [1, 2], "a bird", 1, "q"]]))


def test_captions_without_times_are_measured_by_their_videos(tmp_path: Path) -> None:
    captions = tmp_path / "test.caption.txt"
    captions.write_text("a#enc#0 a dog runs\nb#enc#0 a cat sleeps\n")
    ranking = [
        {"desc_id": "a#enc#0", "desc": "", "predictions": [[0, 0, 0, 2.0], [1, 0, 0, 1.0]]},
        {"desc_id": "b#enc#0", "desc": "", "predictions": [[0, 0, 0, 2.0], [1, 0, 0, 1.0]]},
    ]
    submission = whole(tmp_path / "s.json", {"video2idx": {"a": 0, "b": 1}, "VR": ranking})
    assert figures(captions, submission) == {
        "video R@1": 50.0,
        "video R@5": 100.0,
        "video R@10": 100.0,
        "video R@100": 100.0,
        "SumR": 350.0,
    }


def test_of_four_annotators_two_have_to_agree(tmp_path: Path) -> None:
    spans = [[0, 5], [0, 5], [10, 15], [20, 25]]
    row = {"desc_id": 1, "desc": "a dog", "vid_name": "a", "duration": 30, "ts": spans}
    truth = jsonl(tmp_path / "t.jsonl", [row])
    for span, met in (([0, 5], 100.0), ([10, 15], 0.0)):
        rows = [{"desc_id": 1, "desc": "", "predictions": [[0, *span, 1.0]]}]
        found = figures(truth, whole(tmp_path / "s.json", {"video2idx": {"a": 0}, "VCMR": rows}))
        assert found["VCMR R@1,IoU=0.5"] == met


SPAN = st.tuples(st.integers(0, 70), st.integers(1, 10)).map(lambda pair: (2.0 * pair[0], 2.0 * (pair[0] + pair[1])))
SPANS = st.lists(SPAN, min_size=1, max_size=5, unique=True)


@given(SPANS)
def test_the_truth_as_an_answer_reaches_everything(spans: list[tuple[float, float]]) -> None:
    query = Query("q", "v", "a dog", tuple(spans), 160.0)
    answer = Prediction("q", np.array([[*span, 1 - place / 10] for place, span in enumerate(spans)]))
    found = score([query], [answer], "made up")
    everywhere = [value for name, value in found.items() if name.startswith(("mAP,IoU", "R@"))]
    assert {found["mAP"], *everywhere} == {100.0}
    assert set_iou(answer.windows[:, :2], np.array(spans)) == 1.0


@given(SPANS, st.lists(st.tuples(SPAN, st.integers(0, 5)), min_size=1, max_size=10))
def test_precision_lies_between_none_and_all_and_falls_with_the_iou(
    truth: list[tuple[float, float]], predicted: list[tuple[tuple[float, float], int]]
) -> None:
    rows = np.array([[*span, value] for span, value in predicted], float)
    found = average_precision(rows, np.array(truth))
    assert ((found >= 0) & (found <= 1 + 1e-12)).all()
    assert average_precision(rows, np.array(truth), [0.5])[0] == found[0]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=20))
def test_the_area_under_the_curve_is_the_share_of_pairs_in_order(drawn: list[tuple[bool, int]]) -> None:
    matches, scores = np.array([m for m, _ in drawn]), np.array([float(s) for _, s in drawn])
    pairs = [(a > b) + (a == b) / 2 for a in scores[matches] for b in scores[~matches]]
    expected = None if not pairs else float(np.mean(pairs))
    assert auroc(matches, scores) == (None if expected is None else pytest.approx(expected))
