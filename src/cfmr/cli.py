"""The command line: one command a station. Parsing only; the work is elsewhere and imported when it is needed."""

import sys
from pathlib import Path  # noqa: F401
from typing import Annotated  # noqa: F401

import typer

from cfmr.errors import InputError

app = typer.Typer(
    name="cfmr",
    help="Search inside video by sentence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _commands() -> None:
    """Search inside video by sentence."""


def main() -> None:
    """Run a command; a mistake of the user ends in one line on stderr and exit code 2."""
    try:
        app()
    except InputError as error:
        print(f"cfmr: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
