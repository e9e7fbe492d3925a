"""Video files: frames at their presentation times, upright; thumbnails; cutting a stretch out.

Files are read with PyAV as a stream, so memory does not grow with length. A damaged file gives what can be read, and
says so in `Video.damage`; a file that is no video raises InputError.
"""

import heapq
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
import numpy.typing as npt

from cfmr.errors import InputError

Image = npt.NDArray[np.uint8]

_LOOKAHEAD = 4  # frames held back so that some that come out of order are put in order
_LONGEST_GAP = 3600.0  # seconds; a longer jump is a broken timestamp, not a still picture
_STILLS = {"tty", "image2"}  # FFmpeg "plays" text files and pictures with these
_TELLS_LENGTH = {"mov", "matroska", "avi", "flv"}  # containers whose header knows how long the file should be


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a file says of itself.

    Attributes:
        duration: seconds.
        width, height: as displayed, after rotation and with square pixels.
        fps: average frames a second (0 where unknown).
        rotation: degrees clockwise by which the stored picture is turned for display: 0, 90, 180 or 270.
    """

    duration: float
    width: int
    height: int
    fps: float
    rotation: int


@dataclass(frozen=True, slots=True)
class Orientation:
    """How a stored picture becomes an upright one: swap the axes, then flip."""

    transposed: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @classmethod
    def of(cls, picture: av.VideoFrame) -> "Orientation":
        """From the display matrix of a frame: x' = a x + c y, y' = b x + d y, to the nearest right angle."""
        data: Any = picture.side_data.get("DISPLAYMATRIX")
        if data is None:
            return cls()
        a, b, _, c, d = (int(value) for value in np.frombuffer(data, dtype="<i4")[:5])
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    @property
    def rotation(self) -> int:
        """Degrees clockwise; a mirrored picture counts as the rotation of its first flip."""
        if self.transposed:
            return 90 if self.flip_x else 270
        return 180 if self.flip_y else 0

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height after (or, it is the same, before) turning."""
        return (height, width) if self.transposed else (width, height)

    def turn(self, image: Image) -> Image:
        """Turn (height, width, ...) upright."""
        if self.transposed:
            image = image.swapaxes(0, 1)
        return np.ascontiguousarray(image[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1])


