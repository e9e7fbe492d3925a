"""The report's pictures, with matplotlib."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from cfmr.errors import InputError
from cfmr.moments.metrics import iou
from cfmr.report.examples import Example
from cfmr.report.finished_run import FinishedRun
from cfmr.report.plots import BLUE, FOUND, GREEN, GREY, ORANGE, RED, TRUE, frame_strip
from cfmr.report.published import Benchmark, Cost
from cfmr.video.files import video_file

SUPERVISION = {"full": BLUE, "weak": ORANGE, "point": GREEN}
STYLE: Any = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 150}
FRAME_WIDTH = 160  # pixels
WIDTH, BARS = 8.4, 0.6  # of the strip, and height of the bars below it, inches
SMALLEST_DISC = 8.0  # points squared: what has hardly any parameters is still seen


def draw_efficiency(benchmark: Benchmark, own: Sequence[tuple[FinishedRun, float, Cost]]) -> Any:
    """Accuracy over online cost; the area of a disc is the number of parameters.

    Args:
        own: mean of the two R@1 measures and cost of each measured run.
    """
    supervision = {row.method: SUPERVISION[row.supervision] for row in benchmark.accuracy}
    discs = [
        (
            cost,
            accuracy,
            f"{cost.method}, {_millions(cost.parameters)}",
            {"color": supervision[cost.method], "alpha": 0.55},
        )
        for cost in benchmark.efficiency
        if (accuracy := benchmark.main_accuracy(cost.method)) is not None
    ]
    for run, accuracy, cost in own:
        style: Any = {"facecolor": "white" if run.simulated else RED, "edgecolor": RED, "linewidth": 1.5}
        discs.append((cost, accuracy, f"{run.name}, {_millions(cost.parameters)}", style))
    discs.sort(key=lambda disc: -disc[0].parameters)  # small ones on top
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.2, 4.4))
        for cost, accuracy, _, style in discs:
            axes.scatter(
                cost.flops, accuracy, s=max(14 * cost.parameters, SMALLEST_DISC), zorder=3, **{"linewidth": 0, **style}
            )
        axes.set_xscale("log")
        axes.margins(x=0.2, y=0.2)
        axes.set_ylim(bottom=0)
        axes.grid(color="#E6E6E6", linewidth=0.6)
        _place_labels(axes, [(cost.flops, accuracy, text) for cost, accuracy, text, _ in discs])
        first, second = benchmark.measures[:2]
        axes.set_xlabel("online multiply-adds a query, 1e8 (log scale)")
        axes.set_ylabel(f"mean of {first} and {second.removeprefix('R@1,')}, %")
        axes.set_title(f"{benchmark.title}: accuracy over online cost", loc="left")
        _explain_discs(axes, own)
    return figure


def _explain_discs(axes: Any, own: Sequence[tuple[FinishedRun, float, Cost]]) -> None:
    handles = [
        Line2D([], [], marker="o", ls="", color=colour, label=f"{kind}, published")
        for kind, colour in SUPERVISION.items()
    ]
    if any(not run.simulated for run, _, _ in own):
        handles.append(Line2D([], [], marker="o", ls="", color=RED, label="measured here"))
    if any(run.simulated for run, _, _ in own):
        handles.append(Line2D([], [], marker="o", ls="", mfc="white", mec=RED, label="measured on simulated features"))
    handles.append(Line2D([], [], ls="", label="area: parameters"))
    axes.legend(handles=handles, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))


def _millions(parameters: float) -> str:
    return f"{parameters:.1f} M" if parameters >= 0.1 else f"{parameters:.2g} M"


def _place_labels(axes: Any, labels: list[tuple[float, float, str]]) -> None:
    """Write each label beside its point, moved up or down until it covers no other."""
    axes.figure.canvas.draw()
    renderer = axes.figure.canvas.get_renderer()
    taken: list[Any] = []
    for x, y, text in sorted(labels, key=lambda label: -label[1]):
        for offset in (0, 10, -10, 20, -20, 30, -30, 40, -40):
            note = axes.annotate(text, (x, y), (7, offset), textcoords="offset points", fontsize=8, va="center")
            box = note.get_window_extent(renderer)
            if not any(box.overlaps(other) for other in taken):
                break
            note.remove()
        else:
            note = axes.annotate(text, (x, y), (7, 0), textcoords="offset points", fontsize=8, va="center")
            box = note.get_window_extent(renderer)
        taken.append(box)


def draw_training(run: FinishedRun) -> Any:
    """Loss and its parts, and the figures by which the epoch was chosen, over epochs."""
    epochs = [line["epoch"] for line in run.epochs]
    parts = [key for key in run.epochs[0] if "/" in key or key == "loss"]
    chosen = next((key for key in ("validation", "test") if any(key in line for line in run.epochs)), None)
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(1, 2 if chosen else 1, figsize=(11 if chosen else 6, 3.4), squeeze=False)
        left = panels[0][0]
        for key in parts:
            width = 2.2 if key == "loss" else 1.0
            left.plot(epochs, [line.get(key, np.nan) for line in run.epochs], lw=width, label=key, marker=".", ms=4)
        left.set(xlabel="epoch", ylabel="loss", title=f"{run.name}: training")
        left.set_yscale("symlog" if len(parts) > 1 else "linear")
        left.xaxis.set_major_locator(MaxNLocator(integer=True))
        left.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
        if chosen:
            _draw_figures(panels[0][1], run, epochs, chosen)
        figure.tight_layout()
    return figure


def _draw_figures(axes: Any, run: FinishedRun, epochs: list[int], chosen: str) -> None:
    measured = {key for line in run.epochs for key in line.get(chosen, {})}
    wanted = ["R@1,IoU=0.3", "R@1,IoU=0.5", "R@1,IoU=0.7", "R@1,mIoU", "R@1,glance"]
    for key in (key for key in wanted if key in measured):
        values = [line.get(chosen, {}).get(key, np.nan) for line in run.epochs]
        axes.plot(epochs, values, label=key, marker=".", ms=4)
    if isinstance(best := run.figures.get("epoch"), int):
        axes.axvline(best, color=GREY, lw=1, ls=":", label="epoch kept")
    axes.set(xlabel="epoch", ylabel="percent", title=f"{run.name}: on {chosen}", ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))


def draw_examples(run: FinishedRun, examples: Sequence[Example], videos: Path | None) -> Any:
    """For each query a strip of frames (where the videos are at hand), the true moment and those found."""
    strips = [_strip(videos, example) for example in examples]
    tall = [0.0 if strip is None else WIDTH * strip.shape[0] / strip.shape[1] for strip in strips]  # inches
    heights = [BARS + height for height in tall]
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(
            len(examples),
            1,
            figsize=(WIDTH + 0.8, sum(heights) + 0.55 * len(examples) + 0.6),
            squeeze=False,
            height_ratios=heights,
            layout="constrained",
        )
        for axes, example, strip, height in zip(panels[:, 0], examples, strips, tall, strict=True):
            _draw_example(axes, example, strip, 2 * height / BARS)
        panels[-1, 0].set_xlabel("seconds")
        title = f"{run.name} on {run.features}. Filled: the best answer; outlined: the next ones"
        figure.suptitle(title, x=0.02, ha="left", fontsize=9)
    return figure


def _draw_example(axes: Any, example: Example, strip: Any, height: float) -> None:
    """The bars take 2 units of the y axis, the strip above them `height`."""
    row = example.annotation
    if strip is not None:
        axes.imshow(strip, extent=(0, row.duration, 2, 2 + height), aspect="auto", interpolation="bilinear")
    if row.span is not None:
        start, end = row.span
        axes.add_patch(Rectangle((start, 1.1), end - start, 0.6, color=TRUE))
    for rank, (start, end) in reversed(list(enumerate(example.spans))):
        style = {"color": FOUND} if rank == 0 else {"edgecolor": FOUND, "facecolor": "none", "alpha": 0.8 / rank}
        axes.add_patch(Rectangle((start, 0.2), end - start, 0.6, **style))
    overlap = "" if row.span is None else f", IoU {float(iou(example.spans[0], np.array(row.span))):.2f}"
    axes.set(xlim=(0, row.duration), ylim=(0, 2 + height), yticks=[0.5, 1.4], yticklabels=["found", "true"])
    sentence = row.sentence.strip()
    sentence = sentence if len(sentence) <= 90 else sentence[:87] + "..."
    axes.set_title(
        f"\u201c{sentence}\u201d  ({row.video}{overlap}, {example.milliseconds:.1f} ms)", loc="left", fontsize=8
    )
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _strip(videos: Path | None, example: Example) -> Any:
    """Frames side by side, (height, width, 3); None if the video is not there or cannot be read."""
    if videos is None or (path := video_file(videos, example.annotation.video)) is None:
        return None
    try:
        return frame_strip(path, example.annotation.duration, FRAME_WIDTH)
    except InputError:
        return None
