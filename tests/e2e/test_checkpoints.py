"""A checkpoint is downloaded on the page from a hub that breaks off, and used instead of the built-in model."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from cfmr import MomentRetriever
from cfmr.extractors.known_checkpoints import known_checkpoint
from tests.support.backbones import save_clip
from tests.support.hub import Hub, serving

from .site import Server, render

B_32 = known_checkpoint("clip-vit-b-32")
BROKEN = 20_000  # bytes that come before the transfer is cancelled


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with serving(Hub(save_clip(tmp_path / "repository"), B_32.repository, B_32.revision)) as hub:
        yield hub


@pytest.fixture
def server(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    videos = tmp_path / "videos"
    for colour in ("red", "green"):
        render(videos / f"{colour}.mp4", [(colour, 1.0, 5.0)])
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")))
    monkeypatch.setenv("NO_PROXY", "*")
    server = Server(tmp_path, alone=videos)
    yield server
    server.stop()


@pytest.fixture
def page(browser: Browser, server: Server) -> Page:
    page = browser.new_context(base_url=server.url, viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(30_000)
    return page


def test_a_checkpoint_is_downloaded_in_two_goes_and_then_answers(
    page: Page, hub: Hub, server: Server, tmp_path: Path
) -> None:
    hub.holds[B_32.weights] = BROKEN
    page.goto("/learn")
    line = page.locator(".checkpoint").filter(has_text=B_32.name)
    expect(line).to_contain_text("605 MB, languages: English, licence: MIT")
    page.get_by_role("button", name=f"Download {B_32.name}").click()
    expect(line.locator("progress")).to_be_visible()
    assert hub.held.wait(100)
    expect(line).to_contain_text(re.compile(r"of 605 MB"))
    page.get_by_role("button", name=re.compile("Cancel: Downloading")).click()
    expect(line.locator("progress")).to_be_hidden(timeout=60_000)
    hub.holds.clear()
    hub.release.set()

    hub.damaged.add(B_32.weights)
    line.get_by_role("button").click()
    expect(line.get_by_role("alert")).to_contain_text("not the checksum that is declared", timeout=90_000)
    hub.damaged.clear()

    line.get_by_role("button").click()
    server.wait_until(lambda: server.ask("/api/status")["indexed"] == 2, 400)
    page.get_by_role("button", name=f"Use {B_32.name}").click(timeout=90_000)
    expect(line.locator("progress")).to_be_visible()
    assert server.ask("/api/search", q="a red car")["moments"]  # the model before answers meanwhile
    expect(line.locator(".model-current")).to_be_visible(timeout=400_000)
    expect(page.locator("#models")).to_contain_text(B_32.name)
    page.goto("/?q=the+red+dog+runs")
    expect(page.locator(".result").first).to_be_visible()
    shown = server.ask("/api/search", q="the red dog runs")["moments"][0]
    assert MomentRetriever.load(tmp_path / "videos").search("the red dog runs")[0].video == shown["video"]

    page.goto("/learn")
    page.get_by_role("button", name="Use Original model").click()
    expect(line.get_by_role("button", name=f"Use {B_32.name}")).to_be_enabled()
    assert server.ask("/api/status")["model"] == "original"


def test_without_a_network_the_page_says_so(page: Page, hub: Hub, server: Server) -> None:
    shutil.rmtree(hub.folder)  # nothing is to be had; the hub itself answers with an error
    hub.folder.mkdir()
    hub.status = 503
    page.goto("/learn")
    line = page.locator(".checkpoint").filter(has_text=B_32.name)
    page.get_by_role("button", name=f"Download {B_32.name}").click()
    expect(line.get_by_role("alert")).to_contain_text("status 503; try again later", timeout=90_000)
    expect(page.get_by_role("button", name=f"Download {B_32.name}")).to_be_enabled()
