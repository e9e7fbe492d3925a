"""The site's page of kept benchmark results: a drawing and a table for every command that `benchmarks/keep.py` ran."""

import io
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Line = dict[str, Any]
MOST_DRAWN = 4  # columns of one table


def page(folder: Path) -> tuple[str, dict[str, bytes]]:
    """The page in Markdown, and the drawings that it shows, by name."""
    lines = [
        json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines()
    ]
    parts = [
        "# Results by release",
        "What `benchmarks/keep.py` has kept, release by release. Machines differ: within one table figures are of one "
        "run, and between releases ratios say more than times.",
    ]
    drawings = {}
    for number, group in enumerate(_groups(lines)):
        name = f"results-{number}.svg"
        parts += [
            f"## {group[0]['benchmark']}",
            f"    python benchmarks/{group[0]['benchmark']}.py {group[0]['options']}",
        ]
        drawing = drawn(group)
        if drawing:
            drawings[name] = drawing
            parts.append(f"![{group[0]['benchmark']}, by release]({name})")
        parts.append(_table(group))
    return "\n\n".join(parts) + "\n", drawings


def _groups(lines: Iterable[Line]) -> list[list[Line]]:
    """Lines of the same command, of all releases."""
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        groups.setdefault((line["benchmark"], line["options"]), []).append(line)
    return list(groups.values())


def figure(cell: str) -> float | None:
    """The number with which a cell begins: 69.3 of `69.3 ± 2.8`."""
    found = re.match(r"-?[\d,]*\.?\d+", cell.replace("**", ""))
    return float(found[0].replace(",", "")) if found else None


def drawn(group: Sequence[Line]) -> bytes | None:
    """Bars of the first columns that hold numbers: a row each, and each release in a colour of its own."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "cfmr"
    from matplotlib import pyplot

    columns = [c for c in group[0]["cells"] if any(figure(line["cells"].get(c, "")) is not None for line in group)]
    columns = columns[:MOST_DRAWN]
    if not columns:
        return None
    rows = list(dict.fromkeys(line["row"] for line in group))
    releases = list(dict.fromkeys(line["release"] for line in group))
    size = (3 + 2.4 * len(columns), 0.8 + 0.3 * len(rows) * len(releases))
    drawing, axes = pyplot.subplots(1, len(columns), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for axis, column in zip(axes[0], columns, strict=True):
        for i, release in enumerate(releases):
            found = {line["row"]: figure(line["cells"].get(column, "")) for line in group if line["release"] == release}
            places = [place + i / len(releases) * 0.8 for place in range(len(rows))]
            values = [found.get(row) or 0 for row in rows]
            bars = axis.barh(places, values, 0.7 / len(releases), label=release, color=f"C{i}")
            axis.bar_label(bars, padding=3, fontsize=8)
        axis.set_title(column, fontsize=10)
        axis.margins(x=0.25)
        axis.spines[["top", "right", "bottom"]].set_visible(False)
        axis.set_xticks([])
    axes[0][0].set_yticks(range(len(rows)), [row or "-" for row in rows], fontsize=8)
    axes[0][0].invert_yaxis()
    if len(releases) > 1:
        axes[0][-1].legend(fontsize=8)
    target = io.BytesIO()
    drawing.savefig(target, format="svg", metadata={"Date": None})
    pyplot.close(drawing)
    return target.getvalue()


def _table(group: Sequence[Line]) -> str:
    columns = list(group[0]["cells"])
    rows = [
        [
            line["release"],
            line["row"].strip("*"),
            *(line["cells"].get(c, "") for c in columns),
            line["day"],
            line["note"],
        ]
        for line in group
    ]
    head = ["release", "", *columns, "day", "note"]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])
