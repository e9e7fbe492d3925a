import re
import time

import pytest

from cfmr.cluster.extract import Tally
from cfmr.console.extraction import showing_job
from cfmr.console.progress import shown


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")


def told(capsys: pytest.CaptureFixture[str]) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)


def test_a_job_on_a_cluster_shows_videos_throughput_and_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    with showing_job() as tell:
        tell(Tally(share=0.25, done=1, total=6, seconds=0.0, elapsed=0.0))
        tell(Tally(share=0.5, done=3, total=6, seconds=7200.0, elapsed=1800.0))
    assert re.search(r"extracting .* 50% 3/6 videos, 4 h of video an hour, left [\d-]", told(capsys))


def test_an_index_run_shows_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    with shown() as tell:
        tell("encoding videos", 0, 10)
        for number in range(1, 6):
            time.sleep(0.01)  # between two there has to be time, or there is no rate
            tell("encoding videos", number, 10)
    assert re.search(r"encoding videos .* 5/10 [\d,]+ an hour [\d:]+ left [\d-]", told(capsys))
