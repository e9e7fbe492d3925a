import json
from pathlib import Path

import pytest

from cfmr.errors import InputError
from cfmr.progress import silent
from cfmr.server.work.check import check_written
from tests.support.searchable import dense_config
from tests.support.worlds import World, make_world


@pytest.fixture
def made_up(tmp_path: Path) -> World:
    return make_world(tmp_path / "world", videos=60)


def write_job(world: World, folder: Path, *more: list[object]) -> int:
    """What the server writes; returns how many labels say what happens."""
    folder.mkdir()
    rows = [[video, seconds, None, said, at] for video, seconds, _, said, at in json.loads(world.training.read_text())]
    (folder / "labels.json").write_text(json.dumps([*rows, *more]))
    value = dense_config(world)
    value["dataset"] |= {"train_data": str(folder / "labels.json"), "val_data": None, "test_data": ""}
    (folder / "config.json").write_text(json.dumps(value))
    return len(rows)


def test_rows_are_numbered_as_they_were_written(made_up: World, tmp_path: Path) -> None:
    rows = json.loads(made_up.training.read_text())
    unread = [*rows[0][:2], [], "xyzzy plugh", rows[0][4]]  # no word of it is known: nothing is said of it
    count = write_job(made_up, tmp_path / "job", unread, *([*row[:2], [], *row[3:]] for row in rows[:8]))
    check_written(tmp_path / "job", silent)
    found = json.loads((tmp_path / "job" / "found.json").read_text())
    assert found["labels"] == count
    assert [of for _, _, of in found["points"]] == [count] * 3
    doubted = {one["row"] for one in found["doubtful"]}
    assert count not in doubted
    assert len(doubted & set(range(count + 1, count + 9))) >= 2  # that these do not happen is not true
    assert len(doubted) < count / 3


def test_a_video_without_features_is_named(made_up: World, tmp_path: Path) -> None:
    write_job(made_up, tmp_path / "job", ["nowhere", 10.0, [], "a thing", 1.0])
    with pytest.raises(InputError, match="nowhere"):
        check_written(tmp_path / "job", silent)
