import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfmr.errors import InputError
from cfmr.index.codec import Codec
from cfmr.index.embedded import manifest as manifest_module
from cfmr.index.embedded import reader as store
from cfmr.index.embedded.disk import Part
from cfmr.index.embedded.manifest import read_manifest, write_manifest
from cfmr.index.embedded.reader import EmbeddedIndex
from cfmr.index.embedded.writer import EmbeddedWriter, Limits
from cfmr.index.files import record, write_json
from tests.support.collections_of_rows import CARD, WIDTH, concept_codec, fill, made_video, queries

LARGE = Limits(exact_rows=200, tail_rows=100)


def brute_force(path: Path, vector, names=None) -> list[tuple[str, float]]:
    """Best rows by the vectors that the rows stand for, written out."""
    index = EmbeddedIndex.open(path)
    found = []
    for segment in index.segments:
        for video in segment.live():
            if names is None or video.id in names:
                at = slice(video.first, video.first + video.rows)
                vectors = index.codec.expand(segment.rows[at], None if segment.scales is None else segment.scales[at])
                found += [(video.id, float(score)) for score in vectors @ vector]
    return sorted(found, key=lambda pair: -pair[1])


def found(hits) -> list[tuple[str, float]]:
    return [(h.video.id, h.score) for h in hits]


def assert_same(answers, expected, count: int) -> None:
    assert [a for a, _ in answers] == [a for a, _ in expected[:count]]
    np.testing.assert_allclose([s for _, s in answers], [s for _, s in expected[:count]], atol=2e-5)


@pytest.mark.parametrize("codec", [concept_codec(), Codec(WIDTH)], ids=["concepts", "plain"])
def test_exact_search_is_the_inner_product_with_what_the_rows_stand_for(tmp_path: Path, codec: Codec) -> None:
    fill(tmp_path / "i", [made_video(f"v{i}") for i in range(20)], codec=codec)
    index = EmbeddedIndex.open(tmp_path / "i")
    for vector in queries(5, codec.dim):
        assert_same(found(index.top(vector, 7)), brute_force(tmp_path / "i", vector), 7)


def test_a_moment_keeps_its_seconds_and_its_video(tmp_path: Path) -> None:
    fill(tmp_path / "i", [made_video("a", 4), made_video("b", 5)])
    index = EmbeddedIndex.open(tmp_path / "i")
    vector = queries(1)[0]
    spans, scores = index.curve(vector, "b")
    top = next(h for h in index.top(vector, 9) if h.video.id == "b")
    assert (top.start, top.end) == tuple(spans[scores.argmax()])
    assert top.score == pytest.approx(float(scores.max()), abs=1e-6)
    assert top.video.duration == 6.0


def test_many_scattered_videos_are_gathered(tmp_path: Path) -> None:
    fill(tmp_path / "i", [made_video(f"v{i}", 2) for i in range(300)])
    index = EmbeddedIndex.open(tmp_path / "i")
    wanted = [f"v{i}" for i in range(0, 300, 2)]
    assert len(index.select(wanted).ranges) > store.MANY_RANGES
    vector = queries(1)[0]
    assert_same(found(index.top(vector, 9, index.select(wanted))), brute_force(tmp_path / "i", vector, {*wanted}), 9)


def large(path: Path, videos: int = 60) -> None:
    with EmbeddedWriter.open(path, LARGE) as writer:
        writer.set_model(CARD, concept_codec(), lambda _: [])
        writer.set_queries(lambda: queries(20))
        writer.add(made_video(f"v{i}", 10, metadata={"half": i % 2}) for i in range(videos))
        writer.commit()


def recall(index: EmbeddedIndex, selection=None) -> float:
    kept = 0
    for vector in queries(20):
        exact = {h.score for h in index.top(vector, 10, selection, exact=True)}
        kept += sum(min(abs(h.score - e) for e in exact) < 1e-5 for h in index.top(vector, 10, selection))
    return kept / 200


def test_a_large_collection_is_searched_approximately_with_exact_scores(tmp_path: Path) -> None:
    large(tmp_path / "i")
    index = EmbeddedIndex.open(tmp_path / "i")
    assert index.engine == "ivf"
    assert recall(index) >= 0.98


def test_rows_are_the_same_whether_they_are_mapped_or_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large(tmp_path / "i")
    fill(tmp_path / "i", [made_video(f"w{i}", 10) for i in range(15)], LARGE)  # a second segment
    mapped = EmbeddedIndex.open(tmp_path / "i")
    monkeypatch.setattr(store, "MAPPED_ROWS", 0)
    read = EmbeddedIndex.open(tmp_path / "i")
    for vector in queries(10):
        assert mapped.top(vector, 10) == read.top(vector, 10)


