from pathlib import Path

import numpy as np
import pytest

from cfmr.errors import InputError
from cfmr.extractors import efficientnet_lite0
from cfmr.extractors.efficientnet_lite0 import EfficientNetLite0, Network, build_graph, weights_file
from cfmr.files.safe_pickle import read_torch
from tests.support.footage import write_film


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "cfmr"


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)


@pytest.mark.parametrize(("height", "width"), [(224, 224), (160, 160), (96, 130)])
def test_features_are_those_of_the_published_network(height: int, width: int) -> None:
    torch = pytest.importorskip("torch")
    published = pytest.importorskip("efficientnet_lite_pytorch")
    frames = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    model = published.EfficientNet.from_name("efficientnet-lite0", image_size=None)
    model.load_state_dict(torch.load(weights_file(), weights_only=True))
    model.eval()
    image = (torch.from_numpy(frames).float().permute(0, 3, 1, 2) - 127) / 128
    half_way = []
    model._blocks[10].register_forward_hook(lambda block, given, made: half_way.append(made))
    with torch.no_grad():
        grid = model.extract_features(image)
    pooled, own_grid, middle = Network()(frames)
    np.testing.assert_allclose(middle, half_way[0].numpy(), atol=1e-4)
    np.testing.assert_allclose(own_grid, grid.numpy(), atol=1e-4)
    np.testing.assert_allclose(pooled, grid.mean((2, 3)).numpy(), atol=1e-4)


def test_a_cockatoo_is_seen_as_a_parrot(shared: Path) -> None:
    from cfmr.video.decode import Video

    with Video(shared / "video" / "cockatoo.mp4") as video:
        frame = next(video.frames(fps=1, start=11)).rgb(224, 224)
    weights = read_torch(weights_file())
    pooled, _ = Network()(frame[None])
    scores = weights["_fc.weight"] @ pooled[0] + weights["_fc.bias"]
    assert set(scores.argsort()[-2:]) == {87, 89}  # African grey, sulphur-crested cockatoo


def test_the_graph_is_kept_and_read_again(own_cache: Path, frames: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    efficientnet_lite0._model.cache_clear()
    first, _ = Network()(frames[:1, :64, :64])
    assert [path.suffix for path in own_cache.iterdir()] == [".onnx"]
    efficientnet_lite0._model.cache_clear()
    monkeypatch.setattr(efficientnet_lite0, "build_graph", None)
    second, _ = Network()(frames[:1, :64, :64])
    np.testing.assert_array_equal(first, second)


def test_a_broken_graph_in_the_cache_is_made_again(own_cache: Path, frames: np.ndarray) -> None:
    efficientnet_lite0._model.cache_clear()
    Network()
    kept = next(own_cache.iterdir())
    kept.write_bytes(kept.read_bytes()[:-1000])
    efficientnet_lite0._model.cache_clear()
    assert Network()(frames[:1, :64, :64])[0].shape == (1, 1280)


def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, frames: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    efficientnet_lite0._model.cache_clear()
    assert Network()(frames[:1, :64, :64])[0].shape == (1, 1280)


def test_weights_of_something_else_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"other\.pth: these are not the weights of EfficientNet-Lite0"):
        build_graph({"weight": np.zeros(3, np.float32)}, tmp_path / "other.pth")


def test_features_do_not_depend_on_the_number_of_cores(shared: Path, tmp_path: Path) -> None:
    steady = write_film(tmp_path / "v.mp4", frames=100)
    for path in (steady, shared / "video" / "realshort.mp4", shared / "video" / "corrupted.mp4"):
        one, several = (EfficientNetLite0(threads=threads).extract(path) for threads in (1, 3))
        np.testing.assert_allclose(one.features, several.features, atol=1e-5)
        assert (one.duration, one.damage) == (several.duration, several.damage)
