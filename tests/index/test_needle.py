"""A 6-second event in a video of two hours, found as in a video of 30 seconds.

The model here is no trained one: an anchor's vector is the mean of its clips, a sentence's is the look of its words. So
what is tested is the engine: windows, absolute seconds, duplicates, ranking over thousands of anchors.
"""

from pathlib import Path

import numpy as np
import pytest

from cfmr.anchors import spans
from cfmr.index.build import RowEncoder, Windowing
from cfmr.index.codec import Codec
from cfmr.index.moments import overlap
from cfmr.index.segment import Video, VideoRows
from cfmr.index.store import EmbeddedIndex
from cfmr.index.text import Query
from cfmr.index.writer import IndexWriter
from cfmr.retriever import DUPLICATE, _moments

DIM, RATE, NEEDLES = 64, 2, 50
EVENT, SHORT, LONG = 6.0, 30.0, 7200.0


class MeanModel:
    """Anchors of the published grid for Charades-STA, each the mean of the clips it spans."""

    readout = "anchors"

    def video_vectors(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        centres = np.tile(np.linspace(0, 1, 8), 3).astype(np.float32)
        found = spans(centres, np.repeat(np.array([0.15, 0.3, 0.45], np.float32), 8))
        count = len(features)
        vectors = np.stack(
            [features[int(s * count) : max(int(e * count), int(s * count) + 1)].mean(0) for s, e in found]
        )
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), found


def background(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Clips that drift and flicker, and other events of all lengths."""
    clips = int(seconds * RATE)
    features = 0.5 * rng.standard_normal((clips, DIM))
    for _ in range(max(1, int(seconds / 12))):
        start = rng.integers(0, clips)
        features[start : start + rng.integers(4, 40)] += rng.standard_normal(DIM)
    return features.astype(np.float32)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> tuple[EmbeddedIndex, np.ndarray, dict[str, tuple[float, float]]]:
    """One video of two hours with all needles, and a video of 30 seconds for each."""
    rng = np.random.default_rng(0)
    looks = rng.standard_normal((NEEDLES, DIM)).astype(np.float32)
    encoder = RowEncoder(MeanModel(), Windowing(SHORT, SHORT))
    haystack = background(LONG, rng)
    places = rng.permutation(np.arange(0, LONG - 2 * SHORT, LONG / (NEEDLES + 2)))[:NEEDLES] + rng.uniform(
        0, SHORT, NEEDLES
    )
    truth: dict[str, tuple[float, float]] = {}
    videos = []
    for number, (look, place) in enumerate(zip(looks, places, strict=True)):
        clip = int(place * RATE)
        haystack[clip : clip + int(EVENT * RATE)] += look
        truth[f"long {number}"] = (clip / RATE, clip / RATE + EVENT)
        short = background(SHORT, rng)
        clip = int(rng.uniform(0, SHORT - EVENT) * RATE)
        short[clip : clip + int(EVENT * RATE)] += look
        truth[f"short {number}"] = (clip / RATE, clip / RATE + EVENT)
        rows, found = encoder.rows(short, SHORT)
        videos.append(VideoRows(Video(f"short {number}", SHORT, len(rows)), rows, found))
    rows, found = encoder.rows(haystack, LONG)
    videos.append(VideoRows(Video("long", LONG, len(rows)), rows, found))
    path: Path = tmp_path_factory.mktemp("needle") / "index"
    with IndexWriter.open(path) as writer:
        writer.set_model({"readout": "anchors"}, Codec(DIM), lambda _: [])
        writer.add(videos)
        writer.commit()
    return EmbeddedIndex.open(path), looks / np.linalg.norm(looks, axis=1, keepdims=True), truth


def is_found(index: EmbeddedIndex, look: np.ndarray, video: str, true: tuple[float, float]) -> bool:
    query = Query("", (), (), look)
    top = _moments(index, query, 5, index.select([video]), DUPLICATE)
    return any(overlap((hit.start, hit.end), true) >= 0.5 for hit in top)


def test_a_needle_in_two_hours_is_found_as_in_thirty_seconds(index) -> None:
    opened, looks, truth = index
    short = [is_found(opened, looks[i], f"short {i}", truth[f"short {i}"]) for i in range(NEEDLES)]
    long = [is_found(opened, looks[i], "long", truth[f"long {i}"]) for i in range(NEEDLES)]
    assert sum(short) >= 40
    both = sum(a and b for a, b in zip(short, long, strict=True))
    assert both >= 0.9 * sum(short)


def test_the_answers_of_a_long_video_are_different_moments(index) -> None:
    opened, looks, _ = index
    query = Query("", (), (), looks[0])
    top = _moments(opened, query, 10, opened.select(["long"]), DUPLICATE)
    spans_found = [(hit.start, hit.end) for hit in top]
    assert len(spans_found) == 10
    assert all(overlap(a, b) < DUPLICATE for i, a in enumerate(spans_found) for b in spans_found[:i])
