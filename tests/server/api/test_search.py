import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from starlette.testclient import TestClient

from cfmr.data.annotations import Annotation, save_annotations
from cfmr.errors import InputError
from cfmr.search.retriever import SearchResult
from cfmr.server.api.search import SHORT, OwnLabelAnswer, SearchAnswer
from cfmr.server.context import AppState
from cfmr.server.settings import Settings
from cfmr.video import decode
from tests.server.sites import SECONDS, WordRetriever, opened


def test_a_sentence_finds_its_moment(client: TestClient) -> None:
    answer = client.get("/api/search", params={"q": "a green square", "top": 2}).json()
    first = answer["moments"][0]
    assert (first["video"], first["start"], first["end"]) == ("garden/dog <b>", 2.0, 4.0)
    assert first["watchable"]
    assert len(answer["moments"]) == 2
    assert answer["videos"] == 3
    assert answer["convincing"]
    assert answer["encode_ms"] == 0.4


def test_only_the_video_asked_for_is_searched(client: TestClient) -> None:
    answer = client.get("/api/search", params={"q": "a green square", "video": "street"}).json()
    assert {m["video"] for m in answer["moments"]} == {"street"}
    assert answer["videos"] == 1


def test_what_is_not_known_or_fits_badly_is_said(client: TestClient) -> None:
    answer = client.get("/api/search", params={"q": "red zeppelins landing soon"}).json()
    assert [u["word"] for u in answer["unknown"]] == ["landing", "soon", "zeppelins"]
    assert not answer["convincing"]


@pytest.mark.parametrize(
    ("path", "params", "status"),
    [
        ("/api/search", {}, 422),
        ("/api/search", {"q": ""}, 422),
        ("/api/search", {"q": "   "}, 422),
        ("/api/search", {"q": "x" * 3000}, 422),
        ("/api/search", {"q": "dog", "top": "0"}, 422),
        ("/api/search", {"q": "dog", "offset": "-1"}, 422),
        ("/api/search", {"q": "dog", "like": "kitchen"}, 422),
        ("/api/search", {"q": "dog", "unlike": "kitchen@5-3"}, 422),
        ("/api/search", {"q": "dog", "like": "nowhere@1-2"}, 422),
        ("/api/search", {"q": "-dog"}, 422),
        ("/api/search", {"q": "dog", "min_score": "nan"}, 422),
        ("/api/search", {"q": "dog", "video": "nowhere"}, 404),
        ("/api/curve", {"q": "dog", "video": "nowhere"}, 404),
        ("/api/stream", {"video": "nowhere"}, 404),
        ("/api/thumbnail", {"video": "kitchen", "t": "-1"}, 422),
        ("/api/thumbnail", {"video": "kitchen", "t": "inf"}, 422),
        ("/api/clip", {"video": "kitchen", "start": "3", "end": "2"}, 422),
        ("/api/clip", {"video": "kitchen", "start": "0", "end": "9999"}, 422),
        ("/api/clip", {"video": "kitchen", "start": "100", "end": "101"}, 422),
        ("/api/nothing", {}, 404),
        ("/static/../app.py", {}, 404),
    ],
)
def test_mistakes_are_problem_documents(client: TestClient, path: str, params: dict[str, str], status: int) -> None:
    answer = client.get(path, params=params)
    document = answer.json()
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    assert len(answer.content) < 2000


def test_a_part_of_a_curve_is_asked_for_by_start_and_end(client: TestClient) -> None:
    asked = {"q": "a red square", "video": "kitchen", "start": 2.0, "end": 3.0}
    times = client.get("/api/curve", params=asked).json()["times"]
    assert 2.0 < times[0] < times[-1] < 3.0
    assert client.get("/api/curve", params=asked | {"end": 1.0}).status_code == 422
    assert client.get("/api/curve", params=asked | {"start": -1}).status_code == 422


