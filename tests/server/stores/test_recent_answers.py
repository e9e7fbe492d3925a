from cfmr.server.stores.recent_answers import RecentAnswers


def test_an_answer_holds_while_what_it_was_made_of_is_the_same() -> None:
    answers, labels, other = RecentAnswers[str](), [1], [1]
    answers.keep("a dog", (labels,), "street")
    assert answers.get("a dog", (labels,)) == "street"
    assert answers.get("a dog", (other,)) is None, "equal, but another"
    assert answers.get("a cat", (labels,)) is None
    answers.keep("a dog", (other,), "park")
    assert answers.get("a dog", (other,)) == "park"


def test_what_was_asked_for_least_recently_goes_first() -> None:
    answers = RecentAnswers[int](2)
    for number in (1, 2):
        answers.keep(number, (), number)
    answers.get(1, ())
    answers.keep(3, (), 3)
    assert [answers.get(number, ()) for number in (1, 2, 3)] == [1, None, 3]
