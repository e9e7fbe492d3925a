"""Labelling, with the keyboard alone and by two people."""

import json
import re
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from .site import Server, until


def clear(server: Server) -> None:
    for label in server.ask("/api/labels")["labels"]:
        server.ask(f"/api/labels/{label['id']}", method="DELETE", revision=label["revision"])


def test_watch_press_enter_say_it_press_enter(page: Page, server: Server) -> None:
    clear(server)
    page.goto("/label")
    expect(page.locator(".stage-title .stage-video")).not_to_be_empty()
    until(page, "document.querySelector('video').readyState > 1")
    page.keyboard.press("p")
    until(page, "document.querySelector('video').currentTime > 0.5")
    for sentence in ("a square comes in", "it goes away"):
        page.keyboard.press("m")
        expect(page.locator("#sentence")).to_be_focused()
        assert page.evaluate("document.querySelector('video').paused")
        page.keyboard.type(sentence)
        page.keyboard.press("Enter")
        expect(page.locator("#labels .label-sentence", has_text=sentence)).to_be_visible()
        until(page, "!document.querySelector('video').paused")
    expect(page.locator("#pace")).to_contain_text(re.compile(r"2 labels.*[\d.]+ s per label"))
    labels = server.ask("/api/labels")["labels"]
    assert [label["sentence"] for label in labels] == ["it goes away", "a square comes in"]
    assert 0.4 < labels[1]["glance"] < labels[0]["glance"] < 12
    page.keyboard.press("Control+z")
    expect(page.locator("#labels .label-sentence")).to_have_count(1)
    assert server.ask("/api/labels")["total"] == 1


def test_enter_marks_while_watching_and_escape_forgets(page: Page, server: Server) -> None:
    clear(server)
    page.goto("/label?video=street&t=3")
    until(page, "Math.abs(document.querySelector('video').currentTime - 3) < 0.1")
    page.locator("body").click(position={"x": 5, "y": 700})
    page.keyboard.press("Enter")
    expect(page.locator("#say-what")).to_have_text("What happens at 0:03.0?")
    page.keyboard.type("never mind")
    page.keyboard.press("Escape")
    expect(page.locator("#say-what")).to_contain_text("When something happens")
    assert server.ask("/api/labels")["total"] == 0


def test_labels_are_edited_deleted_and_brought_back(page: Page, server: Server) -> None:
    clear(server)
    server.label("street", 4.0, "a square moves")
    page.goto("/label?video=street")
    page.get_by_role("button", name="Edit: a square moves").click()
    page.get_by_label("Sentence").fill("a square hurries")
    page.get_by_label("Time in seconds").fill("5.5")
    page.keyboard.press("Enter")
    expect(page.locator("#labels .label-sentence", has_text="a square hurries")).to_be_visible()
    (label,) = server.ask("/api/labels")["labels"]
    assert (label["glance"], label["revision"]) == (5.5, 2)
    page.get_by_role("button", name="Delete: a square hurries").click()
    expect(page.locator("#labels .label-sentence")).to_have_count(0)
    page.locator(".notice").get_by_role("button", name="Undo").click()
    expect(page.locator("#labels .label-sentence", has_text="a square hurries")).to_be_visible()


def test_two_people_label_at_once_and_lose_nothing(browser: Browser, server: Server) -> None:
    clear(server)
    people = {}
    for name in ("Ada", "Bob"):
        page = browser.new_context(base_url=server.url).new_page()
        page.goto("/label?video=garden")
        page.get_by_text("Your name, import and export").click()
        page.get_by_label("Your name").fill(name)
        page.keyboard.press("Tab")
        until(page, "document.querySelector('video').readyState > 0")
        people[name] = page
    for number in range(3):
        for name, page in people.items():
            page.locator("#mark").click()
            page.keyboard.type(f"{name} saw thing {number}")
            page.keyboard.press("Enter")
            expect(page.locator("#labels .label-sentence", has_text=f"{name} saw thing {number}")).to_be_visible()
    labels = server.ask("/api/labels")["labels"]
    assert len(labels) == 6
    assert all(label["sentence"].startswith(label["author"]) for label in labels)
    # both open the same label; the second to save is told
    ada, bob = people["Ada"], people["Bob"]
    for page in (ada, bob):
        page.reload()
        page.get_by_role("button", name="Edit: Ada saw thing 0").click()
    ada.get_by_label("Sentence").fill("Ada was first")
    ada.keyboard.press("Enter")
    expect(ada.locator("#labels .label-sentence", has_text="Ada was first")).to_be_visible()
    bob.get_by_label("Sentence").fill("Bob was second")
    bob.keyboard.press("Enter")
    expect(bob.get_by_role("alert")).to_contain_text("Ada changed this label to “Ada was first”")
    expect(bob.get_by_label("Sentence")).to_have_value("Bob was second")
    bob.get_by_role("button", name="Use theirs").click()
    expect(bob.locator("#labels .label-sentence", has_text="Ada was first")).to_be_visible()
    for page in people.values():
        page.context.close()


