import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from cfmr.errors import InputError
from cfmr.video.decode import Video
from cfmr.video.files import (
    VideoFolder,
    find_videos,
    fingerprint_of,
    free_name,
    names_of,
    restored_path,
    same_content,
    shown,
    stored_path,
    without_copies,
)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode("utf-8", "surrogateescape"))


def test_videos_are_called_by_their_path_without_the_ending(tmp_path: Path) -> None:
    touch(tmp_path, "b.mp4", "a/b.MOV", "a/c.mkv", "notes.txt", ".hidden.mp4", "a/.cache/d.mp4")
    assert list(find_videos([tmp_path])) == ["a/b", "a/c", "b"]
    assert find_videos([tmp_path / "b.mp4"]) == {"b": tmp_path / "b.mp4"}


def test_what_lies_beside_a_film_is_no_film(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "a.info.json", "a.srt", "a.jpg", "a.description", "a.mp4.part")
    assert find_videos([tmp_path]) == {"a": tmp_path / "a.mp4"}


def test_of_one_name_with_several_endings_the_mp4_has_it_alone(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "a.mkv", "a.mp4.mp4", "b.mkv", "b.mov")
    assert {name: path.name for name, path in find_videos([tmp_path]).items()} == {
        "a": "a.mp4",
        "a.mkv": "a.mkv",
        "a.mp4.mp4": "a.mp4.mp4",
        "b": "b.mkv",
        "b.mov": "b.mov",
    }


