"""A seed means the same model on every backend, and a model like those that a backend would have drawn."""

from pathlib import Path

import numpy as np
import pytest

from cfmr.config import CFMRConfig, load_config
from cfmr.models.cfmr.initialization import initial_parameters

Arrays = dict[str, np.ndarray]


def built(backend: str, config: CFMRConfig) -> Arrays:
    """Parameters as the framework draws them."""
    if backend == "pytorch":
        torch = pytest.importorskip("torch")
        from cfmr.models.cfmr.pytorch.model import CFMR

        torch.manual_seed(0)
        return {name: value.numpy() for name, value in CFMR.from_config(config, 300).state_dict().items()}
    ms = pytest.importorskip("mindspore")
    from cfmr.models.cfmr.mindspore import model

    ms.set_seed(0)
    return {
        name: value.asnumpy() for name, value in model.CFMR.from_config(config, 300).checkpoint_parameters().items()
    }


@pytest.fixture
def config() -> CFMRConfig:
    loaded = load_config(Path(__file__).parents[3] / "config/charades/i3d.json")
    assert isinstance(loaded, CFMRConfig)
    return loaded


@pytest.mark.parametrize("backend", ["pytorch", "mindspore"])
def test_parameters_are_spread_as_the_framework_would_have_them(backend: str, config: CFMRConfig) -> None:
    theirs = built(backend, config)
    ours = initial_parameters({name: value.shape for name, value in theirs.items()}, 0)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        few = 4 / value.size**0.5  # what chance may do to so many values
        assert ours[name].dtype == np.float32
        assert ours[name].std() == pytest.approx(value.std(), rel=max(few, 0.02)), name
        assert ours[name].mean() == pytest.approx(value.mean(), abs=float(few * value.std())), name
        assert np.abs(ours[name]).max() == pytest.approx(np.abs(value).max(), rel=max(few, 0.02)), name


def test_a_parameter_depends_on_the_seed_and_on_no_other_parameter() -> None:
    shapes = {"fc_comp.weight": (50, 16), "fc_comp.bias": (50,), "word_fc.weight": (16, 8), "word_fc.bias": (16,)}
    first = initial_parameters(shapes, 1)
    more_words = initial_parameters(shapes | {"fc_comp.weight": (60, 16), "fc_comp.bias": (60,)}, 1)
    assert np.array_equal(first["word_fc.weight"], more_words["word_fc.weight"])
    assert not np.array_equal(first["word_fc.weight"], initial_parameters(shapes, 2)["word_fc.weight"])
    assert not np.array_equal(first["word_fc.bias"], first["word_fc.weight"][:, 0])
