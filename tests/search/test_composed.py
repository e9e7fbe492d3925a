import numpy as np
import pytest

from cfmr.errors import InputError
from cfmr.search.composed import (
    LIKE,
    MAX_EXAMPLES,
    UNLIKE,
    WITHOUT,
    ComposedQuery,
    Stretch,
    compose,
    parse_stretch,
    split_minus,
)
from cfmr.search.retriever import MomentRetriever
from tests.support.searchable import make_searchable


@pytest.fixture(scope="module", params=["anchors", "curve"])
def retriever(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MomentRetriever:
    made = make_searchable(tmp_path_factory.mktemp("composed"), dense=request.param == "curve")
    return MomentRetriever.load(made.index)


def whole(retriever: MomentRetriever, query: ComposedQuery) -> np.ndarray:
    opened = retriever._opened
    return compose(query, opened.index, opened.encoder, opened.readout).vector


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def stretches(retriever: MomentRetriever) -> tuple[Stretch, Stretch]:
    one, two = retriever.videos()[:2]
    return Stretch(one.id, 0.0, one.duration / 2), Stretch(two.id, two.duration / 2, two.duration)


# --- the arithmetic ---------------------------------------------------------------------------------------------------


def test_a_sentence_alone_is_searched_for_as_ever(retriever: MomentRetriever) -> None:
    plain = retriever.search("the dog runs", top=5)
    assert retriever.search(ComposedQuery("the dog runs"), top=5).moments == plain.moments
    assert plain.query == ComposedQuery("the dog runs")


def test_a_query_is_the_sum_of_unit_vectors_as_long_as_its_sentence(retriever: MomentRetriever) -> None:
    like, unlike = stretches(retriever)
    sentence = retriever.encode("the dog runs").vector
    clip, other = (whole(retriever, ComposedQuery(like=(one,))) for one in (like, unlike))
    cat = retriever.encode("the cat").vector
    found = whole(retriever, ComposedQuery("the dog runs", ("the cat",), (like,), (unlike,)))
    summed = unit(sentence) + LIKE * unit(clip) - UNLIKE * unit(other) - WITHOUT * unit(cat)
    np.testing.assert_allclose(found, unit(summed) * np.linalg.norm(sentence), atol=1e-4)


def test_several_examples_count_together_as_one(retriever: MomentRetriever) -> None:
    like, other = stretches(retriever)
    one, two = (unit(whole(retriever, ComposedQuery(like=(stretch,)))) for stretch in (like, other))
    both = whole(retriever, ComposedQuery(like=(like, other)))
    np.testing.assert_allclose(unit(both), unit(one + two), atol=1e-4)


def test_a_moment_scores_about_as_high_as_a_sentence_can(retriever: MomentRetriever) -> None:
    """So curves of both are read alike."""
    like, _ = stretches(retriever)
    lengths = [float(np.linalg.norm(retriever.encode(said).vector)) for said in ("the dog runs", "a blue tree")]
    found = float(np.linalg.norm(whole(retriever, ComposedQuery(like=(like,)))))
    assert 0.5 * min(lengths) < found < 2 * max(lengths)


# --- answers ----------------------------------------------------------------------------------------------------------


def test_more_like_a_moment_finds_its_copy_first(retriever: MomentRetriever) -> None:
    """Of a video's rows, the one most like a moment is that moment; it is no answer itself."""
    like, _ = stretches(retriever)
    times, scores = retriever.curve(ComposedQuery(like=(like,)), like.video)
    inside = (times >= like.start) & (times <= like.end)
    assert scores[inside].mean() > scores[~inside].mean()
    found = retriever.search(ComposedQuery(like=(like,)), top=20)
    assert len(found) == 20
    assert not any(m.video == like.video and like.start <= (m.start + m.end) / 2 <= like.end for m in found)
    assert [m.score for m in found] == sorted((m.score for m in found), reverse=True)


def test_what_it_is_not_is_no_answer_any_more_and_scores_less(retriever: MomentRetriever) -> None:
    first = retriever.search("the dog runs", top=1)[0]
    unlike = ComposedQuery("the dog runs", unlike=(Stretch(first.video, first.start, first.end),))
    after = retriever.search(unlike, top=500)
    middle = (first.start + first.end) / 2
    assert not any(m.video == first.video and m.start <= middle <= m.end for m in after)
    before, now = (retriever.curve(query, first.video)[1].max() for query in ("the dog runs", unlike))
    assert now < before


def test_words_with_a_minus_turn_the_query_away_from_them(retriever: MomentRetriever) -> None:
    birds = unit(retriever.encode("the red bird jumps").vector)
    plain = unit(whole(retriever, ComposedQuery("the dog runs")))
    less = unit(whole(retriever, ComposedQuery("the dog runs", without=("the red bird jumps",))))
    assert less @ birds < plain @ birds


def test_a_composed_query_has_no_threshold_and_names_unknown_words_of_all_its_parts(retriever: MomentRetriever) -> None:
    result = retriever.search(ComposedQuery("the dog qqqzzz", without=("the cat xxkkj",)))
    assert (result.threshold, result.has_match) == (None, None)
    assert [word.word for word in result.unknown] == ["qqqzzz", "xxkkj"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (ComposedQuery(without=("the dog",)), "say what happens, or give a moment"),
        (ComposedQuery("the dog", like=(Stretch("nowhere", 0, 1),)), "no video 'nowhere'"),
        (ComposedQuery("the dog", without=("qqqzzz",)), "knows no word"),
        (ComposedQuery("the dog", without=("the dog",) * (MAX_EXAMPLES + 1)), "50 of a kind are the most"),
    ],
)
def test_a_query_that_cannot_be_composed_is_refused_in_one_line(
    retriever: MomentRetriever, query: ComposedQuery, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        retriever.search(query)


def test_an_example_has_to_lie_in_its_video(retriever: MomentRetriever) -> None:
    video = retriever.videos()[0]
    with pytest.raises(InputError, match=r"the video is .* s long; choose a moment within it"):
        retriever.search(ComposedQuery(like=(Stretch(video.id, video.duration + 1, video.duration + 2),)))


def test_what_cancels_itself_out_is_no_query(retriever: MomentRetriever) -> None:
    like, _ = stretches(retriever)
    if LIKE == UNLIKE:
        with pytest.raises(InputError, match="nothing is left to search for"):
            retriever.search(ComposedQuery(like=(like,), unlike=(like,)))
    else:
        assert retriever.search(ComposedQuery(like=(like,), unlike=(like,)), top=3)


# --- as people write it -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sentence", "without"),
    [
        ("a dog -cat", "a dog", ("cat",)),
        ('a dog -"a red  car" runs -cat', "a dog runs", ("a red car", "cat")),
        ("-cat a dog", "a dog", ("cat",)),
        ("a slow-motion dog", "a slow-motion dog", ()),
        ("a dog - a cat", "a dog - a cat", ()),
        ("a dog --cat", "a dog --cat", ()),
        ("  a dog", "  a dog", ()),
        ("-cat", "", ("cat",)),
        ("a dog -cat -cat", "a dog", ("cat",)),
    ],
)
def test_words_behind_a_minus_are_taken_out_of_a_sentence(text: str, sentence: str, without: tuple[str, ...]) -> None:
    assert split_minus(text) == (sentence, without)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kitchen@3-5.5", Stretch("kitchen", 3.0, 5.5)),
        ("a@b/c-2@1:02-1:02:03.5", Stretch("a@b/c-2", 62.0, 3723.5)),
    ],
)
def test_a_stretch_is_written_with_seconds_or_as_a_clock_shows_it(text: str, expected: Stretch) -> None:
    assert parse_stretch(text) == expected


@pytest.mark.parametrize(
    "text", ["kitchen", "kitchen@3", "@1-2", "kitchen@a-b", "kitchen@1:2:3:4-5", "kitchen@.-2", ""]
)
def test_what_is_no_stretch_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match=r"--not .*: write it as VIDEO@START-END"):
        parse_stretch(text, "--not")


def test_a_stretch_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(InputError, match="ends before it begins"):
        parse_stretch("kitchen@5-3")


def test_a_query_is_written_in_one_line() -> None:
    query = ComposedQuery("a dog", ("cat", "red car"), (Stretch("v", 1, 2),), (Stretch("w", 3, 4.5),))
    assert str(query) == 'a dog -cat -"red car" +v@1-2 -w@3-4.5'
