import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import keep
from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "docs"))
import results

PRINTED = """300 videos, 4 rounds

| | R@1,IoU=0.5 | seconds |
|---|--:|--:|
| CFMR-Dense | 53.0 ± 1.8 | 1,068.2 |
| best constant answer | 31.6 | - |

| cores | ratio |
|---|---|
| 1 | **1.97** |
"""


def line(release: str, row: str = "CFMR-Dense", **cells: str) -> dict[str, Any]:
    common = {"benchmark": "real", "options": "--folds 4", "release": release, "day": "2026-01-02", "note": ""}
    return {**common, "row": row, "cells": cells}


def test_every_table_that_a_benchmark_prints_is_read() -> None:
    assert list(keep.table_rows(PRINTED)) == [
        ("CFMR-Dense", {"R@1,IoU=0.5": "53.0 ± 1.8", "seconds": "1,068.2"}),
        ("best constant answer", {"R@1,IoU=0.5": "31.6", "seconds": "-"}),
        ("1", {"ratio": "**1.97**"}),
    ]


def test_a_repeated_run_replaces_what_it_gave_before_and_nothing_else() -> None:
    other = {**line("1", recall="3"), "benchmark": "scale"}
    kept = keep.merged([other, line("1", recall="1")], [line("1", recall="2")])
    assert kept == [line("1", recall="2"), other]


def test_where_files_lie_is_not_kept() -> None:
    assert [keep.shown(a) for a in ("--data", "/home/me/real", "../real", "4")] == ["--data", "real", "real", "4"]


def test_a_run_is_kept_as_json_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "speed.py").write_text(f"print({PRINTED!r})")
    monkeypatch.setattr(keep, "FOLDER", tmp_path)
    monkeypatch.setattr(keep, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(sys, "argv", ["keep.py", "--note", "quiet", "speed.py", "--work", str(tmp_path)])
    assert keep.main() == 0
    (path,) = (tmp_path / "results").iterdir()
    lines = [json.loads(text) for text in path.read_text("utf-8").splitlines()]
    assert [one["row"] for one in lines] == ["CFMR-Dense", "best constant answer", "1"]
    assert {(one["benchmark"], one["options"], one["note"]) for one in lines} == {
        ("speed", f"--work {tmp_path.name}", "quiet")
    }


def test_a_benchmark_that_fails_or_prints_no_table_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keep, "FOLDER", tmp_path)
    monkeypatch.setattr(keep, "RESULTS", tmp_path)
    (tmp_path / "silent.py").write_text("print('done')")
    monkeypatch.setattr(sys, "argv", ["keep.py", "silent.py"])
    assert keep.main() == 1
    (tmp_path / "broken.py").write_text(f"print({PRINTED!r}); raise SystemExit(2)")
    monkeypatch.setattr(sys, "argv", ["keep.py", "broken.py"])
    with pytest.raises(SystemExit, match="2"):
        keep.main()
    assert list(tmp_path.glob("*.jsonl")) == []


def test_the_site_shows_releases_of_one_command_beside_each_other(tmp_path: Path) -> None:
    for release, value in (("0.1.0", "50.1"), ("0.2.0", "53.0 ± 1.8")):
        (tmp_path / f"{release}.jsonl").write_text(json.dumps(line(release, recall=value)) + "\n", "utf-8")
    text, drawings = results.page(tmp_path)
    assert "| CFMR-Dense | 0.1.0 | 50.1 |" in text
    assert "| CFMR-Dense | 0.2.0 | 53.0 ± 1.8 |" in text
    assert list(drawings) == ["results-0.svg"]
    assert b"<svg" in drawings["results-0.svg"]
    assert "(results-0.svg)" in text


def test_every_kept_result_has_a_section_of_its_own_title() -> None:
    kept = [
        json.loads(text)
        for path in (ROOT / "benchmarks/results").glob("*.jsonl")
        for text in path.read_text("utf-8").splitlines()
    ]
    commands = {(one["benchmark"], one["options"]) for one in kept}
    for benchmark, options in commands:
        titles = [s.title for s in results.SECTIONS if s.benchmark == benchmark and results.covers(s, options)]
        assert len(titles) == 1, (benchmark, options, titles)
        assert (ROOT / "benchmarks" / f"{benchmark}.py").is_file()


def test_a_benchmark_without_a_section_is_shown_at_the_end(tmp_path: Path) -> None:
    known, unknown = line("0.1.0"), {**line("0.1.0"), "benchmark": "new"}
    lines = [
        json.dumps(one | {"cells": {"recall": "1"}}) + "\n" for one in (unknown, {**known, "options": "--data real"})
    ]
    (tmp_path / "0.1.0.jsonl").write_text("".join(lines), "utf-8")
    text, _ = results.page(tmp_path)
    assert text.index("## Accuracy on real features") < text.index("## Other benchmarks") < text.index("### new")


def test_a_long_table_is_folded(tmp_path: Path) -> None:
    lines = [json.dumps(line("0.1.0", f"row {number}", recall=f"{number}")) + "\n" for number in range(20)]
    (tmp_path / "0.1.0.jsonl").write_text("".join(lines), "utf-8")
    text, _ = results.page(tmp_path)
    assert '??? note "All 20 rows"\n\n    |  | release |' in text
    assert "    | row 19 | 0.1.0 | 19 |" in text


@pytest.mark.parametrize(("cell", "value"), [("69.3 ± 2.8", 69.3), ("**1.97**", 1.97), ("1,068", 1068), ("-", None)])
def test_a_cell_begins_with_its_figure(cell: str, value: float | None) -> None:
    assert results.figure(cell) == value
