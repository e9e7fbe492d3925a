"""Sheets for the time line: made beside everything else, whole or not at all, within limits."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cfmr.server.problems import Problem
from cfmr.server.stores import decode_worker
from cfmr.server.stores import sheets as sheets_module
from cfmr.server.stores.kept import Kept
from cfmr.server.stores.sheets import Sheets
from tests.support.footage import write_video


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return write_video(tmp_path / "film.mp4", [number / 10 for number in range(600)], preset="ultrafast")


@pytest.fixture
def sheets(tmp_path: Path) -> Iterator[Sheets]:
    made = Sheets(tmp_path / "sheets")
    yield made
    made.close()


def made(sheets: Sheets, film: Path, interval: float = 1.0, number: int = 0) -> Path:
    """The sheet, once it is there."""
    deadline = time.monotonic() + 60
    while (place := sheets.get(film, interval, number)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return place


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.name != ".turn")


def test_a_sheet_is_made_in_the_background_and_kept(sheets: Sheets, film: Path, tmp_path: Path) -> None:
    assert sheets.get(film, 1.0, 0) is None  # nobody waits for it
    place = made(sheets, film)
    assert place.read_bytes()[:2] == b"\xff\xd8"
    before = place.stat().st_mtime_ns
    assert made(sheets, film) == place
    assert place.stat().st_mtime_ns == before
    os.utime(film, (1, 1))  # another file, for all one knows
    assert made(sheets, film) != place


def test_what_is_asked_for_last_is_made_first_and_the_oldest_wishes_are_forgotten(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheets_module, "MOST_WANTED", 3)
    order: list[float] = []
    sheets = Sheets(tmp_path / "sheets")
    with sheets._turn():  # as if another process made one
        for number in range(5):
            sheets.get(film, 0.2, number)

        def make(wish: sheets_module._Wish, out: Path) -> None:
            order.append(wish.start)
            out.write_bytes(b"x")

        monkeypatch.setattr(sheets, "_make", make)
    made(sheets, film, 0.2, 4)
    made(sheets, film, 0.2, 2)
    assert order == [20.0, 15.0, 10.0]
    sheets.close()


def test_only_some_intervals_are_made_and_what_cannot_be_is_said_once(
    sheets: Sheets, film: Path, tmp_path: Path
) -> None:
    with pytest.raises(Problem, match=r"interval is one of 0\.2, 0\.5, 1, 2"):
        sheets.get(film, 0.3, 0)
    with pytest.raises(Problem, match=r"film\.mp4: ends before 2500\.0 s"):
        made(sheets, film, 1.0, 100)
    (tmp_path / "x.mp4").write_bytes(b"no video")
    with pytest.raises(Problem, match=r"x\.mp4: cannot be read as a video"):
        made(sheets, tmp_path / "x.mp4")
    assert not sheets._wanted
    with pytest.raises(Problem, match=r"x\.mp4: cannot be read as a video"):
        sheets.get(tmp_path / "x.mp4", 1.0, 0)  # not tried again
    assert not sheets._wanted


def test_the_process_stands_back_and_is_limited(sheets: Sheets, film: Path) -> None:
    made(sheets, film)
    (decoder,) = sheets._decoders._idle
    process = decoder._process.pid
    assert os.getpriority(os.PRIO_PROCESS, process) == min(os.getpriority(os.PRIO_PROCESS, 0) + 10, 19)
    limits = Path(f"/proc/{process}/limits").read_text()
    (line,) = [line for line in limits.splitlines() if line.startswith("Max address space")]
    assert line.split()[3] == str(decode_worker.MEMORY)


def test_closing_breaks_off_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "endless.mp4")  # opening it waits for a writer
    sheets = Sheets(tmp_path / "sheets")
    assert sheets.get(tmp_path / "endless.mp4", 1.0, 0) is None
    deadline = time.monotonic() + 20
    while not sheets._decoders._busy:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (decoder,) = sheets._decoders._busy
    began = time.monotonic()
    sheets.close()
    assert time.monotonic() - began < 5
    assert decoder._process.returncode is not None
    assert not sheets._thread.is_alive()  # type: ignore[union-attr]
    assert files(tmp_path / "sheets") == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_kill_leaves_whole_sheets_and_the_next_server_sweeps(film: Path, tmp_path: Path, number: int) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from cfmr.server.stores.sheets import Sheets\n"
        "sheets = Sheets(Path(sys.argv[2]))\n"
        "for n in range(12): sheets.get(Path(sys.argv[1]), 0.2, n)\n"
        "print('asked', flush=True)\n"
        "time.sleep(60)\n"
    )
    folder = tmp_path / "sheets"
    argv = [sys.executable, "-c", script, str(film), str(folder)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "asked\n"
        deadline = time.monotonic() + 60
        while not list(folder.glob("*.jpg")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(number)
    for path in folder.glob("*.jpg"):
        assert path.read_bytes()[-2:] == b"\xff\xd9"
    after = Sheets(folder)
    assert [path for path in folder.iterdir() if path.name.startswith(".making")] == []
    made(after, film, 0.2, 0)  # the lock went with the process
    after.close()


def test_two_servers_of_a_workspace_make_one_sheet_at_a_time(sheets: Sheets, film: Path, tmp_path: Path) -> None:
    other = Sheets(tmp_path / "sheets")
    with other._turn() as mine:
        assert mine
        assert sheets.get(film, 1.0, 0) is None
        time.sleep(0.3)
        assert not list((tmp_path / "sheets").glob("*.jpg"))
    made(sheets, film)
    other.close()


def test_what_was_of_use_last_is_kept(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "kept", 10, workers=1)
    places = [kept.folder / f"{number}.jpg" for number in range(14)]
    for age, place in enumerate(places[:10]):
        kept.make(place, lambda out: out.write_bytes(b"x"))
        long_ago = time.time() - 100_000 + age
        os.utime(place, (long_ago, long_ago))
    assert kept.has(places[0])  # it was looked at
    assert not kept.has(places[12])
    for place in places[10:]:
        kept.make(place, lambda out: out.write_bytes(b"x"))
    left = {path.name for path in kept.folder.glob("*.jpg")}
    assert "0.jpg" in left
    assert not {"1.jpg", "2.jpg"} & left
    assert len(left) <= 11
