from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from cfmr.server.context import AppState
from cfmr.server.settings import Settings
from tests.server.sites import make_settings, opened


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clips, to be read only."""
    root = tmp_path_factory.mktemp("rendered")
    make_settings(root)
    return root


@pytest.fixture
def settings(rendered: Path, tmp_path: Path) -> Settings:
    """A site of one's own: linked clips, an empty workspace."""
    for clip in (rendered / "videos").rglob("*.mp4"):
        place = tmp_path / clip.relative_to(rendered)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.hardlink_to(clip)
    return make_settings(tmp_path)


@pytest.fixture
def both(settings: Settings) -> Iterator[tuple[AppState, TestClient]]:
    with opened(settings) as pair:
        yield pair


@pytest.fixture
def site(both: tuple[AppState, TestClient]) -> AppState:
    return both[0]


@pytest.fixture
def client(both: tuple[AppState, TestClient]) -> TestClient:
    return both[1]
