import http.client
import socket
import time
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from cfmr.errors import InputError
from cfmr.server import security as guard
from cfmr.server.problems import Problem
from cfmr.server.settings import Settings, resolve_settings
from tests.server.running import running
from tests.server.sites import make_settings, opened

TOKEN = "a-token-of-some-length"
LABEL = {"video": "kitchen", "glance": 1.0, "sentence": "a red square moves"}


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[", "example.com:8000"])
def test_a_foreign_host_name_is_not_answered(client: TestClient, host: str) -> None:
    answer = client.get("/api/status", headers={"host": host})
    assert answer.status_code in (400, 421)


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "127.9.9.9:1", "[::1]:8000"])
def test_names_of_this_machine_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/api/status", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_another_site_cannot_change_or_read_anything(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post("/api/labels", json=LABEL, headers=headers).status_code == 403
    assert client.get("/api/labels", headers=headers).status_code == 403
    assert client.get("/api/labels").json()["total"] == 0


def test_a_link_from_another_site_opens_the_page_but_not_the_api(client: TestClient) -> None:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/?q=a+dog", headers=headers).status_code == 200
    assert client.get("/api/labels/export", headers=headers).status_code == 403


def test_the_page_itself_may(client: TestClient) -> None:
    headers = {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"}
    assert client.post("/api/labels", json=LABEL, headers=headers).status_code == 201


def test_every_answer_forbids_foreign_and_inline_scripts(client: TestClient) -> None:
    for path in ("/", "/label", "/static/search.js", "/api/status", "/api/nothing", "/docs"):
        policy = client.get(path).headers["content-security-policy"]
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy


def test_no_page_has_inline_scripts_or_asks_another_host() -> None:
    import re

    from cfmr.server.pages import STATIC

    for path in filter(Path.is_file, STATIC.rglob("*")):
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text
        assert "https://" not in text
        if path.suffix == ".html":
            assert not re.search(r"\son\w+=|style=|<script(?![^>]*src=)|<style", text)


def test_without_a_token_it_does_not_listen_beyond_this_machine(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    with pytest.raises(InputError, match="needs a token"):
        resolve_settings(tmp_path / "index", tmp_path / "videos", host="0.0.0.0")
    with pytest.raises(InputError, match="16 characters"):
        resolve_settings(tmp_path / "index", tmp_path / "videos", host="0.0.0.0", token="short")
    assert resolve_settings(tmp_path / "index", tmp_path / "videos", host="0.0.0.0", token=TOKEN).token == TOKEN


@pytest.fixture
def locked(tmp_path: Path) -> Settings:
    return make_settings(tmp_path, host="0.0.0.0", token=TOKEN)


def test_with_a_token_nothing_is_read_without_it(locked: Settings) -> None:
    with opened(locked) as (_, client):
        assert client.get("/api/status").status_code == 401
        assert client.get("/openapi.json").status_code == 401
        assert client.get("/api/status", headers={"authorization": "Bearer wrong"}).status_code == 401
        assert client.get("/api/status", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
        page = client.get("/label?video=x", follow_redirects=False)
        assert page.status_code == 303
        assert page.headers["location"] == "/sign-in?next=%2Flabel%3Fvideo%3Dx"


def test_a_browser_signs_in_once(locked: Settings) -> None:
    with opened(locked) as (_, client):
        assert client.post("/api/session", json={"token": "wrong"}).status_code == 401
        answer = client.post("/api/session", json={"token": TOKEN})
        assert answer.status_code == 204
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert TOKEN not in cookie
        assert client.get("/api/status").status_code == 200


def test_a_link_with_the_token_signs_in_and_takes_the_token_out_of_the_address(locked: Settings) -> None:
    with opened(locked) as (_, client):
        answer = client.get(f"/?token={TOKEN}&q=a+dog", follow_redirects=False)
        assert answer.headers["location"] == "/?q=a+dog"
        assert client.get("/api/status").status_code == 200


@pytest.mark.parametrize("path", ["//evil.example", "///evil.example", "/\\evil.example"])
def test_signing_in_leads_nowhere_else(locked: Settings, path: str) -> None:
    with opened(locked) as (_, client):
        answer = client.get(f"http://127.0.0.1:8000{path}?token={TOKEN}", follow_redirects=False)
        assert answer.status_code >= 300
        assert not answer.headers.get("location", "").startswith(("//", "/\\", "http"))


def test_a_body_beyond_the_limit_is_refused_whether_or_not_it_says_its_length(client: TestClient) -> None:
    big = b'"' + b"x" * (guard.JSON_LIMIT + 10) + b'"'
    headers = {"content-type": "application/json"}
    assert client.post("/api/labels", content=big, headers=headers).status_code == 413
    pieces = (big[at : at + 65536] for at in range(0, len(big), 65536))
    answer = client.post("/api/labels", content=pieces, headers=headers)
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


def test_clients_that_dawdle_are_let_go(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "HEADER_PATIENCE", 0.4)
    monkeypatch.setattr(guard, "BODY_PATIENCE", 0.4)
    with running(settings) as port:
        for begin in (b"", b"GET / HT", b"GET /api/status HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "):
            with socket.create_connection(("127.0.0.1", port), 10) as slow:
                slow.sendall(begin)
                assert slow.recv(100) == b""
        with socket.create_connection(("127.0.0.1", port), 10) as slow:
            slow.sendall(
                b"POST /api/labels HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                b'Content-Length: 1000\r\n\r\n{"video'
            )
            assert b"408" in slow.recv(100)


def test_a_kept_connection_is_not_cut_while_its_answer_is_slow(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "HEADER_PATIENCE", 0.3)
    with running(settings) as port:
        kept = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        for _ in range(3):
            kept.request("GET", "/api/jobs")
            place = kept.sock
            assert kept.getresponse().read() == b"[]"
            time.sleep(0.2)
        assert kept.sock is place
        kept.close()


@pytest.mark.parametrize("length", [10 << 20, 1 << 20])
def test_an_endless_address_is_refused_and_the_server_lives(settings: Settings, length: int) -> None:
    with running(settings) as port:
        with socket.create_connection(("127.0.0.1", port), 20) as client:
            try:
                client.sendall(b"GET /api/search?q=" + b"x" * length + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                answer = client.recv(200)
            except ConnectionError:
                answer = b""
        assert answer == b"" or b" 400 " in answer
        with socket.create_connection(("127.0.0.1", port), 20) as client:
            client.sendall(b"GET /api/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert b" 200 " in client.recv(200)


def test_of_many_wrong_tokens_from_one_address_none_is_looked_at_any_more(locked: Settings) -> None:
    with opened(locked) as (_, client):
        for number in range(guard.GUESSES):
            if number % 2:
                answer = client.post("/api/session", json={"token": f"guess {number}"})
            else:
                answer = client.get("/api/status", headers={"authorization": f"Bearer guess-{number}"})
            assert answer.status_code == 401
        right = {"authorization": f"Bearer {TOKEN}"}
        for answer in (
            client.post("/api/session", json={"token": TOKEN}),
            client.get("/api/status", headers=right),
            client.get(f"/?token={TOKEN}", follow_redirects=False),
        ):
            assert answer.status_code == 429
            assert 1 <= int(answer.headers["retry-after"]) <= guard.GUESS_WINDOW + 1
            assert answer.headers["content-type"] == "application/problem+json"


def test_wrong_tokens_of_others_sign_nobody_out(locked: Settings) -> None:
    with opened(locked) as (_, client):
        assert client.post("/api/session", json={"token": TOKEN}).status_code == 204
        cookies = dict(client.cookies)
        client.cookies.clear()
        for _ in range(guard.GUESSES + 1):
            client.post("/api/session", json={"token": "guess"})
        client.cookies.update(cookies)
        assert client.get("/api/status").status_code == 200


def test_wrong_tokens_are_forgotten_after_a_while_and_counted_by_address() -> None:
    now = 0.0
    limit = guard.GuessLimit(lambda: now)
    for _ in range(guard.GUESSES):
        limit.check("a")
        limit.wrong("a")
    with pytest.raises(Problem, match="too many wrong tokens"):
        limit.check("a")
    limit.check("b")
    now = guard.GUESS_WINDOW + 1
    limit.check("a")


def test_guesses_from_very_many_addresses_take_no_more_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MAX_ADDRESSES", 10)
    limit = guard.GuessLimit()
    for number in range(100):
        limit.wrong(str(number))
    assert len(limit._wrong) <= 10


@pytest.mark.parametrize(
    ("base", "headers", "secure"),
    [
        ("http://127.0.0.1:8000", {}, False),
        ("https://127.0.0.1:8000", {}, True),
        ("http://127.0.0.1:8000", {"x-forwarded-proto": "https"}, True),
        ("http://127.0.0.1:8000", {"x-forwarded-proto": "http"}, False),
    ],
)
def test_behind_https_the_cookie_is_never_sent_in_the_clear(
    locked: Settings, base: str, headers: dict[str, str], secure: bool
) -> None:
    with opened(locked) as (_, client):
        for answer in (
            client.post(f"{base}/api/session", json={"token": TOKEN}, headers=headers),
            client.get(f"{base}/?token={TOKEN}", headers=headers, follow_redirects=False),
        ):
            assert ("secure" in answer.headers["set-cookie"].lower()) == secure
