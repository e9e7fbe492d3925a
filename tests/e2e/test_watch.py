"""Watching: keys, the time line and what is under the pointer; on short videos and on those of hours."""

import re
import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect

from cfmr.data.features import FeatureStore, FeatureWriter

from .site import Server, run, until

HOURS = {"film": 105 / 60, "recording": 10.0}
SPEED = "document.querySelector('video').playbackRate"
PAUSED = "document.querySelector('video').paused"


def now(page: Page) -> float:
    return float(page.evaluate("document.querySelector('video').currentTime"))


def at(page: Page, seconds: float, within: float = 0.05) -> None:
    """The player is at a time, and has found it."""
    until(
        page,
        "!document.querySelector('video').seeking && "
        f"Math.abs(document.querySelector('video').currentTime - {seconds}) < {within}",
    )


def ready(page: Page, address: str) -> None:
    page.goto(address)
    until(page, "document.querySelector('video').readyState > 1")


def seen(page: Page) -> list[str]:
    """The times on the axis."""
    return page.locator(".timeline-axis span").all_text_contents()


def seconds(text: str) -> float:
    return sum(float(part) * 60**power for power, part in enumerate(reversed(text.split(":"))))


def track(page: Page) -> dict[str, float]:
    box = page.locator(".timeline-track").bounding_box()
    assert box is not None
    return dict(box)


def point_at(page: Page, share: float) -> None:
    box = track(page)
    page.mouse.move(box["x"] + box["width"] * share, box["y"] + 30)


@pytest.mark.parametrize("address", ["/?video=kitchen&t=3,6", "/label?video=kitchen&t=3"])
def test_the_keys_of_a_player_work_on_the_page_as_it_opens(page: Page, address: str) -> None:
    ready(page, address)
    at(page, 3)
    page.keyboard.press("k")
    until(page, f"!{PAUSED}")
    page.keyboard.press("k")
    until(page, PAUSED)
    page.keyboard.press("1")
    at(page, 1.2)
    page.keyboard.press("l")
    at(page, 11.2)
    page.keyboard.press("j")
    at(page, 1.2)
    page.keyboard.press("ArrowRight")
    at(page, 2.2)
    page.keyboard.press("ArrowLeft")
    at(page, 1.2)
    page.keyboard.press("5")
    at(page, 6)
    page.keyboard.press("0")
    at(page, 0)
    page.keyboard.press(">")
    assert page.evaluate(SPEED) == 1.5
    page.keyboard.press("<")
    page.keyboard.press("<")
    assert page.evaluate(SPEED) == 0.5


def test_single_frames_are_stepped_exactly(page: Page) -> None:
    ready(page, "/?video=kitchen&t=3,6")  # twelve frames a second
    at(page, 3)
    for number in range(1, 13):
        page.keyboard.press(".")
        at(page, 3 + (number + 0.5) / 12, 0.01)
    for number in range(11, 5, -1):
        page.keyboard.press(",")
        at(page, 3 + (number + 0.5) / 12, 0.01)
    for _ in range(6):
        page.keyboard.press(".")  # faster than the player is
    at(page, 4 + 0.5 / 12, 0.01)
    assert page.evaluate(PAUSED)


def test_sound_is_muted_and_its_volume_kept(page: Page) -> None:
    ready(page, "/?video=kitchen&t=3,6")
    page.keyboard.press("m")
    assert page.evaluate("document.querySelector('video').muted")
    page.get_by_role("button", name="Unmute").click()
    page.get_by_label("Volume").fill("0.3")
    page.reload()
    until(page, "document.querySelector('video').readyState > 1")
    assert page.evaluate("document.querySelector('video').volume") == pytest.approx(0.3)


