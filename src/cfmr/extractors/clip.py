"""CLIP (Radford et al., 2021) and its kin: frames and sentences in one space, so that moments are found untrained.

Source of weights: any checkpoint of Hugging Face transformers that has an image and a text side (a folder with
`config.json`: CLIP, SigLIP, ...), or of open_clip (a folder with `open_clip_config.json`; or, as `clip/ViT-B-32`, a
file of weights for an architecture by name). Input: the checkpoint's own preprocessing. Two
frames a second, a clip each. Output: the image's vector of length 1, as wide as the checkpoint has it.
"""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cfmr.errors import InputError
from cfmr.extractors import Attributes, Extraction, VideoProgress, needs
from cfmr.extractors.clip_checkpoints import Towers, open_towers, package_of
from cfmr.extractors.known_checkpoints import resolve
from cfmr.extractors.windows import Plan, digest, extract_windows
from cfmr.video.decode import Frame

Vectors = npt.NDArray[np.float32]


class Clip:
    """See the module.

    Args:
        weights: folder of a checkpoint, or its name (`cfmr.extractors.known_checkpoints`); with `backbone`, a file of
            weights.
        backbone: open_clip's name of an architecture.
        threads: cores to use.

    Raises:
        InputError: no checkpoint there, or the package that reads it is not installed; which one is said.
    """

    family = "clip"
    version = 1
    plan = Plan(fps=2.0, length=1, stride=1, batch=8)
    clips_per_second = plan.clips_per_second

    def __init__(
        self, weights: str | os.PathLike[str] | None = None, backbone: str | None = None, threads: int = 1
    ) -> None:
        self.name = f"{self.family}/{backbone}" if backbone else self.family
        if weights is None:
            raise InputError(
                f"--extractor {self.name}: needs --weights, the folder of a CLIP checkpoint or a name (cfmr models)"
            )
        self.weights = Path(weights) if backbone else resolve(Path(weights))
        self._backbone, self._threads = backbone, threads
        package = package_of(self.weights, backbone)
        needs("torch", self.name)
        needs(package, self.name)

    @property
    def dim(self) -> int:
        """Width of a vector."""
        return self.towers.dim

    def attributes(self) -> Attributes:
        """For the feature file."""
        own: Attributes = {"extractor": self.name, "version": self.version, "dim": self.dim}
        return {**own, "weights": _digest(self.weights), **self.plan.attributes()}

    def extract(self, path: str | os.PathLike[str], progress: VideoProgress | None = None) -> Extraction:
        """Vectors of a video's frames, (clips, dim). Raises InputError if it is none, or the checkpoint no use."""
        return extract_windows(path, self.plan, self._prepare, self._encode, progress)

    def text(self, sentences: Sequence[str]) -> Vectors:
        """Vectors of sentences, (n, dim), of length 1; their inner product with a frame's tells how well they fit."""
        import torch

        ids = [self.towers.ids(sentence) for sentence in sentences]
        vectors = np.zeros((len(ids), self.dim), np.float32)
        with torch.inference_mode():
            for length in {len(row) for row in ids}:
                places = [place for place, row in enumerate(ids) if len(row) == length]
                vectors[places] = _unit(self.towers.sentences(torch.tensor([ids[place] for place in places])))
        return vectors

    def _prepare(self, frame: Frame) -> npt.NDArray[Any]:
        from PIL import Image

        return self.towers.prepare(Image.fromarray(frame.rgb()))

    def _encode(self, windows: npt.NDArray[Any]) -> Vectors:
        import torch

        with torch.inference_mode():
            return _unit(self.towers.images(windows[:, 0]))

    @cached_property
    def towers(self) -> Towers:
        """The loaded checkpoint. Raises InputError if it is no use."""
        import torch

        torch.set_num_threads(self._threads)
        return open_towers(self.weights, self._backbone)


class Clip2s(Clip):
    """CLIP on clips of two seconds, the frame in the middle of each, as QVHighlights and Lighthouse take it."""

    family = "clip-2s"
    plan = Plan(fps=0.5, length=1, stride=1, batch=8, start=1.0)
    clips_per_second = plan.clips_per_second


def _unit(vectors: Any) -> Vectors:
    from torch.nn import functional as F

    return np.asarray(F.normalize(vectors.float(), dim=-1).numpy(), dtype=np.float32)


def _digest(weights: Path) -> str:
    """Of the file, or of the largest file in the folder: the parameters."""
    files = [weights] if weights.is_file() else sorted(path for path in weights.iterdir() if path.is_file())
    return digest(max(files, key=lambda path: path.stat().st_size))
