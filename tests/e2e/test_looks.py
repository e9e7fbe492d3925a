"""Widths, colours, and axe-core's rules."""

import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from .site import Server, until

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
PAGES = ["/", "/?q=a+red+square", "/label?video=street", "/learn", "/library", "/script", "/add", "/docs", "/sign-in"]


def opened(browser: Browser, server: Server, path: str, **options: Any) -> Page:
    page = browser.new_context(base_url=server.url, **options).new_page()
    page.goto(path)
    page.wait_for_load_state("networkidle")
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_nothing(browser: Browser, server: Server, scheme: str, width: int) -> None:
    if server.ask("/api/labels", video="street")["total"] == 0:
        server.label("street", 3.0, "a square moves")
    for path in PAGES:
        page = opened(browser, server, path, color_scheme=scheme, viewport={"width": width, "height": 800})
        if path == "/label?video=street":
            page.get_by_role("button", name="Edit:").first.click()
            page.get_by_role("button", name="Suggest labels").click()
            expect(page.locator("#question")).to_contain_text(re.compile("Skip|No suggestions"))
        if path == "/docs":
            page.locator("details").first.evaluate("one => { one.open = true; }")
        results = Axe().run(page, options=RULES)
        assert results.violations_count == 0, f"{path}\n{results.generate_report()}"
        if path == "/":
            page.keyboard.press("Escape")
            page.keyboard.press("?")
            results = Axe().run(page, options=RULES)
            assert results.violations_count == 0, results.generate_report()
        page.context.close()


def test_nothing_sticks_out_at_any_width(browser: Browser, server: Server) -> None:
    for path in PAGES:
        page = opened(browser, server, path)
        for width in (320, 360, 768, 1280, 1920):
            page.set_viewport_size({"width": width, "height": 740})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        page.context.close()


def test_on_a_phone_one_searches_watches_and_labels_by_touch(browser: Browser, server: Server) -> None:
    page = opened(
        browser,
        server,
        "/",
        viewport={"width": 360, "height": 740},
        has_touch=True,
        is_mobile=True,
        device_scale_factor=2,
    )
    page.locator("#q").fill("a red square moves")
    expect(page.locator(".result").nth(2)).to_be_in_viewport()  # a list is seen, not just a player
    page.locator(".result").nth(1).tap()
    until(page, "!document.querySelector('video').paused")
    expect(page.locator("video")).to_be_in_viewport()
    page.locator("nav").get_by_text("Label").tap()
    page.wait_for_url("**/label**")
    until(page, "document.querySelector('video').readyState > 0")
    expect(page.locator("#mark")).to_be_in_viewport()
    page.locator("#mark").tap()
    page.locator("#sentence").fill("a square on the phone")
    page.locator("#save").tap()
    expect(page.locator("#labels .label-sentence", has_text="a square on the phone").first).to_be_visible()
    for button in page.locator("button:visible, a.button:visible").all():
        box = button.bounding_box()
        assert box is not None
        assert box["height"] >= 24
        assert box["width"] >= 24
    page.context.close()


def test_dark_is_dark_and_light_is_light(browser: Browser, server: Server) -> None:
    def lightness(scheme: Any) -> float:
        page = opened(browser, server, "/", color_scheme=scheme)
        text = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.context.close()
        return sum(float(part) for part in text[4:-1].split(",")) / 3

    assert lightness("light") > 230
    assert lightness("dark") < 40


def test_text_may_be_twice_as_large(browser: Browser, server: Server) -> None:
    page = opened(browser, server, "/?q=a+red+square", viewport={"width": 1280, "height": 900})
    page.evaluate("document.documentElement.style.fontSize = '32px'")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    page.context.close()


def test_every_page_has_a_title_a_heading_and_a_way_past_the_navigation(browser: Browser, server: Server) -> None:
    titles = set()
    for path in ("/", "/label", "/learn", "/library", "/script", "/add", "/docs"):
        page = opened(browser, server, path)
        titles.add(page.title())
        assert page.locator("h1").count() == 1
        page.locator(".skip-link").focus()
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile("#main$"))
        page.context.close()
    assert len(titles) == 7
