import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cfmr.data.features import FeatureStore
from cfmr.errors import InputError
from cfmr.extractors import efficientnet_lite0
from cfmr.extractors.efficientnet_lite0 import EfficientNetLite0
from cfmr.extractors.efficientnet_network import FLOAT, INT8, is_exact
from tests.support.footage import write_film

PRECISIONS = [FLOAT, *([INT8] if is_exact() else [])]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_features_do_not_depend_on_the_number_of_cores(precision: str, shared: Path, tmp_path: Path) -> None:
    steady = write_film(tmp_path / "v.mp4", frames=100)
    for path in (steady, shared / "video" / "realshort.mp4", shared / "video" / "corrupted.mp4"):
        one, several = (EfficientNetLite0(threads, precision).extract(path) for threads in (1, 3))
        np.testing.assert_allclose(one.features, several.features, atol=1e-5)
        assert (one.duration, one.damage) == (several.duration, several.damage)


ON_ONE_CORE = """
import os, sys; from pathlib import Path
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
from cfmr.extractors.batch import extract_all
summary = extract_all({"v": Path(sys.argv[1])}, "efficientnet-lite0", sys.argv[2], precision="float")
assert not summary.failed, summary.failed
"""


def test_a_machine_with_one_core_makes_the_same_features(tmp_path: Path) -> None:
    film = write_film(tmp_path / "v.mp4", frames=60)
    command = [sys.executable, "-c", ON_ONE_CORE, str(film), str(tmp_path / "f.hdf5")]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    expected = EfficientNetLite0(3, FLOAT).extract(film)
    np.testing.assert_allclose(FeatureStore(tmp_path / "f.hdf5").read("v"), expected.features, atol=2e-3)


@pytest.mark.parametrize("size", [(320, 240), (64, 360), (130, 98), (1000, 40)])
def test_any_size_of_film_fits_both_precisions(size: tuple[int, int], tmp_path: Path) -> None:
    film = write_film(tmp_path / "v.mp4", frames=12, size=size)
    for precision in PRECISIONS:
        assert EfficientNetLite0(1, precision).extract(film).features.shape[1] == EfficientNetLite0.dim


def test_the_precision_is_chosen_once_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = iter([INT8, FLOAT])
    monkeypatch.setattr(efficientnet_lite0, "fastest_precision", lambda: next(chosen))
    extractor = EfficientNetLite0()
    assert [extractor.attributes()["precision"] for _ in range(2)] == [INT8, INT8]


def test_8_bits_are_refused_where_sums_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite0, "is_exact", lambda: False)
    with pytest.raises(InputError, match="int8 need a processor with VNNI"):
        EfficientNetLite0(precision=INT8)
    assert EfficientNetLite0(precision=FLOAT).precision == FLOAT


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(InputError, match="--precision half: choose float or int8"):
        EfficientNetLite0(precision="half")
