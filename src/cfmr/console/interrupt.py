"""What a command says when it is interrupted (Ctrl-C)."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERRUPTED = 130  # the exit code of what SIGINT has ended, by convention of the shell


@contextmanager
def saying_what_is_kept(what: str | Callable[[], str]) -> Iterator[None]:
    """Ends an interrupted block in one line on stderr.

    Args:
        what: is kept and how to go on; or a function that finds out. Nothing where there is nothing to say.

    Raises:
        SystemExit: 130, when interrupted.
    """
    try:
        yield
    except KeyboardInterrupt:
        told = what if isinstance(what, str) else what()
        sys.stderr.write(f"cfmr: interrupted{f'; {told}' * bool(told)}\n")
        raise SystemExit(INTERRUPTED) from None
