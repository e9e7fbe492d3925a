from pathlib import Path

import pytest

from cfmr.console.queries import composed_queries
from cfmr.errors import InputError
from cfmr.search.composed import ComposedQuery, Stretch


def test_a_sentence_with_words_and_moments_is_one_query() -> None:
    found = composed_queries("a dog -cat", None, ["kitchen@3-5"], ["a red  car", "film@1:00-1:02"])
    assert found == [
        ("", ComposedQuery("a dog", ("cat", "a red car"), (Stretch("kitchen", 3, 5),), (Stretch("film", 60, 62),)))
    ]


def test_a_moment_alone_is_a_query() -> None:
    assert composed_queries("", None, ["kitchen@3-5"], []) == [("", ComposedQuery(like=(Stretch("kitchen", 3, 5),)))]


def test_every_sentence_of_a_file_is_composed_with_the_same_examples(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("a dog\na cat -mouse\n")
    found = composed_queries("", str(path), ["v@1-2"], ["bird"])
    like = (Stretch("v", 1, 2),)
    assert found == [
        (f"{path}: line 1", ComposedQuery("a dog", ("bird",), like)),
        (f"{path}: line 2", ComposedQuery("a cat", ("mouse", "bird"), like)),
    ]


@pytest.mark.parametrize(
    ("sentence", "path", "like", "unlike", "message"),
    [
        ("", None, [], [], "name what to search for"),
        ("", None, [], ["cat"], "name what to search for"),
        ("a dog", "list.txt", [], [], "not both"),
        ("a dog", None, ["kitchen"], [], "--like kitchen: write it as VIDEO@START-END"),
        ("a dog", None, ["kitchen@5-3"], [], "--like kitchen@5-3: it ends before it begins"),
        ("a dog", None, [], ["kitchen@5-3"], "--not kitchen@5-3: it ends before it begins"),
        ("a dog", None, [], [" "], "--not: it is empty"),
    ],
)
def test_what_is_no_query_is_refused_in_one_line(
    sentence: str, path: str | None, like: list[str], unlike: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        composed_queries(sentence, path, like, unlike)
