import sys
from pathlib import Path

import pytest

from cfmr.errors import InputError
from cfmr.index.location import has_index, is_address
from cfmr.index.milvus.address import MilvusAddress
from cfmr.index.open import parse_location
from cfmr.search.retriever import MomentRetriever


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("milvus://localhost:19531/videos", MilvusAddress("localhost", 19531, "videos")),
        ("milvus://db.example.org/videos", MilvusAddress("db.example.org", 19530, "videos")),
        ("milvus://10.0.0.7:19530/media/videos", MilvusAddress("10.0.0.7", 19530, "videos", "media")),
        ("milvus+tls://[::1]:443/_v2", MilvusAddress("[::1]", 443, "_v2", secure=True)),
        ("milvus://db/videos?rows=/mnt/the rows", MilvusAddress("db", 19530, "videos", rows=Path("/mnt/the rows"))),
    ],
)
def test_an_address_is_read_and_written(text: str, expected: MilvusAddress) -> None:
    assert parse_location(text) == expected
    assert parse_location(str(expected)) == expected
    assert parse_location(Path(text)) == expected, "also when it went through pathlib, which drops a slash"
    assert is_address(Path(text))
    assert has_index(Path(text))


def test_anything_else_is_a_directory(tmp_path: Path) -> None:
    assert parse_location("runs/milvus/index") == Path("runs/milvus/index")
    assert not has_index(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("milvus://", "not an address; write it as milvus://host:port/collection"),
        ("milvus://host:19530", "not an address"),
        ("milvus://host:99999/videos", "not an address"),
        ("milvus://host:1/a/b/c", "not an address"),
        ("milvus://host:1/my-videos", "'my-videos' cannot be a collection's name"),
        ("milvus://host:1/7", "'7' cannot be a collection's name"),
        ("milvus://host:1/videos?rows=", r"\?rows= names no folder"),
        ("milvus://host:1/videos?folder=/mnt", "not an address"),
        ("http://host:19530/videos", "an index is a directory, or milvus://host:port/collection"),
    ],
)
def test_a_wrong_address_is_named(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_location(text)


def test_without_the_client_library_the_user_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(InputError, match=r"milvus://host:1/videos: needs pymilvus; pip install 'cfmr\[milvus\]'"):
        MomentRetriever.load("milvus://host:1/videos")
