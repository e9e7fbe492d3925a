"""A 6-second event in a video of two hours, found as in a video of 30 seconds.

First with a model that is no trained one: an anchor's vector is the mean of its clips, a sentence's the look of its
words. So what is tested is the engine: windows, absolute seconds, duplicates, ranking over thousands of anchors. Then
with one that is trained in seconds.
"""

import itertools
from pathlib import Path

import numpy as np
import pytest

from cfmr.config import parse_config
from cfmr.data.features import FeatureWriter
from cfmr.index.base import Video, VideoRows
from cfmr.index.build import build_index
from cfmr.index.codec import Codec
from cfmr.index.embedded.reader import EmbeddedIndex
from cfmr.index.embedded.writer import EmbeddedWriter
from cfmr.index.encode import RowEncoder, VideoSources, Windowing
from cfmr.index.model_source import CheckpointModel
from cfmr.models.base import PlainRows
from cfmr.moments.anchors import spans
from cfmr.moments.nms import iou
from cfmr.search.ranking import NMS_IOU, rank
from cfmr.search.retriever import MomentRetriever
from cfmr.training.backends import find_training
from tests.support.searchable import dense_config
from tests.support.worlds import FRAME_DIM, WORDS, make_world

DIM, RATE, NEEDLES = 64, 2, 50
EVENT, SHORT, LONG = 6.0, 30.0, 7200.0


class MeanModel(PlainRows):
    """Anchors of the published grid for Charades-STA, each the mean of the clips it spans."""

    readout = "anchors"

    def video_vectors(self, features: np.ndarray, duration: float) -> tuple[np.ndarray, np.ndarray]:
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
    with EmbeddedWriter.open(path) as writer:
        writer.set_model({"readout": "anchors", "max_words": 20}, Codec(DIM), lambda _: [])
        writer.add(videos)
        writer.commit()
    return EmbeddedIndex.open(path), looks / np.linalg.norm(looks, axis=1, keepdims=True), truth


def is_found(index: EmbeddedIndex, look: np.ndarray, video: str, true: tuple[float, float]) -> bool:
    top = rank(index, "anchors", look, 5, index.select([video]), None, None)
    return any(iou((hit.start, hit.end), true) >= 0.5 for hit in top)


def test_a_needle_in_two_hours_is_found_as_in_thirty_seconds(index) -> None:
    opened, looks, truth = index
    short = [is_found(opened, looks[i], f"short {i}", truth[f"short {i}"]) for i in range(NEEDLES)]
    long = [is_found(opened, looks[i], "long", truth[f"long {i}"]) for i in range(NEEDLES)]
    assert sum(short) >= 40
    both = sum(a and b for a, b in zip(short, long, strict=True))
    assert both >= 0.9 * sum(short)


def test_the_answers_of_a_long_video_are_different_moments(index) -> None:
    opened, looks, _ = index
    top = rank(opened, "anchors", looks[0], 10, opened.select(["long"]), None, None)
    spans_found = [(hit.start, hit.end) for hit in top]
    assert len(spans_found) == 10
    assert all(iou(a, b) < NMS_IOU for i, a in enumerate(spans_found) for b in spans_found[:i])


# --- with a trained model ---------------------------------------------------------------------------------------------

LONG_VIDEOS = 5  # the needles are spread over so many, so that each has a few other events too
CLIP_RATE = 40 / 30


def train_dense(root: Path) -> Path:
    """CFMR-Dense on the made-up world; returns the run."""
    world = make_world(root / "world", videos=40)
    config = parse_config(dense_config(world), "made up")
    find_training("pytorch", config).train(config, root / "run", resume=None, seed=1, select="last", device="cpu")
    return root / "run"


def test_a_trained_model_finds_needles_in_two_hours(tmp_path: Path) -> None:
    run = train_dense(tmp_path)
    looks = np.random.default_rng(5).standard_normal((len(WORDS), FRAME_DIM)).astype(np.float32)  # the world's own
    rng = np.random.default_rng(11)
    triples = list(itertools.combinations(range(len(WORDS)), 3))
    said = [triples[i] for i in rng.choice(len(triples), NEEDLES, replace=False)]
    haystacks = 0.3 * rng.standard_normal((LONG_VIDEOS, int(LONG * CLIP_RATE), FRAME_DIM)).astype(np.float32)
    truth: list[dict[str, tuple[float, float]]] = []
    with FeatureWriter(tmp_path / "needles.hdf5", {"extractor": "made-up", "version": 1}) as writer:

        def place(features: np.ndarray, second: float, words: tuple[int, ...]) -> tuple[float, float]:
            first = int(second * CLIP_RATE)
            features[first : first + int(EVENT * CLIP_RATE)] += looks[list(words)].mean(0)
            return first / CLIP_RATE, first / CLIP_RATE + EVENT

        for number, words in enumerate(said):
            short = 0.3 * rng.standard_normal((int(SHORT * CLIP_RATE), FRAME_DIM)).astype(np.float32)
            long, second = number % LONG_VIDEOS, (number + rng.uniform(0.1, 0.8)) * LONG / len(said)
            spans_of = {f"short {number}": place(short, rng.uniform(0, SHORT - EVENT), words)}
            truth.append(spans_of | {f"long {long}": place(haystacks[long], second, words)})
            writer.add(f"short {number}", short, duration=SHORT)
        for number, features in enumerate(haystacks):
            writer.add(f"long {number}", features, duration=LONG)
    build_index(CheckpointModel.load(run), VideoSources.load(tmp_path / "needles.hdf5"), tmp_path / "index")
    retriever = MomentRetriever.load(tmp_path / "index")
    found = {"short": 0, "both": 0}
    for words, places in zip(said, truth, strict=True):
        sentence = "the " + " ".join(WORDS[word] for word in words)
        seen = [
            any(iou((m.start, m.end), true) >= 0.5 for m in retriever.search(sentence, 5, [video]))
            for video, true in places.items()
        ]
        found["short"] += seen[0]
        found["both"] += all(seen)
    assert found["short"] >= 40
    assert found["both"] >= 0.9 * found["short"]
