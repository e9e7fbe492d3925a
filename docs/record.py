"""Take the pictures of the page that the docs show, and the moving one of the README.

    python docs/record.py --videos FOLDER --labels labels.csv --sentences "a parrot" "an orange" [--out docs/pictures]

Starts `cfmr serve FOLDER`, waits until every video has been read, and records a search for each sentence. Then the
labels are imported and learned from, and every page is taken. Needs what `make test-e2e` installs.
"""

import argparse
import io
import json
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

PORT = 8947
ADDRESS = f"http://127.0.0.1:{PORT}"
WIDTH, HEIGHT = 960, 640  # of the moving picture
PLAYED = 2.5  # seconds of a moment that are shown
STEP = 0.2  # seconds between pictures
LONGEST = 900  # seconds that reading, or learning, may take
OCTETS = {"Content-Type": "application/octet-stream"}
HEIGHTS = {1920: 1080, 768: 1024, 360: 740}


class Recorder:
    """Pictures of a page, and for how long each is shown."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.pictures: list[Image.Image] = []
        self.milliseconds: list[int] = []

    def take(self, seconds: float) -> None:
        shot = Image.open(io.BytesIO(self.page.screenshot()))
        self.pictures.append(shot.convert("RGB"))
        self.milliseconds.append(round(seconds * 1000))

    def save(self, out: Path) -> None:
        first, *rest = self.pictures
        first.save(out, save_all=True, append_images=rest, duration=self.milliseconds, loop=0, quality=60, method=6)


def ask(path: str, body: bytes | None = None, **headers: str) -> Any:
    """What the server answers."""
    request = urllib.request.Request(f"{ADDRESS}/api/{path}", body, {"Origin": ADDRESS, **headers})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def until_done() -> None:
    """Wait until no job is left."""
    end = time.monotonic() + LONGEST
    while time.monotonic() < end:
        try:
            jobs = ask("jobs")
            if jobs and all(job["state"] not in ("queued", "running") for job in jobs):
                return
        except OSError:
            pass
        time.sleep(1)
    raise SystemExit(f"the server was not done within {LONGEST} s")


def play_first(page: Page) -> None:
    """Leave the box and play what comes first."""
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    while page.evaluate("document.querySelector('video').currentTime") < 0.1:
        page.wait_for_timeout(50)


def moving(page: Page, sentences: list[str]) -> Recorder:
    """A search for each sentence, and the first moment as it plays."""
    recorder = Recorder(page)
    page.goto(ADDRESS)
    page.wait_for_timeout(1500)
    recorder.take(1.0)
    for sentence in sentences:
        page.keyboard.press("/")
        page.keyboard.press("Control+A")
        page.keyboard.type(sentence)
        recorder.take(0.6)
        page.wait_for_timeout(1500)
        recorder.take(1.2)
        play_first(page)
        end = time.monotonic() + PLAYED
        while time.monotonic() < end:
            recorder.take(STEP)
            page.wait_for_timeout(STEP * 1000 / 2)
    return recorder


def still(browser: Browser, path: str, width: int, scheme: Any, out: Path, *, play: bool = False) -> None:
    page = browser.new_page(viewport={"width": width, "height": HEIGHTS[width]}, color_scheme=scheme)
    page.goto(f"{ADDRESS}{path}")
    page.wait_for_timeout(2500)
    if play:
        play_first(page)
        page.keyboard.press("Space")
        page.wait_for_timeout(500)
    page.screenshot(path=str(out))
    page.close()


def found(browser: Browser, sentence: str, out: Path) -> None:
    """The search page as it answers a sentence."""
    query = f"/?q={urllib.parse.quote(sentence)}"
    still(browser, query, 1920, "light", out / "page-search-1920-light.png", play=True)
    still(browser, query, 360, "dark", out / "page-search-360-dark.png")


def stills(browser: Browser, labelled: str, out: Path) -> None:
    """The other pages that docs/page.md shows."""
    video = f"/label?video={urllib.parse.quote(labelled)}&t=3"
    still(browser, "/library", 1920, "light", out / "page-library-1920-light.png")
    still(browser, video, 768, "dark", out / "page-label-768-dark.png")
    still(browser, video, 360, "light", out / "page-label-360-light.png")
    still(browser, "/learn", 1920, "light", out / "page-learn-1920-light.png")
    still(browser, "/add", 1920, "dark", out / "page-add-1920-dark.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--sentences", nargs="+", required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "pictures")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    given = parser.parse_args()
    command = [sys.executable, "-m", "cfmr", "serve", given.videos, "--no-browser", "--port", str(PORT)]
    server = subprocess.Popen([*map(str, command)])
    try:
        until_done()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=given.chromium, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            moving(page, given.sentences).save(given.out / "search.webp")
            found(browser, given.sentences[-1], given.out)
            ask(f"labels/import?name={given.labels.name}", given.labels.read_bytes(), **OCTETS)
            ask("learn", b"{}", **{"Content-Type": "application/json"})
            until_done()
            stills(browser, ask("labels?limit=1")["labels"][0]["video"], given.out)
    finally:
        server.terminate()
        server.wait(30)


if __name__ == "__main__":
    main()
