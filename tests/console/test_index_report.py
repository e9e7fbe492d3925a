from pathlib import Path

from cfmr.console.index_report import report_lines
from cfmr.index.report import IndexReport


def lines(**changed: object) -> list[str]:
    values = {"added": 0, "replaced": 0, "removed": 0, "unchanged": 0, "rows": 7200, "engine": "exact", "metrics": {}}
    return list(report_lines(IndexReport(**{**values, **changed}), Path("films")))  # type: ignore[arg-type]


def test_only_what_happened_is_told() -> None:
    assert lines(added=1200, removed=1) == [
        "films: videos: 1,200 added, 1 removed; 7,200 moments, searched by engine exact"
    ]
    assert lines() == ["films: videos: nothing to do; 7,200 moments, searched by engine exact"]


def test_approximate_search_tells_what_it_finds() -> None:
    assert lines(engine="ivf", metrics={"recall_at_10": 0.9931})[1] == "  finds 99.3 % of the exact ten best"
    assert len(lines(engine="ivf")) == 1, "an index that nothing was measured on"


def test_a_threshold_that_is_a_guess_is_told_as_none() -> None:
    metrics = {"thresholds": {"video": 4.2, "collection": 5.1}, "threshold_accuracy": {"video": 0.9, "collection": 0.6}}
    _, video, collection = lines(metrics=metrics)
    assert video == "  in one video, a match scores 4.20 or more (right for 90 %)"
    assert collection.startswith(
        "  in the collection, no score tells whether there is a match (the best is right for 60"
    )


def test_videos_that_failed_are_named() -> None:
    assert lines(failed={"a": "video 'a': too long"})[1:] == ["not indexed (1):", "  video 'a': too long"]


def test_what_a_feature_file_holds_besides_is_named() -> None:
    assert lines(skipped={"names": "no features"})[1:] == [
        "passed over in the feature file (1):",
        "  names: no features",
    ]
