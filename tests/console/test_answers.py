import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cfmr.cli import app
from cfmr.console import answers
from cfmr.data.annotations import Annotation, load_annotations
from cfmr.errors import InputError
from cfmr.index.workspace import Workspace, write_workspace
from cfmr.search.calibrate import calibrate_index
from cfmr.search.own_labels import FILE
from cfmr.search.retriever import Moment, MomentRetriever
from cfmr.server.stores.labels import LabelStore
from cfmr.video.decode import probe
from cfmr.video.files import video_file
from tests.support.searchable import Searchable, make_searchable


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Searchable:
    made = make_searchable(tmp_path_factory.mktemp("answers"))
    calibrate_index(made.index, load_annotations(made.world.test))
    return made


@pytest.fixture(scope="module")
def retriever(made: Searchable) -> MomentRetriever:
    return MomentRetriever.load(made.index)


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments)
    if done.exception is not None:
        raise done.exception
    return done.output


def test_a_line_has_rank_score_video_span_and_bar(made: Searchable) -> None:
    first, *_ = run("search", "the dog runs", "--index", str(made.index), "--top", "3").splitlines()
    rank, score, video, span, bar = first.split()
    assert rank == "1"
    assert float(score) > 0
    assert video.startswith("v")
    assert span[2] == ":"
    assert len(bar) == answers.BAR


def test_json_is_complete(made: Searchable) -> None:
    value = json.loads(run("search", "the houuse runs", "--index", str(made.index), "--video", "v01", "--json"))
    assert value["unknown"] == [{"word": "houuse", "used": "house"}]
    assert {m["video"] for m in value["moments"]} == {"v01"}
    assert [m["rank"] for m in value["moments"]] == list(range(1, len(value["moments"]) + 1))
    assert set(value["milliseconds"]) == {"encode", "search"}


def test_more_like_a_moment_and_without_words(made: Searchable) -> None:
    options = ["--index", str(made.index), "--like", "v01@0-5", "--not", "the red bird", "--not", "v02@3-9"]
    value = json.loads(run("search", "the dog runs -cat", *options, "--json"))
    assert (value["sentence"], value["without"]) == ("the dog runs", ["cat", "the red bird"])
    assert (value["like"], value["unlike"]) == (["v01@0-5"], ["v02@3-9"])
    assert value["moments"]
    alone = run("search", "--like", "v01@0-5", "--index", str(made.index)).splitlines()
    assert len(alone[0].split()[-1]) == answers.BAR


def test_what_someone_labelled_is_told_with_the_label(made: Searchable, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / ".cfmr", tmp_path, made.index, made.world.features)
    workspace.root.mkdir()
    write_workspace(workspace)
    store = LabelStore(f"sqlite:///{workspace.root / FILE}")
    label = store.add(Annotation("v02", 30.0, "zyzzyva hums", 7.0, None), "Ann")
    store.close()
    shown = run("search", "zyzzyva hums", "--in", str(tmp_path)).splitlines()
    assert shown[0].split() == ["1", "v02", "00:04-00:09", "your", "label:", "zyzzyva", "hums"]
    assert shown[1] == "the model knows no word of it"
    (found,) = json.loads(run("search", "zyzzyva hums", "--in", str(tmp_path), "--json"))["moments"]
    assert found["label"] == {
        "id": label.id, "sentence": "zyzzyva hums", "author": "Ann", "glance": 7.0, "exact": True
    }  # fmt: skip


def test_nothing_that_matches_is_said(retriever: MomentRetriever) -> None:
    result = retriever.search("the dog runs")
    assert result.best is not None
    doubtful = replace(result, threshold=result.best + 1)
    assert any("nothing here matches well" in line for line in answers.remarks(doubtful))
    filtered = replace(result, moments=(), threshold=None)
    assert any("no moment reaches the requested score" in line for line in answers.remarks(filtered))


def test_min_score_is_a_number_or_auto(retriever: MomentRetriever, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cfmr.search.retriever.MIN_THRESHOLD_ACCURACY", 0.5)
    assert answers.parse_min_score("1.5", retriever, None) == 1.5
    assert answers.parse_min_score("auto", retriever, ["v01"]) == retriever.threshold(["v01"])
    monkeypatch.setattr("cfmr.search.retriever.MIN_THRESHOLD_ACCURACY", 1.01)
    with pytest.raises(InputError, match="no score of this index is known to tell a match"):
        answers.parse_min_score("auto", retriever, None)
    with pytest.raises(InputError, match="--min-score high: a number"):
        answers.parse_min_score("high", retriever, None)


def test_where_is_key_and_value() -> None:
    assert answers.parse_where(["a=b", "c=d=e"]) == {"a": "b", "c": "d=e"}
    with pytest.raises(InputError, match="key=value"):
        answers.parse_where(["a"])


def test_clips_are_cut_on_exact_times(shared: Path, tmp_path: Path) -> None:
    moment = Moment("realshort", 0.5, 1.5, 1.0, 10.0, str(shared / "video" / "realshort.mp4"))
    (clip,) = answers.save_clips([moment], tmp_path / "clips")
    assert clip.name == "01-realshort-0.5-1.5.mp4"
    assert probe(clip).duration == pytest.approx(1.0, abs=0.1)


def test_a_missing_video_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    with pytest.raises(InputError, match=r"'a': the index does not say where its file is; give --videos DIR"):
        answers.save_clips([Moment("a", 0, 1, 1.0, 2.0)], tmp_path)
    with pytest.raises(InputError, match=r"'a': no file at /gone/a\.mp4; give --videos DIR"):
        answers.save_clips([Moment("a", 0, 1, 1.0, 2.0, "/gone/a.mp4")], tmp_path)
    with pytest.raises(InputError, match=r"--videos .*films: no file of video 'a' there"):
        answers.save_clips([Moment("a", 0, 1, 1.0, 2.0)], tmp_path, tmp_path / "films")


def test_a_video_name_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    (tmp_path / "secret.mp4").write_bytes(b"")
    (tmp_path / "films" / "a[1].mp4").write_bytes(b"")
    assert video_file(tmp_path / "films", "../secret") is None
    assert video_file(tmp_path / "films", "../secret.mp4") is None
    assert video_file(tmp_path / "films", str(tmp_path / "secret.mp4")) is None
    assert video_file(tmp_path / "films", "a[1]") == tmp_path / "films" / "a[1].mp4"
