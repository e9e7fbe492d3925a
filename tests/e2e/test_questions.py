"""Suggested labels: answered by one key each, learned from, and served; labels that look wrong, looked at again."""

import json
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, expect

from .site import Server, until


@pytest.fixture(scope="module")
def own(new_server: Callable[..., Server]) -> Server:
    server = new_server()
    for number, video in enumerate(("kitchen", "street", "garden")):
        for at, colour in enumerate(("red", "green", "blue")):
            server.label(video, 2.0 + at + number, f"a {colour} square moves to the right")
    return server


@pytest.fixture
def page(browser: Browser, own: Server) -> Page:
    page = browser.new_context(base_url=own.url, viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(20_000)
    return page


ASKED = "['.question-sentence', '#question .text-soft'].map((at) => document.querySelector(at).textContent).join('')"


def question(page: Page) -> tuple[str, str]:
    """What is asked, and where."""
    return page.locator(".question-sentence").inner_text(), page.locator("#question .text-soft").first.inner_text()


def test_suggestions_are_answered_by_one_key_each_and_become_a_model_that_is_served(page: Page, own: Server) -> None:
    before = own.ask("/api/labels")
    page.goto("/label")
    until(page, "document.querySelector('video').readyState > 0")
    page.get_by_role("button", name="Suggest labels").click()
    expect(page.locator("#question")).to_contain_text("Does this happen here?")
    asked = []
    for key, total in (("y", 1), ("n", 2), ("s", 2), ("n", 3)):
        expect(page.locator(".question-sentence")).to_contain_text("square")
        said, where = question(page)
        asked.append((said, where))
        time, video = re.match(r"0:(\S+) in (.*)", where).groups()  # type: ignore[union-attr]
        expect(page.locator(".stage-video")).to_have_text(video)
        until(page, f"Math.abs(document.querySelector('video').currentTime - {float(time)}) < 0.2")
        page.keyboard.press(key)
        until(page, f"{ASKED} !== {json.dumps(said + where)}")
        found = own.ask("/api/labels")
        assert found["total"] == before["total"] + total
        newest = found["labels"][0]
        if key != "s":
            assert (newest["sentence"], newest["video"], newest["absent"]) == (said, video, key == "n")
            assert abs(newest["glance"] - float(time)) < 0.3
    assert len(set(asked)) == len(asked)
    assert own.ask("/api/labels")["negative"] == 2
    page.keyboard.press("u")
    expect(page.locator(".notice")).to_contain_text("Undone")
    assert own.ask("/api/labels")["negative"] == 1
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#question")).to_be_hidden()
    page.goto("/learn")
    expect(page.locator("#count")).to_contain_text("1 is negative")
    page.get_by_label("Use the new model even if").check()
    page.get_by_role("button", name="Start training").click()
    expect(page.locator("#outcome .model-current")).to_contain_text("in use", timeout=180_000)
    assert own.ask("/api/models")[0]["served"]
    newest = max((own.world / "page" / "models").iterdir())
    rows = json.loads((newest / "all.json").read_text())
    assert [row[3] for row in rows if row[2] == []] == [asked[1][0]]


def test_n_goes_to_the_next_video_where_nothing_is_asked(page: Page, own: Server) -> None:
    page.goto("/label?video=street")
    expect(page.locator(".stage-video")).to_have_text("street")
    page.keyboard.press("n")
    expect(page.locator(".stage-video")).not_to_have_text("street")


def test_labels_that_look_wrong_are_kept_changed_or_deleted(page: Page, own: Server) -> None:
    labels = [one for one in own.ask("/api/labels")["labels"] if not one["absent"]][:3]
    doubtful = [{"id": one["id"], "revision": one["revision"], "second": 1.5} for one in labels]
    found = {"labels": 30, "own": 10, "points": [[8, 3, 30], [15, 9, 30], [30, 15, 30]], "doubtful": doubtful}
    (own.world / "page" / "label-check.json").write_text(json.dumps(found))
    page.goto("/learn")
    expect(page.locator("#check")).to_contain_text("3 labels to review")
    expect(page.locator("#check")).to_contain_text(re.compile(r"\d+ % of new labels are found .* The next 20 labels"))
    page.locator("#check").get_by_role("button", name="Keep").first.click()
    expect(page.locator("#check li")).to_have_count(2)
    page.locator("#check").get_by_role("button", name="Delete").first.click()
    expect(page.locator("#check li")).to_have_count(1)
    page.locator("#check").get_by_role("link", name="Change").click()
    expect(page.get_by_label("Time in seconds")).to_have_value(str(labels[2]["glance"]).removesuffix(".0"))
    page.get_by_label("Time in seconds").fill("1.5")
    page.keyboard.press("Enter")
    expect(page.locator("#labels form")).to_have_count(0)
    page.goto("/learn")
    expect(page.locator("#check")).to_contain_text("No label looks wrong")
    there = {one["id"]: one["glance"] for one in own.ask("/api/labels")["labels"]}
    assert [one["id"] in there for one in labels] == [True, False, True]
    assert there[labels[2]["id"]] == 1.5


def test_labels_are_checked_in_the_background(page: Page, own: Server) -> None:
    page.goto("/learn")
    page.locator("#check").get_by_role("button", name="Check labels").click()
    expect(page.locator("#job")).to_contain_text("Checking labels")
    expect(page.locator("#job .job-done")).to_be_visible(timeout=180_000)
    expect(page.locator("#check")).to_contain_text(re.compile("No label looks wrong|to review"))
