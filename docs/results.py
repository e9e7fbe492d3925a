"""The site's page of kept benchmark results: a drawing and a table for every command that `benchmarks/keep.py` ran."""

import io
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

Line = dict[str, Any]
MOST_DRAWN = 4  # columns of one table
MOST_OPEN = 12  # rows of a table that is shown without a click


class Section(NamedTuple):
    """Title of the results of one benchmark, and the columns that are drawn (by default the first ones)."""

    topic: str
    title: str
    benchmark: str
    options: str = ""  # a regular expression for the options, where a benchmark has several sections
    drawn: tuple[str, ...] = ()


_RECALL = ("R@1,IoU=0.3", "R@1,IoU=0.5", "R@1,IoU=0.7", "video R@10")
_INDEX = ("build, processor s", "memory, B each", "p50, ms", "recall@10")
REAL, SIMULATED, SPEED = "Accuracy on real features", "Accuracy on simulated features", "Queries and serving"
SCALE, OFFLINE = "Scale", "Extraction, encoding and training"

#: In the order of the page; results of other benchmarks follow under their own names.
SECTIONS = (
    Section(REAL, "CFMR-Dense on four folds of Charades videos", "real", r"real (?!.*--(clicks|without))", _RECALL),
    Section(REAL, "Fewer labels", "real", r"real (?!.*--without).*--clicks", _RECALL),
    Section(REAL, "Ablations", "real", r"real .*--without", _RECALL),
    Section(REAL, "The published model", "real_published", "", ("R@1,IoU=0.3", "R@1,IoU=0.5", "R@1,IoU=0.7", "mIoU")),
    Section(REAL, "Suggested clicks", "clicks", "--real", ("R@1,IoU=0.5", "among ten", "rank")),
    Section(REAL, "Real pixels, with and without prior knowledge of words", "label_curve", "--demo spliced"),
    Section(REAL, "Things found by name, without training", "named_things"),
    Section(SIMULATED, "Simulated Charades-STA", "real", r"charades (?!.*--without)", _RECALL),
    Section(SIMULATED, "Simulated Charades-STA: ablations", "real", r"charades .*--without", _RECALL),
    Section(SIMULATED, "Simulated ActivityNet Captions", "real", "activitynet ", _RECALL),
    Section(SIMULATED, "Simulated TACoS", "real", "tacos ", _RECALL),
    Section(SIMULATED, "Rendered demo, with and without prior knowledge of words", "label_curve", "--demo runs"),
    Section(
        SIMULATED, "Suggested clicks on the rendered demo", "clicks", "--demo", ("R@1,IoU=0.5", "among ten", "rank")
    ),
    Section(SIMULATED, "Cost of a label: points and spans over hours of labelling", "accuracy", "--part cost"),
    Section(SPEED, "A query", "query_latency", "", ("CFMR p50, ms", "CFMR-Dense p50, ms")),
    Section(SPEED, "A new process for each search", "cold_start"),
    Section(SPEED, "Searches on the page", "serve_load", "", ("new queries/s", "p99, ms", "repeated queries/s")),
    Section(SPEED, "A library of 10,000 videos", "library"),
    Section(SCALE, "Growth of an index", "index_scale", "table", _INDEX),
    Section(SCALE, "An index and other engines", "index_scale", "run (?!.*--engine)", _INDEX),
    Section(SCALE, "128 instead of 256 directions", "index_scale", "run .*--engine", _INDEX),
    Section(SCALE, "Codes under the exact re-rank", "index_codes", "", ("bytes", "recall@10", "p50, ms")),
    Section(SCALE, "Extraction on Ray", "scale", "ray"),
    Section(SCALE, "A directory and Milvus", "scale", "milvus", ("recall@10", "p50, ms", "queries/s, 1 thread")),
    Section(SCALE, "An hour of video", "scale", "cost"),
    Section(OFFLINE, "Extraction", "extraction", "", ("seconds", "frames a second")),
    Section(OFFLINE, "Encoding", "offline_encoding"),
    Section(OFFLINE, "A training step", "training_step"),
    Section(OFFLINE, "A training step on PyTorch and MindSpore", "mindspore_step"),
    Section(OFFLINE, "MindSpore's graph mode and PyNative", "mindspore_modes"),
    Section(OFFLINE, "Accuracy on PyTorch and MindSpore", "mindspore_accuracy"),
)


def page(folder: Path) -> tuple[str, dict[str, bytes]]:
    """The page in Markdown, and the drawings that it shows, by name."""
    lines = [
        json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines()
    ]
    parts = [
        "# Results by release",
        "Benchmark results of each release, stored by `benchmarks/keep.py` in `benchmarks/results/`. Figures within a "
        "table come from one run unless noted otherwise. Machines differ between tables and releases, so ratios say "
        "more than times.",
    ]
    topics: dict[str, list[tuple[Section, list[Line]]]] = {}
    for section, group in sorted(_sections(lines), key=lambda pair: _place(pair[0])):
        topics.setdefault(section.topic, []).append((section, group))
    drawings: dict[str, bytes] = {}
    for topic, sections in topics.items():
        parts.append(f"## {topic}")
        for section, group in sections:
            name = f"results-{len(drawings)}.svg"
            drawing = drawn(group, section.drawn)
            if drawing:
                drawings[name] = drawing
            parts += [*_described(section, group), *([f"![{section.title}, by release]({name})"] if drawing else ())]
            parts.append(_folded(_table(group), len(group)))
    return "\n\n".join(parts) + "\n", drawings


