"""Search inside video by sentence."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cfmr.search.retriever import Moment, MomentRetriever

__all__ = ["Moment", "MomentRetriever"]


def __getattr__(name: str) -> Any:
    if name in __all__:  # not before it is asked for: `import cfmr` costs nothing
        from cfmr.search import retriever

        return getattr(retriever, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
