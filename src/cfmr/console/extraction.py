"""A batch of videos as a user sees it in a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from cfmr.cluster.extract import Tally
from cfmr.extractors.batch import Summary


@contextmanager
def showing_progress(count: int) -> Iterator[Callable[[float, int], None]]:
    """A bar with the time left, on stderr; what it yields is called with the share done and the videos done."""
    console = Console(stderr=True)
    columns = TextColumn("extracting"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[done]} videos")
    bar = Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal)
    with bar:
        task = bar.add_task("", total=1.0, done=f"0/{count}")
        yield lambda share, done: bar.update(task, completed=share, done=f"{done}/{count}")


def print_summary(summary: Summary, out: Path) -> None:
    """What was done, on stdout; what could not be read, or only in part, on stderr."""
    plain = Console(highlight=False, soft_wrap=True, markup=False)
    kept = f", {len(summary.kept)} were there already" if summary.kept else ""
    plain.print(f"{len(summary.extracted)} videos extracted{kept}; {out}")
    errors = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    if summary.damaged:
        errors.print(f"read in part ({len(summary.damaged)}):")
        for line in summary.damaged.values():
            errors.print(f"  {line}")
    if summary.failed:
        errors.print(f"not read ({len(summary.failed)}):")
        for line in summary.failed.values():
            errors.print(f"  {line}")


@contextmanager
def showing_job() -> Iterator[Callable[[Tally], None]]:
    """A bar for a job on a cluster: videos, how many hours of video it does an hour, and the time left; on stderr."""
    rate = TextColumn("{task.fields[videos]} videos, {task.fields[speed]:.0f} h of video an hour, left")
    columns = (
        TextColumn("extracting"),
        BarColumn(),
        TaskProgressColumn(),
        rate,
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0, videos="0", speed=0.0)
        yield lambda tally: bar.update(
            task, completed=tally.share, videos=f"{tally.done}/{tally.total}", speed=tally.speed
        )
