"""The library: every video, what can be done with it, and what is imported."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, Route, expect

from .site import Server, render, until
from .test_looks import RULES


@pytest.fixture(scope="module")
def folder(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """`cfmr serve VIDEOS` over three videos, a copy of one of them, and a file that is none."""
    root = tmp_path_factory.mktemp("library")
    videos = root / "videos"
    for colour in ("red", "green", "blue"):
        render(videos / ("garden" if colour == "green" else ".") / f"{colour}.mp4", [(colour, 1.0, 5.0)])
    (videos / "broken.mp4").write_bytes(b"no film")
    (videos / "copy of red.mp4").write_bytes((videos / "red.mp4").read_bytes())
    server = Server(root, alone=videos)
    server.wait_until(lambda: server.ask("/api/status")["indexed"] == 3, 500)
    server.wait_for_jobs(300)
    yield server, videos
    server.stop()


@pytest.fixture
def library(browser: Browser, folder: tuple[Server, Path]) -> Iterator[Page]:
    page = browser.new_context(base_url=folder[0].url, viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(15_000)
    page.goto("/library")
    expect(rows(page).first).to_be_visible()
    yield page
    page.context.close()


def rows(page: Page) -> Locator:
    return page.locator(".library-row")


def names(page: Page) -> list[str]:
    return [str(name) for name in page.locator(".library-row .video-name").all_inner_texts()]


def row(page: Page, name: str) -> Locator:
    return rows(page).filter(has=page.get_by_role("link", name=name, exact=True))


def act(page: Page, name: str, action: str) -> None:
    page.get_by_label(f"Actions for {name}", exact=True).click()
    row(page, name.rpartition("/")[2]).get_by_role("button", name=action).click()


def test_every_video_is_listed_with_its_state_and_why(library: Page) -> None:
    expect(rows(library)).to_have_count(5)
    expect(row(library, "red")).to_contain_text("Searchable")
    expect(row(library, "red")).to_contain_text("12 s")
    expect(row(library, "green")).to_contain_text("garden")
    expect(row(library, "broken")).to_contain_text("Damaged")
    expect(row(library, "broken")).to_contain_text("Cannot be read as a video")
    expect(row(library, "copy of red")).to_contain_text("Same content as red")
    expect(library.locator("#summary")).to_contain_text("5 videos")
    until(library, "document.querySelector('.library-row img').naturalWidth > 0")


def test_it_is_searched_filtered_and_sorted_and_the_address_keeps_that(library: Page) -> None:
    library.locator("#contains").fill("RE")
    expect(rows(library)).to_have_count(3)
    library.locator("#state").select_option("copy")
    expect(rows(library)).to_have_count(1)
    until(library, "location.search.includes('state=copy')")
    library.reload()
    expect(rows(library)).to_have_count(1)
    expect(library.locator("#contains")).to_have_value("RE")
    library.goto("/library?folder=garden")
    expect(rows(library)).to_have_count(1)
    library.goto("/library?since=2999-01-01")
    expect(library.locator("#summary")).to_have_text("No video matches.")
    library.goto("/library")
    library.locator("#sort").select_option("name descending")
    until(library, "document.querySelector('.library-row .video-name').textContent === 'red'")


def test_the_keyboard_alone_is_enough(library: Page, folder: tuple[Server, Path]) -> None:
    """The documented keys are pressed on the page as it opens."""
    library.keyboard.press("j")
    expect(library.locator(":focus")).to_have_text(names(library)[0])
    library.keyboard.press("ArrowDown")
    library.keyboard.press("ArrowDown")
    library.keyboard.press("k")
    expect(library.locator(":focus")).to_have_text(names(library)[1])
    library.keyboard.press("x")
    expect(library.locator("#chosen")).to_have_text("1 selected")
    library.keyboard.press("x")
    expect(library.locator("#chosen")).to_have_text("Select all")
    library.keyboard.press("End")
    expect(library.locator(":focus")).to_have_text(names(library)[-1])
    library.keyboard.press("r")
    expect(library.get_by_role("dialog")).to_contain_text("Rename")
    library.keyboard.press("Escape")
    expect(library.get_by_role("dialog")).to_have_count(0)
    library.keyboard.press("/")
    expect(library.locator("#contains")).to_be_focused()
    library.keyboard.type("red")
    until(library, "document.querySelectorAll('.library-row').length === 2")
    library.keyboard.press("Tab")
    library.locator("#contains").press("ArrowDown")
    library.locator("#contains").blur()
    library.keyboard.press("Home")
    library.keyboard.press("End")
    library.keyboard.press("Enter")
    library.wait_for_url("**/?video=red")
    expect(library.locator(".stage-title")).to_contain_text("red")


def test_several_are_chosen_and_searched_in(library: Page) -> None:
    library.get_by_label("Select red", exact=True).check()
    library.get_by_label("Select blue").check()
    expect(library.locator("#chosen")).to_have_text("2 selected")
    library.get_by_role("link", name="Search in these").click()
    expect(library.locator("#chips")).to_contain_text("in 2 selected videos")
    library.locator("#q").fill("a flower")
    expect(library.locator("#tally")).to_contain_text("in 2 videos")
    assert {str(name) for name in library.locator(".result-video").all_inner_texts()} <= {"red", "blue"}
    library.get_by_role("button", name="Remove: in 2 selected videos").click()
    expect(library.locator("#tally")).to_contain_text("in 3 videos")


def test_a_removed_video_is_found_nowhere_and_comes_back(library: Page, folder: tuple[Server, Path]) -> None:
    act(library, "blue", "Remove")
    expect(library.locator(".notice")).to_contain_text("blue removed from search")
    expect(row(library, "blue")).to_have_count(0)
    assert folder[0].ask("/api/status")["indexed"] == 2
    library.locator("#state").select_option("removed")
    expect(rows(library)).to_have_count(1)
    act(library, "blue", "Restore")
    expect(library.locator(".notice")).to_contain_text("blue will be searchable again soon")
    folder[0].wait_until(lambda: folder[0].ask("/api/status")["indexed"] == 3)
    folder[0].wait_for_jobs()


def test_a_renamed_video_is_found_by_its_new_name_with_its_labels(library: Page, folder: tuple[Server, Path]) -> None:
    server, videos = folder
    server.label("garden/green", 2.0, "a green thing passes")
    act(library, "garden/green", "Rename")
    field = library.get_by_label("New name of the video and its file")
    field.fill("../escape")
    library.keyboard.press("Enter")
    server.wait_until((videos / "garden" / "escape.mp4").exists)  # a name is one component, whatever is typed
    server.wait_for_jobs()
    server.wait_until(lambda: server.ask("/api/videos", video="garden/escape")["videos"][0]["state"] == "searchable")
    found = server.ask("/api/search", q="a green thing passes")["moments"]
    assert (found[0]["video"], found[0]["label"]["sentence"]) == ("garden/escape", "a green thing passes")
    assert server.ask("/api/videos", video="garden/green")["total"] == 0
    expect(row(library, "escape")).to_contain_text("1 label")
    act(library, "garden/escape", "Rename")
    library.get_by_label("New name of the video and its file").fill("green")
    library.keyboard.press("Enter")
    server.wait_for_jobs()
    server.wait_until(lambda: server.ask("/api/videos", video="garden/green")["total"] == 1)
    server.wait_until(lambda: server.ask("/api/status")["indexed"] == 3)
    act(library, "blue", "Rename")
    library.get_by_label("New name of the video and its file").fill("red")
    library.keyboard.press("Enter")
    expect(library.get_by_role("alert")).to_have_text("red: there is a file of this name already; choose another")
    library.keyboard.press("Escape")


def held_back(page: Page, requests: re.Pattern[str]) -> list[Route]:
    held: list[Route] = []
    page.route(requests, lambda route: held.append(route))
    return held


def test_a_menu_stays_open_while_the_list_changes(library: Page, folder: tuple[Server, Path]) -> None:
    server, _ = folder
    asked = re.compile("/api/videos[?]")
    for before, after in (("blue", "azure"), ("azure", "blue")):
        act(library, before, "Rename")
        library.get_by_label("New name of the video and its file").fill(after)
        held = held_back(library, asked)
        with library.expect_request(asked):  # the page heard that the video was renamed
            library.keyboard.press("Enter")
        library.get_by_label("Actions for red", exact=True).click()
        with library.expect_response(asked):
            for request in held:
                request.continue_()
        library.unroute(asked)
        expect(row(library, "red").get_by_role("button", name="Rename")).to_be_visible()
        expect(row(library, before)).to_be_visible()
        library.keyboard.press("Escape")
        expect(row(library, after)).to_be_visible()
        expect(row(library, before)).to_have_count(0)
    server.wait_until(lambda: server.ask("/api/status")["indexed"] == 3)


def test_a_video_is_read_again(library: Page, folder: tuple[Server, Path]) -> None:
    server, _ = folder
    act(library, "red", "Read again")
    server.wait_until(
        lambda: any(job["kind"] == "reread" and job["state"] == "done" for job in server.ask("/api/jobs"))
    )
    server.wait_for_jobs()
    newest = next(job for job in server.ask("/api/jobs") if job["kind"] == "add")
    assert "1 video extracted" in server.ask(f"/api/jobs/{newest['id']}/log")["text"]


def test_a_file_is_deleted_only_when_asked_twice(library: Page, folder: tuple[Server, Path]) -> None:
    server, videos = folder
    act(library, "copy of red", "Delete file")
    dialog = library.get_by_role("dialog")
    expect(dialog).to_contain_text("cannot be undone")
    dialog.get_by_role("button", name="Delete file").click()
    assert (videos / "copy of red.mp4").exists()
    dialog.get_by_role("button", name="Cancel").click()
    assert (videos / "copy of red.mp4").exists()
    act(library, "copy of red", "Delete file")
    dialog.get_by_role("button", name="Delete file").click()
    dialog.get_by_role("button", name="Really delete the file?").click()
    expect(library.locator(".notice")).to_contain_text("deleted")
    assert not (videos / "copy of red.mp4").exists()
    expect(row(library, "copy of red")).to_have_count(0)
    assert server.ask("/api/status")["indexed"] == 3


def test_a_folder_is_previewed_before_it_is_imported(library: Page, folder: tuple[Server, Path]) -> None:
    server, videos = folder
    camera = videos.parent / "camera"
    render(camera / "cellar.mp4", [("red", 3.0, 6.0)], "white")
    shutil.copy(videos / "red.mp4", camera / "again.mp4")
    library.get_by_role("link", name="Add videos").click()
    library.get_by_label("Import a folder on the server").fill(str(camera))
    library.keyboard.press("Enter")
    expect(library.locator("#preview")).to_contain_text("1 new video")
    expect(library.locator("#preview")).to_contain_text("same content as red")
    assert not (videos / "cellar.mp4").exists()
    expect(library.get_by_role("button", name="Import 1 video")).to_be_focused()
    library.keyboard.press("Enter")
    server.wait_until(lambda: (videos / "cellar.mp4").exists())
    server.wait_until(lambda: server.ask("/api/status")["indexed"] == 4)
    assert not (videos / "again.mp4").exists()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280, 1920])
def test_axe_finds_nothing_and_nothing_sticks_out(
    browser: Browser, folder: tuple[Server, Path], width: int, scheme: Any
) -> None:
    context = browser.new_context(base_url=folder[0].url, viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    for path, ready in (("/library", ".library-row"), ("/script", "#go"), ("/?like=red@1-3&q=a+car+-dog", ".result")):
        page.goto(path)
        expect(page.locator(ready).first).to_be_visible()
        if path == "/library":
            page.locator(".library-row .menu summary").first.click()
            page.locator(".library-row input").first.check()
        results = Axe().run(page, options=RULES)
        assert results.violations_count == 0, f"{path}\n{results.generate_report()}"
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    context.close()


def test_ten_thousand_videos_scroll_with_a_screenful_of_rows(page: Page) -> None:
    def videos(route: Any) -> None:
        offset = int(re.findall(r"offset=(\d+)", route.request.url)[0])
        listed = [
            {
                "video": f"day/clip {number:05}",
                "folder": "day",
                "state": "searchable",
                "reason": "",
                "duration": 60.0,
                "date": "2026-01-01T00:00:00Z",
                "size": 1_000_000,
                "indexed": True,
                "watchable": False,
                "labels": 10,
            }
            for number in range(offset, min(offset + 100, 10_000))
        ]
        route.fulfill(json={"total": 10_000, "seconds": 6e5, "states": {"searchable": 10_000}, "videos": listed})

    page.route("**/api/videos?**", videos)
    page.goto("/library")
    expect(page.locator("#summary")).to_contain_text("10,000 videos")
    assert rows(page).count() < 60
    page.evaluate("scrollTo(0, 400000)")
    expect(page.get_by_role("link", name="clip 05000")).to_be_attached()
    page.keyboard.press("End")
    expect(page.get_by_role("link", name="clip 09999")).to_be_focused()
    expect(page.locator("[aria-posinset='10000']")).to_have_attribute("aria-setsize", "10000")
    assert rows(page).count() < 120


def test_the_library_of_an_index_is_there_too(page: Page) -> None:
    page.goto("/library")
    expect(rows(page)).to_have_count(8)
    expect(page.locator("#look")).to_be_hidden()
