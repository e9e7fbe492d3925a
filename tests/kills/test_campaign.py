"""A few kills of each campaign; `make kills` does a hundred of each."""

import sys
from pathlib import Path

import pytest

from tests.kills.campaign import CAMPAIGNS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_after_a_few_kills_everything_is_there(tmp_path: Path, name: str) -> None:
    outcome = CAMPAIGNS[name](4, 1, tmp_path)
    assert outcome.faults == []
    assert outcome.kills >= 4
    assert outcome.whole >= 1