def test_the_curve_comes_with_what_is_known(settings: Settings, tmp_path: Path) -> None:
    save_annotations(
        tmp_path / "known.json", [Annotation("kitchen", SECONDS, "A red square moves right.", 2.0, (1.0, 3.0))]
    )
    from dataclasses import replace

    with opened(replace(settings, annotations=(tmp_path / "known.json",))) as (_, client):
        client.post("/api/labels", json={"video": "kitchen", "glance": 4.0, "sentence": "it stops", "author": "Ada"})
        answer = client.get("/api/curve", params={"q": "a red square moves right", "video": "kitchen"}).json()
        assert answer["known"] == [[1.0, 3.0]]
        assert [one["sentence"] for one in answer["labels"]] == ["it stops"]
        assert len(answer["times"]) == len(answer["scores"]) == 50
        assert client.get("/api/status").json()["examples"] == ["A red square moves right."]


@pytest.mark.parametrize(
    ("range_", "status", "content_range", "length"),
    [
        ("bytes=0-99", 206, "bytes 0-99/{size}", 100),
        ("bytes=100-", 206, "bytes 100-{last}/{size}", None),
        ("bytes=-50", 206, "bytes {tail}-{last}/{size}", 50),
        ("bytes=0-99999999", 206, "bytes 0-{last}/{size}", None),
        ("bytes=99999999-", 416, "bytes */{size}", None),
        ("bytes=-0", 416, "bytes */{size}", None),
        ("bytes=5-2", 200, None, None),
        ("bytes=a-b", 200, None, None),
        ("lines=1-2", 200, None, None),
        ("bytes=0-1,5-6", 200, None, None),
        ("bytes=" + "0-1," * 5000 + "0-1", 200, None, None),
        ("bytes=" + "9" * 500 + "-", 200, None, None),
    ],
)
def test_ranges(
    client: TestClient, site: AppState, range_: str, status: int, content_range: str | None, length: int | None
) -> None:
    whole = site.file("kitchen").read_bytes()
    answer = client.get("/api/stream", params={"video": "kitchen"}, headers={"range": range_})
    assert answer.status_code == status
    if content_range is not None:
        size = len(whole)
        expected = content_range.format(size=size, last=size - 1, tail=size - 50)
        assert answer.headers["content-range"] == expected
    if status == 200:
        assert answer.content == whole
        assert answer.headers["accept-ranges"] == "bytes"
    if length is not None:
        assert len(answer.content) == length
    if status == 206:
        first = int(answer.headers["content-range"].split()[1].split("-")[0])
        assert answer.content == whole[first : first + len(answer.content)]


def test_the_head_of_a_stream_has_no_body(client: TestClient, site: AppState) -> None:
    answer = client.head("/api/stream", params={"video": "kitchen"})
    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) == site.file("kitchen").stat().st_size


def test_a_thumbnail_is_made_once(client: TestClient, site: AppState, monkeypatch: pytest.MonkeyPatch) -> None:
    params = {"video": "kitchen", "t": "2.004"}
    first = client.get("/api/thumbnail", params=params)
    assert first.headers["content-type"] == "image/jpeg"
    assert first.content[:2] == b"\xff\xd8"
    monkeypatch.setattr(site.media._decoders, "ask", None)
    assert client.get("/api/thumbnail", params=params | {"t": "2.0"}).content == first.content


def test_a_clip_is_exactly_the_moment(client: TestClient, tmp_path: Path) -> None:
    answer = client.get("/api/clip", params={"video": "garden/dog <b>", "start": "1.5", "end": "3.25"})
    assert answer.headers["content-disposition"].startswith("attachment;")
    (tmp_path / "clip.mp4").write_bytes(answer.content)
    assert decode.probe(tmp_path / "clip.mp4").duration == pytest.approx(1.75, abs=0.01)


SECRETS = [
    "../secret",
    "..%2fsecret",
    "/etc/passwd",
    "....//secret",
    "..\\secret",
    "kitchen\x00",
    "link",
    "linked/secret",
]


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("path", ["/api/stream", "/api/thumbnail"])
def test_no_name_leads_outside_the_folder(client: TestClient, site: AppState, name: str, path: str) -> None:
    outside = site.library.folder.parent / "secret.mp4"
    outside.write_bytes(site.file("kitchen").read_bytes())
    for link, target in (("link.mp4", outside), ("linked", outside.parent)):
        if not (site.library.folder / link).is_symlink():
            (site.library.folder / link).symlink_to(target)
    site.library.refresh()
    assert client.get(path, params={"video": name}).status_code == 404


