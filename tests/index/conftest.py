import os

import pytest


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests end processes, not machines: what is written need not reach the disk, and waiting for it takes minutes."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
