"""The one error that a user can cause."""

import errno
import re

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # of an OSError: nothing more can be written
LONGEST = 1000  # characters of a message; what stands between its beginning and its end is left out
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class InputError(Exception):
    """Something the user gave cannot be used.

    The message is one line: it names the file, row or key and says what to do. The command line prints it and exits
    with 2. What it quotes of a file may be anything, so control characters are written out and the length is bounded.
    """

    def __init__(self, message: str) -> None:
        super().__init__(_one_line(message))


class DiskFullError(InputError):
    """There was no room to write. Nothing half-written remains; the same works again where there is room."""


def _one_line(message: str) -> str:
    if len(message) > LONGEST:
        message = f"{message[: LONGEST // 2]} ... {message[-LONGEST // 2 :]}"
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], message)