def test_an_index_that_names_a_file_outside_the_folder_is_not_followed(site: AppState, tmp_path: Path) -> None:
    assert site.library.find("x", "/etc/passwd") is None
    assert site.library.find("x", str(tmp_path / "labels.sqlite")) is None


def test_videos_are_listed_with_what_is_known_of_them(client: TestClient) -> None:
    client.post("/api/labels", json={"video": "street", "glance": 1.0, "sentence": "it moves"})
    answer = client.get("/api/videos").json()
    assert answer["total"] == 3
    assert [v["video"] for v in answer["videos"]] == ["garden/dog <b>", "kitchen", "street"]
    assert answer["videos"][2]["labels"] == 1
    assert client.get("/api/videos", params={"contains": "DOG"}).json()["total"] == 1


def test_the_next_video_is_the_one_with_the_fewest_labels(client: TestClient) -> None:
    handed = []
    for _ in range(4):
        handed.append(client.get("/api/videos/next", params={"after": handed[-1] if handed else ""}).json()["video"])
        client.post("/api/labels", json={"video": handed[-1], "glance": 1.0, "sentence": f"label {len(handed)}"})
    assert sorted(handed[:3]) == ["garden/dog <b>", "kitchen", "street"]
    assert handed[3] == handed[0]


def test_a_hundred_searches_at_once_are_all_answered(client: TestClient) -> None:
    def ask(number: int) -> int:
        return client.get("/api/search", params={"q": f"red square {number}"}).status_code

    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(ask, range(100))) == [200] * 100


def test_an_answer_says_what_its_description_does(client: TestClient) -> None:
    client.post("/api/labels", json={"video": "kitchen", "glance": 1.0, "sentence": "a green square"})
    for _ in range(2):  # the second time it is the answer of a moment ago
        answer = client.get("/api/search", params={"q": "a green square zeppelin -red", "top": 3}).text
        SearchAnswer.model_validate_json(answer, strict=True, extra="forbid")
        assert list(json.loads(answer)) == list(SearchAnswer.model_fields)
    answer = client.get("/api/search", params={"q": "a green square"}).json()
    assert set(answer["moments"][0]["label"]) == set(OwnLabelAnswer.model_fields)


