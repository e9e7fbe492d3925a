"""What learning does in a process of its own: a model is tried without the held-out labels, then fitted to all.

The server writes a folder and reads what is left in it:

- `config.json`, `train.json`, `all.json`, `unseen.json`: what to train, without and with the held-out labels, and
  sentences that the first of the two has not seen, for its threshold;
- `removed.json`: videos that are not to be indexed;
- `trial/run`, `trial/index`: the model without the held-out labels, to be compared; none where no label is held out;
- `run`, `index`: the model that is served. It reads moments, weighs the prior and has the threshold as the trial has.
"""

import contextlib
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from cfmr.config import DenseConfig, load_config
from cfmr.data.annotations import Annotation, load_annotations
from cfmr.errors import InputError
from cfmr.index.build import IndexOptions, build_index
from cfmr.index.encode import VideoSources
from cfmr.index.model_source import CheckpointModel
from cfmr.index.workspace import REMOVED, read_names
from cfmr.progress import TrainingProgress, silent
from cfmr.search.calibrate import ABSENT, calibrate_index, keep_thresholds, thresholds_of
from cfmr.training import dense

ENOUGH_SENTENCES = 20  # with fewer, a threshold is chance
CALIBRATED = 200  # sentences at most: each is searched
# which share of the time fitting the trial takes, and of the final model fitting
TRIAL, FITTING = 0.6, 0.8


class _Part:
    """A part of the whole, told as such. It has steps of which the number is not known; each takes half of the rest.

    Args:
        label: what it is, for people.
        first, last: where it begins and ends, 0 to 1.
    """

    def __init__(self, told: TrainingProgress, label: str, first: float, last: float) -> None:
        self._told, self._label, self._last = told, label, last
        self._step, self._from, self._reached = "", first, first

    def __call__(self, label: str, done: int, total: int | None, metrics: Mapping[str, Any] | None = None) -> None:
        """As a `TrainingProgress`; never goes back."""
        step = label.partition(":")[0]
        if metrics is None and step != self._step:
            self._step, self._from = step, self._reached
        if metrics is None and total:
            share = min(done / total, 1.0) * (self._last - self._from) / 2
            self._reached = max(self._reached, self._from + share)
        self._told(f"{self._label}: {label}", round(1000 * self._reached), 1000, metrics)


def fit_and_index(folder: Path, videos: Path, told: TrainingProgress) -> None:
    """See the module.

    Args:
        videos: the folder of the video files.

    Raises:
        InputError: rows or features cannot be used.
    """
    config = load_config(folder / "config.json")
    assert isinstance(config, DenseConfig)
    with threadpool_limits(1, "blas"):  # matrices are too small to share; threads would wait for others
        _fit_and_index(folder, config, videos, told)


def _fit_and_index(folder: Path, config: DenseConfig, videos: Path, told: TrainingProgress) -> None:
    tried = folder / "trial" / "run"
    removed = read_names(folder / REMOVED)
    trial = (folder / "all.json").read_bytes() != (folder / "train.json").read_bytes()
    whole = config.model_copy(
        update={"dataset": config.dataset.model_copy(update={"train_data": str(folder / "all.json")})}
    )
    if not trial:
        dense.train(whole, folder / "run", select="last", progress=_Part(told, "Training on all labels", 0.0, FITTING))
        _index(folder / "run", folder / "index", whole, videos, removed, _Part(told, "Indexing", FITTING, 1.0))
        return
    dense.train(config, tried, select="last", progress=_Part(told, "Training", 0.0, TRIAL))

    def index_trial() -> None:
        _index(tried, folder / "trial" / "index", config, videos, removed, silent)
        _choose_threshold(folder / "trial", load_annotations(folder / "unseen.json"))

    with ThreadPoolExecutor(1) as aside:  # a second core has nothing else to do
        indexed = aside.submit(index_trial)
        middle = TRIAL + (1 - TRIAL) * FITTING
        final = _Part(told, "Training on all labels", TRIAL, middle)
        dense.train_finally(whole, folder / "run", tried / "checkpoint", progress=final)
        _index(folder / "run", folder / "index", whole, videos, removed, _Part(told, "Indexing", middle, 1.0))
        indexed.result()
    keep_thresholds(folder / "index", thresholds_of(folder / "trial" / "index"))


def _index(
    run: Path, out: Path, config: DenseConfig, videos: Path, removed: Collection[str], told: TrainingProgress
) -> None:
    rows = load_annotations(config.dataset.train_data)
    sources = replace(
        VideoSources.load(Path(config.dataset.feature_path), folder=videos), sentences=[row.sentence for row in rows]
    )
    options = IndexOptions(rebuild=True, leave_out=removed)
    build_index(CheckpointModel.load(run), sources, out, options, progress=told)


def _choose_threshold(trial: Path, rows: list[Annotation]) -> None:
    """Choose the score below which nothing matches, where there are enough sentences."""
    if len(rows) < ENOUGH_SENTENCES or len({row.video for row in rows}) < 2:
        return
    names = CheckpointModel.load(trial / "run").unclicked_names(ABSENT)
    with contextlib.suppress(InputError):  # too few of them can be searched: then there is no threshold
        calibrate_index(trial / "index", rows[:CALIBRATED], names)
