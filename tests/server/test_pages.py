"""The pages as they are sent: one shell, one navigation, and no style or class that nothing uses."""

import json
import re
from html.parser import HTMLParser
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
    assert re.search("<title>[A-Z][^<$]* – cfmr</title>", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_everything_a_page_names_is_there(client: TestClient, page: Page) -> None:
    text = client.get(page.path).text
    assert "$" not in text
    for address in re.findall(r'(?:href|src)="(/static/[^"]*)"', text):
        assert client.get(address).status_code == 200, address


class Prose(HTMLParser):
    """What of an HTML file a person reads, or a screen reader reads out."""

    READ_OUT = ("placeholder", "aria-label", "aria-description", "title", "alt", "value", "content", "lang")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "option"):
            self.found += [value for name, value in attrs if name in self.READ_OUT and value]

    def handle_data(self, data: str) -> None:
        self.found.append(data)


@pytest.mark.parametrize("path", sorted(STATIC.glob("*.html")), ids=lambda path: path.name)
def test_no_html_file_holds_prose_of_its_own(path: Path) -> None:
    for said in Prose(path).found:
        left = re.sub(r"\$\{[a-z.-]+\}|\$(?:title|styles|header|main)|\bcfmr\b", "", said)
        assert not re.search(r"[^\W\d_]", left), f"{said.strip()!r}: write it into lib/texts.js and its name here"


def test_every_text_for_the_html_files_is_used() -> None:
    block = (STATIC / "lib" / "texts.js").read_text("utf-8").partition("export const pages = {")[2]
    names = re.findall(r'^  "([a-z.-]+)":', block, re.M)
    used = "".join(path.read_text("utf-8") for path in STATIC.glob("*.html"))
    titles = {f"{page.name}.title" for page in PAGES}
    assert len(names) == len(set(names))
    assert {name for name in names if f"${{{name}}}" not in used} == titles


@pytest.mark.parametrize("path", sorted([*STATIC.glob("pages/*.js"), *STATIC.glob("components/*.js")]), ids=str)
def test_no_script_holds_sentences_of_its_own(path: Path) -> None:
    script = re.sub(r"^\s*(?://|/?\*).*$|^import .*$", "", path.read_text("utf-8"), flags=re.M)
    strings = [json.loads(one) for one in re.findall(r'"(?:[^"\\\n]|\\.)*"', script)]
    assert [said for said in strings if re.match(r" ?[A-Z][a-z]+\b.* [a-z]", said)] == []


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
