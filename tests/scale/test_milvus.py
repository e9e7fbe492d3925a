"""An index in a real Milvus server, beside the same one in a directory."""

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cfmr.cli import main
from cfmr.data.features import FeatureWriter
from cfmr.errors import InputError
from cfmr.index.base import Video, VideoRows
from cfmr.index.build import edit_index
from cfmr.index.codec import Codec
from cfmr.index.milvus import layout
from cfmr.index.milvus import reader as store
from cfmr.index.milvus.connection import Connection
from cfmr.index.milvus.reader import MilvusIndex
from cfmr.index.milvus.writer import MilvusWriter
from cfmr.index.open import open_writer, parse_location
from cfmr.index.report import IndexReport
from cfmr.search.retriever import MomentRetriever, SearchResult
from tests.support.searchable import Searchable, make_searchable, save_checkpoint

from .milvus_server import Server

pytest.importorskip("pymilvus")

SENTENCES = ["the dog runs", "the red cat sleeps", "the tree", "a house opens", "the bird jumps"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Searchable:
    return with_metadata(make_searchable(tmp_path_factory.mktemp("made")))


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Searchable:
    return with_metadata(make_searchable(tmp_path_factory.mktemp("dense"), dense=True))


@pytest.fixture(scope="module")
def filled(milvus: Server, made: Searchable) -> str:
    """The address of an index that tests leave as it is."""
    address = f"{milvus.address}/filled"
    fill(made, address)
    return address


@pytest.fixture(params=["", "?rows="], ids=["rows on the server", "rows in a folder"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """What stands behind a collection's name."""
    return f"{request.param}{tmp_path / 'rows'}" if request.param else ""


def named(name: str, place: str) -> str:
    """A name of a collection of its own for either place."""
    return f"{name}_{'folder' if place else 'server'}{place}"


def files_of(place: str) -> list[Path]:
    """The files of rows in a place."""
    return sorted(Path(place.removeprefix("?rows=")).glob("*/*/*.npy")) if place else []


def with_metadata(made: Searchable) -> Searchable:
    values = {f"v{i:02}": {"camera": i % 3, "day": 'mon"day' if i % 2 else "tues\\day"} for i in range(12)}
    (made.world.root / "meta.json").write_text(json.dumps(values))
    made.build(metadata=made.world.root / "meta.json")
    return made


def fill(made: Searchable, address: str, **arguments: Any) -> IndexReport:
    return made.build(address, metadata=made.world.root / "meta.json", **arguments)


def connection(address: str) -> Connection:
    place = parse_location(address)
    assert not isinstance(place, Path)
    return Connection(place)


def count(address: str, kind: str = "moments") -> int:
    """Entities of an index, as the server itself counts them."""
    server = connection(address)
    generation = store.find_generation(server)
    assert generation is not None
    name = getattr(generation, kind)
    found = server.call("query", name, filter="", output_fields=["count(*)"], consistency_level="Strong", slow=True)
    return int(found[0]["count(*)"])


def assert_same_answers(one: SearchResult, other: SearchResult) -> None:
    """The same moments with the same scores; those of equal score in any order."""
    np.testing.assert_allclose([m.score for m in one], [m.score for m in other], atol=1e-5)
    told = [Counter((m.video, round(m.start, 6), round(m.end, 6)) for m in result) for result in (one, other)]
    assert told[0] == told[1]
    assert {m.video: (m.duration, m.path, m.metadata) for m in one} == {
        m.video: (m.duration, m.path, m.metadata) for m in other
    }


def assert_same_index(made: Searchable, address: str) -> None:
    here, there = MomentRetriever.load(made.index), MomentRetriever.load(address)
    assert sorted(v.id for v in here.videos()) == sorted(v.id for v in there.videos())
    assert len(here.index) == len(there.index) == count(address)
    for sentence in SENTENCES:
        assert_same_answers(here.search(sentence, top=7), there.search(sentence, top=7))


@pytest.mark.parametrize("kind", ["made", "dense"])
def test_answers_are_those_of_an_index_in_a_directory(
    milvus: Server, kind: str, place: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = request.getfixturevalue(kind)
    address = f"{milvus.address}/{named(f'same_{kind}', place)}"
    report = fill(made, address)
    assert (report.added, report.rows) == (12, count(address))
    assert_same_index(made, address)
    here, there = MomentRetriever.load(made.index), MomentRetriever.load(address)
    for few in (store.FEW_ROWS, 0):  # filtered rows are all scored, or searched for
        monkeypatch.setattr(store, "FEW_ROWS", few)
        for chosen in (
            {"videos": ["v03"]},
            {"videos": ["v07", "v02", "v07"]},
            {"where": {"camera": "2"}},
            {"where": {"day": 'mon"day', "camera": 1}},
            {"videos": ["v01", "v02", "v05"], "where": {"day": 'mon"day'}},
        ):
            assert_same_answers(
                here.search("the red dog runs", top=4, **chosen), there.search("the red dog runs", top=4, **chosen)
            )
    for left, right in zip(here.curve("the tree", "v04"), there.curve("the tree", "v04"), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)
    assert {v.id: (v.duration, v.path, dict(v.metadata)) for v in there.videos()} == {
        v.id: (v.duration, v.path, dict(v.metadata)) for v in here.videos()
    }


def test_videos_are_added_replaced_and_taken_out(milvus: Server, tmp_path: Path, place: str) -> None:
    made = with_metadata(make_searchable(tmp_path))
    address = f"{milvus.address}/{named('changing', place)}"
    fill(made, address)
    reader = MomentRetriever.load(address)
    assert fill(made, address).unchanged == 12
    with FeatureWriter(made.world.features, {"extractor": "made-up", "version": 1}) as writer:
        features = np.random.default_rng(1).standard_normal((2, 40, 12)).astype(np.float32)
        writer.add("new", features[0], duration=25.0)
        writer.add("v00", features[1])
    for build in (lambda **more: made.build(metadata=tmp_path / "world" / "meta.json", **more), None):
        report = build() if build else fill(made, address)
        assert (report.added, report.replaced, report.unchanged) == (1, 1, 11)
    assert_same_index(made, address)
    made.build(remove=["v05"], metadata=tmp_path / "world" / "meta.json")
    assert edit_index(parse_location(address), remove=["v05"]).removed == 1
    assert_same_index(made, address)
    assert reader.reload()
    assert len(reader.videos()) == 12
    assert not reader.reload()
    assert count(address, "videos") == 12, "nothing is kept of what was replaced or taken out"
    assert len(files_of(place)) == (12 if place else 0)


def test_what_is_asked_wrongly_is_told_as_for_a_directory(
    milvus: Server, made: Searchable, dense: Searchable, filled: str, tmp_path: Path
) -> None:
    address = filled
    retriever = MomentRetriever.load(address)
    with pytest.raises(InputError, match=r"filled: no video 'v0' in this index; did you mean 'v\d\d'"):
        retriever.search("the dog", videos=["v0"])
    with pytest.raises(InputError, match=r"no video has camera=9; keys it knows: camera, day"):
        retriever.search("the dog", where={"camera": 9})
    with pytest.raises(InputError, match="no video 'v99' in this index, so it cannot be removed"):
        fill(made, address, remove=["v99"])
    with pytest.raises(InputError, match="--engine exact: an index in Milvus is searched by ivf"):
        fill(made, address, engine="exact")
    other = Searchable(made.world, save_checkpoint(made.world, tmp_path / "other", seed=1), made.index)
    with pytest.raises(InputError, match=r"another model \(CFMR of \d+ .*; the checkpoint is CFMR of \d+ .*--rebuild"):
        fill(other, address)
    match = r"another model \(CFMR of \d+ numbers, \w+; the checkpoint is CFMR-Dense of \d+ numbers, \w+\)"
    with pytest.raises(InputError, match=match):
        fill(dense, address)
    with pytest.raises(InputError, match=r"/nothing: no index here \(the server has .*filled.*build one with"):
        MomentRetriever.load(f"{milvus.address}/nothing")
    with pytest.raises(InputError, match="/nothing: no index here"):
        edit_index(parse_location(f"{milvus.address}/nothing"), engine="ivf")
    server = connection(address)
    foreign = server.library.MilvusClient(server.address.uri)
    foreign.create_collection("foreign", dimension=4)
    with pytest.raises(InputError, match="/foreign: this collection is no index of cfmr but holds other vectors of 4 "):
        MomentRetriever.load(f"{milvus.address}/foreign")
    with pytest.raises(InputError, match="/foreign: this collection is no index of cfmr"):
        fill(made, f"{milvus.address}/foreign")
    with (
        MilvusWriter.open(server.address) as writer,
        pytest.raises(InputError, match=r"rows \(4, 5\), the index takes"),
    ):
        writer.add([VideoRows(Video("wide", 4.0, 4), np.ones((4, 5), np.float32), np.ones((4, 2)))])


def test_where_nobody_answers_one_line_says_so(
    made: Searchable, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cfmr.index.milvus.connection.PATIENCE", 0.5)
    address = "milvus://127.0.0.1:1/videos"
    fill_it = ["index", "--checkpoint", str(made.checkpoint), "--features", str(made.world.features), "--out", address]
    for arguments in (["search", "the dog", "--index", address], fill_it):
        monkeypatch.setattr("sys.argv", ["cfmr", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith(f"cfmr: {address}: no Milvus server answers at 127.0.0.1:1 (tried for 0 s); is it")


def test_the_commands_take_an_address(made: Searchable, filled: str) -> None:
    address = filled
    command = [sys.executable, "-m", "cfmr.cli", "search", "the dog runs", "--index"]
    answers = [
        json.loads(subprocess.run([*command, where, "--json"], capture_output=True, text=True, check=True).stdout)
        for where in (str(made.index), address)
    ]
    assert [m["video"] for m in answers[0]["moments"]] == [m["video"] for m in answers[1]["moments"]]
    gone = subprocess.run([*command, f"{address}_gone"], capture_output=True, text=True, check=False)
    assert gone.returncode == 2
    assert gone.stderr.startswith(f"cfmr: {address}_gone: no index here")
    assert gone.stderr.count("\n") == 1


def test_two_writers_do_not_meet(made: Searchable, filled: str) -> None:
    server = connection(filled)
    generation = store.find_generation(server)
    assert generation is not None
    held = {"host": os.uname().nodename, "process": os.getppid(), "seen": time.time()}
    server.call("upsert", generation.files, list(layout.pieces(layout.LOCK, json.dumps(held).encode())))
    with pytest.raises(InputError, match=rf"another process is writing this index \(process {os.getppid()} on"):
        fill(made, filled)
    server.call("upsert", generation.files, list(layout.pieces(layout.LOCK, b"{}")))


# --- many moments ----------------------------------------------------------------------------------------------------

WIDTH, CONCEPTS, SIZE = 32, 6, 64  # searched as 384 numbers, so they are projected


def many_videos(codec: Codec, videos: int, rows: int) -> list[VideoRows]:
    """Moments that lie in bunches, as those of real videos do."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((50, WIDTH)).astype(np.float32)
    spans = np.stack([np.arange(rows), np.arange(rows) + 2.0], axis=1)
    return [
        VideoRows(
            Video(f"v{i}", rows + 2.0, rows, metadata={"tenth": i % 10}),
            (centres[rng.integers(0, 50, rows)] + 0.5 * rng.standard_normal((rows, WIDTH))).astype(np.float32),
            spans,
        )
        for i in range(videos)
    ]


def test_ten_best_of_many_are_found(milvus: Server) -> None:
    rng = np.random.default_rng(1)
    weight = rng.standard_normal((CONCEPTS, SIZE, WIDTH)).astype(np.float32)
    codec = Codec(WIDTH, weight, rng.standard_normal((CONCEPTS, SIZE)).astype(np.float32))
    items = many_videos(codec, 250, 48)
    place = parse_location(f"{milvus.address}/many")
    assert not isinstance(place, Path)
    vectors = np.concatenate([codec.expand(item.rows, codec.scales(item.rows)) for item in items])
    queries = vectors[rng.integers(0, len(vectors), 40)] + 0.2 * rng.standard_normal((40, codec.dim))
    queries = (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)
    with MilvusWriter.open(place) as writer:
        writer.plan_capacity(lambda: len(vectors), lambda: vectors[::5])
        writer.set_queries(lambda: queries[20:])
        writer.set_model({"readout": "anchors", "fingerprint": "f", "max_words": 10}, codec, lambda _: [])
        writer.add(items)
        writer.commit()
    index = MilvusIndex.open(place)
    assert index.metrics["recall_at_10"] >= 0.95
    owners = np.repeat([f"v{i}" for i in range(250)], 48)
    for chosen, where in ((np.ones(len(owners), bool), None), (np.char.endswith(owners, "7"), {"tenth": 7})):
        selection = index.select(where=where)
        assert selection.rows == chosen.sum()
        kept = 0
        for query in queries[:20]:
            truth = np.sort((vectors @ query)[chosen])[::-1][:10]
            hits = index.top(query, 10, selection)
            assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
            kept += sum(hit.score >= truth[-1] - 1e-5 for hit in hits)
        assert kept / 200 >= 0.95


# --- what breaks off -------------------------------------------------------------------------------------------------


def search_until(retriever: MomentRetriever, done: threading.Event, answers: list[float], errors: list[str]) -> None:
    while not done.is_set():
        try:
            answers.append(retriever.search(SENTENCES[0], top=1)[0].score)
        except Exception as error:  # noqa: BLE001  whatever it is, a query has failed
            errors.append(repr(error))


def test_a_new_model_is_switched_to_without_a_query_failing(
    milvus: Server, made: Searchable, tmp_path: Path, place: str
) -> None:
    address = f"{milvus.address}/{named('switched', place)}"
    fill(made, address)
    other = Searchable(made.world, save_checkpoint(made.world, tmp_path / "other", seed=1), tmp_path / "second")
    other.build()
    best = [MomentRetriever.load(index).search(SENTENCES[0], top=1)[0].score for index in (made.index, other.index)]
    reader, done = MomentRetriever.load(address), threading.Event()
    answers: list[float] = []
    errors: list[str] = []
    threads = [threading.Thread(target=search_until, args=(reader, done, answers, errors)) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        fill(other, address, rebuild=True)
        after = len(answers)
        while len(answers) < after + 50 and not errors:
            time.sleep(0.01)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not errors
    assert {min(range(2), key=lambda i: abs(best[i] - score)) for score in answers} == {0, 1}
    np.testing.assert_allclose(answers[0], best[0], atol=1e-5)
    np.testing.assert_allclose(answers[-10:], best[1], atol=1e-5)
    server = connection(address)
    left = [n for n in server.call("list_collections") if n.startswith(f"{named('switched', place).split('?')[0]}__")]
    assert len(left) == 3, "the old model's index is gone"
    assert len({path.parents[1] for path in files_of(place)}) == bool(place)


class Broken(BaseException):
    """The process ends here."""


def test_a_writer_that_died_leaves_nothing_behind(
    milvus: Server, made: Searchable, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    address = f"{milvus.address}/{named('died', place)}"
    monkeypatch.setattr("cfmr.index.milvus.writer.BATCH", 96)
    original, calls = MilvusWriter._upsert_videos, []

    def die_before_ready(self: MilvusWriter, entries: Any) -> None:
        calls.append(entries)
        if len(calls) == 4:  # rows are there, and are not yet said to be ready
            raise Broken
        original(self, entries)

    with monkeypatch.context() as patch:
        patch.setattr(MilvusWriter, "_upsert_videos", die_before_ready)
        with pytest.raises(Broken):
            fill(made, address)
    with pytest.raises(InputError, match="no index here"):
        MomentRetriever.load(address)
    report = fill(made, address)
    assert report.unchanged > 0, "it went on where it was"
    assert report.added + report.unchanged == 12
    assert_same_index(made, address)
    assert len(files_of(place)) == (12 if place else 0)


def test_where_the_rows_are_has_to_be_said(milvus: Server, made: Searchable, filled: str, tmp_path: Path) -> None:
    rows = tmp_path / "rows"
    address = f"{milvus.address}/told"
    fill(made, f"{address}?rows={rows}")
    with pytest.raises(
        InputError, match=r"/told: the rows of this index are in a folder; name it: .*/told\?rows=FOLDER"
    ):
        MomentRetriever.load(address)
    with open_writer(parse_location(address)) as writer, pytest.raises(InputError, match="are in a folder; name it"):
        writer.add([])
    with pytest.raises(InputError, match=r"the rows of this index are on the server; leave out \?rows="):
        MomentRetriever.load(f"{filled}?rows={rows}")
    elsewhere = MomentRetriever.load(f"{address}?rows={tmp_path / 'elsewhere'}")
    with pytest.raises(
        InputError, match=r"\.npy: missing; is .*elsewhere the folder that the index was written with\?"
    ):
        elsewhere.search(SENTENCES[0])
    fill(made, address, rebuild=True)
    assert_same_index(made, address)


def test_a_damaged_file_of_rows_is_named(milvus: Server, made: Searchable, tmp_path: Path) -> None:
    address = f"{milvus.address}/torn?rows={tmp_path / 'rows'}"
    fill(made, address)
    for path in files_of(f"?rows={tmp_path / 'rows'}"):
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"\.npy: .*damaged"):
        MomentRetriever.load(address).search(SENTENCES[0])
