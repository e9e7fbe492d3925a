"""The one error that a user can cause."""


class InputError(Exception):
    """Something the user gave cannot be used.

    The message is one line: it names the file, row or key and says what to do. The command line prints it and exits
    with 2.
    """


class DiskFullError(InputError):
    """There was no room to write. Nothing half-written remains; the same works again where there is room."""
