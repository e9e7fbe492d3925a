from pathlib import Path

import numpy as np
import pytest

from cfmr.errors import InputError
from cfmr.extractors import get_extractor

torch = pytest.importorskip("torch")

from cfmr.extractors.i3d import I3D, build_i3d  # noqa: E402


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("i3d") / "rgb_imagenet.pt"
    torch.save(build_i3d(classes=400).state_dict(), path)
    return path


def test_the_published_number_of_parameters() -> None:
    network = build_i3d(classes=400)
    assert count(network) == 12_697_264
    assert count(build_i3d()) == 12_697_264 - 400 * 1025


def test_names_and_shapes_are_those_of_the_published_file() -> None:
    shapes = {name: tuple(value.shape) for name, value in build_i3d(classes=400).state_dict().items()}
    assert shapes["Conv3d_1a_7x7.conv3d.weight"] == (64, 3, 7, 7, 7)
    assert shapes["Conv3d_2c_3x3.bn.running_var"] == (192,)
    assert shapes["Mixed_3c.b2b.conv3d.weight"] == (96, 32, 3, 3, 3)
    assert shapes["Mixed_4f.b3b.conv3d.weight"] == (128, 528, 1, 1, 1)
    assert shapes["Mixed_5c.b1a.bn.weight"] == (192,)
    assert shapes["logits.conv3d.bias"] == (400,)
    assert len(shapes) == 57 * 6 + 2


@pytest.mark.parametrize(("time", "side", "map_size"), [(16, 224, (2, 7, 7)), (9, 100, (2, 4, 4))])
def test_the_map_is_an_eighth_as_long_and_a_thirtysecond_as_wide(
    time: int, side: int, map_size: tuple[int, int, int]
) -> None:
    with torch.inference_mode():
        assert build_i3d()(torch.zeros(1, 3, time, side, side)).shape == (1, 1024, *map_size)


def test_a_classifier_gives_logits_over_time() -> None:
    with torch.inference_mode():
        assert build_i3d(classes=5)(torch.zeros(1, 3, 24, 200, 200)).shape == (1, 5, 2)


def test_features_of_a_real_video(weights: Path, shared: Path) -> None:
    extraction = get_extractor("i3d", weights=weights).extract(shared / "video" / "realshort.mp4")
    assert extraction.features.shape == (4, 1024)  # 1.2 s, three clips a second
    assert np.isfinite(extraction.features).all()
    assert extraction.features.std() > 0


def test_the_other_ports_names_are_understood(weights: Path, tmp_path: Path) -> None:
    ours = torch.load(weights, weights_only=True)
    branches = {"b0": "branch_0", "b1a": "branch_1.0", "b1b": "branch_1.1", "b2a": "branch_2.0", "b2b": "branch_2.1"}
    branches["b3b"] = "branch_3.1"
    theirs = {}
    for name, value in ours.items():
        parts = [branches.get(part, "batch3d" if part == "bn" else part) for part in name.split(".")]
        parts[0] = "conv3d_0c_1x1" if parts[0] == "logits" else parts[0][0].lower() + parts[0][1:]
        theirs[".".join(parts)] = value
    torch.save(theirs, tmp_path / "model_rgb.pth")
    frames = np.random.default_rng(0).integers(0, 256, (1, 16, 64, 64, 3), dtype=np.uint8)
    with torch.inference_mode():
        x = torch.from_numpy(frames).permute(0, 4, 1, 2, 3) / 127.5 - 1
        first, second = (I3D(weights=path)._network(x) for path in (weights, tmp_path / "model_rgb.pth"))
    torch.testing.assert_close(first, second)


def test_weights_are_asked_for() -> None:
    with pytest.raises(InputError, match="needs --weights"):
        get_extractor("i3d")


def test_missing_weights_are_named_before_any_video_is_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.pt: no such file"):
        get_extractor("i3d", weights=tmp_path / "none.pt").attributes()


def test_truncated_weights_are_named(weights: Path, tmp_path: Path, shared: Path) -> None:
    (tmp_path / "cut.pt").write_bytes(weights.read_bytes()[:100_000])
    with pytest.raises(InputError, match=r"cut\.pt"):
        get_extractor("i3d", weights=tmp_path / "cut.pt").extract(shared / "video" / "realshort.mp4")


def test_weights_of_another_network_are_named(tmp_path: Path, shared: Path) -> None:
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "other.pt")
    with pytest.raises(InputError, match=r"other\.pt: these are not weights of I3DNetwork: .* is missing"):
        get_extractor("i3d", weights=tmp_path / "other.pt").extract(shared / "video" / "realshort.mp4")


def test_the_weights_are_part_of_what_the_features_are(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "other.pt").write_bytes(weights.read_bytes() + b" ")
    first, second = (I3D(weights=path).attributes() for path in (weights, tmp_path / "other.pt"))
    assert first["clips_per_second"] == 3.0
    assert first["weights"] != second["weights"]
