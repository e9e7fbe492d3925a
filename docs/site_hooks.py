"""Hooks of the documentation site: pages that are generated, and pages that lie outside `docs/`.

The command line, the HTTP API and the home page are written anew at each build, so that they cannot go stale.
"""

import re
import sys
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))
import results

ROOT = Path(__file__).parents[1]

#: Page of the site -> file of the repository.
OUTSIDE = {
    "index.md": "README.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "SECURITY.md": "SECURITY.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "tests.md": "tests/README.md",
}
LICENCE = "LICENSE"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in `docs/`."""
    pages = {page: site_links((ROOT / source).read_text("utf-8"), source) for page, source in OUTSIDE.items()}
    pages["reference/commands.md"] = command_reference()
    pages["reference/http.md"] = http_reference()
    pages["results.md"], drawings = results.page(ROOT / "benchmarks" / "results")
    for name, drawing in drawings.items():
        files.append(File.generated(config, name, content=drawing))
    for page, text in pages.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links of a page in `docs/` to files outside it."""
    return site_links(markdown, f"docs/{page.file.src_path}") if page.file.generated_by is None else markdown


def site_links(markdown: str, source: str) -> str:
    """Links between files of the repository as links between pages of the site; what has no page loses its link."""
    folder = (ROOT / source).parent
    page_folder = Path(_page_of(ROOT / source) or "").parent
    depth = len(page_folder.parts)

    def rewritten(found: re.Match[str]) -> str:
        text, target, anchor = found.groups()
        if re.match(r"[a-z]+:", target) or not target:
            return found[0]
        path = (folder / target).resolve()
        to = _page_of(path)
        return f"[{text}]({'../' * depth}{to}{anchor or ''})" if to else text

    return re.sub(
        r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)#\s]*)(#[^)\s]*)?\)", rewritten, _pictures(markdown, folder, depth)
    )


def _pictures(markdown: str, folder: Path, depth: int) -> str:
    """Pictures by the address that they have on the site; those with a width, which are HTML, as Markdown."""

    def rewritten(found: re.Match[str]) -> str:
        path = (folder / found[2]).resolve()
        inside = path.is_relative_to(ROOT / "docs")
        return f"![{found[1]}]({'../' * depth}{path.relative_to(ROOT / 'docs')})" if inside else found[0]

    sized = r'<img src="([^"]+)" alt="([^"]+)" width="(\d+)">'
    markdown = re.sub(sized, r"![\2](\1){ width=\3 }", markdown)
    return re.sub(r"!\[([^\]]*)\]\(([^)\s]+)\)", rewritten, markdown)


def _page_of(path: Path) -> str | None:
    """The page that a file of the repository has on the site."""
    for page, source in OUTSIDE.items():
        if path == ROOT / source:
            return page
    docs = ROOT / "docs"
    return str(path.relative_to(docs)) if path.is_relative_to(docs) and path.suffix in (".md", ".png") else None


def command_reference() -> str:
    """Every command with its arguments and options, from the program itself."""
    from cfmr.cli import GROUPS, app

    group: Any = typer.main.get_command(app)
    parts = [
        "# Command line",
        "Every command has `--help`. `cfmr --install-completion` installs completion for the shell, `cfmr --version` "
        "prints the version, and `python -m cfmr` works like `cfmr`.",
    ]
    for title, names in GROUPS.items():
        parts.append(f"## {title}")
        for name in names:
            command = group.commands[name]
            parts += _described(f"cfmr {name}", command)
            for inner, subcommand in getattr(command, "commands", {}).items():
                parts += _described(f"cfmr {name} {inner}", subcommand)
    return "\n\n".join(parts) + "\n"


def _described(name: str, command: Any) -> list[str]:
    """Heading, description, usage and options of one command."""
    context = command.context_class(command, info_name=name)
    usage = command.get_usage(context).partition(": ")[2]
    return [f"### {name}", command.help or "", f"    {' '.join(usage.split())}", _parameters(command, context)]


def _parameters(command: Any, context: Any) -> str:
    rows = ["| option | |", "|---|---|"]
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record:
            option, text = (" ".join(part.split()) for part in record)
            text = text.replace("|", "\\|").replace("<", "&lt;")
            rows.append(f"| `{option}` | {text} |")  # a bar within a code span separates no cells
    return "\n".join(rows) if len(rows) > 2 else ""


def http_reference() -> str:
    """Every address of the HTTP API, from the description that the server itself gives."""
    import tempfile

    from cfmr.server.app import create_app, open_state
    from cfmr.server.settings import resolve_settings

    with tempfile.TemporaryDirectory() as folder:
        state = open_state(resolve_settings(None, Path(folder)))
        try:
            described = create_app(state).openapi()
        finally:
            state.labels.close()
    parts = [
        "# HTTP API",
        str(described["info"]["description"]),
        "The server gives this description at `/openapi.json`.",
    ]
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            parts += [f"## {method.upper()} {path}", operation.get("description") or operation.get("summary", "")]
            parts.append(_inputs(operation))
    return "\n\n".join(part for part in parts if part) + "\n"


def _inputs(operation: dict[str, Any]) -> str:
    """Parameters of an operation, and what its body is."""
    rows = [
        f"| `{one['name']}` | {one['in']}{', required' if one.get('required') else ''} | {one.get('description', '')} |"
        for one in operation.get("parameters", [])
    ]
    rows += [f"| body | `{kind}` | |" for kind in operation.get("requestBody", {}).get("content", {})]
    return "\n".join(["| name | where | |", "|---|---|---|", *rows]) if rows else ""
