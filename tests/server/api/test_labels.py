import json

import pytest
from starlette.testclient import TestClient

NEW = {"video": "kitchen", "glance": 2.0, "sentence": "a red square moves", "author": "Ada"}


def add(client: TestClient, **more: object) -> dict[str, object]:
    answer = client.post("/api/labels", json=NEW | more)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_a_label_needs_no_start_and_no_end(client: TestClient) -> None:
    made = add(client)
    assert made["author"] == "Ada"
    assert made["revision"] == 1
    listed = client.get("/api/labels", params={"video": "kitchen"}).json()
    assert listed["labels"] == [made]
    assert listed["learn"] + listed["held_out"] == 1


def test_a_label_can_be_changed_deleted_and_both_undone(client: TestClient) -> None:
    made = add(client)
    path = f"/api/labels/{made['id']}"
    changed = client.patch(path, json={"revision": 1, "sentence": "it stops", "glance": 3.5}).json()
    assert (changed["sentence"], changed["glance"], changed["revision"]) == ("it stops", 3.5, 2)
    assert client.delete(path, params={"revision": 2}).json()["deleted"]
    assert client.get("/api/labels").json()["total"] == 0
    assert client.post(f"{path}/undo", json={"revision": 3}).json()["deleted"] is False
    assert client.post(f"{path}/undo", json={"revision": 4}).json()["deleted"] is True
    assert client.patch(path, json={"revision": 1, "sentence": "x y"}).status_code == 409


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("sentence", "", "no words"),
        ("sentence", " !? ", "no words"),
        ("sentence", "x" * 501, "500"),
        ("sentence", "a dog\u0000", "cannot be written"),
        ("sentence", "a dog \u202e", "cannot be written"),
        ("sentence", 5, "string"),
        ("glance", -1, "greater"),
        ("glance", 60.0, "after the end"),
        ("glance", "two", "number"),
        ("video", "nowhere", "no such video"),
        ("author", "x" * 100, "80"),
        ("id", "not hex", "pattern"),
    ],
)
def test_a_label_that_makes_no_sense_is_refused(client: TestClient, field: str, value: object, said: str) -> None:
    answer = client.post("/api/labels", json=NEW | {field: value})
    assert answer.status_code in (404, 422)
    assert said in answer.json()["detail"]
    assert client.get("/api/labels").json()["total"] == 0


@pytest.mark.parametrize("body", [b"", b"{", b'{"sentence": "\\ud800"}', b"\xff\xfe", b"[" * 100_000, b"1e999", b"NaN"])
def test_a_body_that_is_no_label_is_refused(client: TestClient, body: bytes) -> None:
    answer = client.post("/api/labels", content=body, headers={"content-type": "application/json"})
    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"] == "application/problem+json"


def test_html_in_a_sentence_stays_what_it_is(client: TestClient) -> None:
    sentence = 'a <img src=x onerror="alert(1)"> & b'
    assert add(client, sentence=sentence)["sentence"] == sentence


def test_export_and_import_are_the_projects_annotations(client: TestClient) -> None:
    add(client)
    add(client, video="street", glance=1.25, sentence="it moves")
    exported = client.get("/api/labels/export")
    assert "labels.json" in exported.headers["content-disposition"]
    rows = exported.json()
    assert [row[0] for row in rows] == ["kitchen", "street"]
    assert rows[1][2:] == [None, "it moves", 1.25]
    more = [*rows, ["kitchen", 6.0, [1.0, 3.0], "another one", 2.0]]
    answer = client.post("/api/labels/import", json=more).json()
    assert (answer["added"], answer["already"], answer["refused"]) == (1, 2, 0)
    assert [1.0, 3.0] in [row[2] for row in client.get("/api/labels/export").json()]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (["kitchen", 6.0, None, "a dog", None], "has no timestamp"),
        (["nowhere", 6.0, None, "a dog", 1.0], "is of an unknown video 'nowhere'"),
        (["kitchen", 6.0, None, "", 1.0], "(kitchen) has an empty sentence"),
        (["kitchen", 6.0, None, "a dog", 99.0], "outside the video"),
        (["kitchen", 6.0, [3.0, 1.0], "a dog", 1.0], "before it starts"),
        ("kitchen", "is not [video"),
        (["kitchen", 1e400, None, "a dog", 1.0], "has inf for its duration"),
    ],
)
def test_an_import_takes_good_rows_and_says_what_is_wrong_with_bad_ones(
    client: TestClient, row: object, said: str
) -> None:
    good = ["kitchen", 6.0, None, "a dog", 1.0]
    body = json.dumps([good, row])
    answer = client.post("/api/labels/import", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 200
    result = answer.json()
    assert (result["added"], result["refused"]) == (1, 1)
    assert result["reasons"][0]["row"] == 2
    assert said in result["reasons"][0]["reason"]
    assert client.get("/api/labels").json()["total"] == 1


def test_steps_are_undone_one_by_one_down_to_the_first(client: TestClient) -> None:
    made = add(client, sentence="a dog")
    path = f"/api/labels/{made['id']}"
    edited = client.patch(path, json={"revision": 1, "sentence": "a cat"}).json()
    deleted = client.delete(path, params={"revision": 2}).json()
    now = deleted["revision"]
    for step, expected in ((3, ("a cat", False)), (2, ("a dog", False)), (1, ("a dog", True))):
        label = client.post(f"{path}/undo", json={"revision": step, "current": now}).json()
        assert (label["sentence"], label["deleted"]) == expected
        now = label["revision"]
    assert edited["revision"] == 2
    late = client.post(f"{path}/undo", json={"revision": 2, "current": now - 1})
    assert late.status_code == 409  # someone else was faster


def test_an_import_of_no_list_is_refused(client: TestClient) -> None:
    answer = client.post("/api/labels/import", json={"a": 1})
    assert (answer.status_code, answer.json()["detail"]) == (422, "the body must be a JSON list")
    answer = client.post("/api/labels/import", content="1\n00:00:01", headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["detail"]) == (422, "the body is not JSON")