def test_a_label_survives_a_server_that_is_away(page: Page, server: Server) -> None:
    clear(server)
    page.goto("/label?video=roof")
    until(page, "document.querySelector('video').readyState > 0")
    page.route("**/api/labels", lambda route: route.abort() if route.request.method == "POST" else route.continue_())
    page.locator("#mark").click()
    page.keyboard.type("a square at sea")
    page.keyboard.press("Enter")
    expect(page.locator(".notice")).to_contain_text("Not saved yet")
    expect(page.locator("#pace")).to_contain_text("1 label not saved yet")
    page.unroute("**/api/labels")
    page.reload()
    expect(page.locator("#labels .label-sentence", has_text="a square at sea")).to_be_visible()
    server.wait_until(lambda: server.ask("/api/labels")["total"] == 1)


def test_labels_go_out_and_come_in_as_annotations(page: Page, server: Server, tmp_path: Path) -> None:
    clear(server)
    server.label("hall", 2.0, "a square moves")
    page.goto("/label?video=hall")
    page.get_by_text("Your name, import and export").click()
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Export", exact=True).click()
    waiting.value.save_as(tmp_path / "labels.json")
    rows = json.loads((tmp_path / "labels.json").read_text())
    assert rows == [["hall", 12.0, None, "a square moves", 2.0]]
    rows.append(["hall", 12.0, None, "it leaves", 6.0])
    (tmp_path / "more.json").write_text(json.dumps(rows))
    page.locator("#import").set_input_files(tmp_path / "more.json")
    expect(page.locator(".notice")).to_contain_text("1 label imported, 1 already there")
    expect(page.locator("#labels .label-sentence")).to_have_count(2)
    (tmp_path / "bad.json").write_text(json.dumps([[1], ["hall", 12.0, None, "it comes back", 8.0]]))
    page.locator("#import").set_input_files(tmp_path / "bad.json")
    expect(page.locator(".notice")).to_contain_text("1 label imported, 1 row refused")
    expect(page.locator("#refused")).to_contain_text("Row 1 is not [video")


def test_the_next_video_is_handed_out(page: Page) -> None:
    page.goto("/label?video=kitchen")
    expect(page.locator(".stage-title")).to_have_text("kitchen")
    page.get_by_role("button", name="Next").click()
    expect(page.locator(".stage-title")).not_to_have_text("kitchen")


def ready(page: Page, video: str) -> None:
    page.goto(f"/label?video={video}")
    until(page, "document.querySelector('video').readyState > 1")


def test_the_keys_work_on_the_page_as_it_opens_and_after_every_label(page: Page, server: Server) -> None:
    clear(server)
    ready(page, "market")
    for number in range(2):
        page.keyboard.press("Enter")
        expect(page.locator("#sentence")).to_be_focused()
        page.keyboard.type(f"thing {number}")
        page.keyboard.press("Enter")
        expect(page.locator("#labels .label-sentence")).to_have_count(number + 1)
        until(page, "document.querySelector('video').currentTime > 0.6 * (1 + " + str(number) + ")")
    page.keyboard.press("Space")
    until(page, "document.querySelector('video').paused")
    page.get_by_role("button", name="Play", exact=True).click()
    until(page, "!document.querySelector('video').paused")
    page.keyboard.press("Enter")  # after a click on Play it marks all the same
    expect(page.locator("#say-what")).to_contain_text("What happens at")


