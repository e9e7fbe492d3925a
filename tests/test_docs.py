"""The docs name only commands, options and files that exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from cfmr.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "tests/README.md", *sorted((ROOT / "docs").rglob("*.md"))]
WRITTEN = ("runs/", "data/", "log/", "checkpoint/", "report/", "/")  # what a user has or makes
TORCHRUN = {"--nnodes", "--node-rank", "--nproc-per-node", "--master-addr", "--master-port"}
PIP = {"--require-hashes"}

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def options_of(command: str) -> set[str]:
    """Options of `cfmr COMMAND`."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert command in commands, f"cfmr {command}: no such command"
    parameters = commands[command].params
    return {"--help"} | {option for p in parameters for option in [*p.opts, *p.secondary_opts] if option[:2] == "--"}


ALL_OPTIONS = {o for name in typer.main.get_command(app).commands for o in options_of(name)}  # type: ignore[attr-defined]


def pieces_of_code(page: Path) -> Iterator[str]:
    """Lines of indented or fenced code, a continued one with its continuation, and what stands in backticks."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    fenced = re.findall(r"^```.*?\n(.*?)^```", text, re.M | re.S)
    text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    yield from (line for block in fenced for line in block.splitlines())
    yield from re.findall(r"^    (.*)$", text, re.M)
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"^    .*$", "", text, flags=re.M))


def options_in(code: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][\w-]*", code))


@pages
def test_commands_and_their_options_exist(page: Path) -> None:
    for code in pieces_of_code(page):
        for call in re.split(r"\||;|&&", code.split(" #")[0]):
            if found := re.search(r"(?:^|[\s/$])cfmr ([a-z][a-z-]*)(?: |$)(.*)", call.strip()):
                if found[1] == "import":
                    continue  # from cfmr import ...
                command, rest = found.groups()
                assert options_in(rest) <= options_of(command), code


@pages
def test_scripts_and_their_options_exist(page: Path) -> None:
    for code in pieces_of_code(page):
        if found := re.search(r"(?:^|\s)python3? ((?:benchmarks/)?\w+\.py)(.*)", code):
            script, rest = ROOT / found[1], found[2]
            assert script.is_file(), code
            known = script.read_text(encoding="utf-8")
            for option in options_in(rest.split(" #")[0]):
                assert option in known or option in ALL_OPTIONS, code


@pages
def test_an_option_named_alone_belongs_to_some_command(page: Path) -> None:
    scripts = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks").glob("*.py"))
    for code in pieces_of_code(page):
        if code.startswith("--"):
            for option in options_in(code):
                assert option in ALL_OPTIONS | TORCHRUN | PIP or option in scripts, code


@pages
def test_files_of_the_repository_exist(page: Path) -> None:
    for code in pieces_of_code(page):
        path = code.strip()
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", path) or "/" not in path or path.startswith(WRITTEN):
            continue
        if re.search(r"NAME|DATASET", path) or not re.search(r"\.(py|js|css|html|json|md|toml|yaml)$", path):
            continue  # a placeholder, or something else with a slash
        bases = (ROOT, ROOT / "src/cfmr", ROOT / "tests", ROOT / "src/cfmr/server", ROOT / "deploy", page.parent)
        assert any((base / path).exists() for base in bases), path


@pages
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_every_make_target_of_the_docs_exists() -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    named = {
        target for page in PAGES for code in pieces_of_code(page) for target in re.findall(r"^make ([a-z][\w-]*)", code)
    }
    assert named <= targets
    assert "demo" in named


def test_every_command_is_described_somewhere() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        assert command.hidden or f"cfmr {name}" in text


def test_every_page_is_in_the_menu_of_the_site_and_on_the_page_of_all_pages() -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    contents = (ROOT / "docs/contents.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").as_posix()
        assert f": {name}\n" in menu, name
        assert f"]({name})" in contents or name in ("contents.md", "reference/python.md"), name
