import os
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.worlds import World, make_world

ROOT = Path(__file__).resolve().parents[1]

settings.register_profile("untimed", deadline=None)  # a busy machine breaks no test
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real annotations, word vectors and footage that are no part of the project; without them the test is skipped."""
    path = Path(os.environ.get("CFMR_SHARED_DIR", ROOT.parent / "shared"))
    if not path.is_dir():
        pytest.skip(f"no {path}; set CFMR_SHARED_DIR")
    return path


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A tiny made-up world that trains in a second."""
    return make_world(tmp_path / "world")
