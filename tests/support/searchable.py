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
from cfmr.models.dense.model import Dense
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
    """The world's configuration for CFMR-Dense."""
    value: dict[str, Any] = json.loads(world.config.read_text())
    value["model"] = {
        "name": "CFMR-Dense",
        "config": {
            "frames_input_size": value["dataset"]["frame_dim"],
            "words_input_size": value["dataset"]["word_dim"],
            "hidden_size": 16,
            "own_words": 20,
            "seen_words": 10,
            "smoothing": 1.0,
            "floor": 0.3,
        },
    }
    value["train"] = {"max_num_epochs": 1, "model_saved_path": "runs"}
    value["loss"] = {"bell_seconds": 1.5, "ridge": 0.1, "noise": 1.0, "mean_share": 0.5}
    return value


def save_dense_checkpoint(world: World, path: Path) -> Path:
    """CFMR-Dense with random parameters."""
    config = parse_config(dense_config(world), "made up")
    assert isinstance(config, DenseConfig)
    sentences = [row.sentence for row in load_annotations(world.training)]
    vocabulary = Vocabulary.build(sentences, load_word_vectors(config.dataset.vocab_path), 100)
    rng = np.random.default_rng(0)
    parameters = {
        name: rng.standard_normal(value.shape).astype(np.float32)
        for name, value in Dense.from_config(config).state_dict().items()
    }
    parameters["words"] /= np.linalg.norm(parameters["words"], axis=1, keepdims=True)
    Checkpoint(config, vocabulary, parameters, {"durations": {"median": 30.0, "longest": 40.0}}).save(path)
    return path


def make_searchable(root: Path, videos: int = 12, dense: bool = False) -> Searchable:
    world = make_world(root / "world", videos=videos)
    save = save_dense_checkpoint if dense else save_checkpoint
    made = Searchable(world, save(world, root / "checkpoint"), root / "index")
    made.build()
    return made
