"""An extractor: the mean colour of each half second.

from cfmr.extractors import EXTRACTORS
EXTRACTORS["colours"] = "examples.extractor:Colours"
"""

import os

import numpy as np

from cfmr.errors import InputError
from cfmr.extractors import Attributes, Extraction, VideoProgress
from cfmr.video.decode import Video


class Colours:
    """Red, green and blue of what is on the screen, each from 0 to 1."""

    name, version, dim, clips_per_second = "colours", 1, 3, 2.0

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads

    def attributes(self) -> Attributes:
        return {"extractor": self.name, "version": self.version, "clips_per_second": self.clips_per_second}

    def extract(self, path: str | os.PathLike[str], progress: VideoProgress | None = None) -> Extraction:
        with Video(path, self._threads) as video:
            means = [frame.rgb(32, 32).mean((0, 1)) / 255 for frame in video.frames(fps=self.clips_per_second)]
            if not means:
                raise InputError(f"{path}: holds no frame that can be read")
            return Extraction(np.float32(means), video.end, video.damage)
