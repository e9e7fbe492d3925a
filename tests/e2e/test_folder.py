"""From a folder of videos and nothing else to a moment that is found and plays, without a label."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from cfmr import MomentRetriever
from tests.support.footage import as_mp4

from .site import Server, render, until

REAL = {
    "a red car": "car-detection",
    "an orange": "fruit-and-vegetable-detection",
    "a store with shelves": "store-aisle-detection",
}


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[Path], Server]]:
    """`cfmr serve VIDEOS`."""
    started: list[Server] = []

    def start(videos: Path) -> Server:
        started.append(Server(tmp_path, alone=videos))
        return started[-1]

    yield start
    for server in started:
        server.stop()


def open_page(browser: Browser, server: Server) -> Page:
    page = browser.new_context(base_url=server.url, viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(20_000)
    page.goto("/")
    return page


def plays(page: Page) -> None:
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('video').currentTime > 0.2")


def test_a_folder_becomes_searchable_while_one_looks_on(
    browser: Browser, serve: Callable[[Path], Server], tmp_path: Path
) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    server = serve(videos)
    page = open_page(browser, server)
    expect(page.locator("#start")).to_contain_text(f"No videos in {videos} yet")
    for number, colour in enumerate(("red", "green", "blue")):
        render(videos / f"{colour}.mp4", [(colour, 1.0 + number, 5.0 + number)])
    (videos / "broken.mp4").write_bytes(b"no film")
    page.goto("/library")
    page.get_by_role("button", name="Look for new videos").click()
    page.goto("/")
    page.locator("#q").fill("a dog")
    expect(page.locator("#reading")).to_contain_text(re.compile(r"Reading videos: \d of 4 videos"), timeout=60_000)
    expect(page.locator(".result").first).to_be_visible(timeout=90_000)  # by itself, as soon as there is something
    plays(page)
    server.wait_for_jobs()
    expect(page.locator("#reading")).to_be_hidden()
    page.locator("#q").fill("")
    expect(page.locator("#start")).to_contain_text("3 videos", timeout=30_000)
    page.locator("#start summary").click()
    expect(page.locator("#start details")).to_contain_text("broken.mp4")


def test_a_removed_video_is_gone_from_page_and_shell_and_comes_back(
    browser: Browser, serve: Callable[[Path], Server], tmp_path: Path
) -> None:
    videos = tmp_path / "videos"
    for colour in ("red", "green"):
        render(videos / f"{colour}.mp4", [(colour, 1.0, 5.0)])
    server = serve(videos)
    server.wait_until(lambda: server.ask("/api/status")["indexed"] == 2)
    page = open_page(browser, server)
    page.goto("/library")
    page.get_by_label("Actions for red").click()
    page.get_by_role("button", name="Remove", exact=True).first.click()
    expect(page.locator(".library-row")).to_have_count(1)
    assert [video.id for video in MomentRetriever.load(videos).videos()] == ["green"]
    page.get_by_role("button", name="Undo").click()
    server.wait_until(lambda: server.ask("/api/status")["indexed"] == 2)
    assert len(MomentRetriever.load(videos).videos()) == 2


def test_things_in_real_scenes_are_found_without_a_label(
    browser: Browser, serve: Callable[[Path], Server], tmp_path: Path, shared: Path
) -> None:
    videos = tmp_path / "videos"
    for scene in sorted((shared / "video" / "intel").glob("*.gif")):
        as_mp4(scene, videos / f"{scene.stem}.mp4")
    shutil.copy(shared / "video" / "cockatoo.mp4", videos)
    server = serve(videos)
    server.wait_until(lambda: server.ask("/api/status")["indexed"] == 12, 240)
    page = open_page(browser, server)
    for query, video in {"a parrot": "cockatoo", **REAL}.items():
        page.locator("#q").fill(query)
        expect(page.locator(".result").first).to_contain_text(video)
    page.locator("#q").fill("a parrot")
    expect(page.locator(".result").first).to_contain_text("cockatoo")
    plays(page)
    assert MomentRetriever.load(videos).search("a parrot")[0].video == "cockatoo"
