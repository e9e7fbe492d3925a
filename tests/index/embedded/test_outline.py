from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cfmr.errors import InputError
from cfmr.index.base import Video, VideoRows
from cfmr.index.codec import Codec
from cfmr.index.embedded import outline as module
from cfmr.index.embedded import reader
from cfmr.index.embedded.disk import Part
from cfmr.index.embedded.manifest import read_manifest, write_manifest
from cfmr.index.embedded.outline import DIRECTIONS, OUTLINE, Outline
from cfmr.index.embedded.reader import EmbeddedIndex
from cfmr.index.embedded.writer import EmbeddedWriter, Limits
from cfmr.index.files import record
from tests.support.collections_of_rows import CARD, WIDTH, concept_codec, queries

ROWS = 24


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outlines of few numbers for few rows."""
    for place in (module, reader):
        monkeypatch.setattr(place, "LEAST_ROWS", 100)
    monkeypatch.setattr("cfmr.index.embedded.writer.LEAST_ROWS", 100)
    monkeypatch.setattr(module, "DIMENSIONS", 5)


def alike(number: int, spread: float) -> VideoRows:
    """A video whose rows lie near one line, as far from it as `spread`."""
    rng = np.random.default_rng(number)
    line = np.random.default_rng(99).standard_normal((2, WIDTH))
    rows = rng.standard_normal((ROWS, 2)) @ line + spread * rng.standard_normal((ROWS, WIDTH))
    spans = np.stack([np.arange(ROWS), np.arange(ROWS) + 1.0], axis=1)
    return VideoRows(Video(f"v{number}", float(ROWS), ROWS), rows.astype(np.float32), spans)


def collection(path: Path, spread: float = 0.02, videos: int = 40, limits: Limits | None = None) -> Path:
    with EmbeddedWriter.open(path, limits) as writer:
        if not writer.card:
            writer.set_model(CARD, concept_codec(), lambda _: [])
        writer.add(alike(i, spread) for i in range(videos))
        writer.commit()
    return path


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**20), spread=st.sampled_from([0.0, 0.01, 0.3, 3.0]))
def test_no_row_scores_more_than_its_outline_allows(seed: int, spread: float) -> None:
    codec = concept_codec()
    rows = alike(seed, spread).rows
    scales = codec.scales(rows)
    vector = queries(1, codec.dim)[0]
    estimates, most = Outline.of(codec, rows, scales).bounds(vector, slice(0, ROWS))
    scores = codec.expand(rows, scales) @ vector
    assert (scores <= most + 1e-4).all()
    assert (scores >= 2 * estimates - most - 1e-4).all()


@pytest.mark.parametrize("spread", [0.0, 0.02, 1.0])
@pytest.mark.parametrize("count", [1, 7, 20])
def test_what_is_found_is_what_scoring_all_rows_finds(tmp_path: Path, spread: float, count: int) -> None:
    index = EmbeddedIndex.open(collection(tmp_path / "i", spread))
    assert index.segments[0].outline is not None
    for vector in queries(20, index.codec.dim):
        found = index.top(vector, count)
        segment = index.segments[0]
        scores = Codec.score(segment.rows, segment.scales, index.codec.prepare(vector))
        expected = np.sort(scores)[::-1][:count]
        np.testing.assert_allclose([hit.score for hit in found], expected, atol=1e-5)


def test_few_rows_are_scored_where_rows_lie_near_few_directions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = EmbeddedIndex.open(collection(tmp_path / "i"))
    scored: list[int] = []
    score = Codec.score
    monkeypatch.setattr(Codec, "score", lambda rows, *more: scored.append(len(rows)) or score(rows, *more))
    index.top(queries(1, index.codec.dim)[0], 5)
    assert 5 < sum(scored) < len(index) / 4


def test_removed_videos_and_filters_count_with_outlines_too(tmp_path: Path) -> None:
    path = collection(tmp_path / "i")
    with EmbeddedWriter.open(path) as writer:
        writer.remove(["v3", "v17"])
        writer.commit()
    index = EmbeddedIndex.open(path)
    some = [f"v{i}" for i in range(40) if i not in (3, 17) and i % 5]
    for vector in queries(10, index.codec.dim):
        everything = [(hit.video.id, hit.start) for hit in index.top(vector, 38 * ROWS)]
        assert len(everything) == 38 * ROWS
        assert [(hit.video.id, hit.start) for hit in index.top(vector, 6)] == everything[:6]
        chosen = [hit for hit in everything if hit[0] in some]
        assert [(h.video.id, h.start) for h in index.top(vector, 6, index.select(some))] == chosen[:6]


def test_an_index_without_outlines_is_searched_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cfmr.index.embedded.writer.LEAST_ROWS", 10**9)
    index = EmbeddedIndex.open(collection(tmp_path / "old"))
    assert index.segments[0].outline is None
    monkeypatch.setattr("cfmr.index.embedded.writer.LEAST_ROWS", 100)
    outlined = EmbeddedIndex.open(collection(tmp_path / "new"))
    for vector in queries(5, index.codec.dim):
        assert [h[:3] for h in index.top(vector, 9)] == [h[:3] for h in outlined.top(vector, 9)]


def test_a_collection_that_faiss_searches_has_no_outlines(tmp_path: Path) -> None:
    path = collection(tmp_path / "i", limits=Limits(exact_rows=200, tail_rows=100))
    assert EmbeddedIndex.open(path).engine == "ivf"
    assert not list(path.rglob(OUTLINE))


@pytest.mark.parametrize("name", [OUTLINE, DIRECTIONS])
@pytest.mark.parametrize("harm", ["missing", "cut", "another shape"])
def test_a_damaged_outline_is_refused_by_name(tmp_path: Path, name: str, harm: str) -> None:
    path = collection(tmp_path / "i")
    manifest = read_manifest(path)
    (segment,) = manifest.segments
    file = path / segment.part.directory / name
    if harm == "missing":
        file.unlink()
    elif harm == "cut":
        file.write_bytes(file.read_bytes()[:-4])
    else:  # with a checksum that fits
        np.save(file, np.zeros((3, 2), np.float32))
        part = Part(segment.part.directory, {**segment.part.files, name: record(file)})
        write_manifest(path, replace(manifest, segments=(replace(segment, part=part),)))
    with pytest.raises(InputError, match=name):
        EmbeddedIndex.open(path)
