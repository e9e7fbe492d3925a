import os
import subprocess
import sys

import pytest

SHOW = "import os, cfmr; print(*[os.environ.get(name) for name in {names!r}])"
NAMES = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "RAY_USAGE_STATS_ENABLED")


def after_import(**chosen: str) -> list[str]:
    """The variables of a process that has imported the package."""
    clean = {name: value for name, value in os.environ.items() if name not in NAMES}
    command = [sys.executable, "-c", SHOW.format(names=NAMES)]
    done = subprocess.run(command, env=clean | chosen, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_no_library_reports_its_use() -> None:
    assert after_import() == ["1", "1", "0"]


@pytest.mark.parametrize("name", NAMES)
def test_whoever_sets_a_variable_decides(name: str) -> None:
    assert after_import(**{name: "mine"})[NAMES.index(name)] == "mine"