def test_the_keys_are_listed_and_can_be_read(page: Page) -> None:
    ready(page, "/?video=kitchen&t=3,6")
    page.keyboard.press("?")
    listed = page.get_by_role("dialog").locator("dl").inner_text()
    for meaning in ("Back, forward 10 s", "Previous, next frame", "Move along the time line", "Slower, faster"):
        assert meaning in listed
    assert page.locator("kbd", has_text="+").count() == 1
    assert not [key for key in page.locator("kbd").all_text_contents() if not key.strip()]


def test_full_screen_keeps_the_time_line_and_the_controls(page: Page) -> None:
    ready(page, "/?video=kitchen&t=3,6")
    page.keyboard.press("f")
    until(page, "document.fullscreenElement !== null")
    assert page.evaluate(
        "['.timeline', '.player-controls'].every((one) => document.fullscreenElement.querySelector(one))"
    )
    expect(page.get_by_role("button", name="Full screen")).to_be_in_viewport()
    point_at(page, 0.5)
    expect(page.locator(".timeline-hover canvas")).to_be_visible()
    page.keyboard.press("c")
    expect(page.locator(".notice")).to_be_in_viewport()  # a notice, too
    page.keyboard.press("f")
    until(page, "document.fullscreenElement === null")


def test_in_full_screen_one_labels_all_the_same(page: Page, server: Server) -> None:
    ready(page, "/label?video=market&t=3")
    page.keyboard.press("f")
    until(page, "document.fullscreenElement !== null")
    page.keyboard.press("Enter")
    expect(page.locator("#sentence")).to_be_in_viewport()
    page.keyboard.type("a square on the whole screen")
    page.keyboard.press("Enter")
    expect(page.locator("#labels .label-sentence", has_text="on the whole screen")).to_be_visible()
    assert page.evaluate("document.fullscreenElement !== null")
    page.keyboard.press("f")
    page.keyboard.press("Control+z")


def test_keys_zoom_and_move_along_the_time_line(page: Page) -> None:
    ready(page, "/?video=kitchen&t=3,6")
    page.keyboard.press("+")
    page.keyboard.press("+")
    expect(page.locator(".timeline-part")).to_be_visible()
    assert seconds(seen(page)[-1]) - seconds(seen(page)[0]) < 3.1
    before = seconds(seen(page)[-1])
    page.keyboard.press("Shift+ArrowRight")
    assert seconds(seen(page)[-1]) == pytest.approx(before + 1.5, abs=0.06)
    page.keyboard.press("Shift+ArrowLeft")
    assert seconds(seen(page)[-1]) == pytest.approx(before, abs=0.06)
    page.get_by_role("button", name="Zoom out").click()
    page.keyboard.press("-")
    expect(page.locator(".timeline-part")).to_be_hidden()
    page.keyboard.press("z")
    expect(page.locator(".timeline-part")).to_be_visible()
    page.get_by_role("button", name="Zoom to the moment and back").click()
    expect(page.locator(".timeline-part")).to_be_hidden()


def test_one_zooms_to_single_frames_and_sees_where_they_begin(page: Page) -> None:
    ready(page, "/?video=kitchen&t=3,6")
    for _ in range(8):
        page.keyboard.press("+")
    expect(page.locator(".timeline-frames")).to_be_visible()
    first, last = seconds(seen(page)[0]), seconds(seen(page)[-1])
    assert 0.3 < last - first < 0.7  # eight frames
    width = float(page.evaluate("parseFloat(document.querySelector('.timeline-frames').style.backgroundSize)"))
    assert width == pytest.approx(track(page)["width"] / 8, rel=0.02)
    box = track(page)
    page.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + 60)
    assert first < now(page) < last


def test_the_bar_below_takes_what_is_seen_along(page: Page) -> None:
    ready(page, "/?video=kitchen&t=1,2")
    for _ in range(2):
        page.keyboard.press("+")
    before = seconds(seen(page)[-1])
    box = page.locator(".timeline-part").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + 8)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 8, steps=4)
    page.mouse.up()
    assert seconds(seen(page)[-1]) == pytest.approx(before + 6, abs=0.2)
    at(page, 1)  # the player stays where it was


