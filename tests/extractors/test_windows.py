from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfmr.errors import InputError
from cfmr.extractors.windows import Plan, centre_crop, cut_windows, extract_windows, load_weights, read_weights
from cfmr.video.decode import Video
from tests.support.footage import write_video


@given(st.integers(1, 90), st.integers(1, 24), st.integers(1, 12))
def test_windows_are_centred_on_what_they_stand_for(total: int, length: int, stride: int) -> None:
    images = [np.array([number]) for number in range(total)]
    windows = [list(window[:, 0]) for window in cut_windows(iter(images), length, stride)]
    assert len(windows) == max(1, int(total / stride + 0.5))
    before = max(length - stride, 0) // 2
    for number, window in enumerate(windows):
        wanted = number * stride - before + np.arange(length)
        assert window == list(np.clip(wanted, 0, total - 1))


def test_no_images_make_no_windows() -> None:
    assert list(cut_windows(iter(()), 4, 2)) == []


def test_a_video_is_read_in_batches_of_windows(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", [number / 10 for number in range(40)])
    shapes = []

    def encode(windows: np.ndarray) -> np.ndarray:
        shapes.append(windows.shape)
        return windows.mean(axis=(2, 3, 4))[:, :1]

    done: list[float] = []
    plan = Plan(fps=5.0, length=4, stride=2, batch=4)
    extraction = extract_windows(path, plan, lambda frame: frame.rgb(12, 8), encode, done.append)
    assert shapes == [(4, 4, 8, 12, 3), (4, 4, 8, 12, 3), (2, 4, 8, 12, 3)]
    assert extraction.features.shape == (10, 1)
    assert extraction.features.dtype == np.float32
    assert extraction.duration == pytest.approx(4.0)
    assert done == sorted(done)
    assert plan.clips_per_second == 2.5


@pytest.mark.parametrize("size", [(64, 48), (48, 64), (200, 20)])
def test_the_middle_is_cropped(tmp_path: Path, size: tuple[int, int]) -> None:
    path = write_video(tmp_path / "v.mp4", [0.0], size=size)
    with Video(path) as video:
        assert centre_crop(next(video.frames()), 32, 28).shape == (28, 28, 3)


def test_weights_are_found_inside_a_training_checkpoint(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"epoch": 3, "state_dict": {"module.weight": torch.ones(2, 3)}}, tmp_path / "w.pt")
    np.testing.assert_array_equal(read_weights(tmp_path / "w.pt")["weight"], np.ones((2, 3)))


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.safetensors"])
def test_truncated_and_missing_weights_are_named(tmp_path: Path, name: str) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    path = tmp_path / name
    with pytest.raises(InputError, match="no such file"):
        read_weights(path)
    parameters = {"weight": torch.ones(200, 3)}
    save_file(parameters, path) if path.suffix == ".safetensors" else torch.save(parameters, path)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        read_weights(path)


def test_weights_that_would_execute_something_are_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return eval, (f"open({str(tmp_path / 'executed')!r}, 'w')",)

    torch.save({"weight": Hostile()}, tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"w\.pt"):
        read_weights(tmp_path / "w.pt")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(("change", "message"), [
    ({"weight": None}, r"w\.pt: these are not weights of Linear: weight is missing"),
    ({"extra": np.zeros(2)}, "extra is not known"),
    ({"bias": np.zeros(7)}, r"bias has shape \(7,\), expected \(3,\)"),
])  # fmt: skip
def test_weights_of_something_else_are_named(change: dict[str, np.ndarray | None], message: str) -> None:
    torch = pytest.importorskip("torch")
    given = {"weight": np.zeros((3, 2)), "bias": np.zeros(3), "head.weight": np.zeros(5), **change}
    parameters = {name: value for name, value in given.items() if value is not None}
    with pytest.raises(InputError, match=message):
        load_weights(torch.nn.Linear(2, 3), parameters, Path("w.pt"), ignore=("head.",))