@pytest.mark.parametrize("segments", [1, 2])
def test_a_query_that_leaves_numbers_out_is_answered_as_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segments: int
) -> None:
    for number in range(segments):
        fill(tmp_path / "i", [made_video(f"v{number}-{i}", 10) for i in range(30)], LARGE, Codec(WIDTH))
    mapped = EmbeddedIndex.open(tmp_path / "i")
    assert mapped.engine == "ivf"
    monkeypatch.setattr(store, "MAPPED_ROWS", 0)
    read = EmbeddedIndex.open(tmp_path / "i")
    for vector in queries(5, WIDTH):
        vector[WIDTH // 2 :] = 0
        expected = brute_force(tmp_path / "i", vector)
        for index in (mapped, read):
            assert_same(found(index.top(vector, 5)), expected, 5)
            assert_same(found(index.top(vector, 5, exact=True)), expected, 5)


def test_approximate_search_filters_inside_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "FEW_ROWS", 10)
    large(tmp_path / "i")
    index = EmbeddedIndex.open(tmp_path / "i")
    selection = index.select(where={"half": 1})
    for vector in queries(5):
        hits = index.top(vector, 10, selection)
        assert len(hits) == 10
        assert all(h.video.metadata["half"] == 1 for h in hits)
    assert recall(index, selection) >= 0.95


def test_videos_added_removed_and_replaced_show_in_approximate_search(tmp_path: Path) -> None:
    large(tmp_path / "i")
    with EmbeddedWriter.open(tmp_path / "i", LARGE) as writer:
        writer.remove(["v0", "v1"])
        writer.add([made_video("new", 10), made_video("v2", 10, seed=99)])
        writer.commit()
    index = EmbeddedIndex.open(tmp_path / "i")
    assert index.manifest.ann is not None
    assert index.manifest.ann.covered < index.manifest.next_row, "the new rows wait in the tail"
    assert len(index) == 60 * 10 - 10
    assert recall(index) >= 0.98
    assert not {"v0", "v1"} & {h.video.id for h in index.top(queries(1)[0], 600)}
    fill(tmp_path / "i", [made_video(f"w{i}", 10) for i in range(15)], LARGE)
    index = EmbeddedIndex.open(tmp_path / "i")
    assert index.manifest.ann is not None
    assert index.manifest.ann.covered == index.manifest.next_row, "now they are in"
    assert recall(index) >= 0.98


def test_most_videos_removed_leaves_no_trace(tmp_path: Path) -> None:
    large(tmp_path / "i")
    with EmbeddedWriter.open(tmp_path / "i", LARGE) as writer:
        writer.remove([f"v{i}" for i in range(5, 60, 2)])
        writer.commit()
    index = EmbeddedIndex.open(tmp_path / "i")
    assert sum(s.entry.rows for s in index.segments) == len(index) == 320
    assert recall(index) >= 0.98


def test_the_engine_can_be_chosen(tmp_path: Path) -> None:
    large(tmp_path / "i")
    for engine in ("exact", "ivf", "exact", "auto"):
        with EmbeddedWriter.open(tmp_path / "i", LARGE) as writer:
            writer.set_engine(engine)
            writer.commit()
        expected = "ivf" if engine == "auto" else engine
        assert EmbeddedIndex.open(tmp_path / "i").engine == expected


def test_an_exact_index_opens_without_faiss(tmp_path: Path) -> None:
    fill(tmp_path / "i", [made_video("a")])
    code = (
        "import sys; from cfmr.index.embedded.reader import EmbeddedIndex; import numpy as np;"
        f"EmbeddedIndex.open({str(tmp_path / 'i')!r}).top(np.zeros(24, np.float32), 3);"
        "assert not {'faiss', 'torch', 'pydantic', 'h5py', 'typer'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def test_no_index_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no index here"):
        EmbeddedIndex.open(tmp_path)


@pytest.mark.parametrize(
    "name", ["rows.npy", "scales.npy", "spans.npy", "videos.npy", "videos.jsonl", "card.json", "codec.npy"]
)
@pytest.mark.parametrize("harm", ["flip", "cut", "delete"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, harm: str) -> None:
    fill(tmp_path / "i", [made_video("a")])
    (path,) = (tmp_path / "i").rglob(name)
    data = bytearray(path.read_bytes())
    if harm == "flip":
        data[-3] ^= 1
        path.write_bytes(data)
    elif harm == "cut":
        path.write_bytes(data[:-1])
    else:
        path.unlink()
    with pytest.raises(InputError, match=rf"{path}: the index is damaged here"):
        EmbeddedIndex.open(tmp_path / "i")


def test_rows_of_a_large_index_are_compared_while_it_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "VERIFIED_AT_ONCE", 0)
    fill(tmp_path / "i", [made_video(f"v{i}") for i in range(5)])
    index = EmbeddedIndex.open(tmp_path / "i")
    assert index.top(queries(1)[0], 3)
    assert index._verification.finished.wait(30)
    assert index.verified


