"""The demo's picture: for each sentence frames of its video, relevance over time, the true and the found moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfmr.report.plots import FOUND, TRUE, frame_strip, save_figure

FRAME_WIDTH = 200  # pixels
CURVE = "#4D4D4D"


@dataclass(frozen=True)
class Answer:
    """A sentence, its video and what was found. Times in seconds; relevance (n,) at times (n,)."""

    sentence: str
    path: Path
    duration: float
    true: tuple[float, float]
    found: tuple[float, float]
    times: NDArray[np.float64]
    relevance: NDArray[np.float64]
    milliseconds: float


def draw_answers(answers: Sequence[Answer], path: Path) -> None:
    """Write the picture, beside and renamed."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    style: Any = {"font.size": 9, "font.family": "sans-serif", "axes.linewidth": 0.6}
    with plt.rc_context(style):
        figure = plt.figure(figsize=(10, 2.25 * len(answers)), layout="constrained")
        panels = figure.subfigures(len(answers), 1, squeeze=False, hspace=0.04)[:, 0]
        for panel, answer in zip(panels, answers, strict=True):
            _draw(panel, answer)
        save_figure(figure, path, dpi=160)


def _draw(panel: Any, answer: Answer) -> None:
    strip, timeline = panel.subplots(2, 1, height_ratios=[2.1, 1])
    frames = frame_strip(answer.path, answer.duration, FRAME_WIDTH)
    strip.imshow(frames, aspect="auto", extent=(0, answer.duration, 0, 1), interpolation="bilinear")
    strip.set_axis_off()
    strip.set_title(f"\u201c{answer.sentence}\u201d", loc="left", fontsize=11, fontweight="bold")
    strip.set_title(f"{answer.path.stem}, found in {answer.milliseconds:.1f} ms", loc="right", fontsize=8, color=CURVE)

    low, high = float(answer.relevance.min()), float(answer.relevance.max())
    height = (answer.relevance - low) / max(high - low, 1e-9)
    timeline.fill_between(answer.times, 0, height, color="#E6E6E6", linewidth=0)
    timeline.plot(answer.times, height, color=CURVE, linewidth=1, label="relevance")
    for (start, end), level, colour, name in (
        (answer.true, -0.3, TRUE, "true"),
        (answer.found, -0.72, FOUND, "found"),
    ):
        timeline.barh(level, end - start, left=start, height=0.2, color=colour)
        label = f"{name} {start:.1f}\u2013{end:.1f} s"
        left = end < 0.8 * answer.duration
        where, side = (end + 0.01 * answer.duration, "left") if left else (start - 0.01 * answer.duration, "right")
        timeline.text(where, level, label, color=colour, fontsize=8, va="center", ha=side)
    timeline.axvspan(*answer.found, ymin=0.47, color=FOUND, alpha=0.08, linewidth=0)
    timeline.set(xlim=(0, answer.duration), ylim=(-0.95, 1.08), yticks=[])
    timeline.set_xlabel("seconds", fontsize=8, labelpad=1)
    timeline.tick_params(axis="x", labelsize=8, length=2)
    for side in ("top", "right", "left"):
        timeline.spines[side].set_visible(False)
