"""Figures as tables in a terminal."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from cfmr.moments.metrics import CORPUS_DEPTHS, CORPUS_THRESHOLDS

SHOWN = [f"R@{n},IoU={m}" for n in (1, 5) for m in (0.3, 0.5, 0.7)] + ["R@1,mIoU", "R@5,mIoU"]


def moment_table(rows: Mapping[str, Mapping[str, float]], title: str | None = None) -> Table:
    """A line a model: R@1 and R@5 at IoU 0.3, 0.5, 0.7 and mIoU, in percent."""
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("percent, at IoU", no_wrap=True)
    for column in SHOWN:
        table.add_column(column.replace(",", "\n").replace("IoU=", ""), justify="right", no_wrap=True)
    for name, figures in rows.items():
        table.add_row(name, *(f"{figures[column]:.1f}" if column in figures else "-" for column in SHOWN))
    return table


def corpus_table(figures: Mapping[str, float], title: str | None = None) -> Table:
    """A line a depth: measures of one model over all videos together, in percent."""
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1))
    table.add_column("all videos together, percent")
    for m in CORPUS_THRESHOLDS:
        table.add_column(f"IoU {m}", justify="right")
    table.add_column("right video", justify="right")
    for n in CORPUS_DEPTHS:
        values = [figures[f"R@{n},IoU={m}"] for m in CORPUS_THRESHOLDS] + [figures[f"video R@{n}"]]
        table.add_row(f"among the first {n}" if n > 1 else "first", *(f"{value:.1f}" for value in values))
    return table


def print_figures(figures: Mapping[str, Any], *, as_json: bool = False, console: Console | None = None) -> None:
    """The figures of one model on a test split."""
    console = console or Console()
    if as_json:
        console.file.write(json.dumps(figures, indent=1) + "\n")
        return
    if not figures["test"]:
        console.print("no test split, so nothing was measured")
        return
    console.print(moment_table({"model": figures["test"], "best constant answer": figures["best_constant"]}))
    if "corpus" in figures:
        console.print(corpus_table(figures["corpus"]))


def print_scores(figures: Mapping[str, float], *, as_json: bool = False, out: Path | None = None) -> None:
    """Figures by name, as answers in a file have them, and where the answers were written."""
    console = Console()
    if as_json:
        console.file.write(json.dumps(figures, indent=1) + "\n")
        return
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("measure", no_wrap=True)
    table.add_column("percent", justify="right")
    for name, value in figures.items():
        table.add_row(name, f"{value:.4f} of 1" if name.startswith("NDCG") else f"{value:.2f}")
    if figures:
        console.print(table)
    else:
        console.print("the truth of these sentences is not known, so nothing was measured")
    if out is not None:
        console.print(f"answers written to {out}")


def print_run(figures: Mapping[str, Any], directory: Path) -> None:
    """The figures of a finished run, and where it lies."""
    console = Console()
    print_figures(figures, console=console)
    if figures["selected_on"] == "test":
        console.print("The epoch was chosen on the test split, as the original release does: no honest test figure.")
    console.print(f"epoch {figures['epoch']}, selected on {figures['selected_on']}; written to {directory}")
