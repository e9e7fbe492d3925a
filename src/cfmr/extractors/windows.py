"""What extractors on windows of frames share: reading them as a stream, and weights that somebody else published."""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cfmr.errors import InputError
from cfmr.extractors import Attributes, Extraction, VideoProgress
from cfmr.files.reading import reading
from cfmr.files.safe_pickle import read_torch
from cfmr.video.decode import Frame, Video

Images = npt.NDArray[Any]  # of uint8, but where a checkpoint prepares them itself
Parameters = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a video is cut into windows: a window of `length` frames around every `stride` frames of `fps` a second.

    The first frame is that at `start` seconds.
    """

    fps: float
    length: int
    stride: int
    batch: int = 4
    start: float = 0.0

    @property
    def clips_per_second(self) -> float:
        return self.fps / self.stride

    def attributes(self) -> Attributes:
        """For the feature file."""
        return {
            "fps": self.fps,
            "stride": self.stride,
            "window": self.length,
            "clips_per_second": self.clips_per_second,
        }


def extract_windows(
    path: str | os.PathLike[str],
    plan: Plan,
    prepare: Callable[[Frame], Images],
    encode: Callable[[Images], npt.NDArray[np.float32]],
    progress: VideoProgress | None = None,
) -> Extraction:
    """Run a network over the windows of a video.

    Args:
        prepare: a frame -> (height, width, 3).
        encode: windows (n, length, height, width, 3) -> features (n, dim).

    Raises:
        InputError: it is no video, or holds no frame that can be read.
    """
    blocks = []
    with Video(path) as video:
        images = (prepare(frame) for frame in video.frames(fps=plan.fps, start=plan.start))
        for windows in _batches(cut_windows(images, plan.length, plan.stride), plan.batch):
            blocks.append(encode(np.stack(windows)))
            if progress is not None:
                progress(min(video.end / video.expected, 1.0) if video.expected else 0.0)
        if not blocks:
            raise InputError(f"{path}: holds no frame that can be read")
        return Extraction(np.concatenate(blocks).astype(np.float32, copy=False), video.end, video.damage)


def cut_windows(images: Iterator[Images], length: int, stride: int) -> Iterator[Images]:
    """Windows (length, ...) around every `stride` images: window k has the images from k * stride on in its middle.

    The first and the last image are repeated where a window reaches beyond. A last stretch of less than half a stride
    is left to the window before it.
    """
    before = max(length - stride, 0) // 2
    waiting: list[Images] = []
    first = start = -before  # the number of the image that is first in `waiting`, and first in the next window
    total = 0
    for image in images:
        waiting += [image] * (before + 1 if total == 0 else 1)
        total += 1
        while max(start + length, start + before + stride / 2) <= total:
            yield np.stack(waiting[start - first : start - first + length])
            start += stride
        last = image
        drop = min(start - first, len(waiting))
        waiting, first = waiting[drop:], first + drop
    while total and (start + before) // stride < max(1, int(total / stride + 0.5)):
        window = waiting[start - first :][:length]
        yield np.stack(window + [last] * (length - len(window)))
        start += stride


def _batches(windows: Iterator[Images], size: int) -> Iterator[list[Images]]:
    batch = []
    for window in windows:
        batch.append(window)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def centre_crop(frame: Frame, short_side: int, crop: int) -> Images:
    """(crop, crop, 3) from the middle of a frame whose shorter side is made `short_side` long."""
    width, height = frame.size
    scale = short_side / min(width, height)
    image = frame.rgb(max(round(width * scale), crop), max(round(height * scale), crop))
    top, left = (image.shape[0] - crop) // 2, (image.shape[1] - crop) // 2
    return image[top : top + crop, left : left + crop]


def read_weights(path: str | os.PathLike[str]) -> Parameters:
    """Parameters by name from a `.safetensors` or torch file; nothing in it is executed.

    The dict may lie under `state_dict` or `model`, and names may begin with `module.`.

    Raises:
        InputError: no such file, or it is truncated or of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; name the published weights")
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        with reading(path, "a complete safetensors file"):
            return dict(load_file(path))
    content = read_torch(path)
    for key in ("state_dict", "model_state_dict", "model_state", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, np.ndarray) for value in content.values()):
        raise InputError(f"{path}: holds no parameters by name")
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def digest(path: Path) -> str:
    """Recognises a file of weights by its content. Raises InputError if there is none."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; name the published weights")
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def load_weights(
    module: Any, parameters: Parameters, path: str | os.PathLike[str], ignore: tuple[str, ...] = ()
) -> None:
    """Fill a torch module.

    Args:
        ignore: beginnings of names that may be missing from the module, such as a classifier's.

    Raises:
        InputError: a parameter is missing, too many, or of another shape; the first is named.
    """
    import torch

    wanted = module.state_dict()
    given = {name: value for name, value in parameters.items() if not name.startswith(ignore)}
    optional = {name for name in wanted if name.endswith("num_batches_tracked")}
    what = f"{path}: these are not weights of {type(module).__name__}"
    if missing := sorted(set(wanted) - set(given) - optional):
        raise InputError(f"{what}: {missing[0]} is missing ({len(missing)} in all)")
    if unknown := sorted(set(given) - set(wanted)):
        raise InputError(f"{what}: {unknown[0]} is not known ({len(unknown)} in all)")
    for name, value in given.items():
        if tuple(value.shape) != tuple(wanted[name].shape):
            raise InputError(f"{what}: {name} has shape {tuple(value.shape)}, expected {tuple(wanted[name].shape)}")
    module.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in given.items()}, strict=False)
    module.eval()