def _sections(lines: Iterable[Line]) -> list[tuple[Section, list[Line]]]:
    """Lines of the same command, of all releases, each with its section."""
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        groups.setdefault((line["benchmark"], line["options"]), []).append(line)
    return [(_section_of(*command), group) for command, group in groups.items()]


def _section_of(benchmark: str, options: str) -> Section:
    for section in SECTIONS:
        if section.benchmark == benchmark and covers(section, options):
            return section
    return Section("Other benchmarks", benchmark, benchmark)


def covers(section: Section, options: str) -> bool:
    """Whether options of a section's benchmark belong to the section."""
    return re.search(section.options, f"{options} ") is not None


def _place(section: Section) -> int:
    """The position on the page: that in `SECTIONS`, and others at the end."""
    return SECTIONS.index(section) if section in SECTIONS else len(SECTIONS)


def _described(section: Section, group: Sequence[Line]) -> list[str]:
    """Heading, command, and the conditions of each release."""
    conditions = dict.fromkeys((line["release"], line["day"], line["note"]) for line in group)
    return [
        f"### {section.title}",
        f"    python benchmarks/{section.benchmark}.py {group[0]['options']}".rstrip(),
        "\n".join(f"- {release}, {day}{f': {note}' if note else ''}" for release, day, note in conditions),
    ]


def figure(cell: str) -> float | None:
    """The number with which a cell begins: 69.3 of `69.3 ± 2.8`."""
    found = re.match(r"-?[\d,]*\.?\d+", cell.replace("**", ""))
    return float(found[0].replace(",", "")) if found else None


def drawn(group: Sequence[Line], wanted: Sequence[str] = ()) -> bytes | None:
    """Bars of some columns that hold numbers: one for each row, and each release in its own colour.

    Rows of single folds are left out where there are means over them.
    """
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "cfmr"
    from matplotlib import pyplot

    found_columns = list(dict.fromkeys(c for line in group for c in line["cells"]))
    columns = [c for c in found_columns if any(figure(line["cells"].get(c, "")) is not None for line in group)]
    columns = ([c for c in wanted if c in columns] or columns)[:MOST_DRAWN]
    if not columns:
        return None
    names = list(dict.fromkeys(line["row"] for line in group))
    rows = [name for name in names if not name.startswith("fold ")] or names
    releases = list(dict.fromkeys(line["release"] for line in group))
    size = (3 + 2.1 * len(columns), 0.8 + 0.3 * len(rows) * len(releases))
    drawing, axes = pyplot.subplots(1, len(columns), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for axis, column in zip(axes[0], columns, strict=True):
        for i, release in enumerate(releases):
            found = {line["row"]: line["cells"].get(column, "") for line in group if line["release"] == release}
            places = [place + i / len(releases) * 0.8 for place in range(len(rows))]
            values = [figure(found.get(row, "")) for row in rows]
            bars = axis.barh(
                places, [value or 0 for value in values], 0.7 / len(releases), label=release, color=f"C{i}"
            )
            said = ["" if value is None else f"{value:,.12g}" for value in values]
            axis.bar_label(bars, labels=said, padding=3, fontsize=9)
        axis.set_title(column, fontsize=10)
        axis.margins(x=0.3)
        axis.spines[["top", "right", "bottom"]].set_visible(False)
        axis.set_xticks([])
    axes[0][0].set_yticks(range(len(rows)), [_shown(row) for row in rows], fontsize=9)
    axes[0][0].invert_yaxis()
    if len(releases) > 1:
        axes[0][-1].legend(fontsize=9)
    target = io.BytesIO()
    drawing.savefig(target, format="svg", metadata={"Date": None})
    pyplot.close(drawing)
    return target.getvalue()


def _shown(row: str) -> str:
    """The name of a row on an axis, without marks and spaces before commas."""
    return row.strip("*").replace(" ,", ",") or "-"


def _table(group: Sequence[Line]) -> str:
    columns = list(dict.fromkeys(column for line in group for column in line["cells"]))
    rows = [[_shown(line["row"]), line["release"], *(line["cells"].get(c, "") for c in columns)] for line in group]
    return "\n".join(
        f"| {' | '.join(row)} |" for row in [["", "release", *columns], ["---"] * (len(columns) + 2), *rows]
    )


def _folded(table: str, rows: int) -> str:
    """A table that opens with a click if it is long."""
    if rows <= MOST_OPEN:
        return table
    return f'??? note "All {rows} rows"\n\n' + "\n".join(f"    {line}" for line in table.splitlines())