@pytest.mark.parametrize("name", ["rows.npy", "scales.npy", "spans.npy"])
def test_damage_that_is_found_late_ends_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(store, "VERIFIED_AT_ONCE", 0)
    fill(tmp_path / "i", [made_video(f"v{i}") for i in range(5)])
    (path,) = (tmp_path / "i").glob(f"*/{name}")
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    index = EmbeddedIndex.open(tmp_path / "i")
    assert index._verification.finished.wait(30)
    for ask in (lambda: index.top(queries(1)[0], 3), lambda: index.curve(queries(1)[0], "v1"), lambda: index.verified):
        with pytest.raises(InputError, match=rf"{path}: the index is damaged here"):
            ask()


@pytest.mark.parametrize("name", ["rows.npy", "spans.npy", "videos.npy", "videos.jsonl"])
def test_a_large_index_with_a_file_missing_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(store, "VERIFIED_AT_ONCE", 0)
    fill(tmp_path / "i", [made_video(f"v{i}") for i in range(5)])
    (path,) = (tmp_path / "i").glob(f"*/{name}")
    path.unlink()
    with pytest.raises(InputError, match=rf"{path}: the index is damaged here \(it is missing\)"):
        EmbeddedIndex.open(tmp_path / "i")


@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY\x01\x00\x04\x00{   1234"])
def test_a_file_that_is_no_array_is_named_without_checksums_too(tmp_path: Path, content: bytes) -> None:
    fill(tmp_path / "i", [made_video("a")])
    (path,) = (tmp_path / "i").rglob("rows.npy")
    path.write_bytes(content.ljust(path.stat().st_size, b" "))
    with pytest.raises(InputError, match=rf"{path}: not a whole file of an index"):
        EmbeddedIndex.open(tmp_path / "i", verify=False)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_manifest_is_named_wherever_it_is_hit(tmp_path_factory: pytest.TempPathFactory, data) -> None:
    root = tmp_path_factory.mktemp("index") / "i"
    fill(root, [made_video("a")])
    path = root / "manifest.json"
    text = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(text) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != text[place]))
    spaces = b" \t\r\n"
    if byte in spaces and text[place] in spaces:
        return  # JSON does not mind
    text[place] = byte
    path.write_bytes(text)
    with pytest.raises(InputError, match=r"manifest\.json|newer"):
        EmbeddedIndex.open(root)


def test_an_index_of_before_is_read_and_added_to(tmp_path: Path) -> None:
    fill(tmp_path / "i", [made_video("a", metadata={"room": "hall"}), made_video("b")])
    expected = found(EmbeddedIndex.open(tmp_path / "i").top(queries(1)[0], 12))
    manifest = read_manifest(tmp_path / "i")
    (entry,) = manifest.segments
    folder = tmp_path / "i" / entry.part.directory
    table = [["a", 7.0, 0, 6, None, {"room": "hall"}, ""], ["b", 7.0, 6, 6, None, {}, ""]]
    files = {name: record for name, record in entry.part.files.items() if not name.startswith("videos")}
    files["videos.json"] = write_json(folder / "videos.json", table)
    for name in ("videos.npy", "videos.jsonl"):
        (folder / name).unlink()
    segment = replace(entry, part=Part(entry.part.directory, files))
    write_manifest(tmp_path / "i", replace(manifest, segments=(segment,)))
    index = EmbeddedIndex.open(tmp_path / "i")
    assert found(index.top(queries(1)[0], 12)) == expected
    assert index.select(where={"room": "hall"}).rows == 6
    fill(tmp_path / "i", [made_video("c"), made_video("b", 3)])
    assert {video.id for video in EmbeddedIndex.open(tmp_path / "i").videos()} == {"a", "c", "b"}


def test_a_newer_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cfmr.index.embedded.manifest.VERSION", 99)
    fill(tmp_path / "i", [made_video("a")])
    monkeypatch.undo()
    with pytest.raises(InputError, match="newer cfmr"):
        EmbeddedIndex.open(tmp_path / "i")


@pytest.mark.parametrize("rows", [1, 2, 15, 100])
def test_the_approximate_engine_works_on_few_rows_too(tmp_path: Path, rows: int) -> None:
    with EmbeddedWriter.open(tmp_path / "i") as writer:
        writer.set_engine("ivf")
        writer.set_model(CARD, concept_codec(), lambda _: [])
        writer.add([made_video("a", rows)])
        writer.commit()
    index = EmbeddedIndex.open(tmp_path / "i")
    assert index.engine == "ivf"
    assert len(index.top(queries(1)[0], 10)) == min(rows, 10)