def test_zooming_moves_nothing_below_the_time_line(page: Page) -> None:
    ready(page, "/?video=kitchen&t=3,6")
    before = page.locator(".player-controls").bounding_box()
    page.keyboard.press("+")
    expect(page.locator(".timeline-part")).to_be_visible()
    assert page.locator(".player-controls").bounding_box() == before


def test_two_fingers_zoom_and_keep_what_is_under_them(browser: Browser, server: Server) -> None:
    context = browser.new_context(
        base_url=server.url, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True
    )
    page = context.new_page()
    ready(page, "/?video=kitchen&t=3,6")
    box = track(page)
    touch = context.new_cdp_session(page)

    def fingers(kind: str, *shares: float) -> None:
        points = [
            {"x": box["x"] + box["width"] * share, "y": box["y"] + 40, "id": number}
            for number, share in enumerate(shares)
        ]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    fingers("touchStart", 0.4)
    fingers("touchStart", 0.4, 0.6)
    for wider in (0.05, 0.1, 0.15, 0.2, 0.25, 0.3):
        fingers("touchMove", 0.4 - wider, 0.6 + wider)
    fingers("touchEnd")
    # 2.4 seconds lay between them and now take four fifths of the time line
    expect(page.locator(".timeline-part")).to_be_visible()
    assert seconds(seen(page)[-1]) - seconds(seen(page)[0]) < 3.3
    assert seconds(seen(page)[-1]) == pytest.approx(7.5, abs=0.2)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("visualViewport.scale") == 1
    context.close()


