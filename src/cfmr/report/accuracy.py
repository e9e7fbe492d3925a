"""The accuracy tables: published figures and one's own, told apart."""

from collections.abc import Sequence
from statistics import mean, stdev

from cfmr.report.finished_run import FinishedRun
from cfmr.report.markdown import number, table
from cfmr.report.published import Benchmark

OWN_MEASURES = ("R@1,IoU=0.3", "R@1,IoU=0.5", "R@1,IoU=0.7", "R@5,IoU=0.5", "R@5,IoU=0.7", "R@1,mIoU")


def benchmark_table(benchmark: Benchmark, runs: Sequence[FinishedRun]) -> str:
    """Published methods by supervision, then the measured runs and the best constant answer on their test split."""
    header = ["method", "supervision", "figures", "features", *benchmark.measures]
    rows = [
        [row.method, row.supervision, "published", benchmark.features, *map(number, row.values)]
        for row in benchmark.accuracy
    ]
    return table(header, rows + _measured(runs, benchmark.measures), numbers=4)


def own_table(runs: Sequence[FinishedRun]) -> str:
    """Runs on data that nothing was published for."""
    return table(
        ["method", "supervision", "figures", "features", *OWN_MEASURES], _measured(runs, OWN_MEASURES), numbers=6
    )


def _measured(runs: Sequence[FinishedRun], measures: Sequence[str]) -> list[list[str]]:
    rows = []
    for run in runs:
        values = [number(run.test(measure)) for measure in measures]
        rows.append([f"**{run.name}** ({run.config.model.name})", "point", "**measured**", run.features, *values])
    for group in _same_configuration(runs):
        columns = [[run.test(measure) for run in group] for measure in measures]
        spread = [_mean_and_spread([value for value in column if value is not None]) for column in columns]
        rows.append([f"mean of these {len(group)}, ± std", "point", "**measured**", group[0].features, *spread])
    for answers, first in {
        tuple(run.constant(measure) for measure in measures): run
        for run in reversed(runs)
        if "best_constant" in run.figures
    }.items():
        rows.append(
            ["best constant answer", "test split", "**measured**", f"none ({_sentences(first)})", *map(number, answers)]
        )
    return rows


def _same_configuration(runs: Sequence[FinishedRun]) -> list[list[FinishedRun]]:
    """Groups of several runs that differ by their seed only."""
    groups: dict[str, list[FinishedRun]] = {}
    for run in runs:
        trained = run.config.model_dump(mode="json")
        trained["train"].pop("model_saved_path")
        groups.setdefault(f"{trained} {run.features}", []).append(run)
    return [group for group in groups.values() if len(group) > 1]


def _mean_and_spread(values: list[float]) -> str:
    return f"{mean(values):.2f} ± {stdev(values):.2f}" if len(values) > 1 else "-"


def _sentences(run: FinishedRun) -> str:
    count = run.figures.get("sentences")
    return f"{count:,} sentences" if isinstance(count, int) else "its test split"


def remarks(runs: Sequence[FinishedRun], benchmark: Benchmark | None) -> list[str]:
    """What a reader has to know about each run to read its figures."""
    texts = []
    for run in runs:
        parts = [f"epoch {run.figures.get('epoch', '?')} of {run.config.train.epochs}"]
        chosen = run.figures.get("selected_on")
        parts.append(f"chosen on {chosen}" if chosen != "test" else "chosen on the test split, as the original does")
        parts.append(f"{_sentences(run)} of {run.figures.get('videos', '?')} videos tested")
        if benchmark and run.figures.get("sentences") not in benchmark.test_sentences:
            parts.append("**not the whole test split**")
        if run.simulated:
            parts.append("**simulated features: not comparable with published figures**")
        texts.append(f"{run.name}: {', '.join(parts)}.")
    return texts
