import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.support.footage import write_video

pytest.importorskip("fastapi")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_is_how_a_server_is_ended(tmp_path: Path, workers: str) -> None:
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos/a.mp4", [tick / 10 for tick in range(10)])
    command = [sys.executable, "-m", "cfmr.cli", "serve", "--index", str(tmp_path / "index"), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--videos", str(tmp_path / "videos"), "--workers", workers],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert "Ctrl+C ends it" in line
    with urllib.request.urlopen(line.split()[1], timeout=240) as answer:  # all is up
        assert answer.status == 200
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert errors == "cfmr: stopped\n"
