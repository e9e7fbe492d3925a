import io
import json
import re
import zipfile

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


def test_an_import_of_no_labels_says_which_formats_are_read(client: TestClient) -> None:
    for body in ('{"a": 1}', "1\n00:00:01", "", "<html/>"):
        answer = client.post("/api/labels/import", content=body, params={"name": "a.txt"})
        assert answer.status_code == 422
        assert answer.json()["detail"].startswith("a.txt: no labels of a format that is known; read are JSON rows")


def imported(client: TestClient, content: str, **query: str) -> dict[str, object]:
    answer = client.post("/api/labels/import", content=content.encode(), params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


SRT = "1\n00:00:01,000 --> 00:00:03,000\na red square moves\n\n2\n00:00:09,000 --> 00:00:12,000\ntoo late\n"


def test_subtitles_are_labels_of_the_video_of_that_name(client: TestClient) -> None:
    first = imported(client, SRT, name="kitchen.srt", author="Ada")
    assert (first["added"], first["refused"]) == (1, 1)
    assert "outside the video of 6 s" in first["reasons"][0]["reason"]  # type: ignore[index]
    (label,) = client.get("/api/labels").json()["labels"]
    assert (label["video"], label["glance"], label["author"]) == ("kitchen", 2.0, "Ada")
    assert client.get("/api/labels/export").json()[0][2] == [1.0, 3.0]
    again = imported(client, SRT, name="kitchen.srt")
    assert (again["added"], again["already"]) == (0, 1)
    assert imported(client, SRT, name="x.srt", video="street")["added"] == 1
    assert "unknown video" in str(imported(client, SRT, name="x.srt")["reasons"])


FORMATS = ["json", "csv", "srt", "vtt", "elan", "label-studio", "via", "markers"]


@pytest.mark.parametrize("form", FORMATS)
def test_labels_that_went_out_are_there_already_when_they_come_back(client: TestClient, form: str) -> None:
    add(client, glance=2.345)
    rows = [["kitchen", 6.0, [1.017, 3.021], "it =1+1 turns", 2.5], ["garden/dog <b>", 6.0, [0.5, 2.0], "a dog", 1.0]]
    imported(client, json.dumps(rows))
    for video in ("kitchen", "garden/dog <b>"):
        answer = client.get("/api/labels/export", params={"format": form, "video": video})
        assert answer.status_code == 200, answer.text
        back = imported(client, answer.text, name=f"{video}.x", video=video)
        assert (back["added"], back["refused"]) == (0, 0), back
        assert back["already"] == (2 if video == "kitchen" else 1)


@pytest.mark.parametrize("form", ["srt", "vtt", "elan", "markers"])
def test_labels_of_several_videos_are_a_file_each_in_an_archive(client: TestClient, form: str) -> None:
    add(client)
    add(client, video="garden/dog <b>", sentence="it digs")
    answer = client.get("/api/labels/export", params={"format": form})
    assert answer.headers["content-type"] == "application/zip"
    names = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
    assert len(names) == 2
    assert all("/" not in name and "<" not in name for name in names)


def test_no_labels_make_no_file(client: TestClient) -> None:
    assert client.get("/api/labels/export", params={"format": "srt"}).status_code == 404
    assert client.get("/api/labels/export", params={"format": "doc"}).status_code == 422


def test_an_import_may_say_in_which_frames_its_tool_counted(client: TestClient) -> None:
    region = {"value": {"ranges": [{"start": 25, "end": 72}], "timelinelabels": ["it turns"]}}
    task = json.dumps([{"data": {"video": "kitchen.mp4"}, "annotations": [{"result": [region]}]}])
    imported(client, task, fps="24")
    assert client.get("/api/labels").json()["labels"][0]["glance"] == 2.0
    answer = client.post("/api/labels/import", content=task, params={"fps": "fast"})
    assert (answer.status_code, answer.json()["detail"][:5]) == (422, "fps: ")


def test_a_renamed_video_is_found_by_its_content(client: TestClient) -> None:
    add(client)
    table = client.get("/api/labels/export", params={"format": "csv"}).text
    row = table.splitlines()[1]
    assert re.search(r",\d+-[0-9a-f]{16}-[0-9a-f]{16},$", row)
    other = row.replace("kitchen", "elsewhere").replace("a red square moves", "something new")
    back = imported(client, f"{table.splitlines()[0]}\n{other}\n")
    assert back["added"] == 1
    assert client.get("/api/labels").json()["labels"][0]["video"] == "kitchen"


def test_sentences_that_cannot_be_labels_are_listed(client: TestClient) -> None:
    table = f"video,glance,sentence\nkitchen,1,?!\nkitchen,1,{'x' * 501}\nkitchen,1,a\u202e dog\nkitchen,1,fine\n"
    result = imported(client, table)
    assert (result["added"], result["refused"]) == (2, 2)
    reasons = [one["reason"] for one in result["reasons"]]  # type: ignore[attr-defined]
    assert "has no words" in reasons[0]
    assert "501 characters" in reasons[1]


def test_a_negative_label_is_listed_as_one_and_counted_apart(client: TestClient) -> None:
    made = add(client, absent=True)
    assert made["absent"]
    found = client.get("/api/labels").json()
    assert (found["total"], found["negative"], found["learn"], found["held_out"]) == (1, 1, 0, 0)
    assert client.post("/api/learn", json={}).json()["detail"] == "there are no labels to learn from yet"


@pytest.mark.parametrize("form", ["json", "csv"])
def test_negative_labels_go_out_and_come_back_as_such(client: TestClient, form: str) -> None:
    made = add(client, absent=True)
    add(client)
    file = client.get("/api/labels/export", params={"format": form}).content
    client.delete(f"/api/labels/{made['id']}", params={"revision": 1})
    answer = client.post("/api/labels/import", content=file, params={"name": f"labels.{form}"}).json()
    assert (answer["added"], answer["already"]) == (1, 1)
    assert client.get("/api/labels").json()["negative"] == 1


def test_formats_that_know_no_negative_labels_leave_them_out(client: TestClient) -> None:
    add(client, absent=True)
    assert client.get("/api/labels/export", params={"format": "srt"}).status_code == 404
    add(client, sentence="it stops")
    text = client.get("/api/labels/export", params={"format": "srt"}).text
    assert "it stops" in text
    assert "a red square moves" not in text


def test_a_table_with_an_unclear_answer_is_refused_by_its_row(client: TestClient) -> None:
    table = "video,glance,sentence,absent\nkitchen,1,it stops,perhaps\n"
    answer = client.post("/api/labels/import", content=table, params={"name": "labels.csv"}).json()
    assert answer["reasons"] == [{"row": 2, "reason": "has 'perhaps' for absent; true or false is expected"}]
