"""Finished runs, as a report reads them."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cfmr.config import Config, load_config
from cfmr.errors import InputError
from cfmr.files.atomic import parse_json, read_json
from cfmr.files.reading import reading
from cfmr.report.published import benchmark_of

# Settings that simulate_features.py writes into a feature file and no extractor does.
_SIMULATION = {"hidden", "ambient", "confusers", "distractors"}


@dataclass(frozen=True)
class FinishedRun:
    """A run's directory, read.

    Attributes:
        name: short and different from those of the other runs.
        path: the directory.
        config: what was trained.
        figures: `metrics.json`.
        epochs: the lines of `metrics.jsonl`.
    """

    name: str
    path: Path
    config: Config
    figures: dict[str, Any]
    epochs: list[dict[str, Any]]

    @property
    def benchmark(self) -> str | None:
        """The published benchmark whose figures may stand beside this run's; None for other data."""
        return benchmark_of(self.config.dataset.dataset)

    @property
    def simulated(self) -> bool:
        """Whether the features were simulated."""
        return self._features.keys() >= _SIMULATION

    @property
    def features(self) -> str:
        """On what the run was measured."""
        told = self._features
        if self.simulated:
            return f"simulated (simulate_features.py, seed {told.get('seed')}, {self.config.dataset.frame_dim}-d)"
        if "extractor" in told:
            return f"{told['extractor']}, {self.config.dataset.frame_dim}-d"
        return f"{Path(self.config.dataset.feature_path).name}, {self.config.dataset.frame_dim}-d"

    @property
    def _features(self) -> dict[str, Any]:
        told = self.figures.get("features")
        return told if isinstance(told, dict) else {}

    def test(self, measure: str) -> float | None:
        """A figure on the test split, percent."""
        return _number(self.figures["test"].get(measure))

    def constant(self, measure: str) -> float | None:
        """What the best constant answer reaches there; it exists for R@1 only."""
        return _number(self.figures.get("best_constant", {}).get(measure))


def read_runs(paths: list[Path]) -> list[FinishedRun]:
    """Read finished runs.

    Raises:
        InputError: a directory is no run, or the run is not finished.
    """
    names = _short_names([path.resolve() for path in paths])
    return [_read_run(path, name) for path, name in zip(paths, names, strict=True)]


def _read_run(path: Path, name: str) -> FinishedRun:
    if not (path / "config.json").is_file():
        raise InputError(f"{path}: not a run's directory (it has no config.json); `cfmr train` writes one")
    if not (path / "metrics.json").is_file():
        raise InputError(
            f"{path}: the run is not finished (it has no metrics.json); `cfmr train --resume` carries it on"
        )
    figures = read_json(path / "metrics.json")
    if not isinstance(figures, dict) or not isinstance(figures.get("test"), dict):
        raise InputError(f"{path / 'metrics.json'}: has no figures of a test split")
    return FinishedRun(name, path, load_config(path / "config.json"), figures, _read_epochs(path / "metrics.jsonl"))


def _read_epochs(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    with reading(path, "a file of one JSON object a line"):
        lines = path.read_bytes().splitlines()
    epochs = []
    for number, line in enumerate(lines, 1):
        value = parse_json(line, f"{path}, line {number}")
        if not isinstance(value, dict):
            raise InputError(f"{path}: line {number} is no JSON object")
        epochs.append(value)
    return epochs


def _short_names(paths: list[Path]) -> list[str]:
    """The last part of each path, with as many more as tell them apart."""
    for depth in range(1, max((len(path.parts) for path in paths), default=0)):
        names = ["-".join(path.parts[-depth:]).strip("/") for path in paths]
        if len(set(names)) == len(names):
            return names
    return [f"run-{number}" for number in range(1, len(paths) + 1)]


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
