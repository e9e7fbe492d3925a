import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from cfmr.extractors import motion
from cfmr.extractors.motion import Windows, describe, fit_motion

LEFT_RIGHT, UP_DOWN, GROWTH, TURN = range(4)


def draw(x: float, y: float, scale: float = 1.0, angle: float = 0.0, shown: bool = True, seed: int = 0) -> np.ndarray:
    """A figure over a smooth background, drawn large and reduced to 64 x 48."""
    rng = np.random.default_rng(seed)
    picture = Image.fromarray(rng.integers(90, 160, (12, 16)).astype(np.uint8)).resize((640, 480), Image.BILINEAR)
    side = round(200 * scale)
    figure = Image.new("L", (200, 200), 40)
    pen = ImageDraw.Draw(figure)
    pen.rectangle((20, 20, 120, 80), fill=230)
    pen.ellipse((80, 100, 180, 180), fill=200)
    figure = figure.resize((side, side)).rotate(-angle, Image.BILINEAR)
    mask = Image.new("L", (side, side), 255).rotate(-angle)
    if shown:
        picture.paste(figure, (round(2 * x - side / 2), round(2 * y - side / 2)), mask)
    return np.asarray(picture.resize((64, 48), Image.BOX))


def clip(step: object) -> tuple[np.ndarray, np.ndarray]:
    """Describe one clip of a scene that is a function of the frame's number, clip in the middle."""
    frames = range(-motion.MARGIN, motion.FRAMES_PER_CLIP + motion.MARGIN)
    described, where = describe(np.stack([step(number) for number in frames]))  # type: ignore[operator]
    return described[0], where[0]


def strongest(described: np.ndarray) -> np.ndarray:
    """Signed parameters of the whole picture between consecutive frames: right, down, growth, clockwise turn."""
    return described[:4] - described[4:8]


@pytest.mark.parametrize(("step", "which", "sign"), [
    (lambda n: draw(160 + 3 * n, 120), LEFT_RIGHT, 1),
    (lambda n: draw(160 - 3 * n, 120), LEFT_RIGHT, -1),
    (lambda n: draw(160, 120 + 3 * n), UP_DOWN, 1),
    (lambda n: draw(160, 120 - 3 * n), UP_DOWN, -1),
    (lambda n: draw(160, 120, 1.03**n), GROWTH, 1),
    (lambda n: draw(160, 120, 0.97**n), GROWTH, -1),
    (lambda n: draw(160, 120, 1, 15 * n), TURN, 1),
    (lambda n: draw(160, 120, 1, -15 * n), TURN, -1),
])  # fmt: skip
def test_each_motion_shows_in_its_own_number(step: object, which: int, sign: int) -> None:
    described, _ = clip(step)
    params = strongest(described)
    assert params[which] * sign > 0.1
    assert np.abs(params).argmax() == which


@given(st.floats(-8, 8), st.floats(-8, 8), st.integers(0, 50))
@settings(deadline=None, max_examples=30)
def test_a_shift_is_measured(right: float, down: float, seed: int) -> None:
    windows = Windows(48, 64)
    first, second = (motion.blur(draw(x, y, seed=seed)[None].astype(np.float32))
                     for x, y in ((160, 120), (160 + right, 120 + down)))  # fmt: skip
    fit = fit_motion(first, second, windows)
    best = fit.energy[0].argmax()
    expected = np.round([2 * right, 2 * down]) / 2 / 5 / windows.radius
    np.testing.assert_allclose(fit.params[0, best, :2], expected, atol=0.05)


def test_nothing_moves_in_a_still_picture() -> None:
    described, where = clip(lambda n: draw(160, 120))
    assert np.abs(described).max() == 0
    assert where.max() == 0


def test_noise_of_compression_is_hardly_motion() -> None:
    rng = np.random.default_rng(0)
    described, where = clip(lambda n: np.clip(draw(160, 120) + rng.normal(0, 1.5, (48, 64)), 0, 255).astype(np.uint8))
    assert np.abs(strongest(described)).max() < 0.02
    assert where.mean() < 0.2


def test_a_blink_is_change_that_no_motion_explains() -> None:
    blink, _ = clip(lambda n: draw(160, 120, shown=n % 6 < 3))
    shift, _ = clip(lambda n: draw(160 + 3 * n, 120))
    moves, unexplained = motion.OVERALL_DIM // 3 - 2, motion.OVERALL_DIM // 3 - 1  # the last two of the shortest lag
    assert blink[unexplained] / blink[moves] > 2 * shift[unexplained] / shift[moves]


def test_what_moves_is_found_where_it_is() -> None:
    _, where = clip(lambda n: draw(80 + 2 * n, 180))
    rows, columns = np.mgrid[:48, :64]
    centre = (where * rows).sum() / where.sum(), (where * columns).sum() / where.sum()
    np.testing.assert_allclose(centre, (180 / 5, 86 / 5), atol=3)


@given(st.integers(1, 6), st.integers(8, 60), st.integers(8, 60))
@settings(deadline=None, max_examples=20)
def test_any_picture_size_gives_the_same_number_of_numbers(clips: int, height: int, width: int) -> None:
    frames = motion.FRAMES_PER_CLIP * clips + 2 * motion.MARGIN
    gray = np.random.default_rng(0).integers(0, 256, (frames, height, width), dtype=np.uint8)
    described, where = describe(gray)
    assert described.shape == (clips, motion.DIM)
    assert where.shape == (clips, height, width)
    assert np.isfinite(described).all()


def test_clips_are_described_alike_alone_and_among_others() -> None:
    frames = np.stack([draw(100 + 2 * n, 120 + n) for n in range(4 * 6 + 2 * motion.MARGIN)])
    together, _ = describe(frames)
    for number in range(4):
        alone, _ = describe(frames[6 * number : 6 * number + 6 + 2 * motion.MARGIN])
        np.testing.assert_allclose(alone[0], together[number], atol=1e-5)
