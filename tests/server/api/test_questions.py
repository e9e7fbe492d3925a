from typing import Any

import pytest
from starlette.testclient import TestClient

from cfmr.files.atomic import write_json
from cfmr.server.context import AppState
from cfmr.server.work.check import FOUND

NEW = {"video": "kitchen", "glance": 2.0, "sentence": "a red square moves"}


def ask(client: TestClient, *sentences: str, **more: Any) -> list[dict[str, Any]]:
    answer = client.post("/api/questions", json={"sentences": list(sentences)} | more)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["questions"])


def label(client: TestClient, **more: Any) -> dict[str, Any]:
    answer = client.post("/api/labels", json=NEW | more)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_a_question_is_a_sentence_at_a_second_of_a_moment_of_a_video(client: TestClient) -> None:
    questions = ask(client, "a red square moves", "a green light")
    assert {one["sentence"] for one in questions} == {"a red square moves", "a green light"}
    for one in questions:
        assert one["start"] <= one["second"] <= one["end"]
        assert 0 < one["chance"] <= 1
    assert len({(one["video"], one["second"], one["sentence"]) for one in questions}) == len(questions)


def test_sentences_of_labels_are_asked_about_in_other_videos(client: TestClient) -> None:
    label(client)
    questions = ask(client)
    assert questions
    assert {one["sentence"] for one in questions} == {"a red square moves"}
    assert "kitchen" not in {one["video"] for one in questions}


def test_what_was_denied_or_skipped_is_not_asked_again(client: TestClient) -> None:
    (first,) = ask(client, "a red square moves", count=1)
    label(client, video=first["video"], glance=first["second"], absent=True)
    asked = ask(client, "A red square moves.")
    assert all((one["video"], one["start"]) != (first["video"], first["start"]) for one in asked)
    skipped = [{"video": one["video"], "sentence": "a red square moves"} for one in asked]
    assert ask(client, "a red square moves", skipped=skipped) == []


def test_what_nobody_looks_for_is_not_asked(client: TestClient) -> None:
    assert ask(client) == []


def test_a_sentence_that_the_model_cannot_read_is_left_out(client: TestClient) -> None:
    assert {one["sentence"] for one in ask(client, "a red square", " ", "x" * 500)} <= {"a red square", "x" * 500}


@pytest.mark.parametrize("body", [{"count": 0}, {"sentences": "x"}, {"sentences": ["x" * 501]}, {"skipped": [1]}])
def test_a_body_that_asks_for_no_questions_is_refused(client: TestClient, body: dict[str, Any]) -> None:
    assert client.post("/api/questions", json=body).status_code == 422


def test_doubtful_labels_are_listed_until_they_are_kept_changed_or_deleted(client: TestClient, site: AppState) -> None:
    assert client.get("/api/labels/check").json() == {"checked": False, "worth": None, "doubtful": []}
    kept, changed, deleted = (label(client, sentence=f"a dog runs {n}") for n in ("once", "twice", "thrice"))
    doubtful = [{"id": one["id"], "revision": 1, "second": 1.5} for one in (kept, changed, deleted)]
    points = [[10, 2, 40], [20, 12, 40], [40, 20, 40]]
    found = {"labels": 40, "own": 3, "points": points, "doubtful": doubtful}
    write_json(site.settings.workspace / FOUND, found)
    answer = client.get("/api/labels/check").json()
    assert [one["label"]["id"] for one in answer["doubtful"]] == [one["id"] for one in (kept, changed, deleted)]
    assert answer["doubtful"][0]["second"] == 1.5
    assert 0.3 < answer["worth"]["found"] < 0.7
    assert 0 < answer["worth"]["gain"] < 0.3
    client.patch(f"/api/labels/{kept['id']}", json={"revision": 1})  # the same again: that is keeping it
    client.patch(f"/api/labels/{changed['id']}", json={"revision": 1, "glance": 1.5})
    client.delete(f"/api/labels/{deleted['id']}", params={"revision": 1})
    assert client.get("/api/labels/check").json()["doubtful"] == []
    assert client.get("/api/labels").json()["total"] == 2


def test_a_damaged_file_of_the_last_check_counts_as_none(client: TestClient, site: AppState) -> None:
    (site.settings.workspace / FOUND).write_text("{")
    assert client.get("/api/labels/check").json()["checked"] is False


def test_without_labels_there_is_nothing_to_check(client: TestClient) -> None:
    label(client, absent=True)
    answer = client.post("/api/labels/check")
    assert (answer.status_code, answer.json()["detail"]) == (409, "there are no labels to check yet")
