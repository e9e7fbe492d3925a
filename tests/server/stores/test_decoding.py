import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cfmr.server.problems import Problem
from cfmr.server.stores import decode_worker, media
from cfmr.server.stores.decoding import Decoders
from tests.support.footage import write_video


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    made = Decoders(1)
    yield made
    made.close()


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return write_video(tmp_path / "film.mp4", [number / 10 for number in range(20)])


def process_of(decoders: Decoders) -> int:
    (decoder,) = decoders._idle
    return decoder._process.pid


def test_one_process_decodes_one_file_after_the_other(decoders: Decoders, film: Path, tmp_path: Path) -> None:
    assert decoders.ask("duration", film, 60) == pytest.approx(2.0)
    first = process_of(decoders)
    decoders.ask("still", film, 60, time=1.0, width=64, out=str(tmp_path / "s.jpg"))
    decoders.ask("clip", film, 60, start=0.5, end=1.5, out=str(tmp_path / "c.mp4"))
    assert (tmp_path / "s.jpg").read_bytes()[:2] == b"\xff\xd8"
    assert decoders.ask("duration", tmp_path / "c.mp4", 60) == pytest.approx(1.0)
    assert process_of(decoders) == first


def test_a_file_that_is_no_video_is_refused_by_its_name_alone(decoders: Decoders, tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(b"no video")
    with pytest.raises(Problem) as caught:
        decoders.ask("duration", tmp_path / "x.mp4", 60)
    assert caught.value.status_code == 422
    assert caught.value.detail.startswith("x.mp4: cannot be read as a video")


def test_a_process_that_dies_or_takes_too_long_costs_its_file_alone(
    decoders: Decoders, film: Path, tmp_path: Path
) -> None:
    decoders.ask("duration", film, 60)
    os.kill(process_of(decoders), 9)
    with pytest.raises(Problem, match="cannot be decoded"):
        decoders.ask("duration", film, 60)
    os.mkfifo(tmp_path / "endless.mp4")  # opening it would wait for a writer
    with pytest.raises(Problem, match=r"endless\.mp4: it cannot be decoded, or not within 1 s"):
        decoders.ask("duration", tmp_path / "endless.mp4", 1)
    assert decoders.ask("duration", film, 60) == pytest.approx(2.0)


def test_the_memory_of_a_process_is_limited(film: Path, decoders: Decoders) -> None:
    decoders.ask("duration", film, 60)
    limits = Path(f"/proc/{process_of(decoders)}/limits").read_text()
    (line,) = [line for line in limits.splitlines() if line.startswith("Max address space")]
    assert line.split()[3] == str(decode_worker.MEMORY)


def test_a_full_disk_is_told_from_a_damaged_file(monkeypatch: pytest.MonkeyPatch, film: Path) -> None:
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(decode_worker._TASKS, "duration", full)
    monkeypatch.setattr(decode_worker.signal, "alarm", lambda _: None)
    assert decode_worker.answer_to({"do": "duration", "path": str(film), "seconds": 1}) == {"full": True}
    monkeypatch.undo()
    monkeypatch.setattr(decode_worker.signal, "alarm", lambda _: None)
    (film.parent / "x.mp4").write_bytes(b"no video")
    said = decode_worker.answer_to({"do": "duration", "path": str(film.parent / "x.mp4"), "seconds": 1})
    assert list(said) == ["refused"]


def test_stills_and_lengths_are_made_once_and_nothing_else_is_left(film: Path, tmp_path: Path) -> None:
    import anyio

    kept = media.Media(tmp_path / "kept")
    left = tmp_path / "kept" / "stills" / ".making-4194305-x"  # no process has so high a number
    left.mkdir()
    kept.close()
    kept = media.Media(tmp_path / "kept")
    place = anyio.run(kept.still, film, 0.522, 100)
    assert anyio.run(kept.still, film, 0.518, 160) == place
    threads = [threading.Thread(target=kept.duration, args=(film,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept.duration(film) == pytest.approx(2.0)
    kept.close()
    with pytest.raises(Problem, match="starts before it ends"):
        anyio.run(kept.cut, film, 2.0, 1.0)
    assert [path.name for path in (tmp_path / "kept").rglob("*") if path.is_file()] == [place.name]
    assert not left.exists()
