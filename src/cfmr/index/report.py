"""What an index run did."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cfmr.index.location import Place
from cfmr.search.retriever import TRUSTED


@dataclass(frozen=True, slots=True)
class Report:
    """What an index run did."""

    added: int
    replaced: int
    removed: int
    unchanged: int
    rows: int
    engine: str
    notes: Mapping[str, Any]
    failed: Mapping[str, str] = field(default_factory=dict)  # video -> one line, of those that could not be encoded

    def lines(self, out: Place) -> list[str]:
        """The report for a person."""
        counts = {"added": self.added, "replaced": self.replaced, "removed": self.removed, "unchanged": self.unchanged}
        told = ", ".join(f"{n:,} {what}" for what, n in counts.items() if n) or "nothing to do"
        result = [f"{out}: videos: {told}; {self.rows:,} moments, searched by engine {self.engine}"]
        if self.engine == "ivf":
            result.append(f"  finds {100 * self.notes['recall_at_10']:.1f} % of the exact ten best")
        if "thresholds" in self.notes:
            result += [self._told(scope) for scope in ("video", "collection")]
        if self.failed:
            result += [f"not indexed ({len(self.failed)}):", *(f"  {line}" for line in self.failed.values())]
        return result

    def _told(self, scope: str) -> str:
        """What was found out about scores in one video, or in the collection."""
        score, right = self.notes["thresholds"][scope], self.notes["threshold_accuracy"][scope]
        where = "one video" if scope == "video" else "the collection"
        if right < TRUSTED:
            return f"  in {where}, no score tells whether there is a match (the best is right for {100 * right:.0f} %)"
        return f"  in {where}, a match scores {score:.2f} or more (right for {100 * right:.0f} %)"