def put_right(root: Path) -> None:
    """Make the checksums of a manifest those of the files as they are, as someone who means harm would."""
    manifest = read_manifest(root)

    def part(old: Part) -> Part:
        return Part(old.directory, {name: record(root / old.directory / name) for name in old.files})

    segments = tuple(replace(entry, part=part(entry.part)) for entry in manifest.segments)
    write_manifest(root, replace(manifest, model=part(manifest.model), segments=segments))


@pytest.mark.parametrize("name", ["videos.jsonl", "card.json", "rows.npy"])
def test_links_in_an_index_are_not_followed(tmp_path: Path, name: str) -> None:
    fill(tmp_path / "i", [made_video("a")])
    path = next((tmp_path / "i").glob(f"*/{name}"))
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    for verify in (True, False):
        with pytest.raises(InputError, match=rf"{name}: .*links are not followed"):
            EmbeddedIndex.open(tmp_path / "i", verify)


def test_a_linked_directory_in_an_index_is_not_followed(tmp_path: Path) -> None:
    fill(tmp_path / "i", [made_video("a")])
    path = next((tmp_path / "i").glob("segment-*"))
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="it is a link"):
        EmbeddedIndex.open(tmp_path / "i")


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("rows.npy", lambda path: np.save(path, np.ones((3, 999), np.float32)), "instead of float32"),
        ("spans.npy", lambda path: np.save(path, np.ones((1, 2))), "instead of float64"),
        ("videos.npy", lambda path: np.save(path, np.zeros((2, 4), np.int64)), "instead of int64"),
        ("videos.npy", lambda path: np.save(path, np.int64([[0, 5], [0, 60], [1, 0]])), "do not share 6 rows"),
        ("videos.jsonl", lambda path: path.write_text("{}"), "do not share 2 bytes"),
        ("videos.jsonl", lambda path: path.write_text(""), "videos.jsonl: not a whole file of an index"),
        ("card.json", lambda path: path.write_text('{"width": "wide"}'), "key 'width' is no size"),
        ("card.json", lambda path: path.write_text("[]"), "the card of an index is a JSON object"),
    ],
)
def test_content_that_fits_its_checksum_but_not_the_index_is_named(tmp_path: Path, name, change, says) -> None:
    fill(tmp_path / "i", [made_video("a")])
    change(next((tmp_path / "i").glob(f"*/{name}")))
    put_right(tmp_path / "i")
    with pytest.raises(InputError, match=says) as caught:
        EmbeddedIndex.open(tmp_path / "i")
    assert "\n" not in str(caught.value)


def test_a_whole_shard_that_is_missing_is_named(tmp_path: Path) -> None:
    fill(tmp_path / "i", [made_video("a")])
    fill(tmp_path / "i", [made_video("b")])
    shutil.rmtree(tmp_path / "i" / EmbeddedIndex.open(tmp_path / "i").manifest.segments[1].part.directory)
    with pytest.raises(InputError, match=r"segment-\d+/\S+: the index is damaged here \(it is missing\); restore this"):
        EmbeddedIndex.open(tmp_path / "i")
    with pytest.raises(InputError, match=r"segment-\d+/.*it is missing"):
        fill(tmp_path / "i", [made_video("c")])


def test_the_best_scores_of_many_queries_are_those_of_each(tmp_path: Path) -> None:
    for codec in (concept_codec(), Codec(WIDTH)):
        path = tmp_path / str(codec.dim)
        fill(path, [made_video(f"v{i}") for i in range(20)], codec=codec)
        fill(path, [made_video("v3", seed=5)])
        index = EmbeddedIndex.open(path)
        for count in (1, 7, 1000):
            each = [index.top(vector, count)[-1].score for vector in queries(5, codec.dim)]
            np.testing.assert_allclose(index.best_scores(queries(5, codec.dim), count), each, atol=1e-5)


@pytest.mark.parametrize("ann", [0, "", [], {}, False, {"directory": "ann-000000"}])
def test_an_approximate_search_that_is_none_is_named(tmp_path: Path, monkeypatch, ann: Any) -> None:
    fill(tmp_path / "i", [made_video("a")])
    whole = manifest_module._body
    monkeypatch.setattr(manifest_module, "_body", lambda manifest: {**whole(manifest), "ann": ann})
    put_right(tmp_path / "i")
    with pytest.raises(InputError, match="not the manifest of an index"):
        EmbeddedIndex.open(tmp_path / "i")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    fill(tmp_path / "i", [made_video("a")])
    for path in (tmp_path / "i").glob("*/*.*"):
        path.chmod(0)
        with pytest.raises(InputError, match=rf"{path.name}: cannot be read \(Permission denied\)"):
            EmbeddedIndex.open(tmp_path / "i")
        path.chmod(0o644)
