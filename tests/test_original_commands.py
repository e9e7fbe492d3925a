"""The original release's commands, as its README writes them, in a folder that has its data where it expects them."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cfmr.data.features import FeatureWriter

ROOT = Path(__file__).parents[1]
WORDS = ["person", "opens", "door", "a", "the", "sits", "down", "book", "reads"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """data/charades and config/charades with few rows; the configuration is the published one but for its epochs."""
    rng = np.random.default_rng(0)
    data = tmp_path / "data/charades"
    (data / "glance").mkdir(parents=True)
    rows = []
    with FeatureWriter(data / "i3d_debug_features.hdf5", {"extractor": "made-up"}) as writer:
        for number in range(4):
            video = f"V{number:03}X"
            writer.add(video, rng.standard_normal((60, 1024)).astype(np.float32))
            for start in (2.0, 14.0):
                said = " ".join(rng.choice(WORDS, 5))
                rows.append([video, 30.0, [start, start + 8.0], f"{said}.", start + 3.0])
    (data / "glance/glance_debug_charades.json").write_text(json.dumps(rows))
    vectors = {
        "w2id": {word: row for row, word in enumerate(WORDS)},
        "id2vec": [rng.standard_normal(300).astype(np.float32) for _ in WORDS],
        "counter": {word: len(WORDS) - row for row, word in enumerate(WORDS)},
    }
    (data / "glove.pkl").write_bytes(pickle.dumps(vectors))
    config = json.loads((ROOT / "config/charades/i3d_debug.json").read_text())
    config["train"]["max_num_epochs"] = 2
    (tmp_path / "config/charades").mkdir(parents=True)
    (tmp_path / "config/charades/i3d_debug.json").write_text(json.dumps(config))
    return tmp_path


@pytest.mark.parametrize(("script", "framework"), [("train.py", "torch"), ("train_ms.py", "mindspore")])
def test_the_originals_two_commands_train_and_evaluate(folder: Path, script: str, framework: str) -> None:
    pytest.importorskip(framework)
    command = f"{script} --config-path config/charades/i3d_debug.json --tag CFMR --log ./log/charades/"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}

    def python(*arguments: str) -> subprocess.CompletedProcess[str]:
        done = [sys.executable, str(ROOT / arguments[0]), *arguments[1:]]
        return subprocess.run(done, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    trained = python(*command.split())
    assert trained.returncode == 0, trained.stderr[-2000:]
    figures = json.loads((folder / "log/charades/CFMR/metrics.json").read_text())
    evaluated = python(*command.split(), "--resume", "log/charades/CFMR/checkpoint", "--eval")
    assert evaluated.returncode == 0, evaluated.stderr[-2000:]
    assert f"{figures['test']['R@1,IoU=0.5']:.1f}" in evaluated.stdout
    assert "WARNING" not in trained.stderr + evaluated.stderr
