"""Whoever looks for the tests of a module finds them: in the mirrored place, or where tests/README.md says."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE, TESTS = ROOT / "src" / "cfmr", ROOT / "tests"
MODULES = sorted(
    path.relative_to(SOURCE) for path in SOURCE.rglob("*.py") if path.name not in ("__init__.py", "__main__.py")
)
LINES = [line.split("|")[1:3] for line in (TESTS / "README.md").read_text("utf-8").splitlines() if line[:3] == "| `"]


def mapped(module: Path) -> bool:
    """Whether a line of the table names the module, or a folder that it lies in."""
    names = [name for code, _ in LINES for name in re.findall(r"`([^`]+)`", code)]
    return any(module == Path(name) or Path(name) in module.parents for name in names)


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_has_a_file_of_tests_or_a_line_in_the_table(module: Path) -> None:
    assert (TESTS / module.parent / f"test_{module.stem}.py").is_file() or mapped(module)


def test_the_table_names_only_what_there_is() -> None:
    for code, tests in LINES:
        for name in re.findall(r"`([^`]+)`", code):
            assert (SOURCE / name).exists() or (ROOT / name).exists() or "make" in name, name
        folder = TESTS
        for name in re.findall(r"`([^`]+)`", tests):
            found = TESTS / name if "/" in name or (TESTS / name).exists() else folder / name
            assert found.exists(), name
            folder = found.parent