@dataclass(frozen=True, slots=True)
class Frame:
    """What is on the screen at `time` (seconds from the start of the file). Converted only when asked."""

    time: float
    picture: av.VideoFrame
    orientation: Orientation = Orientation()
    pixel_aspect: float = 1.0

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as displayed, with square pixels (those of DVDs and some phones are not)."""
        return self.orientation.size(max(round(self.picture.width * self.pixel_aspect), 1), self.picture.height)

    def rgb(self, width: int | None = None, height: int | None = None) -> Image:
        """Upright (height, width, 3); made smaller by area. One of the two alone keeps the proportions."""
        return self._convert("rgb24", width, height)

    def gray(self, width: int | None = None, height: int | None = None) -> Image:
        """Upright (height, width); made smaller by area."""
        return self._convert("gray", width, height)

    def _convert(self, kind: str, width: int | None, height: int | None) -> Image:
        own_width, own_height = self.size
        if width is None:
            width = own_width if height is None else max(round(own_width * height / own_height), 1)
        if height is None:
            height = max(round(own_height * width / own_width), 1)
        stored_width, stored_height = self.orientation.size(width, height)
        shrinks = stored_width <= self.picture.width and stored_height <= self.picture.height
        how = "AREA" if shrinks else "BICUBIC"
        scaled = self.picture.reformat(
            width=stored_width, height=stored_height, format=kind, interpolation=how, threads=1
        )
        return self.orientation.turn(np.asarray(scaled.to_ndarray(), dtype=np.uint8))


class Video:
    """One open video file.

        with Video("holiday.mp4") as video:
            for frame in video.frames(fps=2):
                image = frame.rgb(160, 120)
            if video.damage:
                print(video.damage)

    Attributes:
        end: after reading, the time in seconds at which the last frame read goes off the screen.

    Raises:
        InputError: no such file, or no video in it that can be opened.
    """

    def __init__(self, path: str | os.PathLike[str], threads: int = 1) -> None:
        self.path = Path(path)
        self._threads = threads
        self._container, self._stream = self._open()
        self._zero = (self._container.start_time or 0) / av.time_base
        aspect = self._stream.sample_aspect_ratio
        self._pixel_aspect = float(aspect) if aspect and aspect > 0 else 1.0
        self._begin()

    def _begin(self) -> None:
        self.end = 0.0
        self._count, self._lost, self._fault = 0, 0, ""
        self._untouched = True

    @property
    def damage(self) -> str | None:
        """After reading: one line that says what could not be read, or None."""
        if not self._fault:
            return None
        lost = f", {self._lost} lost" if self._lost else ""
        return f"{self.path}: {self._fault}; {self._count} frames could be read{lost}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _open(self) -> tuple[Any, Any]:
        if not self.path.exists():
            raise InputError(f"{self.path}: no such file")
        try:
            container = av.open(str(self.path), metadata_errors="ignore")
        except av.error.FFmpegError as error:
            raise InputError(f"{self.path}: cannot be read as a video ({_reason(error)})") from error
        pictures = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        kinds = set(container.format.name.split(","))
        if not pictures or kinds & _STILLS or any(kind.endswith("_pipe") for kind in kinds):
            container.close()
            raise InputError(f"{self.path}: is not a video")
        stream = pictures[0]
        if stream.codec_context is None:
            container.close()
            raise InputError(f"{self.path}: its video is of a kind that cannot be decoded")
        stream.codec_context.thread_count = self._threads
        return container, stream

    @property
    def expected(self) -> float | None:
        """Length in seconds as the header tells it, where it does."""
        return self._header_duration()

    def info(self) -> VideoInfo:
        """Decode one frame and tell what the file is. Raises InputError if it holds no frame."""
        first = next(self.frames(), None)
        if first is None:
            raise InputError(f"{self.path}: holds no frame that can be read")
        self._rewind()
        width, height = first.size
        rate = self._stream.average_rate or self._stream.guessed_rate
        duration = self._header_duration()
        if duration is None:
            for _ in self.frames():
                pass
            duration = self.end
            self._rewind()
        return VideoInfo(duration, width, height, float(rate) if rate else 0.0, first.orientation.rotation)

    def frames(self, fps: float | None = None, start: float = 0.0, end: float | None = None) -> Iterator[Frame]:
        """The frames on the screen at start, start + 1 / fps, ..., up to `end` or the end of the video.

        A frame is on the screen from its presentation time until the next one's, so a variable frame rate, a gap and a
        late start are all seen as a player shows them. Without `fps`: every frame once, at its own time, beginning
        with the one on the screen at `start`.
        """
        stop = math.inf if end is None else end
        pictures = self._pictures(start)
        if fps is None:
            for time, picture in self._from(pictures, start):
                if time >= stop:
                    return
                yield self._frame(time, picture)
            return
        shown: Frame | None = None
        count = 0
        for time, picture in pictures:
            while shown is not None and (sample := start + count / fps) < time - 1e-6:
                if sample >= stop:
                    return
                yield replace(shown, time=sample)
                count += 1
            shown = self._frame(time, picture)
        stop = min(stop, self.end)
        while shown is not None and ((sample := start + count / fps) < stop - 1e-6 or count == 0):
            yield replace(shown, time=sample)
            count += 1

    def _frame(self, time: float, picture: Any) -> Frame:
        return Frame(time, picture, Orientation.of(picture), self._pixel_aspect)

    @staticmethod
    def _from(pictures: Iterator[tuple[float, Any]], start: float) -> Iterator[tuple[float, Any]]:
        """Drop what has left the screen before `start`."""
        shown = None
        for time, picture in pictures:
            if shown is not None and time > start + 1e-6:
                yield shown
            shown = time, picture
        if shown is not None:
            yield shown

    def _rewind(self) -> None:
        if not self._untouched:
            self.close()
            self._container, self._stream = self._open()
            self._begin()

    def _pictures(self, start: float) -> Iterator[tuple[float, Any]]:
        """Decoded pictures with their times, in order, from the last key frame before `start` or earlier."""
        self._rewind()
        self._untouched = False
        if start > 0 and self._seek(start):
            pictures = self._in_order()
            first = next(pictures, None)
            if first is not None and first[0] <= start + 1e-6 and not first[1].is_corrupt:
                yield first
                yield from pictures
                return
        if start > 0:  # the file has no index, or a broken one: from the beginning
            self._rewind()
            self._untouched = False
        yield from self._in_order()

    def _seek(self, start: float) -> bool:
        # the decoder may need what only the beginning says: some encoders name themselves, and so their bugs, there
        next(self._decoded(), None)
        self._begin()
        self._untouched = False
        try:
            self._container.seek(int((start + self._zero) * av.time_base), backward=True)
        except av.error.FFmpegError:
            return False
        return True

    def _in_order(self) -> Iterator[tuple[float, Any]]:
        waiting: list[tuple[float, int, Any]] = []
        last = -math.inf
        for number, (time, picture) in enumerate(self._decoded()):
            heapq.heappush(waiting, (time, number, picture))
            if len(waiting) > _LOOKAHEAD:
                time, _, picture = heapq.heappop(waiting)
                if time >= last:  # later still than the lookahead: its place has gone by
                    last = time
                    yield time, picture
        for time, _, picture in sorted(waiting):
            yield time, picture

    def _decoded(self) -> Iterator[tuple[float, Any]]:
        """Pictures as the decoder gives them. A packet that cannot be decoded is left out and noted."""
        rate = float(self._stream.average_rate or self._stream.guessed_rate or 25)
        time, reached = -1 / rate, 0.0
        for packet in self._packets():
            if packet.pts is not None and packet.time_base:
                reached = max(reached, float((packet.pts + (packet.duration or 0)) * packet.time_base) - self._zero)
            if packet.stream.index != self._stream.index:
                continue
            try:
                pictures = packet.decode()
            except (av.error.FFmpegError, MemoryError) as error:
                self._note(_reason(error), lost=1)
                continue
            for picture in pictures:
                own = None if picture.time is None else float(picture.time) - self._zero
                if own is not None and self._count and abs(own - self.end) > _LONGEST_GAP:
                    self._note("a time out of line", lost=1)
                    continue
                time = time + 1 / rate if own is None else own
                length = float(picture.duration * picture.time_base) if picture.duration and picture.time_base else 0
                self.end = max(self.end, time + (length if 0 < length < _LONGEST_GAP else 1 / rate))
                self._count += 1
                yield time, picture
        self._note_early_end(reached)

    def _packets(self) -> Iterator[Any]:
        # the sound is read along with the picture since it, too, tells how far the file goes
        packets = self._container.demux([*self._container.streams.audio[:1], self._stream])
        while True:
            try:
                yield next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError as error:
                self._note(_reason(error), lost=0)
                return

    def _note(self, reason: str, lost: int) -> None:
        self._fault = self._fault or f"damaged at {self.end:.1f} s ({reason})"
        self._lost += lost

    def _note_early_end(self, reached: float) -> None:
        length = (self._container.duration or 0) / av.time_base
        told = set(self._container.format.name.split(",")) & _TELLS_LENGTH
        if told and not self._fault and max(reached, self.end) < length - max(0.5, 0.02 * length):
            self._fault = f"breaks off at {self.end:.1f} s of {length:.1f} s"

    def _header_duration(self) -> float | None:
        stream = self._stream
        if stream.duration and stream.time_base:
            begin = float((stream.start_time or 0) * stream.time_base) - self._zero
            return begin + float(stream.duration * stream.time_base)
        if self._container.duration:
            return float(self._container.duration / av.time_base)
        return None


def probe(path: str | os.PathLike[str]) -> VideoInfo:
    """Length, size as displayed, frame rate and rotation. Raises InputError for what is no video."""
    with Video(path) as video:
        return video.info()


def _reason(error: BaseException) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).split("\n")[0]
