from pathlib import Path

import pytest

from tests.index.contract import StoreContract


class TestEmbeddedStore(StoreContract):
    @pytest.fixture
    def location(self, tmp_path: Path) -> Path:
        return tmp_path / "index"
