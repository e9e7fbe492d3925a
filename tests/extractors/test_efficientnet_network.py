from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cfmr.errors import InputError
from cfmr.extractors import efficientnet_network
from cfmr.extractors.efficientnet_graph import build_graph
from cfmr.extractors.efficientnet_network import FLOAT, INT8, Network, fastest_precision, is_exact, weights_file
from cfmr.files.safe_pickle import read_torch


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
    pooled, levels = Network()(frames)
    np.testing.assert_allclose(levels[10], half_way[0].numpy(), atol=1e-4)
    np.testing.assert_allclose(pooled, grid.mean((2, 3)).numpy(), atol=1e-4)


def test_a_cockatoo_is_seen_as_a_parrot(shared: Path) -> None:
    from cfmr.video.decode import Video

    with Video(shared / "video" / "cockatoo.mp4") as video:
        frame = next(video.frames(fps=1, start=11)).rgb(224, 224)
    weights = read_torch(weights_file())
    pooled, _ = Network()(frame[None])
    scores = weights["_fc.weight"] @ pooled[0] + weights["_fc.bias"]
    assert set(scores.argsort()[-2:]) == {87, 89}  # African grey, sulphur-crested cockatoo


@pytest.mark.parametrize("precision", [FLOAT, INT8])
def test_the_graph_is_kept_and_read_again(
    precision: str, own_cache: Path, frames: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    efficientnet_network._model.cache_clear()
    first, _ = Network(1, precision)(frames[:1, :64, :64])
    assert [path.suffix for path in own_cache.glob(f"*-{precision}-*")] == [".onnx"]
    efficientnet_network._model.cache_clear()
    monkeypatch.setattr(efficientnet_network, "build_graph", None)
    second, _ = Network(1, precision)(frames[:1, :64, :64])
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("precision", [FLOAT, INT8])
@pytest.mark.parametrize("damage", [lambda kept: kept[:-1000], lambda kept: kept[:500] + b"?" + kept[501:]])
def test_a_broken_graph_in_the_cache_is_made_again(
    precision: str, damage: Callable[[bytes], bytes], own_cache: Path, frames: np.ndarray
) -> None:
    efficientnet_network._model.cache_clear()
    first, _ = Network(1, precision)(frames[:1, :64, :64])
    kept = next(own_cache.glob(f"*-{precision}-*"))
    kept.write_bytes(damage(whole := kept.read_bytes()))
    efficientnet_network._model.cache_clear()
    second, _ = Network(1, precision)(frames[:1, :64, :64])
    np.testing.assert_array_equal(first, second)
    assert kept.read_bytes() == whole


@pytest.mark.parametrize("precision", [FLOAT, INT8])
def test_a_cache_that_cannot_be_written_is_done_without(
    precision: str, tmp_path: Path, frames: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    efficientnet_network._model.cache_clear()
    assert Network(1, precision)(frames[:1, :64, :64])[0].shape == (1, 1280)


def test_weights_of_something_else_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"other\.pth: these are not the weights of EfficientNet-Lite0"):
        build_graph({"weight": np.zeros(3, np.float32)}, tmp_path / "other.pth")


def test_pictures_are_seen_alike_alone_and_among_others() -> None:
    frames = np.random.default_rng(1).integers(0, 256, (6, 96, 128, 3), dtype=np.uint8)
    for precision in (FLOAT, INT8):
        network = Network(1, precision)
        together, levels = network(frames)
        alone, own = network(frames[5:])
        np.testing.assert_allclose(together[5:], alone, atol=1e-5)
        for block, seen in own.items():
            np.testing.assert_allclose(levels[block][5:], seen, atol=1e-5)


@pytest.mark.parametrize("device", ["cuda", "tpu"])
def test_a_device_that_is_not_there_is_refused_in_one_line(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_network.onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(InputError, match=f"^--device {device}: [^\\n]*$"):
        Network(device=device)


def test_a_gpu_that_cannot_be_used_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(efficientnet_network.onnxruntime, "get_available_providers", lambda: providers)
    made = efficientnet_network.onnxruntime.InferenceSession

    def without_driver(model: bytes, options: object, providers: list[object]) -> object:
        return made(model, options, providers=["CPUExecutionProvider"])  # as ONNX Runtime does, with a warning

    monkeypatch.setattr(efficientnet_network.onnxruntime, "InferenceSession", without_driver)
    with pytest.raises(InputError, match="--device cuda: ONNX Runtime finds no GPU that it can use"):
        Network(device="cuda")


@pytest.mark.parametrize("when", ["opened", "run"])
def test_a_gpu_without_memory_is_refused_in_one_line(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise Exception("[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer")

    class Session:
        def __init__(self, *_: object, **__: object) -> None:
            if when == "opened":
                full()

        run = full

        def get_providers(self) -> list[str]:
            return ["CUDAExecutionProvider"]

    monkeypatch.setattr(
        efficientnet_network.onnxruntime, "get_available_providers", lambda: [efficientnet_network._CUDA]
    )
    monkeypatch.setattr(efficientnet_network.onnxruntime, "InferenceSession", Session)
    with pytest.raises(InputError, match=r"^--device cuda: the GPU has too little free memory; end what else uses it"):
        Network(device="cuda")(np.zeros((1, 64, 64, 3), np.uint8))


@pytest.mark.parametrize(("gain", "chosen"), [(2.0, INT8), (1.1, FLOAT), (0.5, FLOAT)])
def test_8_bits_are_chosen_where_they_are_clearly_faster(
    gain: float, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(efficientnet_network, "is_exact", lambda: True)
    monkeypatch.setattr(
        efficientnet_network, "seconds_for", lambda network, _: 1 / gain if network.precision == INT8 else 1.0
    )
    assert fastest_precision() == chosen


def test_what_is_faster_is_measured_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.processor", lambda: pytest.fail("asked for its name"))
    monkeypatch.setattr("platform.machine", lambda: pytest.fail("asked for its name"))
    monkeypatch.setattr(efficientnet_network, "is_exact", lambda: True)
    measured = []
    monkeypatch.setattr(
        efficientnet_network, "seconds_for", lambda network, _: measured.append(network.precision) or 1.0
    )
    assert fastest_precision() == FLOAT
    assert sorted({*measured}) == [FLOAT, INT8]
    assert len(measured) > 2, "in turns, more than once"


def test_8_bits_are_not_chosen_where_their_sums_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_network, "is_exact", lambda: False)
    monkeypatch.setattr(efficientnet_network, "seconds_for", lambda network, _: float(network.precision == FLOAT))
    assert fastest_precision() == FLOAT


def test_sums_that_overflow_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Overflowing:
        def __init__(self, *_: object, **__: object) -> None: ...

        def run(self, *_: object) -> list[np.ndarray]:
            return [np.full((1, 16, 8, 8), 101, np.uint8)]  # of pairs that stop at 32,767

    is_exact.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(efficientnet_network.onnxruntime, "InferenceSession", Overflowing)
        assert not is_exact()
    is_exact.cache_clear()
