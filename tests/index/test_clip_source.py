"""Moments found with CLIP before anything is trained, held to what PyTorch and numpy give directly."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cfmr.cli import main
from cfmr.data.annotations import load_annotations
from cfmr.data.features import FeatureStore, FeatureWriter
from cfmr.errors import InputError
from cfmr.extractors.clip import Clip
from cfmr.index.build import build_index
from cfmr.index.clip_source import ClipModel
from cfmr.index.embedded.reader import EmbeddedIndex
from cfmr.index.encode import VideoSources
from cfmr.index.report import IndexReport
from cfmr.index.token_encoder import TokenEncoder
from cfmr.search.calibrate import calibrate_index
from cfmr.search.retriever import MomentRetriever
from tests.support.backbones import LONGEST, SENTENCES, save_clip, save_open_clip, save_siglip

pytest.importorskip("torch")

DURATIONS = {"short": 12.0, "middle": 30.0, "long": 100.0}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip") / "checkpoint")


@pytest.fixture(scope="module")
def features(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_features(tmp_path_factory.mktemp("features") / "f.hdf5", Clip(checkpoint))


@pytest.fixture(scope="module")
def index(checkpoint: Path, features: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("index") / "index"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cfmr.index.text_export.SHARE", 2.0)  # no graph of 8 bits is ever faithful enough
        build(checkpoint, features, out)
    return out


def build(checkpoint: Path, features: Path, out: Path, window: float | None = None) -> IndexReport:
    sources = VideoSources.load(features)
    return build_index(ClipModel(checkpoint, sources.features, window), sources, out)


def write_features(path: Path, clip: Clip, **changed: str | int) -> Path:
    """Two frames a second that do not differ much, as those of a video."""
    rng = np.random.default_rng(0)
    with FeatureWriter(path, {**clip.attributes(), **changed}) as writer:
        for name, duration in DURATIONS.items():
            frames = rng.standard_normal(clip.dim) + rng.standard_normal((int(2 * duration), clip.dim)).cumsum(0) / 4
            writer.add(name, frames / np.linalg.norm(frames, axis=1, keepdims=True), duration=duration)
    return path


def pooled_by_hand(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors and spans, as fractions, of the published grid for Charades-STA."""
    time = np.linspace(0, 1, len(frames))
    vectors, spans = [], []
    for width in (0.15, 0.3, 0.45):
        for centre in np.linspace(0, 1, 8):
            weights = np.exp(-(((time - centre) / (width / 9)) ** 2) / 2)
            vector = (weights / weights.max()) @ frames
            vectors.append(vector / np.linalg.norm(vector))
            spans.append([max(centre - width / 2, 0), min(centre + width / 2, 1)])
    return np.array(vectors), np.array(spans)


