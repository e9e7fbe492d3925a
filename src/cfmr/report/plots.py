"""What the report's pictures and the demo's share: colours, and frames of a video in a row."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.files.atomic import replacing
from cfmr.video.clip import thumbnail

# Okabe and Ito: told apart by colour-blind readers too
BLUE, ORANGE, GREEN, GREY, RED = "#0072B2", "#E69F00", "#009E73", "#7F7F7F", "#D55E00"
FOUND, TRUE = BLUE, GREEN

FRAMES = 8  # of a strip
GAP = 4  # pixels between two


def frame_strip(path: Path, duration: float, width: int) -> NDArray[np.uint8]:
    """Pictures of a video side by side, (height, n, 3), each from the middle of its stretch of the video.

    Args:
        duration: of the video, seconds.
        width: of a picture, pixels.

    Raises:
        InputError: the video cannot be read.
    """
    from PIL import Image

    times = (np.arange(FRAMES) + 0.5) / FRAMES * duration
    frames = [np.asarray(Image.open(io.BytesIO(thumbnail(path, float(at), width))).convert("RGB")) for at in times]
    height = min(len(frame) for frame in frames)
    gap = np.full((height, GAP, 3), 255, np.uint8)
    return np.concatenate([part for frame in frames for part in (frame[:height], gap)][:-1], axis=1)


def save_figure(figure: Any, path: Path, **options: Any) -> None:
    """Write a figure as PNG beside and rename, then forget it."""
    import matplotlib.pyplot as plt

    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", **options)
    plt.close(figure)
