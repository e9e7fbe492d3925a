"""Results and labels leave for other programs, and labels of other tools come in, by the page."""

import csv
import zipfile
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from .site import Server, until

SENTENCE = "a red square moves to the right"


def search(page: Page) -> None:
    page.goto(f"/?q={SENTENCE.replace(' ', '+')}")
    expect(page.locator("#results .result").first).to_be_visible()


def exported(page: Page, name: str, place: Path) -> Path:
    page.locator("#export summary").click()
    with page.expect_download() as waiting:
        page.get_by_role("button", name=name).click()
    waiting.value.save_as(place / waiting.value.suggested_filename)
    return place / waiting.value.suggested_filename


@pytest.mark.parametrize(
    ("name", "file", "begins"),
    [
        ("EDL", "moments.edl", f"TITLE: {SENTENCE}"),
        ("Final Cut Pro XML", "moments.fcpxml", "<?xml"),
        ("Playlist", "moments.m3u8", "#EXTM3U"),
        ("CSV table", "moments.csv", "video,start,end"),
    ],
)
def test_results_are_saved_in_a_format_of_ones_choice(
    page: Page, tmp_path: Path, name: str, file: str, begins: str
) -> None:
    search(page)
    saved = exported(page, name, tmp_path)
    assert saved.name == file
    assert saved.read_text().startswith(begins)
    expect(page.locator(".notice")).to_contain_text("exported")
    expect(page.locator("#export ul")).to_be_hidden()


def test_an_export_has_the_moments_of_the_list_as_they_were_moved(page: Page, tmp_path: Path) -> None:
    search(page)
    until(page, "document.querySelector('a[download]')?.href.includes('start=')")
    page.keyboard.press("Escape")
    page.keyboard.press("}")
    moved = float(page.locator("a[href^='/api/clip']").get_attribute("href").split("end=")[1])  # type: ignore[union-attr]
    with open(exported(page, "CSV table", tmp_path), newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == page.locator("#results .result").count()
    assert float(rows[0]["end"]) == pytest.approx(moved, abs=0.002)
    assert {row["text"] for row in rows} == {SENTENCE}


def test_frame_rate_and_drop_frame_are_chosen_and_kept(page: Page, tmp_path: Path) -> None:
    search(page)
    page.locator("#export summary").click()
    expect(page.get_by_label("Timecode")).to_be_disabled()  # at the files' own rate
    page.get_by_label("Frame rate").select_option("29.97 fps")
    page.get_by_label("Timecode").select_option("Non-drop frame")
    page.locator("#export summary").click()
    assert "FCM: NON-DROP FRAME" in exported(page, "EDL", tmp_path).read_text()
    search(page)
    page.locator("#export summary").click()
    expect(page.get_by_label("Frame rate")).to_have_value("29.97")
    page.get_by_label("Timecode").select_option("Drop frame")
    page.locator("#export summary").click()
    assert "FCM: DROP FRAME" in exported(page, "EDL", tmp_path).read_text()
    page.locator("#export summary").click()
    page.get_by_label("Frame rate").select_option("25 fps")
    expect(page.get_by_label("Timecode")).to_be_disabled()
    assert Axe().run(page).violations_count == 0
    page.locator("#export summary").click()
    assert "FCM: NON-DROP FRAME" in exported(page, "EDL", tmp_path).read_text()


def test_all_clips_are_saved_in_one_archive(page: Page, tmp_path: Path) -> None:
    search(page)
    page.locator("#within").fill("street")
    page.keyboard.press("Enter")
    expect(page.locator("#tally")).to_contain_text("1 video")
    saved = exported(page, "All clips", tmp_path)
    with zipfile.ZipFile(saved) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == page.locator("#results .result").count()
        assert all(name.endswith(".mp4") for name in archive.namelist())


def test_the_menu_opens_and_closes_by_keyboard_and_axe_finds_nothing(page: Page) -> None:
    search(page)
    summary = page.locator("#export summary")
    summary.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#export ul")).to_be_visible()
    assert Axe().run(page).violations_count == 0
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="CSV table")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#export ul")).to_be_hidden()
    expect(summary).to_be_focused()


def test_subtitles_become_labels_and_labels_become_subtitles(page: Page, server: Server, tmp_path: Path) -> None:
    for label in server.ask("/api/labels")["labels"]:
        server.ask(f"/api/labels/{label['id']}", method="DELETE", revision=label["revision"])
    page.goto("/label?video=street")
    page.get_by_text("Your name, import and export").click()
    srt = "1\n00:00:01,000 --> 00:00:03,000\na square <i>comes</i> in\n\n2\n00:00:50,000 --> 00:00:51,000\ntoo late\n"
    (tmp_path / "notes.srt").write_text(srt)
    page.locator("#import").set_input_files(tmp_path / "notes.srt")
    expect(page.locator(".notice")).to_contain_text("1 label imported, 1 row refused")
    expect(page.locator("#refused")).to_contain_text("Row 2")
    expect(page.locator("#labels .label-sentence", has_text="a square comes in")).to_be_visible()
    (label,) = server.ask("/api/labels")["labels"]
    assert (label["video"], label["glance"]) == ("street", 2.0)
    page.locator("#format").select_option("srt")
    with page.expect_download() as waiting:
        page.locator("#export").click()
    waiting.value.save_as(tmp_path / "street.srt")
    assert (tmp_path / "street.srt").read_text() == "1\n00:00:01,000 --> 00:00:03,000\na square comes in\n"
    page.locator("#import").set_input_files(tmp_path / "street.srt")
    expect(page.locator(".notice")).to_contain_text("0 labels imported, 1 already there")


def test_a_wrong_format_says_which_are_read(page: Page, tmp_path: Path) -> None:
    page.goto("/label?video=street")
    page.get_by_text("Your name, import and export").click()
    (tmp_path / "notes.txt").write_text("hello there")
    page.locator("#import").set_input_files(tmp_path / "notes.txt")
    expect(page.locator(".notice")).to_contain_text(
        "notes.txt: no labels of a format that is known; read are JSON rows"
    )


def test_the_menu_fits_on_a_phone(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    search(page)
    page.locator("#export summary").click()
    box = page.locator("#export ul").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 360
    page.locator("h1").first.evaluate("() => document.body.click()")
    expect(page.locator("#export ul")).to_be_hidden()
