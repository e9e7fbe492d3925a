from pathlib import Path

import numpy as np
import pytest

from cfmr.errors import InputError
from cfmr.extractors import get_extractor
from cfmr.extractors.torchvision_video import TorchvisionVideo
from tests.support.backbones import import_or_skip

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True, scope="module")
def torchvision() -> None:
    import_or_skip("torchvision")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from torchvision import models

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("torchvision") / "s3d.pth"
    torch.save(models.get_model("s3d", weights=None).state_dict(), path)
    return path


@pytest.mark.parametrize(
    ("name", "dim", "parameters", "window"),
    [
        ("r3d_18", 512, 33_371_472, 16),
        ("mc3_18", 512, 11_695_440, 16),
        ("r2plus1d_18", 512, 31_505_325, 16),
        ("s3d", 1024, 8_320_048, 16),
        ("mvit_v1_b", 768, 36_610_672, 16),
        ("mvit_v2_s", 768, 34_537_744, 16),
        ("swin3d_t", 768, 28_158_070, 32),
        ("swin3d_b", 1024, 88_048_984, 32),
    ],
)
def test_widths_and_published_numbers_of_parameters(name: str, dim: int, parameters: int, window: int) -> None:
    from cfmr.extractors.torchvision_video import _build

    extractor = TorchvisionVideo(name, weights="some.pth")
    assert extractor.dim == dim
    assert (extractor.plan.length, extractor.clips_per_second) == (window, 1.875)
    with torch.device("meta"):
        assert sum(value.numel() for value in _build(name).parameters()) == parameters


def test_features_are_what_the_classifier_sees(weights: Path) -> None:
    extractor = TorchvisionVideo("s3d", weights=weights)
    frames = np.random.default_rng(0).integers(0, 256, (1, 16, 260, 300, 3), dtype=np.uint8)
    from torchvision import models

    network = models.get_model("s3d", weights=None).eval()
    network.load_state_dict(torch.load(weights, weights_only=True))
    preset = models.get_model_weights("s3d").DEFAULT.transforms()
    with torch.inference_mode():
        logits = network(preset(torch.from_numpy(frames).permute(0, 1, 4, 2, 3))).numpy()
    head = network.classifier[1]
    features = extractor._encode(frames)
    assert features.shape == (1, 1024)
    again = features @ head.weight.detach().numpy()[:, :, 0, 0, 0].T + head.bias.detach().numpy()
    np.testing.assert_allclose(again, logits, atol=1e-4)


def test_features_of_a_real_video(weights: Path, shared: Path) -> None:
    extractor = get_extractor("torchvision/s3d", weights=weights)
    features = extractor.extract(shared / "video" / "realshort.mp4").features
    assert features.shape == (2, 1024)
    assert np.isfinite(features).all()
    assert features.std() > 0
    assert extractor.attributes()["extractor"] == "torchvision/s3d"


def test_what_there_is_not_is_named(weights: Path) -> None:
    with pytest.raises(InputError, match=r"video backbones are mc3_18, .*s3d"):
        get_extractor("torchvision/resnet50", weights=weights)
    with pytest.raises(InputError, match=r"choose one of .*torchvision/NAME"):
        get_extractor("torchvision")
    with pytest.raises(InputError, match="needs --weights"):
        get_extractor("torchvision/s3d")
    with pytest.raises(InputError, match="takes no backbone"):
        get_extractor("i3d/large", weights=weights)


def test_wrong_and_truncated_weights_are_named(weights: Path, tmp_path: Path, shared: Path) -> None:
    video = shared / "video" / "realshort.mp4"
    with pytest.raises(InputError, match=r"s3d\.pth: these are not weights of VideoResNet: .* is missing"):
        get_extractor("torchvision/r3d_18", weights=weights).extract(video)
    (tmp_path / "cut.pth").write_bytes(weights.read_bytes()[:100_000])
    with pytest.raises(InputError, match=r"cut\.pth"):
        get_extractor("torchvision/s3d", weights=tmp_path / "cut.pth").extract(video)
