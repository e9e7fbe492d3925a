"""Moments found before anything was trained or downloaded."""

import json
from pathlib import Path

import numpy as np
import pytest

from cfmr.cli import main
from cfmr.data.features import FeatureStore, FeatureWriter
from cfmr.errors import InputError
from cfmr.extractors.efficientnet_lite0 import EfficientNetLite0
from cfmr.index.embedded.reader import EmbeddedIndex
from cfmr.index.prior_source import PriorModel
from cfmr.search.retriever import MomentRetriever
from tests.models.test_prior import clip_of_class

CLASSES = {"brooms": 462, "fish": 0, "music": 401, "mushrooms": 947}  # one a video, in its second quarter
CLIPS = 80
RATE = EfficientNetLite0.clips_per_second


SENTENCES = {"brooms": "a broom", "fish": "a fish", "music": "an accordion", "mushrooms": "mushrooms"}


def run(*arguments: object) -> None:
    """A command that has to succeed."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr("sys.argv", ["cfmr", *map(str, arguments)])
        main()
    assert not end.value.code


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of 40 seconds, each with ten seconds of one thing and else of nothing."""
    path = tmp_path_factory.mktemp("prior") / "features.hdf5"
    rng = np.random.default_rng(0)
    with FeatureWriter(path, EfficientNetLite0().attributes()) as writer:
        for name, number in CLASSES.items():
            clips = np.repeat(clip_of_class(number), CLIPS, axis=0)
            nothing = rng.random(clips.shape, np.float32)
            there = np.arange(CLIPS) // (CLIPS // 4) == 1
            writer.add(name, np.where(there[:, None], clips, nothing), duration=CLIPS / RATE)
    return path


@pytest.fixture(scope="module")
def index(features: Path) -> Path:
    place = features.with_name("index")
    run("index", "--zero-shot", "builtin", "--features", features, "--out", place)
    return place


@pytest.mark.parametrize(
    ("sentence", "video"),
    [
        ("a broom", "brooms"),
        ("someone plays an accordion in the street", "music"),
        ("fish", "fish"),
        ("red mushrooms", "mushrooms"),
    ],
)
def test_what_a_sentence_names_is_found_where_it_is(index: Path, sentence: str, video: str) -> None:
    best = MomentRetriever.load(index).search(sentence, top=1)[0]
    assert best.video == video
    assert best.start == pytest.approx(10, abs=2.5)
    assert best.end == pytest.approx(20, abs=2.5)


def test_the_index_says_the_same_as_the_model(index: Path, features: Path) -> None:
    model = PriorModel(FeatureStore(features))
    query = MomentRetriever.load(index).encode("a big broom")
    np.testing.assert_allclose(query.vector, model.text_vectors(["a big broom"])[0], atol=1e-5)
    _, scores = EmbeddedIndex.open(index).curve(query.vector, "brooms")
    clips = model.moment_vectors(FeatureStore(features).read("brooms"), CLIPS / RATE)
    np.testing.assert_allclose(scores, clips @ query.vector, atol=0.05)


def test_words_without_a_look_are_left_out_and_named(index: Path) -> None:
    result = MomentRetriever.load(index).search("a green broom quickly helped the mushroomm")
    unknown = [(one.word, one.used) for one in result.unknown]
    assert unknown == [("green", None), ("quickly", None), ("helped", None), ("mushroomm", "mushroom")]


@pytest.mark.parametrize(
    ("sentence", "says"),
    [
        ("someone talks quickly", r"knows no word of the query \(talks, quickly\)"),
        ("un ballon rouge rebondit", "seems to be in another language.*nothing was searched"),
        ("собака бежит", "knows no word of the query"),
    ],
)
def test_a_sentence_of_which_nothing_is_known_finds_nothing(index: Path, sentence: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        MomentRetriever.load(index).search(sentence)


def test_a_thing_that_is_nowhere_is_below_the_threshold(index: Path) -> None:
    retriever = MomentRetriever.load(index)
    assert retriever.search("a broom").has_match
    assert retriever.search("a broom", videos=["brooms"]).has_match
    assert retriever.search("a volcano").has_match is False
    assert retriever.search("a broom", videos=["fish"]).has_match is False
    assert dict(retriever.index.metrics)["threshold_rejects"] == {"video": 0.9, "collection": 0.8}


def test_thresholds_follow_the_videos_unless_they_came_from_annotations(
    features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("index", "--zero-shot", "builtin", "--features", features, "--out", tmp_path / "index")
    assert "in the collection, a match scores" in capsys.readouterr().out
    before = MomentRetriever.load(tmp_path / "index").threshold()
    run("index", "--zero-shot", "builtin", "--features", features, "--out", tmp_path / "index", "--remove", "fish")
    assert MomentRetriever.load(tmp_path / "index").threshold() != before
    rows = [[video, CLIPS / RATE, None, sentence, 15.0] for video, sentence in SENTENCES.items()]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    run(
        *("index", "--zero-shot", "builtin", "--features", features, "--out", tmp_path / "index"),
        *("--calibrate", tmp_path / "rows.json"),
    )
    metrics = MomentRetriever.load(tmp_path / "index").index.metrics
    assert metrics["threshold_auroc"] == {"video": 1.0, "collection": 1.0, "left_out": 1.0}
    assert metrics["threshold_rejects"] is None
    run("index", "--zero-shot", "builtin", "--features", features, "--out", tmp_path / "index", "--remove", "fish")
    assert MomentRetriever.load(tmp_path / "index").index.metrics["thresholds"] == metrics["thresholds"]


def test_every_length_of_video_is_read_as_a_whole(features: Path) -> None:
    rows, spans = PriorModel(FeatureStore(features)).encoder.rows(
        np.random.default_rng(1).random((5000, EfficientNetLite0.dim), np.float32), 2500.0
    )
    assert len(rows) == 5000
    assert spans[-1].tolist() == pytest.approx([2499.5, 2500.0])


def test_features_of_something_else_are_named(tmp_path: Path) -> None:
    with FeatureWriter(tmp_path / "other.hdf5", {"extractor": "i3d", "dim": 8}) as writer:
        writer.add("v", np.zeros((4, 8), np.float32), duration=2.0)
    with pytest.raises(InputError, match=r"other\.hdf5: features of i3d; --zero-shot builtin needs the default"):
        PriorModel(FeatureStore(tmp_path / "other.hdf5"))
