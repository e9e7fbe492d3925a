"""Record the moving picture of the README: a folder is searched on the page, and what is found plays.

    python docs/moving_picture.py --videos FOLDER --sentences "a car" "an orange" --out docs/pictures/search.webp

Starts `cfmr serve FOLDER`, waits until every video has been read, types each sentence in Chromium and plays what comes
first. Needs what `make test-e2e` installs.
"""

import argparse
import io
import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

PORT, WIDTH, HEIGHT = 8947, 960, 640
PLAYED = 2.5  # seconds of a moment that are shown
STEP = 0.2  # seconds between pictures


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


def until_read(videos: Path, seconds: float) -> None:
    """Wait until nothing is left to read."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/api/jobs", timeout=10) as answer:
                jobs: list[dict[str, Any]] = json.load(answer)
            if jobs and all(job["state"] == "done" for job in jobs):
                return
        except OSError:
            pass
        time.sleep(1)
    raise SystemExit(f"{videos} was not read within {seconds:.0f} s")


def record(page: Page, sentences: list[str]) -> Recorder:
    recorder = Recorder(page)
    page.goto(f"http://127.0.0.1:{PORT}/")
    page.wait_for_timeout(1500)
    recorder.take(1.0)
    for sentence in sentences:
        page.keyboard.press("/")
        page.keyboard.press("Control+A")
        for number, letter in enumerate(sentence):
            page.keyboard.type(letter)
            if number % 2:
                recorder.take(0.12)
        page.wait_for_timeout(1500)
        recorder.take(1.2)
        page.keyboard.press("Escape")
        page.keyboard.press("Enter")
        while page.evaluate("document.querySelector('video').currentTime") < 0.1:
            page.wait_for_timeout(50)
        end = time.monotonic() + PLAYED
        while time.monotonic() < end:
            recorder.take(STEP)
            page.wait_for_timeout(STEP * 1000 / 2)
    return recorder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, required=True)
    parser.add_argument("--sentences", nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    given = parser.parse_args()
    command = [sys.executable, "-m", "cfmr", "serve", given.videos, "--no-browser", "--port", str(PORT)]
    server = subprocess.Popen([*map(str, command)])
    try:
        until_read(given.videos, 900)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=given.chromium, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            record(page, given.sentences).save(given.out)
    finally:
        server.terminate()
        server.wait(30)


if __name__ == "__main__":
    main()
