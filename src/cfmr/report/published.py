"""Figures as published, from `published.json` beside this file (Method, Published figures)."""

from functools import cache
from importlib.resources import files
from typing import NamedTuple

from pydantic import TypeAdapter


class Accuracy(NamedTuple):
    """A method's accuracy: percent by the measures of its benchmark, None where it was not published."""

    method: str
    supervision: str  # full, weak or point
    values: tuple[float | None, ...]


class Cost(NamedTuple):
    """What a query costs a method online: multiply-adds in 1e8, parameters in millions."""

    method: str
    flops: float
    parameters: float


class Benchmark(NamedTuple):
    """What was published for one data set.

    Attributes:
        title: its name.
        features: what the figures were measured on.
        test_sentences: sizes of its test split as in use.
        measures: names of the four measures.
    """

    title: str
    features: str
    test_sentences: tuple[int, ...]
    measures: tuple[str, ...]
    accuracy: tuple[Accuracy, ...]
    efficiency: tuple[Cost, ...]

    def main_accuracy(self, method: str) -> float | None:
        """Mean of the two R@1 measures, which nearly every method gives; None if one is missing."""
        values = next((row.values[:2] for row in self.accuracy if row.method == method), (None, None))
        return None if None in values else sum(filter(None, values)) / 2


@cache
def benchmarks() -> dict[str, Benchmark]:
    """By the name that `cfmr prepare` knows them by."""
    content = files("cfmr.report").joinpath("published.json").read_text(encoding="utf-8")
    return TypeAdapter(dict[str, Benchmark]).validate_json(content)


def benchmark_of(dataset: str) -> str | None:
    """The benchmark that a configuration's `dataset.dataset` means: CharadesSTA, ActivityNet, TACoS in any case."""
    name = dataset.lower().replace("-", "").replace("_", "")
    return next((key for key in benchmarks() if name.startswith(key)), None)
