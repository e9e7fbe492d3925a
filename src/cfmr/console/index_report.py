"""What an index run did, for a person."""

from collections.abc import Iterator

from cfmr.index.location import IndexLocation
from cfmr.index.report import IndexReport
from cfmr.search.retriever import MIN_THRESHOLD_ACCURACY

LISTED = 20  # of what was passed over


def report_lines(report: IndexReport, out: IndexLocation) -> Iterator[str]:
    """The report on an index at `out`."""
    counts = {
        "added": report.added,
        "replaced": report.replaced,
        "removed": report.removed,
        "unchanged": report.unchanged,
    }
    done = ", ".join(f"{n:,} {what}" for what, n in counts.items() if n) or "nothing to do"
    yield f"{out}: videos: {done}; {report.rows:,} moments, searched by engine {report.engine}"
    if report.engine == "ivf" and "recall_at_10" in report.metrics:
        yield f"  finds {100 * report.metrics['recall_at_10']:.1f} % of the exact ten best"
    if "thresholds" in report.metrics:
        yield from (_threshold_line(report, scope) for scope in ("video", "collection"))
    if report.failed:
        yield f"not indexed ({len(report.failed)}):"
        yield from (f"  {line}" for line in report.failed.values())
    if report.skipped:
        yield f"passed over in the feature file ({len(report.skipped)}):"
        yield from (f"  {place}: {why}" for place, why in list(report.skipped.items())[:LISTED])


def _threshold_line(report: IndexReport, scope: str) -> str:
    """What was found out about scores in one video, or in the collection."""
    score = report.metrics["thresholds"][scope]
    where = "one video" if scope == "video" else "the collection"
    if rejects := report.metrics.get("threshold_rejects"):
        return f"  in {where}, a match scores {score:.2f} or more ({100 * rejects[scope]:.0f} % of random words do not)"
    right = report.metrics["threshold_accuracy"][scope]
    if right < MIN_THRESHOLD_ACCURACY:
        return f"  in {where}, no score tells whether there is a match (the best is right for {100 * right:.0f} %)"
    return f"  in {where}, a match scores {score:.2f} or more (right for {100 * right:.0f} %)"