def test_one_name_in_two_folders_has_the_folder_before_it(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.mp4", "y/a.mp4", "y/b.mp4", "y/a.mkv")
    assert list(find_videos([tmp_path / "x", tmp_path / "y"])) == ["x/a", "y/a.mkv", "y/a", "b"]


def test_what_is_still_the_same_gets_a_number(tmp_path: Path) -> None:
    touch(tmp_path, "1/v/a.mp4", "2/v/a.mp4")
    found = find_videos([tmp_path / "1" / "v", tmp_path / "2" / "v"])
    assert list(found.values()) == [tmp_path / "1" / "v" / "a.mp4", tmp_path / "2" / "v" / "a.mp4"]
    assert list(found) == ["v/a", "v/a.mp4"]
    assert free_name("a", {"a": 0, "a-2": 0}) == "a-3"


@given(st.lists(st.tuples(st.sampled_from("xy"), st.from_regex(r"\A[ab.]{1,4}[mp4v.]{0,3}\.(mp4|mkv)\Z")), unique=True))
@example([("x", "..mp4"), ("x", "...mkv"), ("x", "a..mp4")])
def test_no_two_files_have_one_name(files: list[tuple[str, str]]) -> None:
    found = {Path("/v") / folder / name: Path("/v") / folder for folder, name in files}
    assert list(names_of(found).values()) == list(found)


def test_a_file_named_twice_is_one_video(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")
    assert list(find_videos([tmp_path, tmp_path / "a.mp4"])) == ["a"]


def test_linked_folders_are_read_and_circles_end(tmp_path: Path) -> None:
    touch(tmp_path, "disk/2024/x.mp4")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "2024").symlink_to(tmp_path / "disk" / "2024")
    (tmp_path / "disk" / "2024" / "back").symlink_to(tmp_path / "lib")
    assert list(find_videos([tmp_path / "lib"])) == ["2024/x"]


def test_a_folder_without_videos_a_missing_path_and_a_pipe_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no video in this folder"):
        find_videos([tmp_path])
    with pytest.raises(InputError, match="no such file or folder"):
        find_videos([tmp_path / "none"])
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(InputError, match=r"pipe\.mp4: neither a file nor a folder"):
        find_videos([tmp_path / "pipe.mp4"])
    touch(tmp_path, "a.mp4")
    assert list(find_videos([tmp_path])) == ["a"]


def test_names_are_text_in_one_normal_form(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "café.mp4")
    assert shown(decomposed) == "café.mp4"
    assert shown(os.fsdecode(b"caf\xe9\n.mp4")) == "caf\\xe9\\x0a.mp4"
    touch(tmp_path, decomposed, os.fsdecode(b"caf\xe9.mp4"))
    assert list(find_videos([tmp_path])) == ["café", "caf\\xe9"]
    for name, path in find_videos([tmp_path]).items():
        assert VideoFolder(tmp_path).find(name) == path
    assert VideoFolder(tmp_path).find(unicodedata.normalize("NFD", "café")) == tmp_path / decomposed


@given(
    st.binary(min_size=1, max_size=20).filter(lambda name: not set(name) & {0, ord("/")} and name not in (b".", b".."))
)
def test_any_path_can_be_stored_as_text(name: bytes) -> None:
    path = Path("/videos") / os.fsdecode(name)
    stored_path(path).encode()
    assert restored_path(stored_path(path)) == path


def test_content_is_recognised_wherever_it_differs(tmp_path: Path) -> None:
    content = bytearray(os.urandom(1_000_000))
    (tmp_path / "a.mp4").write_bytes(content)
    (tmp_path / "copy.mp4").write_bytes(content)
    print_ = fingerprint_of(tmp_path / "a.mp4")
    assert fingerprint_of(tmp_path / "copy.mp4") == print_
    for start in (0, 200_000, 500_000, len(content) - 60_000):
        changed = bytearray(content)
        changed[start : start + 60_000] = os.urandom(60_000)
        (tmp_path / "b.mp4").write_bytes(changed)
        assert not same_content(fingerprint_of(tmp_path / "b.mp4"), print_)


def test_fingerprints_of_earlier_versions_are_understood() -> None:
    assert same_content("12-00000000000000aa", "12-00000000000000aa-00000000000000bb")
    assert not same_content("12-00000000000000aa", "12-00000000000000ab-00000000000000bb")
    assert not same_content("12", "12-00000000000000aa")
    assert not same_content(None, "12-00000000000000aa")


def test_a_video_is_found_by_its_content_whatever_it_is_called(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "sub/b.mp4", "a.edit.mp4")
    fingerprint = fingerprint_of(tmp_path / "a.mp4")
    assert VideoFolder(tmp_path).find("a", fingerprint) == tmp_path / "a.mp4"
    assert VideoFolder(tmp_path).find("other", fingerprint) == tmp_path / "a.mp4"
    (tmp_path / "a.mp4").rename(tmp_path / "sub" / "c.mov")
    touch(tmp_path, "a.mp4")
    (tmp_path / "a.mp4").write_bytes(b"another film")
    assert VideoFolder(tmp_path).find("a", fingerprint) == tmp_path / "sub" / "c.mov"
    (tmp_path / "sub" / "c.mov").unlink()
    assert VideoFolder(tmp_path).find("a", fingerprint) is None


def test_without_a_fingerprint_the_name_decides_and_no_other_beginning_with_it(tmp_path: Path) -> None:
    touch(tmp_path, "holiday.edit.mp4", "talk.description", "talk.mp4", "film.xyz")
    folder = VideoFolder(tmp_path)
    assert folder.find("holiday") is None
    assert folder.find("talk") == tmp_path / "talk.mp4"
    assert folder.find("talk.mp4") == tmp_path / "talk.mp4"
    assert folder.find("film.xyz") == tmp_path / "film.xyz"
    assert VideoFolder(tmp_path / "none").find("talk") is None


def test_a_moving_gif_is_a_video(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (32, 24), (40 * number, 0, 0)) for number in range(6)]
    pictures[0].save(tmp_path / "wave.gif", save_all=True, append_images=pictures[1:], duration=500)
    found = find_videos([tmp_path])
    assert list(found) == ["wave"]
    with Video(found["wave"]) as video:
        assert [round(frame.time, 2) for frame in video.frames(fps=2)] == [0, 0.5, 1, 1.5, 2, 2.5]
        assert video.end == pytest.approx(3)


def test_of_files_with_one_content_the_oldest_stays(tmp_path: Path) -> None:
    for number, (name, content) in enumerate([("b", b"film"), ("a", b"film"), ("c", b"disk"), ("d", b"other")]):
        (tmp_path / f"{name}.mp4").write_bytes(content)
        os.utime(tmp_path / f"{name}.mp4", (1000 + number, 1000 + number))
    videos = find_videos([tmp_path])
    kept, copies = without_copies(videos)
    assert (list(kept), copies) == (["b", "c", "d"], {"a": "b"})
    assert without_copies(videos, {"a"})[1] == {"b": "a"}
    assert without_copies(videos, {"a", "b"}) == (videos, {})


def test_of_copies_of_one_time_the_shortest_name_stays(tmp_path: Path) -> None:
    for name in ("copy of red", "red"):
        (tmp_path / f"{name}.mp4").write_bytes(b"film")
        os.utime(tmp_path / f"{name}.mp4", (1000, 1000))
    assert without_copies(find_videos([tmp_path]))[1] == {"copy of red": "red"}
