"""Results: by example, without words, in pages, kept, and of a list of sentences."""

import csv
from pathlib import Path

from playwright.sync_api import Page, expect

from cfmr.moments.nms import iou
from cfmr.search.ranking import CURVE_NMS_IOU

from .site import until

SENTENCE = "a red square moves to the right"


def search(page: Page, path: str = "/?q=a+red+square+moves+to+the+right") -> None:
    page.goto(path)
    expect(page.locator(".result").first).to_be_visible()
    until(page, "location.search.includes('t=')")


def first(page: Page) -> str:
    return str(page.locator(".result").first.get_attribute("aria-label"))


def test_more_like_a_moment_and_not_like_another_by_key(page: Page) -> None:
    """Pressed on the page as it opens from a link: the box has the focus, so Escape leaves it first."""
    search(page)
    page.keyboard.press("Escape")
    page.keyboard.press("a")
    expect(page.locator("#chips li")).to_have_count(1)
    expect(page.locator("#chips")).to_contain_text("like ")
    until(page, "location.search.includes('like=')")
    page.keyboard.press("Escape")
    before = first(page)
    page.keyboard.press("n")
    expect(page.locator("#chips li")).to_have_count(2)
    expect(page.locator("#chips")).to_contain_text("not like ")
    until(page, f"document.querySelector('.result').getAttribute('aria-label') !== {before!r}")
    page.reload()
    expect(page.locator("#chips li")).to_have_count(2)
    page.get_by_role("button", name="Remove: not like").click()
    expect(page.locator("#chips li")).to_have_count(1)
    page.get_by_role("button", name="Remove: like").click()
    expect(page.locator("#chips")).to_be_hidden()
    until(page, "!location.search.includes('like=')")


def test_a_moment_alone_is_a_query(page: Page) -> None:
    search(page)
    page.get_by_role("button", name="More like this").click()
    expect(page.locator("#chips li")).to_have_count(1)
    page.locator("#q").fill("")
    until(page, "location.search.startsWith('?like=')")
    expect(page.locator(".result").first).to_be_visible()
    expect(
        page.get_by_role("button", name="This is the moment")
    ).to_be_hidden()  # there is no sentence to label it with
    page.keyboard.press("Enter")
    until(page, "!document.querySelector('video').paused")


def test_words_with_a_minus_are_chips_that_can_be_taken_off(page: Page) -> None:
    search(page, "/?q=a+square+-red")
    expect(page.locator("#chips")).to_contain_text("without red")
    page.get_by_role("button", name="Remove: without red").click()
    expect(page.locator("#q")).to_have_value("a square")
    expect(page.locator("#chips")).to_be_hidden()
    page.locator("#q").fill("-red")
    expect(page.locator("#tally")).to_contain_text("say what happens")


def test_scrolling_to_the_end_brings_more_until_that_is_all(page: Page) -> None:
    search(page)
    expect(page.locator(".result")).to_have_count(10)
    page.keyboard.press("Escape")
    for _ in range(200):
        if page.locator("#more").is_hidden():
            break
        page.mouse.wheel(0, 5000)
        page.wait_for_timeout(100)
    expect(page.locator("#more")).to_be_hidden()
    count = page.locator(".result").count()
    assert count > 10
    labels = [card.get_attribute("aria-label") for card in page.locator(".result").all()]
    assert len({str(label).partition(". ")[2] for label in labels}) == count  # none twice
    videos = set(page.locator(".result-video").all_inner_texts())
    page.get_by_label("group by video").check()
    expect(page.locator(".results-group h3")).to_have_count(len(videos))
    assert page.locator(".result").count() == count


def test_no_moment_looks_empty_and_none_shows_what_another_shows(page: Page) -> None:
    search(page)
    expect(page.locator(".result")).to_have_count(10)
    for when in page.locator(".result-time").all_inner_texts():
        start, end = when.split(" – ")
        assert start != end.split(" ")[0]
    moments = page.evaluate(
        "fetch(`/api/search?top=10&q=a+red+square+moves+to+the+right`).then((answer) => answer.json())"
    )["moments"]
    for at, one in enumerate(moments):
        for other in moments[:at]:
            if one["video"] == other["video"]:
                assert iou((one["start"], one["end"]), (other["start"], other["end"])) < CURVE_NMS_IOU


def test_from_a_result_one_goes_to_its_video_and_to_labelling_it(page: Page) -> None:
    search(page)
    page.locator(".result").nth(1).click()
    video = page.locator(".result-video").nth(1).inner_text()
    expect(page.locator(".stage-video")).to_have_text(video)
    page.locator(".stage-label-link").click()
    page.wait_for_url("**/label?**")
    expect(page.locator("#video")).to_have_attribute("placeholder", video)
    page.go_back()
    page.locator(".stage-video").click()
    until(page, "!new URL(location.href).searchParams.has('q')")
    expect(page.locator(".stage-video")).to_have_text(video)


def test_searches_are_kept_and_saved_and_forgotten(page: Page) -> None:
    search(page, "/?q=a+green+square")
    page.locator(".result").first.click()  # it was looked at
    page.locator("#past summary").click()
    page.get_by_role("button", name="Save this search").click()
    expect(page.locator(".notice")).to_contain_text("Search saved")
    page.goto("/")
    page.locator("#past summary").click()
    expect(page.locator("#past")).to_contain_text("Saved")
    page.locator("#past").get_by_role("link", name="a green square").first.click()
    expect(page.locator("#q")).to_have_value("a green square")
    page.locator("#past summary").click()
    page.get_by_role("button", name="Forget a green square").first.click()
    page.get_by_role("button", name="Clear recent searches").click()
    expect(page.locator("#past .search-past-entry")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(page.locator("#past ul")).to_be_hidden()


def test_a_list_of_sentences_is_searched_at_once_and_exported(page: Page, tmp_path: Path) -> None:
    page.goto("/script")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator("#tally")).to_contain_text("Enter at least one sentence")
    page.locator("#sentences").fill(f"{SENTENCE}\n\nzzz qqq\na green square -red\n")
    page.locator("#top").select_option("3")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator("#tally")).to_contain_text("6 moments for 2 sentences")
    expect(page.locator("#tally")).to_contain_text("1 sentence could not be searched for")
    expect(page.locator("#found > li")).to_have_count(3)
    expect(page.locator("#found > li").nth(1)).to_contain_text("knows no word of the query")
    page.locator("#export summary").click()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="CSV table").click()
    waiting.value.save_as(tmp_path / "list.csv")
    with open(tmp_path / "list.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] for row in rows] == [SENTENCE] * 3 + ["a green square -red"] * 3
    page.locator("#found a").nth(1).click()
    expect(page.locator("#q")).to_have_value(SENTENCE)
    page.go_back()
    expect(page.locator("#sentences")).to_have_value(f"{SENTENCE}\n\nzzz qqq\na green square -red\n")
