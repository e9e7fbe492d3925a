"""From labels to a second model, from uploads to moments that are found, and what happens when things die."""

import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from .site import Server, render, until

SAID = [
    "red square enters",
    "blue square goes by",
    "green square slides",
    "something red moves on",
    "a square rushes by",
]


@pytest.fixture(scope="module")
def own(new_server: Callable[..., Server]) -> Server:
    return new_server()


@pytest.fixture
def page(browser: Browser, own: Server) -> Page:
    page = browser.new_context(base_url=own.url, viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(20_000)
    return page


def label_some(server: Server) -> None:
    if server.ask("/api/labels")["total"] == 0:
        for number, video in enumerate(("kitchen", "street", "garden")):
            for at, sentence in enumerate(SAID):
                server.label(video, 2.0 + at, f"{sentence} {'again ' * number}".strip())


def test_labels_become_a_model_that_is_served_without_a_restart(page: Page, own: Server) -> None:
    label_some(own)
    counts = own.ask("/api/labels")
    assert counts["held_out"] > 0
    page.goto("/learn")
    expect(page.locator("#count")).to_contain_text(f"{counts['learn']} to learn from, {counts['held_out']} held out")
    before = own.ask("/api/search", q="a red square moves")["moments"]
    page.get_by_label("Use the new model even if").check()
    page.get_by_role("button", name="Start training").click()
    expect(page.locator("#job progress")).to_be_visible()
    page.locator("#job summary").click()
    expect(page.locator("#job pre")).to_contain_text("$ cfmr train")
    expect(page.locator("#outcome .model-current")).to_contain_text("in use", timeout=120_000)
    expect(page.locator("#job .job-message")).to_contain_text("The new model is in use")
    expect(page.locator("#job pre")).to_contain_text("epoch 1")
    expect(page.locator(".comparison")).to_contain_text(f"of {counts['held_out']}")
    expect(page.locator("#outcome")).to_contain_text(re.compile(r"\d+ improved"))
    for cell in page.locator(".comparison td:has(.comparison-bar)").all():
        hits, whole = map(int, cell.inner_text().split(" of "))
        widths = [
            cell.locator(part).evaluate("one => one.getBoundingClientRect().width") for part in (".comparison-bar", "i")
        ]
        assert widths[1] == pytest.approx(widths[0] * hits / whole, abs=1)
    assert own.ask("/api/status")["model"] == "0001"
    assert own.ask("/api/search", q="a red square moves")["moments"] != before
    page.goto("/?q=a+red+square+moves")
    expect(page.locator(".result").first).to_be_visible()


def test_if_training_is_killed_the_old_model_goes_on(page: Page, own: Server) -> None:
    label_some(own)
    serving = own.ask("/api/status")["model"]
    page.goto("/learn")
    page.get_by_role("button", name="Start training").click()
    expect(page.locator("#job .job-message")).to_contain_text("Preparing to train")
    (child,) = own.children()
    os.kill(child, signal.SIGKILL)
    expect(page.locator("#job .job-message")).to_contain_text("it was ended by SIGKILL")
    assert own.ask("/api/status")["model"] == serving
    assert own.ask("/api/search", q="a red square")["moments"]


def test_training_is_cancelled_from_the_page(page: Page, own: Server) -> None:
    label_some(own)
    page.goto("/learn")
    page.get_by_role("button", name="Start training").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#job .job-message")).to_contain_text("Cancelled")
    assert own.children() == []
    expect(page.get_by_role("button", name="Start training")).to_be_enabled()


def test_an_upload_is_found_and_what_is_no_video_is_refused_by_name(page: Page, own: Server, tmp_path: Path) -> None:
    clip = render(tmp_path / "balcony.mp4", [("green", 3.0, 6.0)], "white")
    program = tmp_path / "program.mp4"
    program.write_bytes(Path(sys.executable).resolve().read_bytes()[: 1 << 20])
    os.truncate(program, 200 << 20)  # so that one can see how far it is
    page.goto("/add")
    page.evaluate("""() => {
        window.said = '';
        const watch = new MutationObserver(() => { window.said += document.querySelector('#uploads').innerText; });
        watch.observe(document.querySelector('#uploads'), { childList: true, characterData: true, subtree: true });
    }""")
    page.locator("#files").set_input_files([clip, program])
    uploads = page.locator("#uploads li")
    expect(uploads.nth(0)).to_contain_text("Added as balcony")
    expect(uploads.nth(1)).to_contain_text("It is not a video", timeout=60_000)
    assert uploads.nth(1).inner_text().count("program") == 1, "its name stands there already"
    assert re.search(r"\d %", page.evaluate("window.said"))
    expect(page.locator("#job .job-message")).to_contain_text("9 videos can be searched", timeout=90_000)
    page.goto("/?q=a+green+square&in=balcony")
    expect(page.locator(".result").first).to_be_visible()
    page.keyboard.press("Enter")
    until(page, "document.querySelector('video').currentTime > 0.2")


def test_a_folder_is_taken_in(page: Page, own: Server) -> None:
    render(own.world / "camera" / "cellar.mp4", [("red", 1.0, 4.0)])
    page.goto("/add")
    page.get_by_label("Import a folder on the server").press("Enter")
    expect(page.locator(".notice")).to_have_text("Enter the path of a folder")
    page.get_by_label("Import a folder on the server").fill("/etc")
    page.keyboard.press("Enter")
    expect(page.locator(".notice")).to_contain_text("outside the allowed folders")
    expect(page.locator(".notice")).to_contain_text("add one with --folder")
    page.get_by_label("Import a folder on the server").fill(str(own.world / "camera"))
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Import 1 video").click()
    own.wait_until(lambda: own.ask("/api/jobs")[0]["kind"] == "add")
    own.wait_for_jobs()
    assert own.ask("/api/search", q="a red square", video="cellar")["moments"]


def test_jobs_behind_the_one_that_is_shown_are_counted(page: Page, own: Server) -> None:
    jobs = [
        {"id": f"{number:032x}", "kind": "index", "title": f"Job {number}", "state": state, "progress": progress}
        | {"message": "", "created": 1.0, "started": None, "finished": None, "left": None, "result": {}}
        for number, (state, progress) in enumerate([("running", 0.25), ("queued", 0.0), ("queued", 0.0)])
    ]
    page.route(re.compile(r"/api/jobs(\?.*)?$"), lambda route: route.fulfill(json=jobs))
    page.goto("/add")
    expect(page.locator("#job-name")).to_have_text("Job 0")
    expect(page.locator("#job progress")).to_have_js_property("value", 0.25)
    expect(page.locator("#job")).to_contain_text("2 more queued")


def test_a_worse_model_is_not_advertised_and_is_deleted_when_asked_twice(page: Page, own: Server) -> None:
    own.ask("/api/status")
    models = own.world / "page" / "models"
    known = [model["id"] for model in own.ask("/api/models")]
    shutil.copytree(own.world / "index", models / "0777" / "index")
    label = {"video": "kitchen", "sentence": "a red square", "glance": 2.0, "before": [1, 3], "after": None}
    counts = {"first": 1, "several": 1, "everywhere": 1, "of": 1, "length": 2.0}
    comparison = {
        "before": counts,
        "after": counts | {"first": 0},
        "labels": [label | {"hit_before": True, "hit_after": False}],
    }
    content = {"created": time.time(), "labels": 9, "comparison": comparison}
    (models / "0777" / "model.json").write_text(json.dumps(content))
    page.goto("/learn")
    expect(page.locator("#outcome")).to_contain_text("0 improved, 1 got worse")
    use = page.get_by_role("button", name="Use the new model", exact=True)
    expect(use).not_to_have_class(re.compile("button-main"))
    expect(page.locator("#models li", has_text="Model 777")).to_contain_text("9 labels")
    page.get_by_label("Note on Model 777").fill("too few labels")
    page.keyboard.press("Enter")
    expect(page.locator(".notice")).to_contain_text("Note saved")
    page.reload()
    expect(page.get_by_label("Note on Model 777")).to_have_value("too few labels")
    delete = page.locator("#models li", has_text="Model 777").get_by_role("button", name="Delete")
    delete.click()
    expect(delete).to_have_text("Really delete?")
    delete.click()
    expect(page.locator(".notice")).to_contain_text("Model 777 deleted")
    assert [model["id"] for model in own.ask("/api/models")] == known
    assert not (models / "0777").exists()


def test_a_hundred_searches_at_once_while_videos_are_indexed(own: Server) -> None:
    render(own.world / "videos" / "attic.mp4", [("blue", 2.0, 5.0)])
    job = own.ask("/api/videos/index", {}, method="POST")

    def ask(number: int) -> int:
        return len(own.ask("/api/search", q=f"a {('red', 'green', 'blue')[number % 3]} square", top=3)["moments"])

    with ThreadPoolExecutor(100) as pool:
        rounds = 0
        while own.ask(f"/api/jobs/{job['id']}")["state"] in ("queued", "running") or rounds == 0:
            assert all(count > 0 for count in pool.map(ask, range(100)))
            rounds += 1
    assert own.ask(f"/api/jobs/{job['id']}")["state"] == "done"


def test_a_newcomer_needs_nothing_but_videos(
    browser: Browser, new_server: Callable[..., Server], made: Path, tmp_path: Path
) -> None:
    for name in ("kitchen", "street", "garden"):
        (tmp_path / "videos").mkdir(exist_ok=True)
        shutil.copy(made / "videos" / f"{name}.mp4", tmp_path / "videos")
    fresh = new_server(world=tmp_path)
    page = browser.new_context(base_url=fresh.url).new_page()
    page.goto("/")
    expect(page.locator("#start")).to_contain_text("There is no model yet")
    page.get_by_role("link", name="Label moments").click()
    for number, sentence in enumerate(SAID):
        page.locator("#mark").click()
        page.keyboard.type(sentence)
        page.keyboard.press("Enter")
        expect(page.locator("#labels .label-sentence", has_text=sentence)).to_be_visible()
        if number == 2:
            page.get_by_role("button", name="Next").click()
            expect(page.locator("#labels")).to_contain_text("none yet")
    page.get_by_role("link", name="Learn").click()
    page.get_by_role("button", name="Start training").click()
    expect(page.locator("#job")).to_be_visible()
    assert [(job["state"], job["message"]) for job in fresh.wait_for_jobs()] == [("done", "The model is in use")]
    expect(page.locator("#outcome .model-current")).to_contain_text("in use")
    page.get_by_role("link", name="Search", exact=True).first.click()
    page.locator("#q").fill("a red square")
    expect(page.locator("#tally")).to_contain_text("in 3 videos")
    page.context.close()


def test_with_a_token_one_signs_in(browser: Browser, new_server: Callable[..., Server], own: Server) -> None:
    locked = new_server("--token", "a-long-enough-token", world=own.world)
    page = browser.new_context(base_url=locked.url).new_page()
    page.goto("/label?video=kitchen")
    page.get_by_label("Token of this server").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("not the token")
    page.get_by_label("Token of this server").fill("a-long-enough-token")
    page.keyboard.press("Enter")
    expect(page.locator(".stage-title")).to_have_text("kitchen")
    page.context.close()