def test_a_long_search_holds_up_no_short_one(
    site: AppState, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on = Event(), Event()
    search = WordRetriever.search

    def held(self: WordRetriever, query: str, top: int = 5, **more: Any) -> SearchResult:
        if top > SHORT:
            began.set()
            assert go_on.wait(20)
        return search(self, query, top, **more)

    monkeypatch.setattr(WordRetriever, "search", held)
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(client.get, "/api/search", params={"q": "a green square", "top": SHORT + 1})
        assert began.wait(20)
        assert client.get("/api/search", params={"q": "a green square", "top": 3}).status_code == 200
        assert not long.done()
        go_on.set()
        assert long.result().status_code == 200


def test_short_searches_take_turns(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    under_way, most = [0], [0]
    search = WordRetriever.search

    def counted(self: WordRetriever, query: str, **more: Any) -> SearchResult:
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        time.sleep(0.002)  # so that others would come in between
        found = search(self, query, **more)
        under_way[0] -= 1
        return found

    monkeypatch.setattr(WordRetriever, "search", counted)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(client.get, "/api/search", params={"q": f"red square {n}"}) for n in range(40)]
        assert {one.result().status_code for one in asked} == {200}
    assert most == [1]


def test_without_an_index_one_is_told_to_label_first(settings: Settings) -> None:
    settings.index.rmdir()
    with opened(settings) as (_, client):
        assert not client.get("/api/status").json()["ready"]
        answer = client.get("/api/search", params={"q": "a dog"})
        assert answer.status_code == 409
        assert "label" in answer.json()["detail"]
        assert client.get("/api/videos").json()["total"] == 3
        label = {"video": "kitchen", "glance": 1.0, "sentence": "a square moves"}
        assert client.post("/api/labels", json=label).status_code == 201


def test_pages_are_there_and_are_asked_for_anew(client: TestClient) -> None:
    for path in ("/", "/label", "/learn", "/add", "/docs", "/sign-in"):
        answer = client.get(path)
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.headers["cache-control"] == "no-cache"
    etag = client.get("/static/css/base.css").headers["etag"]
    assert client.get("/static/css/base.css", headers={"if-none-match": etag}).status_code == 304


def test_what_a_stranger_sends_comes_back_as_data_only(client: TestClient) -> None:
    answer = client.get("/api/search", params={"q": "<script>alert(1)</script> square"})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert json.loads(answer.text)["sentence"].startswith("<script>")


def test_a_part_of_a_name_is_enough_to_search_in_some_videos(client: TestClient) -> None:
    found = client.get("/api/search", params={"q": "square", "contains": "ITCH"}).json()
    assert ({moment["video"] for moment in found["moments"]}, found["videos"]) == ({"kitchen"}, 1)
    assert client.get("/api/search", params={"q": "square", "contains": " "}).json()["videos"] == 3
    missing = client.get("/api/search", params={"q": "square", "contains": "cellar"})
    assert (missing.status_code, "cellar" in missing.json()["detail"]) == (404, True)


def test_without_a_threshold_nothing_is_said_of_how_well_it_fits(settings: Settings) -> None:
    class Uncalibrated(WordRetriever):
        def search(self, *args: Any, **kwargs: Any) -> SearchResult:
            return replace(super().search(*args, **kwargs), threshold=None)

    with opened(settings, Uncalibrated()) as (_, client):
        found = client.get("/api/search", params={"q": "a red square"}).json()
    assert (found["convincing"], found["threshold"]) == (None, None)


# --- own labels -------------------------------------------------------------------------------------------------------


def add_label(client: TestClient, sentence: str, glance: float = 1.0, video: str = "street") -> dict[str, Any]:
    answer = client.post("/api/labels", json={"video": video, "glance": glance, "sentence": sentence, "author": "Ada"})
    assert answer.status_code == 201
    return dict(answer.json())


def first_moment(client: TestClient, q: str, **params: str) -> dict[str, Any]:
    moments = client.get("/api/search", params={"q": q, **params}).json()["moments"]
    return dict(moments[0]) if moments else {}


def test_a_label_is_found_by_its_text_before_anything_else(client: TestClient) -> None:
    label = add_label(client, "a green square on a wall")
    found = first_moment(client, "The green square, on the wall")
    assert (found["video"], found["label"]["id"], found["label"]["exact"]) == ("street", label["id"], True)
    assert (found["label"]["author"], found["label"]["sentence"]) == ("Ada", "a green square on a wall")
    assert found["start"] <= 1.0 <= found["end"]


def test_held_out_labels_are_found_too(client: TestClient) -> None:
    labels = [add_label(client, f"thing number {n}") for n in range(3)]
    assert labels[2]["held_out"]
    assert first_moment(client, "thing number 2")["label"]["id"] == labels[2]["id"]


def test_a_moment_is_not_listed_twice_for_its_label(client: TestClient) -> None:
    before = client.get("/api/search", params={"q": "a green square"}).json()["moments"][0]
    add_label(client, "a green square", (before["start"] + before["end"]) / 2, before["video"])
    moments = client.get("/api/search", params={"q": "a green square"}).json()["moments"]
    assert moments[0]["label"] is not None
    assert moments[0] | {"label": None} == before
    assert before not in moments[1:]


def test_labels_of_other_videos_or_deleted_ones_are_not_found(client: TestClient) -> None:
    label = add_label(client, "a walrus")
    assert first_moment(client, "a walrus")["label"]
    assert first_moment(client, "a walrus", video="kitchen")["label"] is None
    client.delete(f"/api/labels/{label['id']}", params={"revision": label["revision"]})
    assert first_moment(client, "a walrus")["label"] is None


def test_no_more_moments_are_given_than_were_asked_for(client: TestClient) -> None:
    for n in range(4):
        add_label(client, f"a walrus {n}", glance=0.5 + n)
    assert len(client.get("/api/search", params={"q": "a walrus", "top": 2}).json()["moments"]) == 2


class KnowsNothing(WordRetriever):
    """A model that can read no sentence."""

    def search(self, sentence: str, *_: Any, **__: Any) -> SearchResult:
        raise InputError(f"this model knows no word of the query ({sentence})")


def test_a_label_is_found_though_the_model_reads_no_word_of_it(settings: Settings) -> None:
    with opened(settings, KnowsNothing()) as (_, client):
        add_label(client, "un ballon rouge", glance=3.0)
        found = first_moment(client, "Un ballon rouge!")
        assert (found["start"], found["end"], found["score"]) == (0.5, 5.5, 0.0)
        assert not client.get("/api/search", params={"q": "un ballon rouge"}).json()["convincing"]
        assert client.get("/api/search", params={"q": "un chat"}).status_code == 422


# --- composed queries and pages ---------------------------------------------------------------------------------------


def test_a_moment_is_a_query_and_words_with_a_minus_are_what_it_is_not(client: TestClient) -> None:
    like = client.get("/api/search", params={"like": "garden/dog <b>@2-4"}).json()
    assert like["moments"][0]["video"] == "garden/dog <b>"
    assert (like["sentence"], like["without"]) == ("", [])
    answer = client.get("/api/search", params={"q": "a red square -red", "top": 5}).json()
    assert (answer["sentence"], answer["without"], len(answer["moments"])) == ("a red square", ["red"], 4)
    unlike = client.get("/api/search", params={"q": "a square stops", "unlike": "street@0-3", "top": 1}).json()
    assert unlike["moments"][0]["video"] == "kitchen"
    curve = client.get("/api/curve", params={"like": "kitchen@1-3", "video": "street"})
    assert (curve.status_code, curve.json()["known"]) == (200, [])


def test_pages_follow_each_other_and_say_whether_there_is_more(client: TestClient) -> None:
    whole = client.get("/api/search", params={"q": "a square", "top": 10}).json()
    assert (len(whole["moments"]), whole["more"]) == (4, False)
    pages = [client.get("/api/search", params={"q": "a square", "top": 3, "offset": at}).json() for at in (0, 3, 6)]
    assert [m for page in pages for m in page["moments"]] == whole["moments"]
    assert [page["more"] for page in pages] == [True, False, False]


def test_labels_come_first_over_all_pages_and_none_comes_twice(client: TestClient) -> None:
    client.post("/api/labels", json={"video": "street", "glance": 1.0, "sentence": "a square"})
    pages = [client.get("/api/search", params={"q": "a square", "top": 1, "offset": at}).json() for at in range(4)]
    moments = [page["moments"][0] for page in pages]
    assert [bool(m["label"]) for m in moments] == [True, False, False, False]
    assert len({(m["video"], m["start"]) for m in moments}) == 4


def test_a_label_of_what_is_not_wanted_is_no_answer(client: TestClient) -> None:
    client.post("/api/labels", json={"video": "street", "glance": 1.0, "sentence": "a square stops"})
    answer = client.get("/api/search", params={"q": "a square stops", "unlike": "street@0-3"}).json()
    assert not any(m["label"] for m in answer["moments"])


def test_an_answer_is_kept_until_something_of_it_changes(settings: Settings) -> None:
    class Counting(WordRetriever):
        searched = 0

        def search(self, *asked: Any, **how: Any) -> SearchResult:
            self.searched += 1
            return super().search(*asked, **how)

    retriever = Counting()
    with opened(settings, retriever) as (state, client):
        ask = {"q": "a blue square moves", "top": 2}
        first = client.get("/api/search", params=ask).json()
        again = client.get("/api/search", params=ask).json()
        assert retriever.searched == 1
        assert (again["moments"], again["more"]) == (first["moments"], first["more"])
        assert again["search_ms"] == 0.0
        client.get("/api/search", params=ask | {"top": 1})
        assert retriever.searched == 2
        add_label(client, "a blue square moves", video="kitchen")
        labelled = client.get("/api/search", params=ask).json()
        assert labelled["moments"][0]["label"]["sentence"] == "a blue square moves"
        before = retriever.searched
        (settings.videos / "street.mp4").unlink()
        state.library.refresh()
        gone = client.get("/api/search", params=ask).json()
        assert retriever.searched > before
        assert {one["video"]: one["watchable"] for one in gone["moments"]}["street"] is False
        before = retriever.searched
        state.models.reload()
        client.get("/api/search", params=ask)
        assert retriever.searched > before
