import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cfmr.console.interrupt import saying_what_is_kept
from tests.support.footage import write_video
from tests.support.interrupts import heeding_interrupts


def test_an_interrupted_block_says_what_is_kept_and_exits_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, saying_what_is_kept("all is kept"):
        raise KeyboardInterrupt
    assert ended.value.code == 130
    assert capsys.readouterr().err == "cfmr: interrupted; all is kept\n"


def test_what_is_kept_may_be_found_out_when_it_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    kept = []
    with pytest.raises(SystemExit), saying_what_is_kept(lambda: f"{len(kept)} are kept"):
        kept.append(1)
        raise KeyboardInterrupt
    assert "1 are kept" in capsys.readouterr().err


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_on_a_command_ends_in_one_line_and_keeps_what_is_finished(tmp_path: Path, workers: str) -> None:
    (tmp_path / "videos").mkdir()
    for number in range(80):  # enough to be at it still when the signal arrives, however busy the machine
        write_video(tmp_path / f"videos/{number}.mp4", [second / 2 for second in range(120)], size=(32, 32))
    command = [sys.executable, "-m", "cfmr.cli", "extract", str(tmp_path / "videos")]
    command += ["--out", str(tmp_path / "f.hdf5"), "--workers", workers, "--progress", "json"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=heeding_interrupts
    )
    assert process.stderr is not None
    for line in process.stderr:
        if re.match(r"extracting: [1-9]\d* of 80 videos", json.loads(line)["label"]):
            break
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to all processes of the command
    rest = [line for line in process.stderr if not line.startswith("{")]
    assert process.wait() == 130
    assert rest == ["cfmr: interrupted; the features of finished videos are kept; run the same command to resume\n"]
    assert 0 < len(list((tmp_path / "f.hdf5.parts").glob("*.npz"))) < 80
