"""The report: one Markdown file and its pictures in one folder."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cfmr.data.annotations import load_annotations
from cfmr.data.features import FeatureStore
from cfmr.data.text_features import sentence_vocabulary
from cfmr.errors import InputError
from cfmr.files.atomic import make_directory, replacing
from cfmr.models.base import load_model
from cfmr.models.checkpoint import Checkpoint, find_checkpoint
from cfmr.report import pictures
from cfmr.report.accuracy import benchmark_table, own_table, remarks
from cfmr.report.comparison import Comparison, compare
from cfmr.report.efficiency import QueryCost, efficiency_table, measure
from cfmr.report.examples import Example, run_examples
from cfmr.report.finished_run import FinishedRun, read_runs
from cfmr.report.plots import save_figure
from cfmr.report.published import Benchmark, Cost, benchmarks

PUBLISHED = (
    "Published figures are those of the papers; D3G* is from its own release, whose Charades-STA features differ. The "
    "original release of CFMR reports the epoch that is best on the test set. The best constant answer is one and the "
    "same span for every sentence, the best for each measure, chosen on the test split itself: what is to be beaten."
)
COSTS = (
    "A multiply-add counts as one. Offline work is not counted. The published parameters of CFMR include the "
    "cross-attention that its text encoder owns and never runs; the measured ones are those that are read. Measured "
    "FLOPs are the mean over the test sentences by PyTorch's own counter; CFMR-Dense adds up rows of a table, an "
    "addition a number, and its parameters are that table's. Measured times are from a sentence to the ranked moments "
    "of its video, the median, on one thread. Published query times: CFMR 3.2 to 3.7 ms, ViGA 45 to 67 ms."
)


def write_report(
    paths: Sequence[Path], out: Path, videos: Path | None = None, comparison: Comparison | None = None
) -> Path:
    """Write `report.md` and its pictures for some finished runs.

    Args:
        paths: directories of runs.
        out: folder to write to.
        videos: folder of the videos, for frames in the query pictures.
        comparison: answers of other systems, to stand beside those of the runs on the same sentences.

    Returns:
        the Markdown file.

    Raises:
        InputError: a run cannot be read, or the folder not be written.
    """
    if not paths and comparison is None:
        raise InputError("no run is named; give the directories that `cfmr train` wrote")
    runs = read_runs(list(paths))
    make_directory(out)
    opened = {run.name: _open(run) for run in runs}
    parts = ["# Report", "", "Figures are percent.", ""]
    if comparison is not None:
        parts += compare(comparison, runs)
    for name, benchmark in benchmarks().items():
        group = [run for run in runs if run.benchmark == name]
        if group:
            parts += _section(benchmark.title, group, benchmark, opened, out, f"efficiency-{name}.png")
    group = [run for run in runs if run.benchmark is None]
    if group:
        parts += _section("Other data", group, None, opened, out, "")
    parts += ["## Training", ""] if runs else []
    for run in runs:
        parts += _training(run, out) + _queries(run, opened[run.name], videos, out)
    target = out / "report.md"
    with replacing(target) as temporary:
        temporary.write_text("\n".join(parts), encoding="utf-8")
    return target


# What a run's model says: its cost and example queries, or why they could not be had.
Opened = tuple[QueryCost, list[Example]] | str


def _open(run: FinishedRun) -> Opened:
    """Load a run's model, features and test split. Where they have been moved since, the rest is reported still."""
    try:
        checkpoint = Checkpoint.load(find_checkpoint(run.path))
        rows = load_annotations(run.config.dataset.test_data, spans=True)
        features = FeatureStore(run.config.dataset.feature_path)
        features.check((row.video for row in rows), run.config.dataset.frame_dim)
        paths = run.config.dataset
        vocabulary = sentence_vocabulary(checkpoint.vocabulary, paths.vocab_path, rows, paths.word_dim)
        model = load_model(checkpoint)
    except InputError as error:
        return str(error)
    max_words = checkpoint.config.dataset.max_num_words
    cost = measure(model, rows, features, vocabulary, max_words)
    return cost, run_examples(model, rows, features, vocabulary, max_words)


def _section(
    title: str, runs: list[FinishedRun], benchmark: Benchmark | None, opened: dict[str, Opened], out: Path, picture: str
) -> list[str]:
    """Accuracy and efficiency on one data set."""
    accuracy = own_table(runs) if benchmark is None else benchmark_table(benchmark, runs)
    costs = {run.name: found[0] for run in runs if isinstance(found := opened[run.name], tuple)}
    parts = [f"## {title}", "", accuracy, "", *(f"- {text}" for text in remarks(runs, benchmark)), ""]
    if benchmark is not None:
        parts += [PUBLISHED, ""]
    parts += ["### Online cost", "", efficiency_table(benchmark, costs), "", COSTS, ""]
    parts += [f"- {name}: {_lengths(cost)}" for name, cost in costs.items()]
    parts += [f"- {run.name}: not measured: {why}" for run in runs if isinstance(why := opened[run.name], str)]
    if benchmark is not None:
        _save(pictures.draw_efficiency(benchmark, _points(runs, benchmark, costs)), out / picture)
        parts += ["", f"![Accuracy over online cost]({picture})"]
    return [*parts, ""]


def _lengths(cost: QueryCost) -> str:
    return (
        f"{cost.words:.1f} known words a sentence, {cost.flops / 1e8:.3g}e8 multiply-adds on average, "
        f"{cost.longest / 1e8:.3g}e8 for the longest"
    )


def _points(
    runs: list[FinishedRun], benchmark: Benchmark, costs: dict[str, QueryCost]
) -> list[tuple[FinishedRun, float, Cost]]:
    points = []
    for run in runs:
        values = [run.test(measure) for measure in benchmark.measures[:2]]
        if run.name in costs and None not in values:
            cost = Cost(run.name, costs[run.name].flops / 1e8, costs[run.name].parameters / 1e6)
            points.append((run, sum(filter(None, values)) / 2, cost))
    return points


def _training(run: FinishedRun, out: Path) -> list[str]:
    if not run.epochs:
        return [f"{run.name}: no metrics.jsonl, so no curves.", ""]
    name = f"training-{_file_name(run)}.png"
    _save(pictures.draw_training(run), out / name)
    return [f"![Training of {run.name}]({name})", ""]


def _queries(run: FinishedRun, opened: Opened, videos: Path | None, out: Path) -> list[str]:
    if isinstance(opened, str):
        return []
    name = f"queries-{_file_name(run)}.png"
    _save(pictures.draw_examples(run, opened[1], videos), out / name)
    return [f"![Queries answered by {run.name}]({name})", ""]


def _save(figure: Any, path: Path) -> None:
    save_figure(figure, path, bbox_inches="tight")


def _file_name(run: FinishedRun) -> str:
    return re.sub(r"[^\w.-]+", "-", run.name)
