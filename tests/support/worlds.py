"""A tiny made-up world in files: features in which each word has a look, sentences, glances, a configuration."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cfmr.data.features import FeatureWriter

WORDS = ["dog", "cat", "bird", "runs", "sleeps", "jumps", "red", "blue", "tree", "house", "opens", "closes"]
FRAME_DIM, WORD_DIM = 12, 8


@dataclass
class World:
    """Paths of the files. The configuration is small enough to train in a second."""

    root: Path
    config: Path
    features: Path
    training: Path
    test: Path

    def edit_config(self, **sections: dict[str, Any]) -> Path:
        """Change keys of sections of the configuration, in place."""
        value = json.loads(self.config.read_text())
        for section, keys in sections.items():
            value[section].update(keys)
        self.config.write_text(json.dumps(value))
        return self.config


def make_world(root: Path, videos: int = 12, epochs: int = 2, dropout: float = 0.1, clips: int = 40) -> World:
    rng = np.random.default_rng(5)
    root.mkdir(parents=True, exist_ok=True)
    looks = rng.standard_normal((len(WORDS), FRAME_DIM)).astype(np.float32)
    rows: list[list[Any]] = []
    with FeatureWriter(root / "features.hdf5", {"extractor": "made-up", "version": 1}) as writer:
        for number in range(videos):
            duration = float(rng.integers(20, 40))
            features = 0.3 * rng.standard_normal((clips, FRAME_DIM)).astype(np.float32)
            for _ in range(3):
                start = rng.uniform(0, 0.7 * duration)
                end = start + rng.uniform(0.1, 0.3) * duration
                said = rng.choice(len(WORDS), 3, replace=False)
                first, last = int(start / duration * clips), int(end / duration * clips) + 1
                features[first:last] += looks[said].mean(0)
                sentence = "the " + " ".join(WORDS[i] for i in said)
                rows.append([f"v{number:02}", duration, [start, end], sentence, float(rng.uniform(start, end))])
            writer.add(f"v{number:02}", features)
    vectors = rng.standard_normal((len(WORDS) + 1, WORD_DIM))
    lines = [f"{word} {' '.join(f'{x:.4f}' for x in v)}" for word, v in zip([*WORDS, "the"], vectors, strict=True)]
    (root / "glove.txt").write_text("\n".join(lines) + "\n")
    split = len(rows) * 3 // 4 // 3 * 3
    world = World(root, root / "config.json", root / "features.hdf5", root / "training.json", root / "test.json")
    world.training.write_text(json.dumps(rows[:split]))
    world.test.write_text(json.dumps(rows[split:]))
    world.config.write_text(json.dumps(_config(world, epochs, dropout)))
    return world


def _config(world: World, epochs: int, dropout: float) -> dict[str, Any]:
    heads = {"d_model": 16, "num_heads": 2, "num_decoder_layers1": 3, "num_decoder_layers2": 3, "dropout": dropout}
    return {
        "dataset": {
            "dataset": "made-up",
            "feature_path": str(world.features),
            "vocab_size": 100,
            "word_dim": WORD_DIM,
            "frame_dim": FRAME_DIM,
            "max_num_words": 10,
            "max_num_frames": 40,
            "target_stride": 1,
            "train_data": str(world.training),
            "test_data": str(world.test),
            "val_data": str(world.test),
            "vocab_path": str(world.root / "glove.txt"),
        },
        "train": {
            "optimizer": {"lr": 4e-4, "weight_decay": 0, "warmup_updates": 4, "warmup_init_lr": 1e-7},
            "batch_size": 8,
            "max_num_epochs": epochs,
            "model_saved_path": str(world.root / "runs"),
        },
        "model": {
            "name": "CFMR",
            "config": {
                "frames_input_size": FRAME_DIM,
                "words_input_size": WORD_DIM,
                "hidden_size": 16,
                "use_negative": True,
                "sigma": 9,
                "gamma": 0.5,
                "dropout": dropout,
                "Transformers": heads,
                "num_concept": 3,
                "guass_width_num_training": 3,
                "width_thresh_training": 0.5,
                "guass_center_num": 8,
                "guass_width_num": 3,
                "width_thresh": 0.45,
            },
        },
        "loss": {
            "margin_1": 0.1,
            "margin_2": 0.15,
            "margin_3": 0.3,
            "margin_4": 0.25,
            "use_ref_words_rec": False,
            "use_ref_words_sam": False,
            "alpha_1": 2.0,
            "alpha_2": 1.0,
        },
    }
