import itertools
from pathlib import Path

import pytest

from cfmr.index.location import IndexLocation
from cfmr.index.open import parse_location
from tests.index.contract import StoreContract

from .milvus_server import Server

pytest.importorskip("pymilvus")

NUMBERS = itertools.count()


class TestMilvusStore(StoreContract):
    @pytest.fixture
    def location(self, milvus: Server) -> IndexLocation:
        return parse_location(f"{milvus.address}/contract_{next(NUMBERS)}")


class TestMilvusStoreWithRowsInAFolder(StoreContract):
    @pytest.fixture
    def location(self, milvus: Server, tmp_path: Path) -> IndexLocation:
        return parse_location(f"{milvus.address}/contract_{next(NUMBERS)}?rows={tmp_path / 'rows'}")
