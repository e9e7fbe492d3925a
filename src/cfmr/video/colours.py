"""What a file says of its colours, kept on the way into a clip."""

from dataclasses import dataclass
from typing import Any, Self

import av
import numpy as np

from cfmr.video.decode import Frame, Orientation

# as ITU-T H.273 and FFmpeg number them
_RGB, _BT709, _UNKNOWN = 0, 1, 2
_LIMITED, _FULL = 1, 2


@dataclass(frozen=True, slots=True)
class Colours:
    """The marks of a picture's colours. A player shows the numbers of a picture as they say.

    Attributes:
        range: 1 for 16 to 235, 2 for 0 to 255, 0 where the file does not tell.
        matrix, transfer, primaries: by their numbers in ITU-T H.273; 2 where the file does not tell. BT.2020 with PQ or
            HLG, as HDR has them, are among them.
        rgb: whether the source has no matrix of its own.
    """

    range: int
    matrix: int
    transfer: int
    primaries: int
    rgb: bool = False

    @classmethod
    def of(cls, picture: av.VideoFrame) -> Self:
        """The marks that a clip of such pictures gets: the source's own, or BT.709 for one in RGB."""
        full = picture.color_range == _FULL or picture.format.name.startswith("yuvj")
        if picture.format.is_rgb or picture.format.has_palette or picture.colorspace == _RGB:
            return cls(_LIMITED, _BT709, picture.color_trc, picture.color_primaries, rgb=True)
        own = _FULL if full else picture.color_range
        return cls(own, picture.colorspace, picture.color_trc, picture.color_primaries)

    def yuv420p(self, frame: Frame, size: tuple[int, int]) -> Any:
        """A frame upright, in 8 bits, of this size (even numbers); its numbers mean what the source's do."""
        width, height = frame.orientation.size(*size)
        how: dict[str, Any] = {"width": width, "height": height, "format": "yuv420p", "threads": 1}
        if self.rgb:
            picture = frame.picture.reformat(**how, dst_colorspace="ITU709", dst_color_range="MPEG")
        else:
            picture = frame.picture.reformat(**how, src_color_range=self.range, dst_color_range=self.range)
        if frame.orientation != Orientation():
            picture = _turned(picture, frame.orientation)
        picture.color_range, picture.colorspace = self.range, self.matrix
        picture.color_trc, picture.color_primaries = self.transfer, self.primaries
        return picture


def _turned(picture: Any, orientation: Orientation) -> Any:
    """Turn a picture in yuv420p upright, plane by plane, so that its numbers stay as they are."""
    stacked = picture.to_ndarray()
    width, height = picture.width, picture.height
    luma, chroma = stacked[:height], stacked[height:].reshape(2, height // 2, width // 2)
    planes = [orientation.turn(plane) for plane in (luma, *chroma)]
    stored = np.concatenate([plane.reshape(-1) for plane in planes])
    return av.VideoFrame.from_ndarray(stored.reshape(-1, planes[0].shape[1]), format="yuv420p")
