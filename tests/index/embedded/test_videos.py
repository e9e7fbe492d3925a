import json
from pathlib import Path

import numpy as np
import pytest

from cfmr.errors import InputError
from cfmr.index.base import Video
from cfmr.index.embedded import videos as module
from cfmr.index.embedded.videos import Directory, VideoTable, name_hash, write_videos

VIDEOS = [
    Video("a", 3.5, 2, 0, "/films/a.mp4", {"room": "kitchen", "day": 3}, "f1"),
    Video("ünï/\nb", 9.0, 1, 2),
    Video("c", 1.0, 4, 3, fingerprint="f3"),
]


def written(folder: Path, videos: list[Video] = VIDEOS) -> VideoTable:
    folder.mkdir(exist_ok=True)
    write_videos(folder, videos)
    return VideoTable.open(folder, sum(v.rows for v in videos))


def old(folder: Path, table: object) -> VideoTable:
    path = folder / "videos.json"
    path.write_text(json.dumps(table))
    return VideoTable.open_old(path, 7)


def as_before(videos: list[Video]) -> list[list[object]]:
    return [[v.id, v.duration, v.first, v.rows, v.path, dict(v.metadata), v.fingerprint] for v in videos]


def test_videos_are_read_as_they_were_written(tmp_path: Path) -> None:
    table = written(tmp_path)
    assert list(table) == VIDEOS
    assert table[1] is table[1], "made once"
    assert list(old(tmp_path, as_before(VIDEOS))) == VIDEOS


@pytest.mark.parametrize("kind", ["new", "old"])
def test_a_row_belongs_to_the_video_that_it_lies_in(tmp_path: Path, kind: str) -> None:
    table = written(tmp_path) if kind == "new" else old(tmp_path, as_before(VIDEOS))
    assert [table.number_of(row) for row in range(7)] == [0, 0, 1, 2, 2, 2, 2]
    assert table.rows_of({0, 2}) == 6


def test_only_what_is_asked_for_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, made = written(tmp_path), []
    read = VideoTable._read
    monkeypatch.setattr(VideoTable, "_read", lambda self, number: made.append(number) or read(self, number))
    directory = Directory([table], [frozenset()])
    assert directory.find("c") == (0, VIDEOS[2])
    assert directory.find("c") == (0, VIDEOS[2])
    assert directory.find("d") is None
    assert made == [2]


def test_a_name_is_found_in_the_segment_where_it_counts(tmp_path: Path) -> None:
    tables = [written(tmp_path / "1"), written(tmp_path / "2", [Video("c", 2.0, 1), Video("a", 5.0, 2, 1)])]
    directory = Directory(tables, [{0, 2}, {1}])
    assert [(at, video.id) for at, video in directory] == [(0, "ünï/\nb"), (1, "c")]
    assert directory.find("c") == (1, Video("c", 2.0, 1))
    assert directory.find("a") is None


def test_names_with_the_same_hash_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "name_hash", lambda name: len(name) % 2)
    directory = Directory([written(tmp_path)], [frozenset()])
    assert [directory.find(name) for name in ("a", "c", "b")] == [(0, VIDEOS[0]), (0, VIDEOS[2]), None]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["a", 3.5, None, {}], "not a whole file"),
        (["a", "x", None, {}, ""], "not a whole file"),
        (["a", float("nan"), None, {}, ""], "not described as one"),
        (["a", 3.5, None, {"room": [1]}, ""], "no texts, numbers or booleans"),
        ([["a"], 3.5, None, {}, ""], "not described as one"),
        (["b", 3.5, None, {}, ""], "'b' is not the video that belongs here"),
        ("[" * 9999, "nested too deeply|not a whole file"),
    ],
)
def test_a_line_that_describes_no_video_is_named(tmp_path: Path, line: object, says: str) -> None:
    text = (json.dumps(line) if isinstance(line, list) else str(line)).encode()
    (tmp_path / "videos.jsonl").write_bytes(text)
    np.save(tmp_path / "videos.npy", np.array([[0, 2], [0, len(text)], [name_hash("a"), 0]]))
    table = VideoTable.open(tmp_path, 2)
    with pytest.raises(InputError, match=rf"videos\.jsonl: .*({says})") as caught:
        table[0]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({}, "its videos have 0 rows, it has 7"),
        ([["a", 1, 0]], "not a whole file of an index"),
        (as_before([Video("a", 3.0, 4, 0), Video("b", 3.0, 3, 5)]), "'b' are not those after the video before"),
        (as_before([Video("a", 3.0, 4, 0)]), "its videos have 4 rows, it has 7"),
    ],
)
def test_a_list_of_before_that_does_not_fit_is_named(tmp_path: Path, table: object, says: str) -> None:
    with pytest.raises(InputError, match=rf"videos\.json: .*{says}"):
        old(tmp_path, table)
