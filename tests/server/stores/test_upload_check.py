from pathlib import Path

import pytest

from cfmr.server.stores.upload_check import rejection_reason
from tests.support.footage import write_video


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return write_video(tmp_path / "film.mp4", [0.0, 0.1, 0.2])


def test_a_video_is_taken(film: Path) -> None:
    assert rejection_reason(str(film)) is None


def test_a_recording_that_breaks_off_before_its_header_is_told_from_what_is_no_video(film: Path) -> None:
    whole = film.read_bytes()
    at = whole.index(b"mdat") - 4
    film.write_bytes(whole[:at] + whole[at : at + 600])
    said = rejection_reason(str(film))
    assert said is not None
    assert said.startswith("it breaks off before the header")


@pytest.mark.parametrize("content", [b"", b"no film", b"#EXTM3U\nfile:///etc/passwd\n", b"\x00\x00\x00\x18ftypmp42"])
def test_what_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(content)
    assert rejection_reason(str(path)) is not None
