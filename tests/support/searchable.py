"""A tiny index on the disk, made by an untrained model from the made-up world."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cfmr.config import CFMRConfig, DenseConfig, load_config, parse_config
from cfmr.data.annotations import load_annotations
from cfmr.data.vocabulary import Vocabulary
from cfmr.data.word_vectors import load_word_vectors
from cfmr.index.build import Encode, IndexOptions, build_index, local_encode
from cfmr.index.encode import VideoSources
from cfmr.index.location import GivenLocation
from cfmr.index.model_source import CheckpointModel
from cfmr.index.report import IndexReport
from cfmr.models.cfmr.pytorch.model import CFMR
from cfmr.models.checkpoint import Checkpoint
from cfmr.models.dense.model import NUM_WAVES, Dense, Projections, Whitening
from cfmr.moments.span_reader import SpanReader
from cfmr.progress import Progress, silent
from tests.support.worlds import World, make_world


@dataclass
class Searchable:
    """A world, its checkpoint and its index."""

    world: World
    checkpoint: Path
    index: Path

    def build(
        self,
        out: GivenLocation | None = None,
        *,
        annotations: Sequence[Path] | None = None,
        videos: Path | None = None,
        metadata: Path | None = None,
        window: float | None = None,
        encode: Encode = local_encode,
        progress: Progress = silent,
        **options: Any,
    ) -> IndexReport:
        """Index the world's videos, as `cfmr index` does."""
        told = [self.world.training, self.world.test] if annotations is None else annotations
        return build_index(
            CheckpointModel.load(self.checkpoint, window),
            VideoSources.load(self.world.features, told, videos, metadata),
            out or self.index,
            IndexOptions(**options),
            encode,
            progress,
        )


def save_checkpoint(world: World, path: Path, seed: int = 0) -> Path:
    """A model with random parameters, large enough that its answers differ."""
    config = load_config(world.config)
    assert isinstance(config, CFMRConfig)
    sentences = [row.sentence for row in load_annotations(world.training)]
    vocabulary = Vocabulary.build(sentences, load_word_vectors(config.dataset.vocab_path), 100)
    torch.manual_seed(seed)
    model = CFMR.from_config(config, len(vocabulary))
    rng = np.random.default_rng(seed)
    parameters = {
        name: (value.numpy() + 0.3 * rng.standard_normal(value.shape)).astype(np.float32)
        for name, value in model.state_dict().items()
    }
    Checkpoint(config, vocabulary, parameters, {"durations": {"median": 30.0, "longest": 40.0}}).save(path)
    return path


def dense_config(world: World) -> dict[str, Any]:
    """A configuration of CFMR-Dense on the world's data."""
    value = json.loads(world.config.read_text())
    return {"dataset": value["dataset"], "model": {"name": "CFMR-Dense"}}


def random_dense(
    frame_dim: int, word_dim: int, words: int, seed: int = 0, reader: SpanReader | None = None, frames: int = 40
) -> Dense:
    """CFMR-Dense with random parameters: two fits of 8 numbers, for a vocabulary of so many words."""
    rng = np.random.default_rng(seed)

    def drawn(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    fits = [
        Projections(drawn(5, 8), drawn(5, 8), drawn(NUM_WAVES, 8), drawn(word_dim, 8), drawn(words + 1, 8))
        for _ in range(2)
    ]
    for fit in fits:
        fit.own[0] = 0
    reader = reader or SpanReader(width=0.2, duration=30.0, longest=40.0)
    return Dense(Whitening(drawn(frame_dim), drawn(frame_dim, 5)), fits, reader, frames)


def save_dense_checkpoint(world: World, path: Path) -> Path:
    """CFMR-Dense with random parameters."""
    config = parse_config(dense_config(world), "made up")
    assert isinstance(config, DenseConfig)
    sentences = [row.sentence for row in load_annotations(world.training)]
    vocabulary = Vocabulary.build(sentences, load_word_vectors(config.dataset.vocab_path), 100)
    model = random_dense(config.dataset.frame_dim, config.dataset.word_dim, len(vocabulary))
    state = {"durations": {"median": 30.0, "longest": 40.0}, "reader": model.readout.to_json()}
    Checkpoint(config, vocabulary, model.parameters(), state).save(path)
    return path


def make_searchable(root: Path, videos: int = 12, dense: bool = False) -> Searchable:
    world = make_world(root / "world", videos=videos)
    save = save_dense_checkpoint if dense else save_checkpoint
    made = Searchable(world, save(world, root / "checkpoint"), root / "index")
    made.build()
    return made
