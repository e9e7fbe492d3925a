import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfmr.console.format import BLOCKS, bar, clock


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
def test_a_bar_has_a_block_for_every_point(values: list[float]) -> None:
    drawn = bar(values)
    assert len(drawn) == len(values)
    assert set(drawn) <= set(BLOCKS)
    if max(values) - min(values) > 1e-3:
        assert drawn[int(np.argmax(values))] == BLOCKS[-1]


@pytest.mark.parametrize(("seconds", "shown"), [(0, "00:00"), (61.9, "01:01"), (3599, "59:59"), (7325, "2:02:05")])
def test_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown
