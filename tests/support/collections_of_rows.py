"""Made-up videos for the index tests."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cfmr.index.base import Value, Video, VideoRows
from cfmr.index.codec import Codec
from cfmr.index.embedded.writer import EmbeddedWriter, Limits

WIDTH, CONCEPTS = 8, 3
CARD = {"readout": "anchors", "max_words": 20}


def concept_codec() -> Codec:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((CONCEPTS, WIDTH, WIDTH)).astype(np.float32)
    return Codec(WIDTH, weight, rng.standard_normal((CONCEPTS, WIDTH)).astype(np.float32))


def made_video(
    name: str, rows: int = 6, seed: int | None = None, metadata: dict[str, Value] | None = None
) -> VideoRows:
    rng = np.random.default_rng(sum(map(ord, name)) if seed is None else seed)
    starts = np.arange(rows, dtype=np.float64)
    return VideoRows(
        Video(name, float(rows + 1), rows, metadata=metadata or {}),
        rng.standard_normal((rows, WIDTH)).astype(np.float32),
        np.stack([starts, starts + 2], axis=1),
    )


def fill(path: Path, videos: Sequence[VideoRows], limits: Limits | None = None, codec: Codec | None = None) -> None:
    """Write a new index, or add to one."""
    with EmbeddedWriter.open(path, limits) as writer:
        if not writer.card:
            writer.set_model(CARD, codec or concept_codec(), lambda _: [])
        writer.add(videos)
        writer.commit()


def queries(count: int, dim: int = WIDTH * CONCEPTS) -> np.ndarray:
    vectors = np.random.default_rng(1).standard_normal((count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
