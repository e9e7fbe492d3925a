"""The directory that a training run writes."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast, get_args

from cfmr.config import Config
from cfmr.errors import InputError
from cfmr.files.atomic import make_directory, replacing, settle_directory, sweep, write_json

Select = Literal["validation", "test", "last"]


def check_select(name: str) -> Select:
    """Raises InputError for a name that is no way to select an epoch."""
    if name not in get_args(Select):
        raise InputError(f"--select {name}: known are {', '.join(get_args(Select))}")
    return cast(Select, name)


class RunDirectory:
    """`config.json`, `metrics.jsonl` (one line an epoch), `metrics.json` (the final figures), `checkpoint` (the chosen
    epoch), `last` (with the optimiser, to resume from) and TensorBoard's events in `tensorboard`."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = make_directory(Path(path))
        self.chosen = self.path / "checkpoint"
        self.last = self.path / "last"
        self.tensorboard = self.path / "tensorboard"
        self.final = self.path / "metrics.json"
        self.epochs = self.path / "metrics.jsonl"

    def settle(self) -> None:
        """Finish what a killed run was replacing."""
        sweep(self.path)
        settle_directory(self.chosen)
        settle_directory(self.last)

    def write_config(self, config: Config) -> None:
        write_json(self.path / "config.json", config.model_dump())

    def write_epochs(self, lines: Sequence[dict[str, Any]]) -> None:
        """All lines at once, beside and renamed: an interrupted run never leaves half a line."""
        with replacing(self.epochs) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