@pytest.mark.parametrize("save", [save_clip, save_siglip, save_open_clip])
def test_the_text_encoder_of_the_index_is_the_checkpoints(save, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("cfmr.index.text_export.SHARE", 2.0)
    monkeypatch.setattr("cfmr.index.build.CHECKED_SENTENCES", 40)
    clip = Clip(save(tmp_path / "checkpoint"))
    build(clip.weights, write_features(tmp_path / "f.hdf5", clip), tmp_path / "index")
    opened = EmbeddedIndex.open(tmp_path / "index")
    encoder = TokenEncoder(opened.model_path, opened.card["max_words"])
    np.testing.assert_allclose(encoder.vectors(SENTENCES), clip.text(SENTENCES), atol=1e-5)
    assert opened.card["text"]["largest_difference"] <= 1e-5
    assert opened.card["max_words"] == clip.towers.longest


def test_the_ranking_is_the_one_computed_directly(checkpoint: Path, features: Path, index: Path) -> None:
    retriever, store = MomentRetriever.load(index), FeatureStore(features)
    for sentence, vector in zip(SENTENCES, Clip(checkpoint).text(SENTENCES), strict=True):
        for name in ("short", "middle"):
            vectors, spans = pooled_by_hand(store.read(name))
            scores = vectors @ vector
            order = np.argsort(-scores)
            found = retriever.search(sentence, top=24, videos=[name], duplicate=1.0)
            np.testing.assert_allclose([moment.score for moment in found], scores[order], atol=1e-5)
            expected = spans[order[0]] * DURATIONS[name]
            np.testing.assert_allclose([found[0].start, found[0].end], expected, atol=1e-4)


def test_a_long_video_is_cut_into_windows_of_half_a_minute(features: Path, index: Path) -> None:
    frames = FeatureStore(features).read("long")
    opened = EmbeddedIndex.open(index)
    assert opened.video("long").rows == 24 * 6
    assert opened.video("middle").rows == 24
    spans, scores = opened.curve(np.eye(24, dtype=np.float32)[0], "long")
    vectors, fractions = pooled_by_hand(frames[28:88])  # the second window begins at 14 s
    np.testing.assert_allclose(scores[24:48], vectors[:, 0], atol=1e-5)
    np.testing.assert_allclose(spans[24:48], 14 + 30 * fractions, atol=1e-4)


def test_another_window_can_be_asked_for(checkpoint: Path, features: Path, tmp_path: Path) -> None:
    build(checkpoint, features, tmp_path / "index", window=100.0)
    assert EmbeddedIndex.open(tmp_path / "index").video("long").rows == 24


def test_videos_are_added_and_another_checkpoint_is_refused(
    checkpoint: Path, features: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("cfmr.index.build.CHECKED_SENTENCES", 40)
    out = tmp_path / "index"
    assert build(checkpoint, features, out).added == 3
    assert build(checkpoint, features, out).unchanged == 3
    other = Clip(save_clip(tmp_path / "other", seed=1))
    with pytest.raises(InputError, match="made with another checkpoint than"):
        build(other.weights, features, out)
    theirs = write_features(tmp_path / "theirs.hdf5", other)
    with pytest.raises(InputError, match=r"this index was made with another model \(CLIP"):
        build(other.weights, theirs, out)


def test_features_of_something_else_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    clip = Clip(checkpoint)
    for changed, said in (({"extractor": "i3d"}, "features of i3d"), ({"pca": "12"}, "features of clip, reduced")):
        path = write_features(tmp_path / f"{said}.hdf5", clip, **changed)
        with pytest.raises(InputError, match=f"{said}; --zero-shot needs CLIP's, make them with: cfmr extract"):
            build(checkpoint, path, tmp_path / "index")
    with FeatureWriter(tmp_path / "wide.hdf5", {}) as writer:
        writer.add("v", np.ones((4, 30)), duration=2.0)
    with pytest.raises(InputError, match=r"features are 30 wide, those of .* are 24"):
        build(checkpoint, tmp_path / "wide.hdf5", tmp_path / "index")


def test_what_cannot_be_asked_is_said(index: Path) -> None:
    retriever = MomentRetriever.load(index)
    with pytest.raises(InputError, match="the query has no words"):
        retriever.search(" ... ")
    with pytest.raises(InputError, match=f"52 tokens .* reads at most {LONGEST}"):
        retriever.search("dog " * 50)
    with pytest.raises(InputError, match="characters long"):
        retriever.search("dog" * 1000)
    assert retriever.search("zxqv") is not None, "any word can be read"


def test_searching_loads_neither_pytorch_nor_transformers(index: Path) -> None:
    code = (
        "import sys; from cfmr import MomentRetriever; "
        f"r = MomentRetriever.load({str(index)!r}); print(r.search('the red dog runs')[0].video); "
        "bad = {'torch', 'transformers', 'open_clip', 'torchvision'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_without_tokenizers_one_is_told_what_to_install(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(InputError, match=r"pip install 'cfmr\[zero-shot\]'"):
        MomentRetriever.load(index)


def test_thresholds_are_chosen_for_it_too(checkpoint: Path, features: Path, tmp_path: Path) -> None:
    rows = [[name, DURATIONS[name], [1.0, 5.0], sentence, 2.0] for name in DURATIONS for sentence in SENTENCES[:2]]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    build(checkpoint, features, tmp_path / "index")
    metrics = calibrate_index(tmp_path / "index", load_annotations(tmp_path / "rows.json"))
    assert metrics["threshold_sentences"] == 6


def test_the_command(checkpoint: Path, features: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    def cfmr(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["cfmr", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return said.out if ended.value.code == 0 else f"{ended.value.code}: {said.err}"

    out = tmp_path / "index"
    both = cfmr("index", "--zero-shot", checkpoint, "--checkpoint", checkpoint, "--features", features, "--out", out)
    assert both.startswith("2: cfmr: --checkpoint and --zero-shot: an index has one model; choose one")
    made = cfmr("index", "--zero-shot", checkpoint, "--features", features, "--out", out)
    assert "3 added; 192 moments" in made
    assert "(80 % of random words do not)" in made
    assert "searched 192 moments of 3 videos" in cfmr("search", "the red dog runs", "--index", out, "--top", 2)
