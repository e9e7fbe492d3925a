"""Numbers as a terminal shows them: seconds as a clock, relevance as a line of blocks."""

from collections.abc import Sequence

import numpy as np

from cfmr.moments.nms import Times

BLOCKS = "▁▂▃▄▅▆▇█"


def bar(relevance: Sequence[float] | Times) -> str:
    """Relevance over time as one line of blocks, from its lowest to its highest value."""
    values = np.asarray(relevance, np.float64)
    spread = float(values.max() - values.min())
    levels = np.zeros(len(values), int) if spread < 1e-9 else ((values - values.min()) / spread * 7.999).astype(int)
    return "".join(BLOCKS[i] for i in levels)


def clock(seconds: float) -> str:
    """mm:ss, or h:mm:ss from an hour on."""
    whole = int(seconds)
    minutes, rest = divmod(whole, 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes:02d}:{rest:02d}"
