"""Run a benchmark and keep the tables that it prints, as JSON lines of the release in `benchmarks/results/`.

    python benchmarks/keep.py real.py --data FOLDER --vectors glove.pkl --work /tmp/real
    python benchmarks/keep.py --note "two quiet cores" query_latency.py --index INDEX --annotations test.json

A row of a table is a line: the benchmark, the day, its options, the row's name and what its columns say. Figures of the
same benchmark and the same options replace those kept before. The documentation site draws them (`results.md` there).
"""

import argparse
import datetime
import importlib.metadata
import json
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cfmr.files.atomic import replacing

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"


def table_rows(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Name and cells by column of every row of the Markdown tables in a text."""
    columns: list[str] = []
    before: list[str] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if cells and all(re.fullmatch(r":?-+:?", cell) for cell in cells):
            columns = before
        elif not cells:
            columns = []
        elif columns:
            yield cells[0], dict(zip(columns[1:], cells[1:], strict=False))
        before = cells


def shown(argument: str) -> str:
    """An argument as it is kept: of a path its last part, for where things lie is nobody's business."""
    return Path(argument).name if argument.startswith(("/", "~", "..")) else argument


def merged(kept: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines of a release with those of one run in place of what the same command gave before."""
    again = {(line["benchmark"], line["options"]) for line in new}
    lines = [line for line in kept if (line["benchmark"], line["options"]) not in again] + list(new)
    return sorted(lines, key=lambda line: str(line["benchmark"]))


def measure(script: str, given: Sequence[str]) -> str:
    """What a benchmark prints, which is passed on while it runs."""
    printed = []
    command = [sys.executable, "-u", str(FOLDER / script), *given]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stdout.write(line)
            printed.append(line)
    if process.returncode:
        raise SystemExit(process.returncode)
    return "".join(printed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--note", default="", help="the machine's state, or whatever the figures depend on")
    parser.add_argument("script", help="of the benchmark, and after it its own options")
    parser.add_argument("options", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    if not (FOLDER / given.script).is_file():
        parser.error(f"{given.script}: no such benchmark; there are {', '.join(p.name for p in FOLDER.glob('*.py'))}")
    release = importlib.metadata.version("cfmr")
    common = {
        "benchmark": Path(given.script).stem,
        "options": " ".join(map(shown, given.options)),
        "release": release,
        "day": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "note": given.note,
    }
    new = [{**common, "row": name, "cells": cells} for name, cells in table_rows(measure(given.script, given.options))]
    if not new:
        print(f"{given.script} printed no table; nothing is kept", file=sys.stderr)
        return 1
    path = RESULTS / f"{release}.jsonl"
    kept = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
    with replacing(path) as temporary:
        lines = [json.dumps(line, ensure_ascii=False) + "\n" for line in merged(kept, new)]
        temporary.write_text("".join(lines), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
