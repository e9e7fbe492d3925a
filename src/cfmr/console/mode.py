"""How a command tells how far it is."""

from enum import StrEnum


class ProgressMode(StrEnum):
    """What goes to stderr while a command works; see `cfmr.console.progress`."""

    BAR = "bar"
    JSON = "json"
    NONE = "none"
