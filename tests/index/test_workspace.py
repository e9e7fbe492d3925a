import json
import os
from pathlib import Path

import pytest

from cfmr.errors import InputError
from cfmr.files.atomic import make_directory, write_json
from cfmr.index.workspace import (
    Workspace,
    find_workspace,
    make_workspace,
    need_workspace,
    open_workspace,
    served_index,
    workspace_of_index,
    write_workspace,
)


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    return make_directory(tmp_path / "my videos")


def add_index(path: Path) -> Path:
    make_directory(path)
    (path / "manifest.json").write_text("{}")
    return path


def add_model(place: Workspace, name: str) -> Path:
    index = add_index(place.root / "models" / name / "index")
    write_json(index.parent / "model.json", {})
    return index


def test_a_folder_has_its_workspace_inside(videos: Path) -> None:
    place = make_workspace(videos)
    assert (place.root, place.videos, place.own) == (videos / ".cfmr", videos, True)
    assert make_workspace(videos) == place == find_workspace(videos) == find_workspace(place.root)


def test_a_folder_that_moves_takes_its_workspace_along(videos: Path) -> None:
    make_workspace(videos)
    moved = videos.rename(videos.with_name("elsewhere"))
    place = need_workspace(moved)
    assert (place.videos, place.index) == (moved, moved / ".cfmr" / "index")


def test_where_nothing_can_be_written_it_lies_among_the_users_data(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    make_directory(videos / ".cfmr")
    monkeypatch.setattr(os, "access", lambda path, mode: not Path(path).is_relative_to(videos))
    place = make_workspace(videos)
    assert place.root.parent == tmp_path / "data" / "cfmr" / "workspaces"
    assert place.root.name.startswith("my videos-")
    assert find_workspace(videos) == place


def test_another_place_can_be_named_for_one_folder_only(videos: Path, tmp_path: Path) -> None:
    place = make_workspace(videos, tmp_path / "elsewhere")
    assert place.root == tmp_path / "elsewhere"
    with pytest.raises(InputError, match=r"elsewhere: the workspace of .*my videos; choose another place"):
        make_workspace(make_directory(tmp_path / "others"), tmp_path / "elsewhere")


def test_what_is_no_place_for_a_workspace_is_refused(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nosuch: no such folder"):
        make_workspace(tmp_path / "nosuch")
    with pytest.raises(InputError, match=r"film\.mp4: is a file; name the folder"):
        (tmp_path / "film.mp4").touch()
        make_workspace(tmp_path / "film.mp4")
    with pytest.raises(InputError, match="work: among the videos"):
        make_workspace(videos, videos / "work")
    with pytest.raises(InputError, match=r"taken: not empty and no workspace \(it has 'mine.txt'\)"):
        (make_directory(tmp_path / "taken") / "mine.txt").touch()
        make_workspace(videos, tmp_path / "taken")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"format": "cfmr-workspace", "version": 2}, r"newer cfmr \(workspace version 2\); update cfmr"),
        ({"format": "something"}, "not a workspace of cfmr"),
        ([], "not a workspace of cfmr"),
        ({"format": "cfmr-workspace", "version": 1, "videos": 3}, "keys 'videos', 'index' and 'features'"),
    ],
)
def test_a_workspace_of_another_kind_or_version_is_named(videos: Path, content: object, said: str) -> None:
    (make_directory(videos / ".cfmr") / "workspace.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"workspace\.json: .*{said}"):
        find_workspace(videos)


def test_everything_follows_the_pointer_to_the_served_model(videos: Path) -> None:
    place = make_workspace(videos)
    with pytest.raises(InputError, match=r"no video of this folder has been read yet; read it with: cfmr index --in"):
        served_index(videos)
    add_index(place.index)
    learned = add_model(place, "0001")
    assert served_index(videos) == served_index(place.root) == place.index
    place.serve("0001")
    assert served_index(videos) == learned
    assert served_index(place.index) == place.index  # an index itself is meant where it is named
    (learned.parent / "model.json").unlink()
    assert served_index(videos) == place.index


def test_a_folder_that_was_never_read_says_how(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing has been read of this folder yet; read it with"):
        need_workspace(tmp_path)
    with pytest.raises(InputError, match="nosuch: no such folder"):
        need_workspace(tmp_path / "nosuch")


def test_removed_videos_are_noted_until_they_are_restored(videos: Path) -> None:
    place = make_workspace(videos)
    place.remove(["a", "b"])
    place.restore(["a"])
    assert place.removed() == {"b"}
    with pytest.raises(InputError, match="'a' was not removed"):
        place.restore(["b", "a"])
    assert place.removed() == {"b"}
    (place.root / "removed.json").write_text("{}")
    with pytest.raises(InputError, match="a JSON list of names"):
        place.removed()


def test_an_index_knows_the_workspace_that_it_belongs_to(videos: Path, tmp_path: Path) -> None:
    own = make_workspace(videos)
    assert workspace_of_index(own.index) == own
    assert workspace_of_index(add_model(own, "0001")) == own
    named = Workspace(make_directory(tmp_path / "page"), videos, tmp_path / "index", tmp_path / "features.hdf5")
    write_workspace(named)
    assert workspace_of_index(tmp_path / "index") == named == open_workspace(tmp_path / "page")
    assert not named.own
    assert workspace_of_index(tmp_path / "another") is None
