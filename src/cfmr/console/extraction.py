"""What became of a batch of videos, for a person."""

from pathlib import Path

from rich.console import Console

from cfmr.extractors.batch import Summary


def print_summary(summary: Summary, out: Path) -> None:
    """What was done, on stdout; what could not be read, or only in part, on stderr."""
    plain = Console(highlight=False, soft_wrap=True, markup=False)
    count = len(summary.extracted)
    kept = f", {len(summary.kept)} were there already" if summary.kept else ""
    plain.print(f"{count} video{'s' * (count != 1)} extracted{kept}; {out}")
    for video, name in summary.called.items():
        plain.print(f"{video} is called {name} there")
    errors = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    if summary.damaged:
        errors.print(f"read in part ({len(summary.damaged)}):")
        for line in summary.damaged.values():
            errors.print(f"  {line}")
    if summary.failed:
        errors.print(f"not read ({len(summary.failed)}):")
        for line in summary.failed.values():
            errors.print(f"  {line}")
