"""The one progress bar of the program, and the same as JSON lines for a program that runs a command."""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from cfmr.console.mode import ProgressMode
from cfmr.progress import TrainingProgress, silent

RATE_PERIOD = 120.0  # seconds of the past from which the time left is judged
INTERVAL = 0.2  # seconds between two JSON lines of the same task
SHOWN = ("R@1,IoU=0.5", "R@1,mIoU", "R@1,glance")  # of an epoch's figures


@contextmanager
def showing_progress(
    mode: ProgressMode = ProgressMode.BAR, console: Console | None = None
) -> Iterator[TrainingProgress]:
    """Shows progress on stderr for as long as the block runs.

    Args:
        mode: `bar` draws where stderr is a terminal, and is removed at the end; `json` writes lines
            `{"label": str, "done": int, "total": int | null}`, for an epoch with `"metrics": {...}`.
        console: where the bar is drawn instead.
    """
    if mode is ProgressMode.NONE:
        yield silent
    elif mode is ProgressMode.JSON:
        yield _JsonLines()
    else:
        console = console or Console(stderr=True)
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), _TimeLeft())
        bar = Bar(
            *columns,
            console=console,
            transient=True,
            disable=not console.is_terminal,
            speed_estimate_period=RATE_PERIOD,
        )
        with bar:
            yield _Drawn(bar)


class _TimeLeft(ProgressColumn):
    """The time left, as soon as there is a rate to tell it by."""

    def render(self, task: Task) -> Text:
        left = task.time_remaining
        known = task.total is not None and left is not None and not task.finished
        return Text(f"{timedelta(seconds=int(left or 0))} left" if known else "")


class _Drawn:
    """Draws what it is told as one bar; prints a line an epoch."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._task: TaskID | None = None
        self._stage: int | None = None

    def __call__(self, label: str, done: int, total: int | None, metrics: Mapping[str, Any] | None = None) -> None:
        if self._task is None or total != self._stage:  # another stage has a rate of its own
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task, self._stage = self._bar.add_task(label, total=total, completed=done), total
        else:
            self._bar.update(self._task, description=label, completed=done)
        if metrics is not None:
            self._bar.console.print(epoch_line(metrics), highlight=False, markup=False)


def epoch_line(metrics: Mapping[str, Any]) -> str:
    """An epoch's loss and main validation figures, for a person."""
    figures = "  ".join(f"{name} {metrics[name]:.1f}" for name in SHOWN if name in metrics)
    return f"epoch {metrics['epoch']}: loss {metrics['loss']:.3f}  {figures}".rstrip()


class _JsonLines:
    """Writes what it is told as JSON objects, one a line; between two of the same task some time passes."""

    def __init__(self) -> None:
        self._last: tuple[str, int, int | None] | None = None
        self._written = -INTERVAL

    def __call__(self, label: str, done: int, total: int | None, metrics: Mapping[str, Any] | None = None) -> None:
        now = time.monotonic()
        stage = self._last is None or self._last[2] != total
        if metrics is None and not stage and done != total and now - self._written < INTERVAL:
            return
        if metrics is None and self._last == (label, done, total):
            return
        self._last, self._written = (label, done, total), now
        line: dict[str, Any] = {"label": label, "done": done, "total": total}
        if metrics is not None:
            line["metrics"] = dict(metrics)
        sys.stderr.write(json.dumps(line, ensure_ascii=False) + "\n")
        sys.stderr.flush()
