import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from cfmr.console.index_report import report_lines
from cfmr.data.annotations import load_annotations
from cfmr.data.features import FeatureStore, FeatureWriter
from cfmr.errors import InputError
from cfmr.index.build import edit_index
from cfmr.index.embedded.reader import EmbeddedIndex
from cfmr.index.encode import windows
from cfmr.models.base import load_model
from cfmr.models.checkpoint import Checkpoint
from cfmr.search.calibrate import calibrate_index
from cfmr.search.retriever import MomentRetriever
from tests.support.searchable import Searchable, make_searchable, save_checkpoint


@pytest.fixture
def made(tmp_path: Path) -> Searchable:
    return make_searchable(tmp_path)


def add_features(made: Searchable, name: str, clips: int = 40, seed: int = 1, **attributes: float) -> None:
    with FeatureWriter(made.world.features, {"extractor": "made-up", "version": 1}) as writer:
        dim = 12
        writer.add(name, np.random.default_rng(seed).standard_normal((clips, dim)).astype(np.float32), **attributes)


def test_rows_are_the_models_vectors(made: Searchable) -> None:
    checkpoint = Checkpoint.load(made.checkpoint)
    model = load_model(checkpoint)
    features = FeatureStore(made.world.features).read("v03")
    index = EmbeddedIndex.open(made.index)
    for segment in index.segments:
        for video in segment.live():
            if video.id == "v03":
                item = segment.video_rows(video)
                vectors, spans = model.video_vectors(features, 30.0)
                expanded = index.codec.expand(item.rows, index.codec.scales(item.rows))
                np.testing.assert_allclose(expanded, vectors, atol=1e-5)
                np.testing.assert_allclose(item.spans, spans * video.duration, rtol=1e-6)
                return
    raise AssertionError("v03 is not there")


def test_the_card_tells_how_the_text_encoder_was_checked(made: Searchable) -> None:
    card = EmbeddedIndex.open(made.index).card
    assert card["text"]["largest_difference"] <= 1e-5
    assert 0 <= card["text"]["same_first_quantised"] <= 1
    assert card["text"]["quantised"] == (card["text"]["same_first_quantised"] >= 0.995)
    assert card["name"] == "CFMR"


def test_what_a_feature_file_holds_besides_videos_is_told(made: Searchable) -> None:
    with h5py.File(made.world.features, "r+") as file:
        file["v98"] = h5py.SoftLink("/nowhere")
        file["v99"] = h5py.ExternalLink("secret.hdf5", "/v99")
    report = made.build()
    assert (report.unchanged, report.failed) == (12, {})
    assert set(report.skipped) == {"v98", "v99"}


def test_again_with_new_videos_adds_them(made: Searchable) -> None:
    generation = EmbeddedIndex.open(made.index).generation
    assert made.build().unchanged == 12
    assert EmbeddedIndex.open(made.index).generation == generation, "nothing to do, nothing written"
    add_features(made, "new", duration=25.0)
    report = made.build()
    assert (report.added, report.replaced, report.unchanged) == (1, 0, 12)
    assert EmbeddedIndex.open(made.index).video("new").duration == 25.0


def test_changed_features_replace_the_video(made: Searchable) -> None:
    made.world.features.unlink()
    add_features(made, "v00", seed=7)
    report = made.build()
    assert (report.added, report.replaced, report.unchanged) == (0, 1, 0)
    assert len(EmbeddedIndex.open(made.index).videos()) == 12, "videos that the feature file lacks stay"


def test_a_video_can_be_removed(made: Searchable) -> None:
    report = made.build(remove=["v01"])
    assert report.removed == 1
    assert "v01" not in {v.id for v in EmbeddedIndex.open(made.index).videos()}
    with pytest.raises(InputError, match="no video 'v99'"):
        made.build(remove=["v99"])


def test_a_video_can_be_removed_without_model_and_features(made: Searchable, tmp_path: Path) -> None:
    assert edit_index(made.index, remove=["v01"]).removed == 1
    assert edit_index(made.index, engine="ivf").engine == "ivf"
    assert len(EmbeddedIndex.open(made.index).videos()) == 11
    with pytest.raises(InputError, match="--features and --checkpoint"):
        edit_index(made.index)
    with pytest.raises(InputError, match="no index here"):
        edit_index(tmp_path / "nowhere", remove=["v01"])
    assert not (tmp_path / "nowhere").exists()


