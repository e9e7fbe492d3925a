"""A tiny index on the disk, made by an untrained model from the made-up world."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cfmr.annotations import load_annotations
from cfmr.backends.pytorch.model import CFMR
from cfmr.checkpoints import Checkpoint
from cfmr.config import load_config
from cfmr.index.build import build_index
from cfmr.words import Vocabulary, load_word_vectors
from worlds import World, make_world


@dataclass
class Searchable:
    """A world, its checkpoint and its index."""

    world: World
    checkpoint: Path
    index: Path

    def build(self, **arguments) -> object:
        return build_index(
            self.checkpoint,
            self.world.features,
            self.index,
            **{"annotations": [self.world.training, self.world.test], **arguments},
        )


def save_checkpoint(world: World, path: Path, seed: int = 0) -> Path:
    """A model with random parameters, large enough that its answers differ."""
    config = load_config(world.config)
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


def make_searchable(root: Path, videos: int = 12) -> Searchable:
    world = make_world(root / "world", videos=videos)
    made = Searchable(world, save_checkpoint(world, root / "checkpoint"), root / "index")
    made.build()
    return made
