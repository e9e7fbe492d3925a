"""Handing moments over at a shell: `--export`, `--queries`."""

import json
import zipfile
from pathlib import Path

import opentimelineio as otio
import pytest
from typer.testing import CliRunner, Result

from cfmr.cli import app
from cfmr.console.queries import read_queries
from cfmr.errors import InputError
from cfmr.handover.export import FORMATS
from cfmr.search.retriever import MomentRetriever
from tests.support.footage import write_film
from tests.support.searchable import Searchable, make_searchable


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Searchable:
    made = make_searchable(tmp_path_factory.mktemp("handover"), videos=4)
    for video in MomentRetriever.load(made.index).videos():
        write_film(films(made) / f"{video.id}.mp4", frames=int(video.duration * 25) + 5, size=(32, 32))
    return made


def films(made: Searchable) -> Path:
    return made.index.parent / "films"


def search(made: Searchable, *arguments: str | Path, stdin: str | None = None) -> Result:
    """`cfmr search` in the films."""
    given = ["search", *map(str, arguments), "--index", str(made.index), "--videos", str(films(made))]
    return CliRunner().invoke(app, given, input=stdin)


def refused(made: Searchable, *arguments: str | Path) -> str:
    done = search(made, *arguments)
    assert isinstance(done.exception, InputError), done.output
    return str(done.exception)


@pytest.mark.parametrize("form", [f for f in FORMATS if not f.of_one_video], ids=lambda form: form.name)
def test_the_ending_of_a_file_decides_what_is_written(made: Searchable, tmp_path: Path, form: object) -> None:
    place = tmp_path / f"hits{form.suffix}"  # type: ignore[attr-defined]
    done = search(made, "the dog runs", "--top", "3", "--export", place)
    assert done.exit_code == 0, done.output
    assert str(place) in done.output
    assert place.read_text()
    assert [path.name for path in tmp_path.iterdir()] == [place.name]


def test_an_edl_is_that_of_the_moments(made: Searchable, tmp_path: Path) -> None:
    done = search(made, "the dog runs", "-n", "3", "--json", "--export", tmp_path / "hits.edl")
    moments = json.loads(done.stdout[: done.stdout.rindex("}") + 1])["moments"]
    track = otio.adapters.read_from_file(str(tmp_path / "hits.edl"), "cmx_3600", rate=25).video_tracks()[0]
    for moment, clip in zip(moments, track.find_clips(), strict=True):
        assert clip.source_range.start_time.to_seconds() == pytest.approx(moment["start"], abs=0.041)
        assert clip.name == f"{moment['video']}.mp4"


def test_subtitles_are_a_file_for_each_video(made: Searchable, tmp_path: Path) -> None:
    done = search(made, "the dog runs", "-n", "4", "--export", tmp_path / "hits.srt")
    assert done.exit_code == 0, done.output
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) > 1
    assert all(name.startswith("hits.") and name.endswith(".srt") for name in names)
    (one, *_) = MomentRetriever.load(made.index).videos()
    search(made, "the dog runs", "--video", one.id, "--export", tmp_path / "one" / "hits.srt")
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["hits.srt"]


def test_clips_are_put_into_an_archive(made: Searchable, tmp_path: Path) -> None:
    done = search(made, "the dog runs", "-n", "2", "--export", tmp_path / "clips.zip")
    assert done.exit_code == 0, done.output
    with zipfile.ZipFile(tmp_path / "clips.zip") as archive:
        assert archive.testzip() is None
        assert [name[:3] for name in archive.namelist()] == ["01-", "02-"]
    assert [path.name for path in tmp_path.iterdir()] == ["clips.zip"]


def test_standard_output_needs_a_format_and_has_nothing_else(made: Searchable) -> None:
    done = search(made, "the dog runs", "-n", "2", "--export", "-", "--format", "csv")
    assert done.stdout.startswith("video,start,end,text,score,duration,path")
    assert len(done.stdout.splitlines()) == 3
    assert "--format" in refused(made, "the dog runs", "--export", "-")
    assert "--json and --export -" in refused(made, "the dog runs", "--export", "-", "--format", "csv", "--json")
    assert "of one video" in refused(made, "the dog runs", "-n", "4", "--export", "-", "--format", "srt")


