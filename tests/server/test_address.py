"""A server over an index that is not in a directory."""

from pathlib import Path

import pytest

from cfmr.index.open import parse_location
from cfmr.server.settings import resolve_settings
from cfmr.server.stores.models import ModelRegistry

ADDRESS = "milvus://db:19530/videos"


class Empty:
    """A retriever of an index without videos."""

    generation = 1

    def videos(self) -> list[object]:
        return []


def test_an_address_passes_for_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = resolve_settings(Path(ADDRESS), tmp_path)
    assert settings.workspace == tmp_path / "page"
    assert (settings.features, settings.checkpoint) == (None, None)
    opened: list[Path] = []

    def load(path: Path) -> Empty:
        opened.append(path)
        return Empty()

    assert ModelRegistry(settings, load).ready  # type: ignore[arg-type]
    assert [str(parse_location(path)) for path in opened] == [ADDRESS]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["page"], "no folder is made for the address"
