import json
import os
import re
import subprocess
import sys
import tomllib

import pytest

from tests.conftest import ROOT

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


def test_the_version_of_the_package_is_that_of_the_changelog_and_the_citation() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    (latest,) = re.findall(r"^## ([\w.]+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)[:1]
    assert latest == version
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text("utf-8")


def test_hooks_before_a_commit_have_the_versions_that_lint_uses() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")
    constraints = (ROOT / "constraints.txt").read_text("utf-8")
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)$", constraints, re.M))
    biome = json.loads((ROOT / "package.json").read_text("utf-8"))["devDependencies"]["@biomejs/biome"]
    assert f"ruff-pre-commit\n    rev: v{pinned['ruff']}\n" in hooks
    assert f"codespell\n    rev: v{pinned['codespell']}\n" in hooks
    assert f'"@biomejs/biome@{biome}"' in hooks
