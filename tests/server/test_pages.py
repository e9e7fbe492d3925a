"""The pages as they are sent: one shell, one navigation, and no style or class that nothing uses."""

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from cfmr.server.pages import PAGES, STATIC, Page

WITH_HEADER = [page for page in PAGES if page.header]


def classes_in_use() -> set[str]:
    """Words of all class attributes, and of all strings in scripts."""
    found: set[str] = set()
    for path in STATIC.rglob("*.html"):
        found.update(word for said in re.findall(r'class="([^"]*)"', path.read_text()) for word in said.split())
    for path in STATIC.rglob("*.js"):
        found.update(word for said in re.findall(r'"([^"\n]*)"', path.read_text()) for word in said.split())
    return found


@pytest.mark.parametrize("page", WITH_HEADER, ids=lambda page: page.name)
def test_every_page_has_the_navigation_and_says_where_one_is(client: TestClient, page: Page) -> None:
    text = client.get(page.path).text
    assert [link for link in re.findall(r'href="(/\w*)"', text) if link in ("/label", "/learn", "/add")]
    current = re.findall(r'<a href="([^"]*)" aria-current="page">', text)
    assert current == ([] if page.name in ("docs", "script") else [page.path])
    assert f"<title>{page.title} – cfmr</title>" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_everything_a_page_names_is_there(client: TestClient, page: Page) -> None:
    text = client.get(page.path).text
    assert "$" not in text
    for address in re.findall(r'(?:href|src)="(/static/[^"]*)"', text):
        assert client.get(address).status_code == 200, address


def test_a_page_that_stayed_as_it_was_is_not_sent_again(client: TestClient) -> None:
    tag = client.get("/").headers["etag"]
    assert client.get("/", headers={"if-none-match": tag}).status_code == 304
    assert client.get("/", headers={"if-none-match": '"other"'}).status_code == 200


def test_every_class_in_a_style_is_used() -> None:
    used = classes_in_use()
    for path in (STATIC / "css").glob("*.css"):
        rules = re.sub(r"/\*.*?\*/|\{[^{}]*\}", "{}", path.read_text(), flags=re.S)
        for name in set(re.findall(r"\.([a-z][a-z-]*)", rules)):
            assert name in used, f"{path.name}: .{name}"


def test_every_style_belongs_to_a_page() -> None:
    named = {name for page in PAGES for name in page.styles} | {"tokens", "base", "layout"}
    assert {path.stem for path in Path(STATIC / "css").glob("*.css")} == named
