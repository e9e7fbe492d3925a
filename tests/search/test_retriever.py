import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cfmr
from cfmr.data.annotations import Annotation, load_annotations
from cfmr.data.features import FeatureStore
from cfmr.errors import InputError
from cfmr.index.workspace import Workspace, write_workspace
from cfmr.models.base import load_model
from cfmr.models.checkpoint import Checkpoint
from cfmr.models.encode import encode, encode_sentences, rank_moments
from cfmr.moments.nms import iou
from cfmr.moments.span_reader import MAX_MOMENTS
from cfmr.search.own_labels import FILE
from cfmr.search.retriever import MomentRetriever
from cfmr.server.stores.labels import LabelStore
from tests.support.searchable import Searchable, make_searchable


@contextmanager
def float_text_encoder() -> Iterator[None]:
    """No quantised one is ever faithful enough within this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cfmr.index.text_export.SHARE", 2.0)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Searchable:
    with float_text_encoder():
        return make_searchable(tmp_path_factory.mktemp("retriever"))


@pytest.fixture(scope="module")
def retriever(made: Searchable) -> MomentRetriever:
    return MomentRetriever.load(made.index)


def test_the_ranking_within_a_video_is_the_models(made: Searchable, retriever: MomentRetriever) -> None:
    checkpoint = Checkpoint.load(made.checkpoint)
    model = load_model(checkpoint)
    assert not retriever.index.card["text"]["quantised"]
    rows = load_annotations(made.world.test)
    encoded = encode(model, rows, FeatureStore(made.world.features), checkpoint.vocabulary, 10)
    for row, sentence in zip(rows, encoded.sentences, strict=True):
        vectors, spans = encoded.videos[row.video]
        fractions, scores = rank_moments("anchors", vectors @ sentence, spans, row.duration)
        expected = fractions * row.duration
        result = retriever.search(row.sentence, top=len(spans), videos=[row.video], duplicate=1.0)
        np.testing.assert_allclose([m.score for m in result], scores, atol=1e-5)
        np.testing.assert_allclose([(m.start, m.end) for m in result], expected, atol=1e-4)


def test_over_the_whole_collection_the_best_video_comes_first(retriever: MomentRetriever) -> None:
    sentence = "the dog runs"
    single = {v.id: retriever.search(sentence, 1, [v.id])[0].score for v in retriever.videos()}
    result = retriever.search(sentence, top=3)
    assert result[0].video == max(single, key=single.__getitem__)
    assert [m.score for m in result] == sorted((m.score for m in result), reverse=True)


def test_no_two_answers_show_the_same_stretch(retriever: MomentRetriever) -> None:
    result = retriever.search("the red bird jumps", top=20)
    assert len(result) == 20
    for i, one in enumerate(result):
        for other in result[:i]:
            assert one.video != other.video or iou((one.start, one.end), (other.start, other.end)) < 0.5


def test_min_score_leaves_out_what_is_below(retriever: MomentRetriever) -> None:
    everything = retriever.search("the cat sleeps", top=20)
    edge = everything[4].score
    assert len(retriever.search("the cat sleeps", top=20, min_score=edge)) == 5
    nothing = retriever.search("the cat sleeps", top=20, min_score=99)
    assert len(nothing) == 0
    assert nothing.best == everything[0].score


def test_unknown_words_are_read_as_a_known_spelling_or_left_out_and_named(retriever: MomentRetriever) -> None:
    result = retriever.search("the houuse runs qqqzzz")
    assert [(u.word, u.used) for u in result.unknown] == [("houuse", "house"), ("qqqzzz", None)]
    assert [m.score for m in result] == [m.score for m in retriever.search("the house runs")]


@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        ("un ballon rouge rebondit", r"knows no word of the query \(un, ballon, rouge, rebondit\).*another language"),
        ("the puppy barks", r"knows no word of the query \(puppy, barks\); try other words"),
        ("le cat est sur la table", r"seems to be in French.*nothing was searched"),
        ("", "no words"),
        ("  ?! ", "no words"),
        ("qqqzzz xxkkj", r"knows no word.*qqqzzz, xxkkj"),
        ("dog " * 11, "11 words, this model reads at most 10"),
        ("dog" * 1_000_000, "3,000,000 characters"),
    ],
)
def test_a_query_that_cannot_be_read_is_said_to_be(retriever: MomentRetriever, sentence: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        retriever.search(sentence)


@pytest.mark.parametrize("top", [0, -1, 100_000])
def test_the_number_of_answers_is_checked(retriever: MomentRetriever, top: int) -> None:
    with pytest.raises(InputError, match="ask for 1 to 10000"):
        retriever.search("dog", top=top)


def test_the_curve_spans_the_video_and_peaks_in_the_answer(retriever: MomentRetriever) -> None:
    best = retriever.search("the blue tree", top=1)[0]
    times, scores = retriever.curve("the blue tree", best.video, 100)
    assert len(times) == len(scores) == 100
    assert 0 < times[0] < times[-1] < best.duration
    inside = (times >= best.start) & (times <= best.end)
    assert scores[inside].mean() > scores[~inside].mean()


def test_reload_takes_up_a_change_and_old_results_stay(tmp_path: Path) -> None:
    made = make_searchable(tmp_path, videos=4)
    retriever = MomentRetriever.load(made.index)
    assert retriever.reload() is False
    made.build(remove=["v00"])
    assert len(retriever.videos()) == 4
    assert retriever.reload() is True
    assert len(retriever.videos()) == 3


def test_a_damaged_change_leaves_the_old_state_served(tmp_path: Path) -> None:
    made = make_searchable(tmp_path, videos=4)
    retriever = MomentRetriever.load(made.index)
    made.build(remove=["v00"])
    rows = next(made.index.glob("segment-*/rows.npy"))
    rows.unlink()
    rows.write_bytes(b"")
    with pytest.raises(InputError, match=r"rows\.npy"):
        retriever.reload()
    assert len(retriever.search("dog")) == 5


def test_threads_share_a_retriever(retriever: MomentRetriever) -> None:
    sentences = ["the dog runs", "the red cat", "a house opens", "the bird sleeps"] * 20
    alone = [[m.score for m in retriever.search(s)] for s in sentences]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda s: [m.score for m in retriever.search(s)], sentences))
    assert together == alone


def test_an_answer_is_a_sequence_of_moments(retriever: MomentRetriever) -> None:
    result = retriever.search("the dog runs", top=3)
    assert len(list(result)) == len(result) == 3
    assert result[0] in result
    assert result[:2] == result.moments[:2]
    assert result.has_match is None, "without a threshold nothing says so"


def test_the_package_offers_the_retriever_by_name() -> None:
    assert cfmr.MomentRetriever is MomentRetriever
    with pytest.raises(AttributeError, match="nonsense"):
        cfmr.nonsense  # noqa: B018


# --- the model that is read by curve ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Searchable:
    with float_text_encoder():
        return make_searchable(tmp_path_factory.mktemp("dense"), videos=30, dense=True)


def read_everything(made: Searchable, sentence: str) -> list[tuple[float, str, float, float]]:
    """Moments of all videos, read off the curves that the model itself gives."""
    checkpoint = Checkpoint.load(made.checkpoint)
    model = load_model(checkpoint)
    vector = encode_sentences(model, [sentence], checkpoint.vocabulary, 10)[0]
    store, found = FeatureStore(made.world.features), []
    index = MomentRetriever.load(made.index).index
    for video in index.videos():
        vectors, fractions = model.video_vectors(store.read(video.id), video.duration)
        spans, _ = index.curve(vector, video.id)
        np.testing.assert_allclose(spans, fractions * video.duration, rtol=1e-5, atol=1e-5)
        answers, scores = rank_moments(model.readout, vectors @ vector, fractions, video.duration)
        seconds = answers * video.duration
        found += [(float(v), video.id, float(s), float(e)) for (s, e), v in zip(seconds, scores, strict=True)]
    return sorted(found, reverse=True)


@pytest.mark.parametrize("engine", ["exact", "ivf"])
@pytest.mark.parametrize("sentence", ["the dog runs", "the red cat sleeps", "the tree"])
def test_moments_are_read_off_the_curves_of_the_best_videos(dense: Searchable, sentence: str, engine: str) -> None:
    dense.build(engine=engine)
    expected = read_everything(dense, sentence)[:7]
    result = MomentRetriever.load(dense.index).search(sentence, top=7, duplicate=1.0)
    np.testing.assert_allclose([m.score for m in result], [e[0] for e in expected], rtol=1e-4)
    assert [m.video for m in result] == [e[1] for e in expected]
    np.testing.assert_allclose([(m.start, m.end) for m in result], [e[2:] for e in expected], atol=1e-3)


def test_one_video_gives_its_share_of_what_all_give(dense: Searchable) -> None:
    retriever = MomentRetriever.load(dense.index)
    everything = retriever.search("the dog runs", top=300)
    for video in ("v00", "v07"):
        alone = retriever.search("the dog runs", top=MAX_MOMENTS, videos=[video])
        among = [m for m in everything if m.video == video]
        assert [(m.start, m.end) for m in alone] == [(m.start, m.end) for m in among]
        np.testing.assert_allclose([m.score for m in alone], [m.score for m in among], rtol=1e-6)
        assert retriever.search("the dog runs", top=2, videos=[video, video]).moments == alone[:2]


@pytest.mark.parametrize("videos", [None, ["v00"]])
def test_moments_may_be_asked_to_overlap_less(dense: Searchable, videos: list[str] | None) -> None:
    retriever = MomentRetriever.load(dense.index)
    for duplicate in (1e-6, 0.2, 0.55):
        found = retriever.search("the dog runs", top=20, videos=videos, duplicate=duplicate)
        assert len(found)
        for i, a in enumerate(found):
            assert all(iou((a.start, a.end), (b.start, b.end)) < duplicate for b in found[:i] if b.video == a.video)
    apart = retriever.search("the dog runs", top=20, videos=videos, duplicate=1e-6)
    everything = retriever.search("the dog runs", top=300, videos=videos)
    assert len(apart) < len(everything)
    assert all(moment in everything for moment in apart)


def test_the_curve_is_the_relevance_of_the_clips(dense: Searchable) -> None:
    retriever = MomentRetriever.load(dense.index)
    best = retriever.search("the dog runs", top=1)[0]
    times, scores = retriever.curve("the dog runs", best.video, 400)
    assert scores.max() == pytest.approx(best.score, rel=0.05)
    index, vector = retriever.index, retriever.encode("the dog runs").vector
    spans, relevance = index.curve(vector, best.video)
    np.testing.assert_allclose(scores, np.interp(times, spans.mean(1), relevance))


def test_few_points_of_a_curve_hold_the_best_clip_of_each_stretch(dense: Searchable) -> None:
    retriever = MomentRetriever.load(dense.index)
    best = retriever.search("the dog runs", top=1)[0]
    spans, relevance = retriever.index.curve(retriever.encode("the dog runs").vector, best.video)
    times, scores = retriever.curve("the dog runs", best.video, 4)
    assert len(times) == 4
    for number, score in enumerate(scores):
        there = (spans.mean(1) >= number * best.duration / 4) & (spans.mean(1) < (number + 1) * best.duration / 4)
        assert score == pytest.approx(relevance[there].max())


def test_a_part_of_a_curve_has_the_scores_of_the_whole(dense: Searchable) -> None:
    retriever = MomentRetriever.load(dense.index)
    best = retriever.search("the dog runs", top=1)[0]
    whole = retriever.curve("the dog runs", best.video, 400)
    times, scores = retriever.curve("the dog runs", best.video, 100, (best.start, best.end))
    assert best.start < times[0] < times[-1] < best.end
    np.testing.assert_allclose(scores, np.interp(times, *whole), atol=0.02 * np.ptp(whole[1]))
    with pytest.raises(InputError, match="from 1e\\+06 s to 2e\\+06 s there is nothing"):
        retriever.curve("the dog runs", best.video, 100, (1e6, 2e6))


SEARCH = """
import sys
from cfmr.cli import main
sys.argv = ["cfmr", "search", "the dog runs", "--index", sys.argv[1]]
try:
    main()
