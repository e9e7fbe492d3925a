"""From a key to results on the screen, in a browser: milliseconds of each key that changes them.

    cfmr serve --index runs/demo/index --videos runs/demo/videos --port 8000
    python benchmarks/typing_latency.py http://127.0.0.1:8000

Types sentences key by key, slowly enough for each to be answered. Counted is from the input event to the first frame
after the list was drawn, the page's own wait for a next key included.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
WATCH = """() => {
  window.painted = [];
  let typed = null;
  document.querySelector('#q').addEventListener('input', () => { typed = performance.now(); }, { capture: true });
  new MutationObserver(() => {
    if (typed === null) return;
    const since = typed;
    typed = null;
    requestAnimationFrame(() => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => window.painted.push(performance.now() - since);
      port2.postMessage(null);
    });
  }).observe(document.querySelector('#tally'), { childList: true });
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("url")
    parser.add_argument("--sentences", type=Path, help="annotation file; default: the page's examples")
    parser.add_argument("--count", type=int, default=6, help="sentences to type")
    parser.add_argument("--between", type=int, default=250, help="milliseconds from one key to the next")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    arguments = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=arguments.chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(arguments.url)
        if arguments.sentences:
            sentences = [row[3] for row in json.loads(arguments.sentences.read_text())]
        else:
            sentences = page.evaluate("fetch('/api/status').then((answer) => answer.json())")["examples"]
        page.evaluate(WATCH)
        for sentence in sentences[: arguments.count]:
            page.locator("#q").fill("")
            page.wait_for_timeout(400)
            page.locator("#q").press_sequentially(sentence, delay=arguments.between)
            page.wait_for_timeout(400)
        painted = page.evaluate("window.painted")
        browser.close()
    p50, p95 = np.percentile(painted, [50, 95])
    print(f"{len(painted)} keys: p50 {p50:.0f} ms, p95 {p95:.0f} ms, most {max(painted):.0f} ms")


if __name__ == "__main__":
    main()
