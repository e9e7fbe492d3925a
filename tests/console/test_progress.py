import json
import re
import time

import pytest

from cfmr.console.mode import ProgressMode
from cfmr.console.progress import showing_progress

METRICS = {"epoch": 1, "loss": 0.5, "R@1,mIoU": 12.34}


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")


def stderr(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert not captured.out
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", captured.err)


@pytest.mark.usefixtures("terminal")
def test_the_bar_shows_the_share_done_and_the_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    with showing_progress() as progress:
        progress("encoding: 0 of 10 videos", 0, 10)
        for number in range(1, 6):
            time.sleep(0.01)  # between two there has to be time, or there is no rate
            progress(f"encoding: {number} of 10 videos", number, 10)
    assert re.search(r"encoding: 5 of 10 videos .* 50% 0:00:0\d left", stderr(capsys))


@pytest.mark.usefixtures("terminal")
def test_before_there_is_a_rate_no_time_is_shown_as_left(capsys: pytest.CaptureFixture[str]) -> None:
    with showing_progress() as progress:
        progress("loading the model", 0, None)
        time.sleep(0.15)
    shown = stderr(capsys)
    assert "loading the model" in shown
    assert "left" not in shown


@pytest.mark.usefixtures("terminal")
def test_a_resumed_task_counts_only_what_it_does_itself_as_its_rate(capsys: pytest.CaptureFixture[str]) -> None:
    with showing_progress() as progress:
        progress("epoch 9/10", 900, 1000)
        time.sleep(0.15)
    assert "left" not in stderr(capsys)


def test_what_is_no_terminal_gets_no_bar_but_a_line_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    with showing_progress() as progress:
        progress("epoch 1/2", 1, 20)
        progress("epoch 1/2", 10, 20, METRICS)
    assert stderr(capsys) == "epoch 1: loss 0.500  R@1,mIoU 12.3\n"


def test_for_a_program_there_is_an_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with showing_progress(ProgressMode.JSON) as progress:
        progress("loading the model", 0, None)
        progress("epoch 1/2", 0, 20)
        progress("epoch 1/2", 10, 20, METRICS)
        progress("epoch 2/2", 20, 20)
    assert [json.loads(line) for line in stderr(capsys).splitlines()] == [
        {"label": "loading the model", "done": 0, "total": None},
        {"label": "epoch 1/2", "done": 0, "total": 20},
        {"label": "epoch 1/2", "done": 10, "total": 20, "metrics": METRICS},
        {"label": "epoch 2/2", "done": 20, "total": 20},
    ]


def test_many_small_steps_make_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with showing_progress(ProgressMode.JSON) as progress:
        for number in range(10_001):
            progress("encoding", number, 10_000)
    lines = stderr(capsys).splitlines()
    assert len(lines) < 1000
    assert (json.loads(lines[0])["done"], json.loads(lines[-1])["done"]) == (0, 10_000)


def test_it_can_be_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with showing_progress(ProgressMode.NONE) as progress:
        progress("epoch 1/2", 10, 20, METRICS)
    assert stderr(capsys) == ""