except SystemExit as done:
    assert not done.code, done.code
frameworks = {"torch", "mindspore", "faiss", "h5py", "av", "rich", "onnx", "matplotlib"} & set(sys.modules)
assert not frameworks, frameworks
"""


def test_searching_loads_no_framework(made: Searchable) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SEARCH, str(made.index)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert "searched" in done.stdout


# --- own labels of a folder of videos ---------------------------------------------------------------------------------


@pytest.fixture
def labelled(made: Searchable, tmp_path: Path) -> MomentRetriever:
    """The index as that of a folder of videos, of which someone has labelled two moments on the page."""
    workspace = Workspace(tmp_path / ".cfmr", tmp_path, made.index, made.world.features)
    workspace.root.mkdir()
    write_workspace(workspace)
    store = LabelStore(f"sqlite:///{workspace.root / FILE}")
    for video, sentence, glance in (("v02", "the cat sleeps", 7.0), ("v03", "zyzzyva hums", 4.0), ("gone", "dog", 1.0)):
        store.add(Annotation(video, 30.0, sentence, glance, None), "Ann")
    store.close()
    return MomentRetriever.load(tmp_path)


def test_a_label_that_says_the_same_comes_first(labelled: MomentRetriever, retriever: MomentRetriever) -> None:
    result, models = labelled.search("a cat is sleeping", top=4), retriever.search("a cat is sleeping", top=4)
    first = result[0]
    assert first.label is not None
    assert (first.video, first.label.sentence, first.label.author, first.label.exact) == (
        "v02", "the cat sleeps", "Ann", True
    )  # fmt: skip
    assert first.start <= 7.0 <= first.end
    assert len(result) == 4
    assert all(moment.label is None for moment in result[1:])
    assert (result.best, result.threshold, result.unknown) == (models.best, models.threshold, models.unknown)


def test_no_moment_is_listed_twice_for_its_label(labelled: MomentRetriever) -> None:
    first, *others = labelled.search("the cat sleeps", top=20)
    assert all(one.video != "v02" or not one.start <= 7.0 <= one.end for one in others)
    assert first.video == "v02"


def test_a_label_is_found_where_the_model_reads_no_word(labelled: MomentRetriever) -> None:
    result = labelled.search("zyzzyva hums")
    (only,) = result
    assert (only.video, only.start, only.end, only.score) == ("v03", 1.5, 6.5, 0.0)
    assert not result.has_match


@pytest.mark.parametrize("how", [{"own_labels": False}, {"videos": ["v01"]}])
def test_labels_are_left_out_where_they_are_not_asked_for(labelled: MomentRetriever, how: dict[str, Any]) -> None:
    assert all(moment.label is None for moment in labelled.search("the cat sleeps", **how))


def test_a_label_of_a_video_that_is_gone_finds_nothing(labelled: MomentRetriever) -> None:
    assert all(moment.video != "gone" for moment in labelled.search("dog"))


def test_an_index_that_is_named_itself_knows_no_labels(retriever: MomentRetriever) -> None:
    assert all(moment.label is None for moment in retriever.search("the cat sleeps"))
