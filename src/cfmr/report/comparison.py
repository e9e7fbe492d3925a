"""Answers of other systems and of one's own runs on the same sentences, in one table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cfmr.data.layouts.predictions import Answers, Submission, read_answers
from cfmr.data.layouts.queries import Query, read_queries, video_lengths
from cfmr.errors import InputError
from cfmr.moments.scoring import score
from cfmr.report.finished_run import FinishedRun
from cfmr.report.markdown import number, table
from cfmr.training.answers import Answerer, scored

# Of all measures those of the table, as far as any row has them.
COLUMNS = (
    *(f"R@1,IoU={m}" for m in (0.3, 0.5, 0.7)),
    *(f"R@5,IoU={m}" for m in (0.5, 0.7)),
    "R@1,mIoU",
    *("mAP", "mAP,IoU=0.5", "mAP,IoU=0.75"),
    *("HIT@1,VeryGood", "HL-mAP,VeryGood"),
    *(f"mR@{n}" for n in (1, 3, 5)),
    *(f"mR+@{n}" for n in (3, 5)),  # with one window nothing is found besides one
    *("AUROC", "Rej-F1@0.5"),
    *(f"G-mIoU@{n},score>0.5" for n in (1, 3, 5)),
    *(f"VCMR R@{n},IoU={m}" for m in (0.5, 0.7) for n in (1, 10, 100)),
    *(f"video R@{n}" for n in (1, 5, 10, 100)),
    "SumR",
    *(f"NDCG@{n},IoU>0.5" for n in (10, 20, 40)),
)


@dataclass(frozen=True)
class Comparison:
    """What is compared.

    Attributes:
        truth: annotations of any layout.
        answers: files of answers of any systems.
        calibrate: validation annotations, from which one's own runs learn how sure to be that anything fits; None:
            what each validated on.
    """

    truth: Path
    answers: Sequence[Path]
    calibrate: Path | None = None


def compare(comparison: Comparison, runs: Sequence[FinishedRun]) -> list[str]:
    """Lines of Markdown: a table with a row for each file and each run, scored by one and the same function.

    Raises:
        InputError: the truth or a file of answers cannot be used.
    """
    queries = read_queries(comparison.truth)
    given = {path: read_answers(path) for path in comparison.answers}
    rows, remarks = [], []
    for path, answers in given.items():
        rows.append((path.stem, f"answers in {path.name}", score(queries, answers, str(path))))
    over_all = any(isinstance(answers, Submission) for answers in given.values())
    within = not over_all or any(not isinstance(answers, Submission) for answers in given.values())
    for run in runs:
        try:
            answerer = Answerer.of_run(run.config, run.path, queries, comparison.calibrate)
            figures = _of_run(answerer, run.name, queries, within=within, over_all=over_all)
        except InputError as error:
            remarks.append(f"- {run.name}: not measured on these sentences: {error}")
            continue
        if answerer.existence is None and within and any(query.windows == () for query in queries):
            remarks.append(_unsure(run.name))
        rows.append((f"**{run.name}** ({run.config.model.name})", run.features, figures))
    columns = [name for name in COLUMNS if any(name in figures for _, _, figures in rows)]
    body = [[name, source, *(number(figures.get(column)) for column in columns)] for name, source, figures in rows]
    videos = len(video_lengths(queries))
    about = (
        f"{len(queries):,} sentences of {videos:,} videos in {comparison.truth.name}; every row is scored here, by the "
        "same rules. NDCG is of 1, all else percent."
    )
    heading = f"## Answers on {comparison.truth.name}"
    return [heading, "", table(["system", "answers of", *columns], body, len(columns)), "", about, "", *remarks, ""]


def _of_run(
    answerer: Answerer, name: str, queries: Sequence[Query], *, within: bool, over_all: bool
) -> dict[str, float]:
    answers: list[Answers] = []
    if within:
        answers.append(answerer.predict(queries))
    if over_all:
        answers.append(answerer.submit(queries))
    figures: dict[str, float] = {}
    for found in answers:
        figures |= scored(queries, found, name)
    return figures


def _unsure(name: str) -> str:
    return (
        f"- {name}: when to say that nothing fits was not learnt, for want of validation sentences of two videos with "
        "features; name some with --calibrate, and Rej-F1 and G-mIoU are given"
    )