def test_frame_rate_and_drop_frame_can_be_chosen(made: Searchable, tmp_path: Path) -> None:
    place = tmp_path / "hits.edl"
    for more, said in (([], "FCM: DROP FRAME"), (["--non-drop"], "FCM: NON-DROP FRAME")):
        done = search(made, "the dog runs", "--export", place, "--fps", "29.97", *more)
        assert said in place.read_text()
        assert "note: " in done.output
        assert "another frame rate" in done.output


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--export", "hits.doc"], "hits.doc: what it ends in tells the format, and this is none of .csv"),
        (["--export", "hits.edl", "--fps", "fast"], "--fps: 'fast' is no frame rate"),
        (["--export", "hits.x", "--format", "avi"], "--format avi: the formats are csv, json"),
        (["--format", "csv"], "go with --export"),
    ],
)
def test_a_wish_that_cannot_be_met_is_refused_before_searching(made: Searchable, given: list[str], said: str) -> None:
    assert said in refused(made, "the dog runs", *given)


def test_a_moment_whose_file_is_gone_leaves_nothing(made: Searchable, tmp_path: Path) -> None:
    given = ["search", "the dog runs", "--index", str(made.index), "--export", str(tmp_path / "hits.edl")]
    done = CliRunner().invoke(app, given)
    assert "its file is not there" in str(done.exception)
    assert not list(tmp_path.iterdir())


# --- lists of sentences -----------------------------------------------------------------------------------------------


def test_sentences_of_a_list_are_searched_for_at_once(made: Searchable, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("the dog runs\n\n  the   dog \n")
    done = search(made, "--queries", tmp_path / "list.txt", "-n", "2", "--json")
    found = json.loads(done.stdout)
    assert [one["sentence"] for one in found] == ["the dog runs", "the dog"]
    assert all(len(one["moments"]) == 2 for one in found)
    done = search(made, "--queries", tmp_path / "list.txt", "-n", "2", "--export", tmp_path / "hits.csv")
    assert done.output.startswith("the dog runs:\n")
    rows = (tmp_path / "hits.csv").read_text().splitlines()
    assert [row.split(",")[3] for row in rows[1:]] == ["the dog runs"] * 2 + ["the dog"] * 2


def test_sentences_come_from_standard_input_too(made: Searchable) -> None:
    done = search(made, "--queries", "-", "-n", "1", "--json", stdin="the dog runs\n")
    assert [one["sentence"] for one in json.loads(done.stdout)] == ["the dog runs"]


def test_a_sentence_of_unknown_words_is_named_and_the_others_are_searched_for(made: Searchable, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("xyzzy\nthe dog runs\n")
    done = search(made, "--queries", tmp_path / "list.txt", "-n", "1", "--json")
    assert done.exit_code == 2
    assert "list.txt: line 1: " in done.stderr
    assert len(json.loads(done.stdout)) == 1


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.txt", "\ufeffone\r\ntwo\r\n", ["one", "two"]),
        ("a.csv", 'id,Sentence\n1,"a, b"\n2,c\n', ["a, b", "c"]),
        ("a.csv", "one\ntwo\n", ["one", "two"]),
        ("a.tsv", "query\tx\na b\t1\n", ["a b"]),
    ],
)
def test_lists_are_lines_or_a_column(tmp_path: Path, name: str, text: str, expected: list[str]) -> None:
    (tmp_path / name).write_bytes(text.encode())
    assert [query.sentence for query in read_queries(str(tmp_path / name))] == expected


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"\n \n", "there is no sentence in it"),
        ("a.txt", b"\xff\xfe", "not a list of sentences in UTF-8 text"),
        ("a.csv", b"id,words\n1,x\n", "no column is called sentence (they are id, words)"),
        ("a.csv", b'sentence\n"x\n', "not a CSV file"),
        ("gone.txt", None, "no such file"),
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=r"a\.|gone") as caught:
        read_queries(str(tmp_path / name))
    assert said in str(caught.value)


def test_a_sentence_or_a_list_but_not_both(made: Searchable) -> None:
    assert "not both" in refused(made)
    assert "not both" in refused(made, "the dog", "--queries", "x.txt")
