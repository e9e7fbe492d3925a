"""What an index run did."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What an index run did, in videos, and what the index is now.

    Attributes:
        rows: of all videos of the index.
        metrics: what was measured of the index, see `Index.metrics`.
        failed: video -> one line, of those that could not be encoded.
        skipped: what else lies in the feature file, by its path -> why it is no video.
    """

    added: int
    replaced: int
    removed: int
    unchanged: int
    rows: int
    engine: str
    metrics: Mapping[str, Any]
    failed: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