def test_undo_goes_as_far_back_as_the_session_and_over_a_reload(page: Page, server: Server) -> None:
    clear(server)
    ready(page, "yard")
    page.keyboard.press("Enter")
    page.keyboard.type("a dog")
    page.keyboard.press("Enter")
    expect(page.locator("#labels .label-sentence")).to_have_count(1)
    page.get_by_role("button", name="Edit: a dog").click()
    page.get_by_label("Sentence").fill("a cat")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Edit: a cat")).to_be_focused()
    page.get_by_role("button", name="Delete: a cat").click()
    expect(page.locator("#labels .label-sentence")).to_have_count(0)
    page.reload()
    until(page, "document.querySelector('video').readyState > 0")
    page.keyboard.press("Control+z")
    expect(page.locator("#labels .label-sentence")).to_contain_text("a cat")
    page.keyboard.press("Control+z")
    expect(page.locator("#labels .label-sentence")).to_contain_text("a dog")
    page.keyboard.press("Control+z")
    expect(page.locator("#labels .label-sentence")).to_have_count(0)
    page.keyboard.press("Control+z")
    expect(page.locator(".notice")).to_contain_text("Nothing to undo")


def test_a_label_made_offline_is_seen_and_sent_by_itself(page: Page, server: Server) -> None:
    clear(server)
    ready(page, "roof")
    page.route("**/api/**", lambda route: route.abort())
    page.keyboard.press("Enter")
    page.keyboard.type("a square at sea")
    page.keyboard.press("Enter")
    expect(page.locator(".label-pending")).to_contain_text("a square at sea")
    expect(page.locator("#pace")).to_contain_text("1 label not saved yet")
    expect(page.locator(".notice")).to_contain_text("kept in this browser")
    page.unroute("**/api/**")
    expect(page.locator(".label-pending")).to_have_count(0)
    expect(page.locator("#labels .label-sentence")).to_contain_text("a square at sea")
    expect(page.locator("#pace")).not_to_contain_text("not saved yet")
    assert server.ask("/api/labels")["total"] == 1


def test_an_edit_that_is_refused_keeps_what_was_typed(page: Page, server: Server) -> None:
    clear(server)
    server.label("hall", 2.0, "a square moves")
    ready(page, "hall")
    page.get_by_role("button", name="Edit: a square moves").click()
    page.get_by_label("Sentence").fill("a square flies")
    page.get_by_label("Time in seconds").fill("9999")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("after the end of the video")
    expect(page.get_by_label("Sentence")).to_have_value("a square flies")
    page.get_by_label("Time in seconds").fill("3")
    (label,) = server.ask("/api/labels")["labels"]
    server.ask(f"/api/labels/{label['id']}", {"revision": 1, "sentence": "theirs", "author": "Bob"}, "PATCH")
    page.get_by_label("Sentence").press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Bob changed this label to “theirs”")
    page.get_by_role("button", name="Save mine").click()
    expect(page.locator("#labels .label-sentence")).to_contain_text("a square flies")


def test_a_half_typed_sentence_waits_at_its_video(page: Page, server: Server) -> None:
    clear(server)
    ready(page, "kitchen")
    page.keyboard.press("Enter")
    page.keyboard.type("a square that")
    page.get_by_role("button", name="Next").click()
    expect(page.locator(".stage-title")).not_to_have_text("kitchen")
    expect(page.locator("#sentence")).to_have_value("")
    page.locator(".notice").get_by_role("button", name="Go back").click()
    expect(page.locator(".stage-title")).to_have_text("kitchen")
    expect(page.locator("#sentence")).to_have_value("a square that")
    page.keyboard.press("Escape")
    page.locator(".notice").get_by_role("button", name="Restore").click()
    expect(page.locator("#sentence")).to_have_value("a square that")


def test_a_part_of_a_name_opens_a_video_and_the_keys_work_at_once(page: Page, server: Server) -> None:
    ready(page, "kitchen")
    page.locator("#video").fill("gard")
    page.keyboard.press("Enter")
    expect(page.locator(".stage-title")).to_have_text("garden")
    until(page, "document.querySelector('video').readyState > 1")
    page.keyboard.press("m")
    expect(page.locator("#sentence")).to_be_focused()


def test_another_tab_is_told_of_a_new_label(page: Page, server: Server) -> None:
    clear(server)
    ready(page, "street")
    other = page.context.new_page()
    ready(other, "street")
    page.keyboard.press("Enter")
    page.keyboard.type("a square")
    page.keyboard.press("Enter")
    expect(other.locator("#labels .label-sentence")).to_contain_text("a square")
    other.close()
