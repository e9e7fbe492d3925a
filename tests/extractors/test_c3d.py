from pathlib import Path

import numpy as np
import pytest

from cfmr.errors import InputError
from cfmr.extractors import get_extractor

torch = pytest.importorskip("torch")

from cfmr.extractors.c3d import build_c3d  # noqa: E402


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_c3d()


@pytest.fixture(scope="module")
def weights(network: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("c3d") / "c3d.pickle"
    torch.save(network.state_dict(), path)
    return path


def test_the_published_number_of_parameters(network: torch.nn.Module) -> None:
    assert sum(parameter.numel() for parameter in network.parameters()) == 79_991_015


def test_names_and_shapes_are_those_of_the_published_file(network: torch.nn.Module) -> None:
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert shapes["conv1.weight"] == (64, 3, 3, 3, 3)
    assert shapes["conv3b.weight"] == (256, 256, 3, 3, 3)
    assert shapes["conv5b.bias"] == (512,)
    assert shapes["fc6.weight"] == (4096, 8192)
    assert shapes["fc8.weight"] == (487, 4096)
    assert len(shapes) == 22


def test_a_window_gives_fc6_fc7_and_logits(network: torch.nn.Module) -> None:
    with torch.inference_mode():
        fc6, fc7, logits = network(torch.zeros(2, 3, 16, 112, 112))
    assert (fc6.shape, fc7.shape, logits.shape) == ((2, 4096), (2, 4096), (2, 487))
    assert fc6.min() >= 0


def test_features_of_a_real_video(weights: Path, shared: Path) -> None:
    features = {}
    for layer in ("fc6", "fc7"):
        extractor = get_extractor("c3d", weights=weights, layer=layer)
        features[layer] = extractor.extract(shared / "video" / "rotated_90.mov").features
        assert features[layer].shape == (1, 4096)
        assert extractor.attributes()["layer"] == layer
    assert not np.allclose(features["fc6"], features["fc7"])


def test_colours_go_in_as_caffe_has_them(network: torch.nn.Module) -> None:
    frames = np.zeros((1, 16, 112, 112, 3), np.uint8)
    frames[..., :] = (102, 98, 90)  # RGB of the mean
    with torch.inference_mode():
        expected = network(torch.zeros(1, 3, 16, 112, 112))[0].numpy()
    np.testing.assert_allclose(network.features(frames, "fc6"), expected, atol=1e-6)


def test_an_unknown_layer_and_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs --weights"):
        get_extractor("c3d")
    with pytest.raises(InputError, match="--layer fc9: C3D has the layers fc6 and fc7"):
        get_extractor("c3d", weights=tmp_path, layer="fc9")
