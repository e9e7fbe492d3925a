import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cfmr.cli import main
from cfmr.cluster.remote_files import downloaded, list_sources
from cfmr.errors import InputError
from cfmr.video.files import find_videos


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.mp4", "a.mkv", "sub/b.mp4", ".hidden/c.mp4", "notes.txt"):
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / "videos"


def test_paths_have_the_names_they_have_without_a_cluster(folder: Path) -> None:
    assert list(list_sources([str(folder)])) == list(find_videos([folder])) == ["a.mkv", "a", "sub/b"]


def test_a_folder_behind_an_address_has_the_same_names(folder: Path) -> None:
    pytest.importorskip("pyarrow")
    here, there = list_sources([str(folder)]), list_sources([folder.as_uri()])
    assert here.keys() == there.keys()
    assert {video: s.size for video, s in here.items()} == {video: s.size for video, s in there.items()}
    with downloaded(there["sub/b"].where) as path:
        assert path.read_bytes() == b"sub/b.mp4"
    assert not path.exists()
    assert list(list_sources([(folder / "sub" / "b.mp4").as_uri()])) == ["b"]


def test_a_file_that_changes_has_another_fingerprint(folder: Path) -> None:
    before = list_sources([str(folder)])
    (folder / "a.mp4").write_bytes(b"another")
    after = list_sources([str(folder)])
    assert [video for video in before if before[video].fingerprint != after[video].fingerprint] == ["a"]


def test_one_name_here_and_behind_an_address_gets_a_number(folder: Path) -> None:
    pytest.importorskip("pyarrow")
    found = list(list_sources([str(folder), folder.as_uri()]))
    assert found == ["a.mkv", "a", "sub/b", "a.mkv-2", "a-2", "sub/b-2"]


def test_an_address_needs_a_cluster_and_a_cluster_no_workers(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["cfmr", "extract", *arguments, "--out", str(tmp_path / "f.hdf5")])
        with pytest.raises(SystemExit, match="2"):
            main()
        return capsys.readouterr().err

    assert "s3://bucket/videos: only a cluster reads from there; give --ray" in refused("s3://bucket/videos")
    assert "--workers counts processes of this machine" in refused(str(folder), "--workers", "2", "--ray", "local")


def test_without_pyarrow_the_user_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"s3://bucket: needs pyarrow; pip install 'cfmr\[ray\]'"):
        list_sources(["s3://bucket"])


class Closed(BaseHTTPRequestHandler):
    """A bucket that lets nobody in."""

    def answer(self) -> None:
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD = answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a folder in it; on this machine."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "unknown")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Closed)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"s3://bucket/videos?region=here&scheme=http&endpoint_override=127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_bucket_without_permission_is_one_line(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyarrow")
    out = tmp_path / "f.hdf5"
    monkeypatch.setattr("sys.argv", ["cfmr", "extract", bucket, "--out", str(out), "--ray", "local"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"cfmr: {bucket}: no permission to have it listed; are these the right credentials?")
    with (
        pytest.raises(InputError, match=r"a\.mp4.*: no permission to have it read"),
        downloaded(bucket.replace("videos", "videos/a.mp4")),
    ):
        pass
