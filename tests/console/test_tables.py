"""Figures in a terminal: every measure under its name, and a dash for what was not measured."""

import io
import json

import pytest
from rich.console import Console

from cfmr.console.tables import SHOWN, corpus_table, moment_table, print_figures, print_scores
from cfmr.moments.metrics import CORPUS_DEPTHS, CORPUS_THRESHOLDS


def printed(*what: object) -> str:
    console = Console(file=io.StringIO(), width=120)
    for one in what:
        console.print(one)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_a_model_has_a_line_with_a_figure_a_column() -> None:
    figures = {name: 10.0 + number for number, name in enumerate(SHOWN)}
    line = next(line for line in printed(moment_table({"ours": figures})).splitlines() if "ours" in line)
    assert line.split()[1:] == [f"{10 + number:.1f}" for number in range(len(SHOWN))]


def test_what_was_not_measured_is_a_dash() -> None:
    line = next(line for line in printed(moment_table({"best": {"R@1,IoU=0.5": 31.6}})).splitlines() if "best" in line)
    assert line.split()[1:].count("-") == len(SHOWN) - 1
    assert "31.6" in line


def test_over_a_collection_each_depth_has_a_line() -> None:
    figures = {f"R@{n},IoU={m}": 1.0 for n in CORPUS_DEPTHS for m in CORPUS_THRESHOLDS}
    figures |= {f"video R@{n}": float(n) for n in CORPUS_DEPTHS}
    text = printed(corpus_table(figures))
    assert all(f"among the first {n}" in text for n in CORPUS_DEPTHS if n > 1)


def test_without_a_test_split_that_is_said() -> None:
    console = Console(file=io.StringIO())
    print_figures({"test": {}, "best_constant": {}}, console=console)
    assert console.file.getvalue().strip() == "no test split, so nothing was measured"  # type: ignore[attr-defined]


def test_as_json_the_figures_are_what_they_were(capsys: pytest.CaptureFixture[str]) -> None:
    print_scores({"mAP": 12.345678, "NDCG@10": 0.5}, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"mAP": 12.345678, "NDCG@10": 0.5}


def test_an_unknown_truth_is_said_and_percent_is_told_from_shares(capsys: pytest.CaptureFixture[str]) -> None:
    print_scores({})
    assert "the truth of these sentences is not known" in capsys.readouterr().out
    print_scores({"mAP": 12.345678, "NDCG@10": 0.5})
    out = capsys.readouterr().out
    assert "12.35" in out
    assert "0.5000 of 1" in out
