"""Search inside video by sentence."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cfmr.search.retriever import Moment, MomentRetriever

__all__ = ["Moment", "MomentRetriever"]

# Libraries that report their use over the network unless told otherwise; whoever sets the variables decides.
for _name, _off in (
    ("ORT_DISABLE_TELEMETRY", "1"),
    ("HF_HUB_DISABLE_TELEMETRY", "1"),
    ("RAY_USAGE_STATS_ENABLED", "0"),
):
    os.environ.setdefault(_name, _off)


def __getattr__(name: str) -> Any:
    if name in __all__:  # not before it is asked for: `import cfmr` costs nothing
        from cfmr.search import retriever

        return getattr(retriever, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
