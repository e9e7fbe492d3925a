import threading
from collections.abc import Iterator

import pytest

from cfmr.extractors.ahead import ahead


def test_items_come_in_their_order() -> None:
    with ahead(iter(range(100))) as items:
        assert list(items) == list(range(100))


def test_no_more_is_made_ahead_than_allowed() -> None:
    made: list[int] = []
    third = threading.Event()

    def items() -> Iterator[int]:
        for number in range(50):
            made.append(number)
            if number == 3:
                third.set()
            yield number

    with ahead(items(), depth=2) as taken:
        assert next(taken) == 0
        assert third.wait(10)
        assert len(made) == 4  # one taken, two waiting, one that finds no room


def test_an_error_is_raised_where_the_items_are_used() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    with ahead(items()) as taken:
        assert next(taken) == 1
        with pytest.raises(ValueError, match="no more"):
            next(taken)


def test_the_thread_ends_with_the_block() -> None:
    before = threading.active_count()

    def endless() -> Iterator[int]:
        while True:
            yield 1

    with pytest.raises(KeyboardInterrupt), ahead(endless()) as taken:
        next(taken)
        raise KeyboardInterrupt
    assert threading.active_count() == before