def test_time_and_picture_are_shown_under_the_pointer_from_few_sheets(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/api/" in request.url else None)
    ready(page, "/?video=garden&t=3,6")
    point_at(page, 0.3)
    expect(page.locator(".timeline-hover")).to_contain_text("0:03.6")
    expect(page.locator(".timeline-hover canvas")).to_be_visible()
    until(page, f"({PIXELS}).some((one) => one > 60)")
    for step in range(40):
        point_at(page, 0.1 + step / 50)
    expect(page.locator(".timeline-hover")).to_contain_text("0:10.56")
    sheets = {one for one in asked if "/api/sheet" in one}
    assert 1 <= len(sheets) <= 4
    page.mouse.move(5, 5)
    expect(page.locator(".timeline-hover")).to_be_hidden()


PIXELS = "[...document.querySelector('.timeline-hover canvas').getContext('2d').getImageData(80, 45, 8, 8).data]"


# --- hours ---


def long_film(path: Path, hours: float) -> None:
    """Small pictures, one in five seconds, whose ground tells the minute."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(1, 5), options={"preset": "ultrafast", "g": "6"})
        stream.width, stream.height, stream.pix_fmt = 160, 90, "yuv420p"
        for number in range(int(hours * 720)):
            image = np.full((90, 160, 3), 30 + number // 12 * 7 % 200, np.uint8)
            image[30:60, number % 12 * 10 : number % 12 * 10 + 30] = (220, number // 120 * 4 % 256, 60)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def hours(made: Path, new_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A server with videos of 105 minutes and of ten hours, indexed from features of short videos one after another."""
    world = tmp_path_factory.mktemp("hours") / "world"
    shutil.copytree(made, world)
    with FeatureStore(world / "features.hdf5") as store:
        attributes, short = store.attributes, np.concatenate([store.read(video) for video in store.videos])
    with FeatureWriter(world / "features.hdf5", attributes) as writer:
        for name, long in HOURS.items():
            long_film(world / "videos" / f"{name}.mp4", long)
            clips = np.tile(short, (40, 1))[: int(long * 720)]  # one in five seconds
            writer.add(name, clips, duration=long * 3600, path=str(world / "videos" / f"{name}.mp4"))
    run(
        *("index", "--checkpoint", world / "checkpoint", "--features", world / "features.hdf5"),
        *("--out", world / "index", "--videos", world / "videos"),
    )
    return new_server(world=world)


@pytest.fixture
def long_page(browser: Browser, hours: Server) -> Iterator[Page]:
    context: BrowserContext = browser.new_context(base_url=hours.url, viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(15_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    assert errors == []
    context.close()


@pytest.mark.parametrize("name", HOURS)
def test_a_video_of_hours_is_searched_zoomed_and_watched_to_the_second(long_page: Page, name: str) -> None:
    page, length = long_page, HOURS[name] * 3600
    ready(page, f"/?q=a+red+square&video={name}&t={length / 2:.0f},{length / 2 + 6:.0f}")
    expect(page.locator(".timeline-curve")).to_have_attribute("d", re.compile("^M"))
    at(page, length / 2)
    page.keyboard.press("Escape")  # out of the search box
    page.keyboard.press("z")
    assert seconds(seen(page)[-1]) == pytest.approx(length / 2 + 12, abs=0.2)
    page.keyboard.press("9")
    at(page, length * 0.9)
    assert seconds(seen(page)[0]) < length * 0.9 < seconds(seen(page)[-1])  # one looks where one jumps to
    page.keyboard.press("j")
    at(page, length * 0.9 - 10)
    page.keyboard.press("z")
    page.keyboard.press("z")
    box = track(page)
    for _ in range(30):
        point_at(page, 0.25)
        page.mouse.wheel(0, -120)
    point_at(page, 0.25)
    box = track(page)
    shown = page.locator(".timeline-hover span").inner_text()
    page.mouse.click(box["x"] + box["width"] * 0.25, box["y"] + 60)
    at(page, seconds(shown), 0.06)
    page.keyboard.press(">")
    assert page.evaluate(SPEED) == 1.5


@pytest.mark.parametrize("name", HOURS)
def test_pictures_of_a_video_of_hours_are_of_the_minute_that_is_pointed_at(long_page: Page, name: str) -> None:
    page, length = long_page, HOURS[name] * 3600
    page.on("request", count := Count())
    ready(page, f"/?video={name}")
    interval = 60 if length < 9000 else 300
    for share in (0.2, 0.5, 0.8):
        point_at(page, share)
        expect(page.locator(".timeline-hover canvas")).to_be_visible()
    page.wait_for_timeout(2500)
    for share in (0.2, 0.5, 0.8):
        point_at(page, share)
        time = seconds(page.locator(".timeline-hover span").inner_text())
        pictured = (time // interval + 0.5) * interval
        ground = page.evaluate(
            "document.querySelector('.timeline-hover canvas').getContext('2d').getImageData(150, 80, 1, 1).data[0]"
        )
        near = [30 + int(pictured + off) // 60 * 7 % 200 for off in range(-interval // 2, 1, 10)]
        assert min(abs(ground - one) for one in near) < 8, (share, time, ground, near)
    assert count.sheets <= 8


class Count:
    """Counts sheets that a page asks for."""

    def __init__(self) -> None:
        self.addresses: set[str] = set()

    def __call__(self, request: Request) -> None:
        if "/api/sheet" in request.url:
            self.addresses.add(request.url)

    @property
    def sheets(self) -> int:
        return len(self.addresses)


@pytest.mark.parametrize("width", [360, 1280, 1920])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_video_of_hours_fits_every_screen_and_axe_finds_nothing(
    browser: Browser, hours: Server, width: int, scheme: str
) -> None:
    context = browser.new_context(
        base_url=hours.url,
        viewport={"width": width, "height": 800},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page = context.new_page()
    ready(page, "/?video=recording&t=18000,18006")
    page.keyboard.press("z")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    marks = page.locator(".timeline-axis span").all()
    boxes = [box for mark in marks if (box := mark.bounding_box()) is not None]
    assert all(one["x"] + one["width"] <= two["x"] + 1 for one, two in pairwise(boxes)), seen(page)
    point_at(page, 0.5)
    assert Axe().run(page).violations_count == 0
    context.close()
