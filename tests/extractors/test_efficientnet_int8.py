from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cfmr.demo.rendering import draw_frame
from cfmr.demo.world import video_script
from cfmr.extractors import efficientnet_int8
from cfmr.extractors.efficientnet_network import FLOAT, INT8, Network, is_exact
from cfmr.video.decode import Video

pytestmark = pytest.mark.skipif(not is_exact(), reason="this processor's sums of 8-bit products overflow")


@pytest.fixture(scope="module")
def networks() -> tuple[Network, Network]:
    return Network(1, FLOAT), Network(1, INT8)


def cosines(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    one, two = (values.reshape(len(values), -1) for values in (one, two))
    return (one * two).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(two, axis=1)


def check(networks: tuple[Network, Network], frames: np.ndarray, least: float) -> None:
    (pooled, levels), (own, own_levels) = (network(frames) for network in networks)
    assert cosines(pooled, own).mean() > least
    for block, values in levels.items():
        assert own_levels[block].shape == values.shape
        assert cosines(values, own_levels[block]).mean() > least


def test_rendered_pictures_are_seen_as_in_floats(networks: tuple[Network, Network]) -> None:
    scripts = [video_script(0, "test", number) for number in range(8)]
    pictures = [draw_frame(script, script.duration / 2).resize((256, 192)) for script in scripts]
    check(networks, np.stack([np.asarray(picture) for picture in pictures]), 0.99)


def test_filmed_pictures_are_seen_as_in_floats(networks: tuple[Network, Network], shared: Path) -> None:
    for name in ("cockatoo.mp4", "flipping_a_pancake.mkv"):
        with Video(shared / "video" / name) as video:
            check(networks, np.stack([frame.rgb(288, 160) for frame in video.frames(fps=0.5)]), 0.99)


def test_a_flat_picture_stays_flat(networks: tuple[Network, Network]) -> None:
    frames = np.stack([np.full((160, 288, 3), value, np.uint8) for value in (0, 60, 127, 200, 255)])
    check(networks, frames, 0.96)  # rounded one by one, the weights leave 0.84


@pytest.mark.parametrize(("height", "width"), [(160, 162), (161, 160)])
def test_sizes_that_do_not_fit_are_refused(height: int, width: int, networks: tuple[Network, Network]) -> None:
    with pytest.raises(ValueError, match=f"{width} x {height}"):
        networks[1](np.zeros((1, height, width, 3), np.uint8))


def test_the_same_weights_make_the_same_graph() -> None:
    from cfmr.extractors.efficientnet_network import weights_file
    from cfmr.files.safe_pickle import read_torch

    first, second = (
        efficientnet_int8.build_int8_graph(read_torch(weights_file())).SerializeToString() for _ in range(2)
    )
    assert first == second


@given(arrays(np.float64, (3, 2, 3, 3), elements=st.floats(-20, 20)))
def test_rounded_filters_keep_their_sums(weights: np.ndarray) -> None:
    rounded, scales = efficientnet_int8._rounded_filters(weights)
    off = rounded.sum((2, 3)) * scales[:, None] - weights.sum((2, 3))
    assert (np.abs(off) <= 0.5 * scales[:, None] * (1 + 1e-6)).all()
    assert (np.abs(rounded * scales[:, None, None, None] - weights) <= scales[:, None, None, None] * (1 + 1e-6)).all()
