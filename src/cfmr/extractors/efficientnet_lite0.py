"""The default extractor: EfficientNet-Lite0 on ONNX Runtime, and a motion half; nothing to download.

Two clips a second. One frame of each goes through the network; all that the clip shows, at 12 frames a second, goes
through `motion`, small and gray. A feature is, one after the other:

- 1280: the network's average over the picture;
- 112 and 112: average and maximum of what it knows half-way, on a grid twice as fine: what is small, its colour;
- 424: the average of what it knows at four levels over what moves, so that one knows who moved;
- the motion itself (`motion.describe`), since one frame cannot tell left from right.

The network computes in floats, or in 8 bits where the processor is clearly faster at that (`efficientnet_network`).
What it says then differs a little, so a feature file keeps the precision that it was begun with.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt

from cfmr.errors import InputError
from cfmr.extractors import Attributes, Extraction, VideoProgress, motion
from cfmr.extractors.ahead import ahead
from cfmr.extractors.efficientnet_graph import CHANNELS, LEVELS
from cfmr.extractors.efficientnet_network import (
    FLOAT,
    INT8,
    Network,
    check_device,
    fastest_precision,
    is_exact,
    weights_file,
)
from cfmr.video.decode import Video

_MIDDLE = 10  # the block that is half-way, the last one at a sixteenth of the picture's size

_FPS = 12.0
_SEEN = 3  # which of a clip's frames the network sees
_AREA, _STEP = 256 * 192, 16  # pixels of what the network sees, about; its sides are multiples of the step
_GRAY_AREA = 64 * 48
_BLOCK = 16  # clips computed at a time
_STILL = 0.02  # share of the picture that has to move for its average to count half


@dataclass(frozen=True, slots=True)
class _Clip:
    image: npt.NDArray[np.uint8]  # height, width, 3
    gray: npt.NDArray[np.uint8]  # frames, height, width


_Block = tuple[list[_Clip], npt.NDArray[np.uint8]]


class EfficientNetLite0:
    """See the module. Frames keep their proportions.

    Args:
        threads: cores to use.
        precision: of the network, "float" or "int8"; by default what this machine is best at.
        device: cpu or cuda; the latter computes in floats.

    Raises:
        InputError: no such precision or device here, or the weights are missing.
    """

    name = "efficientnet-lite0"
    version = 3
    dim = CHANNELS + 2 * LEVELS[_MIDDLE] + sum(LEVELS.values()) + motion.DIM
    clips_per_second = _FPS / motion.FRAMES_PER_CLIP

    def __init__(self, threads: int = 1, precision: str | None = None, device: str = "cpu") -> None:
        self._threads, self._device = threads, device
        if precision is not None:
            _check_precision(precision, device)
            self.precision = precision
        weights_file()  # that it is missing should be known at once
        check_device(device)

    @cached_property
    def precision(self) -> str:
        """Of the network."""
        return fastest_precision() if self._device == "cpu" else FLOAT

    @cached_property
    def _network(self) -> Network:
        return Network(self._threads, self.precision, self._device)

    def attributes(self) -> Attributes:
        """For the feature file."""
        return {
            "extractor": self.name,
            "version": self.version,
            "dim": self.dim,
            "fps": _FPS,
            "stride": motion.FRAMES_PER_CLIP,
            "clips_per_second": self.clips_per_second,
            "precision": self.precision,
        }

    def extract(self, path: str | os.PathLike[str], progress: VideoProgress | None = None) -> Extraction:
        """Features of a video, (clips, dim). Raises InputError if it is none, or holds no frame."""
        found, whole = self._extract(path, self._threads, True, progress)
        if found.damage and not (whole and self._threads == 1):
            # how a decoder fills what is damaged depends on its threads and on what was left out; features must not
            found, _ = self._extract(path, 1, False, progress)
        return found

    def _extract(
        self, path: str | os.PathLike[str], threads: int, sampled: bool, progress: VideoProgress | None
    ) -> tuple[Extraction, bool]:
        """And whether no picture was left out."""
        features = []
        with Video(path, threads, sampled) as video, _made_ahead(_blocks(video), threads) as blocks:
            for clips, gray in blocks:
                features.append(self._features(np.stack([clip.image for clip in clips]), gray))
                if progress is not None:
                    progress(min(video.end / video.expected, 1.0) if video.expected else 0.0)
            if not features:
                raise InputError(f"{path}: holds no frame that can be read")
            return Extraction(np.concatenate(features), video.end, video.damage), not video.left_out

    def _features(self, images: npt.NDArray[np.uint8], gray: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        pooled, levels = self._network(images)
        moves, where = motion.describe(gray)
        middle = levels[_MIDDLE]
        still = [pooled, middle.mean(axis=(2, 3)), middle.max(axis=(2, 3))]
        moving = [_moving(level, where) for level in levels.values()]
        return np.concatenate([*still, *moving, moves], axis=1)


def _check_precision(precision: str, device: str) -> None:
    if precision not in (FLOAT, INT8):
        raise InputError(f"--precision {precision}: choose {FLOAT} or {INT8}")
    if precision == INT8 and device != "cpu":
        raise InputError(f"--device {device}: makes no features of precision int8; leave it out, or give another --out")
    if precision == INT8 and not is_exact():
        raise InputError("features of precision int8 need a processor with VNNI or the like; give another --out")


def _sides(size: tuple[int, int], area: int, step: int) -> tuple[int, int]:
    """Width and height of about this area in the proportions of `size`."""
    scale = (area / (size[0] * size[1])) ** 0.5
    width, height = (max(round(side * scale / step), 1) * step for side in size)
    return width, height


def _clips(video: Video) -> Iterator[_Clip]:
    """The clips of a video; a last one that is not half full is left out, a fuller one stands still at its end."""
    gray: list[npt.NDArray[np.uint8]] = []
    image: npt.NDArray[np.uint8] | None = None
    sides: tuple[tuple[int, int], tuple[int, int]] | None = None
    clips = 0
    for frame in video.frames(fps=_FPS):
        sides = sides or (_sides(frame.size, _AREA, _STEP), _sides(frame.size, _GRAY_AREA, 2))
        if image is None or len(gray) == _SEEN:
            image = frame.rgb(*sides[0])
        gray.append(frame.gray(*sides[1]))
        if len(gray) == motion.FRAMES_PER_CLIP:
            yield _Clip(image, np.stack(gray))
            clips, gray, image = clips + 1, [], None
    if image is not None and (len(gray) * 2 >= motion.FRAMES_PER_CLIP or clips == 0):
        yield _Clip(image, np.stack(gray + gray[-1:] * (motion.FRAMES_PER_CLIP - len(gray))))


def _blocks(video: Video) -> Iterator[_Block]:
    """Some clips at a time, with their gray frames and motion.MARGIN more on either side; edges repeat."""
    before: npt.NDArray[np.uint8] | None = None
    clips: list[_Clip] = []
    for clip in _clips(video):
        clips.append(clip)
        if before is None:
            before = np.repeat(clip.gray[:1], motion.MARGIN, axis=0)
        if len(clips) > _BLOCK:
            block, clips = clips[:-1], clips[-1:]
            frames = np.concatenate([before, *(c.gray for c in block), clips[0].gray[: motion.MARGIN]])
            yield block, frames
            before = block[-1].gray[-motion.MARGIN :]
    if before is not None:
        after = np.repeat(clips[-1].gray[-1:], motion.MARGIN, axis=0)
        yield clips, np.concatenate([before, *(c.gray for c in clips), after])


def _made_ahead(blocks: Iterator[_Block], threads: int) -> AbstractContextManager[Iterator[_Block]]:
    """Decoding goes on beside the network where there is more than one core for both."""
    return ahead(blocks) if threads > 1 else nullcontext(blocks)


def _moving(grid: npt.NDArray[np.float32], where: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Average of a (n, channels, h, w) over where something moves, (n, height, width); 0 where nothing does."""
    down, across = (_cells(small, large) for small, large in zip(grid.shape[2:], where.shape[1:], strict=True))
    weights = np.matmul(down, np.matmul(where, across.T))  # n, h, w
    total = weights.sum(axis=(1, 2))[:, None] / weights[0].size
    summed = np.matmul(grid.reshape(*grid.shape[:2], -1), weights.reshape(len(grid), -1, 1))[..., 0]
    return np.asarray(summed / weights[0].size / (total + np.float32(_STILL)), dtype=np.float32)


@cache
def _cells(small: int, large: int) -> npt.NDArray[np.float32]:
    """(small, large) that averages a length of `large` into `small` equal cells."""
    edges = np.linspace(0, large, small + 1)
    overlap = np.minimum(edges[1:, None], np.arange(1, large + 1)) - np.maximum(edges[:-1, None], np.arange(large))
    return np.asarray(np.clip(overlap, 0, None) * small / large, dtype=np.float32)