def test_another_model_is_refused_and_both_are_named(made: Searchable, tmp_path: Path) -> None:
    other = Searchable(made.world, save_checkpoint(made.world, tmp_path / "other", seed=1), made.index)
    with pytest.raises(InputError, match=r"another model \(CFMR of \d+ .*; the checkpoint is CFMR of \d+ .*--rebuild"):
        other.build()
    before = EmbeddedIndex.open(made.index).card["fingerprint"]
    other.build(rebuild=True)
    assert EmbeddedIndex.open(made.index).card["fingerprint"] != before
    assert len(EmbeddedIndex.open(made.index).videos()) == 12


def test_without_a_duration_the_user_is_told_where_to_give_it(made: Searchable) -> None:
    with pytest.raises(InputError, match=r"does not say how long v00 is; give --annotations"):
        made.build(annotations=[], rebuild=True)


def test_metadata_and_paths_are_kept(made: Searchable, tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "v02.mp4").write_bytes(b"film")
    (tmp_path / "meta.json").write_text(json.dumps({"v02": {"camera": "left"}}))
    report = made.build(videos=tmp_path / "films", metadata=tmp_path / "meta.json")
    assert report.replaced == 1
    video = EmbeddedIndex.open(made.index).video("v02")
    assert video.path == str(tmp_path / "films" / "v02.mp4")
    assert video.metadata == {"camera": "left"}
    (tmp_path / "meta.json").write_text(json.dumps({"v02": ["left"]}))
    with pytest.raises(InputError, match="metadata of 'v02'"):
        made.build(metadata=tmp_path / "meta.json")


def test_thresholds_are_chosen_on_annotations(made: Searchable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cfmr.search.retriever.MIN_THRESHOLD_ACCURACY", 0.0)
    metrics = calibrate_index(made.index, load_annotations(made.world.test))
    assert metrics["threshold_sentences"] == 9
    assert 0 <= metrics["threshold_accuracy"]["video"] <= 1
    assert 0 <= metrics["threshold_auroc"]["collection"] <= 1
    chosen = metrics["thresholds"]
    retriever = MomentRetriever.load(made.index)
    assert retriever.threshold() == chosen["collection"]
    assert retriever.threshold(["v01"]) == chosen["video"]
    add_features(made, "new", duration=25.0)
    made.build()
    assert MomentRetriever.load(made.index).threshold() == chosen["collection"], "they outlive an addition"
    monkeypatch.setattr("cfmr.search.retriever.MIN_THRESHOLD_ACCURACY", 1.01)
    assert MomentRetriever.load(made.index).threshold() is None, "a guess is not believed"


def test_a_long_video_is_cut_into_windows_with_absolute_seconds(made: Searchable) -> None:
    add_features(made, "long", clips=600, duration=600.0)
    made.build()
    index = EmbeddedIndex.open(made.index)
    video = index.video("long")
    anchors = index.video("v00").rows
    assert video.rows == anchors * len(windows(600.0, 30.0))
    result = MomentRetriever.load(made.index).search("the dog runs", top=50, videos=["long"])
    assert max(m.end for m in result) <= 600.0
    assert max(m.end for m in result) > 300.0
    assert max(m.end - m.start for m in result) <= 30.0


def test_a_run_that_was_killed_goes_on_where_it_was(made: Searchable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cfmr.index.build.SAVE_SECONDS", 0.0)
    made.build(rebuild=True, remove=[])
    out = made.index.with_name("second")

    class Killed(BaseException):
        pass

    def stop(label: str, done: int, total: int | None) -> None:
        if done == 5:
            raise Killed

    with pytest.raises(Killed):
        made.build(out, progress=stop)
    assert len(EmbeddedIndex.open(out).videos()) == 5
    again = Searchable(made.world, made.checkpoint, out)
    assert again.build().added == 7


@pytest.mark.parametrize(("rebuild", "kept"), [(False, 5), (True, 12)])
def test_an_interrupted_run_keeps_what_it_has_encoded_or_the_index_as_it_was(
    made: Searchable, rebuild: bool, kept: int
) -> None:
    out = made.index if rebuild else made.index.with_name("second")

    def interrupt(label: str, done: int, total: int | None) -> None:
        if done == 5:
            raise KeyboardInterrupt

    before = EmbeddedIndex.open(made.index).generation
    with pytest.raises(KeyboardInterrupt):
        made.build(out, rebuild=rebuild, progress=interrupt)
    assert len(EmbeddedIndex.open(out).videos()) == kept
    if rebuild:
        assert EmbeddedIndex.open(out).generation == before
    else:
        assert made.build(out).added == 7


def test_the_approximate_engine_can_be_asked_for(made: Searchable) -> None:
    report = made.build(engine="ivf")
    assert report.engine == "ivf"
    assert report.metrics["recall_at_10"] >= 0.98
    assert any("% of the exact ten best" in line for line in report_lines(report, made.index))
