from pathlib import Path

import numpy as np
import pytest

from cfmr.data.annotations import Annotation
from cfmr.data.features import FeatureStore, FeatureWriter
from cfmr.data.vocabulary import Vocabulary
from cfmr.models.dense.clips import ClipSet
from cfmr.models.dense.fit import DenseFit
from cfmr.models.dense.objective import Batch
from cfmr.models.dense.selection import first_reader

VIDEOS = 8


def made_up(path: Path, denied: int) -> DenseFit:
    """A label in each video, and so many negative ones in one or the other."""
    draw = np.random.default_rng(0)
    with FeatureWriter(path, {"extractor": "made-up", "version": 1}) as writer:
        for number in range(VIDEOS):
            writer.add(f"v{number}", draw.standard_normal((20, 6)).astype(np.float32), duration=20.0)
    vectors = draw.standard_normal((3, 50)).astype(np.float32)
    rows = ClipSet(
        [Annotation(f"v{number}", 20.0, "dog", 5.0, None) for number in range(VIDEOS)],
        FeatureStore(path),
        Vocabulary(["dog", "cat"], vectors),
        max_num_words=5,
        negatives=[Annotation(f"v{i % VIDEOS}", 20.0, "cat", 1.0, None, absent=True) for i in range(denied)],
    )
    return DenseFit(rows, 0, first_reader(rows.glances, rows.seconds[rows.videos]))


@pytest.mark.parametrize("denied", [0, 3, 200])
def test_negative_labels_do_not_make_the_others_rarer(
    tmp_path: Path, denied: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, seen = made_up(tmp_path / "f.hdf5", denied), list[tuple[int, int]]()
    make = fit.batch

    def batch(rows: np.ndarray, draw: np.random.Generator) -> Batch:
        seen.append((int((rows < VIDEOS).sum()), int((rows >= VIDEOS).sum())))
        return make(rows, draw)

    monkeypatch.setattr(fit, "batch", batch)
    fit.run(np.arange(VIDEOS), 1)
    assert set(seen) == {(VIDEOS, denied)}
    assert len(seen) == 100
