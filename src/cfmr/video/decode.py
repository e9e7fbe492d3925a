"""Video files: frames at their presentation times, upright; thumbnails; cutting a stretch out.

Files are read with PyAV as a stream, so memory does not grow with length. A damaged file gives what can be read, and
says so in `Video.damage`; a file that is no video raises InputError.
"""

import math
import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter

from cfmr.errors import InputError
from cfmr.video.container import Boxes, boxes_of, film_of, open_file, reason_of
from cfmr.video.stamps import LONGEST_GAP, REORDERED, BestEffort, Clock, Ending, in_line
from cfmr.video.unseen import CODECS, WORTHWHILE, Unseen

Image = npt.NDArray[np.uint8]

LONGEST = 7 * 24 * 3600.0  # seconds of a video that are read
_WIDEST = 16  # to 1 is the widest pixel that is believed; those of broadcasts and lenses are below 3
_TELLS_LENGTH = {"mov", "matroska", "avi", "flv", "mxf"}  # containers whose header knows how long the file should be
_GOES_ON = {"matroska", "avi"}  # those that FFmpeg reads on in where another file begins
_INDEXED = {"mov", "matroska", "avi", "asf", "mxf"}  # those in which a time is found again as it was counted
_THREADS, _THREAD_MEMORY = 16, 128 << 20  # at most, in one decoder
_EARLIER = (0.0, 2.0, 10.0)  # seconds before the time sought at which one tries to begin
_LEARNED = 8  # pictures by which one knows a file's stamps
_FAR = 5.0  # seconds between two times from which on seeking is cheaper than decoding what lies between
_SKIPPED = 128 << 20  # bytes of packets that are kept while one looks for a time
_STREAMED = {"mpegts", "mpeg", "flv", "asf", "nut", "ogg", "matroska"}  # whose packets reach almost to the end
_UNREAD = 0.2  # share of a stream's bytes that may follow its last picture


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


_scalers = threading.local()


def _scaler(kind: str) -> VideoReformatter:
    """This thread's own for pictures of a kind: it keeps its tables from one frame to the next of the same sizes."""
    found: VideoReformatter | None = getattr(_scalers, kind, None)
    if found is None:
        found = VideoReformatter()
        setattr(_scalers, kind, found)
    return found


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
        # of an interlaced picture the two fields are made smaller one by one, and each has a row at least
        rows = max(stored_height, 1 + self.picture.interlaced_frame)
        scaled = _scaler(kind).reformat(
            self.picture, width=stored_width, height=rows, format=kind, interpolation=how, threads=1
        )
        return self.orientation.turn(np.asarray(scaled.to_ndarray(), dtype=np.uint8)[:stored_height])


@dataclass(slots=True)
class _Repeats:
    """How often pictures are shown again, where a repeated picture is an empty packet."""

    now: int = 0
    before: int = 0

    def again(self) -> None:
        self.now += 1

    def new(self) -> None:
        self.now, self.before = 0, self.now

    @property
    def left_out(self) -> int:
        """Repeats of the last picture that FFmpeg's muxer of Ogg does not write: as many as of the one before it."""
        return 0 if self.now else self.before


class Video:
    """One open video file.

        with Video("holiday.mp4") as video:
            for frame in video.frames(fps=2):
                image = frame.rgb(160, 120)
            if video.damage:
                print(video.damage)

    Of several streams of pictures the one marked as default is read, then the largest; cover pictures are none.

    Args:
        path: the file.
        threads: cores to decode with; what is read of a whole file is the same with any number.
        sampled: `frames` at a rate decodes no picture that it does not show, where that changes no other. Damage to
            such a picture goes unnoticed then, and `damage` counts fewer.

    Attributes:
        end: after reading, the time in seconds at which the last frame read goes off the screen.
        step: seconds that a frame is shown on average, as far as the file tells.
        left_out: after reading, whether pictures may have been left out.

    Raises:
        InputError: no such file, or no video in it that can be opened.
    """

    def __init__(self, path: str | os.PathLike[str], threads: int = 1, sampled: bool = False) -> None:
        self.path = Path(path)
        self._threads, self._sampled = threads, sampled
        self._unseen: Unseen | None = None
        self._container, self._stream = self._open()
        self._zero = (self._container.start_time or 0) / av.time_base
        kinds = set(self._container.format.name.split(","))
        # a picture takes a byte at least: a header that promises more was written to a pipe, and never finished
        self._unfinished = self._stream.frames > self._container.size
        self._tells_length = bool(kinds & _TELLS_LENGTH) and not self._unfinished
        self._goes_on = bool(kinds & _GOES_ON)
        self._drops_repeats, self._is_mov = "ogg" in kinds, "mov" in kinds
        self._boxes = boxes_of(self.path) if self._is_mov else Boxes()
        self._indexed = bool(kinds & _INDEXED) and self._boxes.films <= 1
        aspect = self._stream.sample_aspect_ratio
        self._pixel_aspect = float(aspect) if aspect and 1 / _WIDEST <= aspect <= _WIDEST else 1.0
        rate = float(self._stream.average_rate or self._stream.guessed_rate or 25)
        self.step = 1 / rate if 1e-3 < rate < 1e4 else 1 / 25
        self._effort, self._learned = BestEffort(), False
        # seconds of a tick; making a fraction of each stamp would cost more than reading the packet
        self._bases = {s.index: float(s.time_base or 0) for s in self._container.streams}
        self._index = self._stream.index
        self._begin(self._zero)

    def _begin(self, zero: float | None) -> None:
        self.end = 0.0
        self._count, self._lost, self._fault = 0, 0, ""
        self._turned: tuple[int, Orientation] | None = None
        self._interlaced = self.left_out = False
        self._clock = Clock(self._container.format.name, self._bases, zero, 1 / self.step)
        self._effort.begin()
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
        container = open_file(self.path)
        try:
            stream = film_of(container)
        except InputError as error:
            container.close()
            raise InputError(f"{self.path}: {error}") from None
        context = stream.codec_context
        size = max(context.width * context.height * 3, 1)  # bytes of a picture, about; each thread holds one more
        context.thread_count = max(1, min(self._threads, _THREADS, _THREAD_MEMORY // size))
        context.thread_type = "AUTO" if context.thread_count > 1 else "NONE"
        return container, stream

    @property
    def expected(self) -> float | None:
        """Length in seconds as the header tells it, where it does."""
        return self._header_duration()

    @property
    def timecode(self) -> str | None:
        """Timecode of the first frame as the camera wrote it, `01:00:00;00`; None where the file has none."""
        streams = [self._stream, *self._container.streams.data]
        found = (owner.metadata.get("timecode") for owner in (*streams, self._container))
        return next(filter(None, found), None)

    def info(self) -> VideoInfo:
        """Decode one frame and tell what the file is. Raises InputError if it holds no frame."""
        first = next(self.frames(), None)
        if first is None:
            raise InputError(f"{self.path}: holds no frame that can be read")
        self._rewind()
        width, height = first.size
        rate = self._stream.average_rate or self._stream.guessed_rate
        duration = self._header_duration() if self._indexed else None
        if duration is not None and self._goes_on and duration <= LONGEST:
            duration = self._last_end(duration)
        if duration is None or not 0 < duration <= LONGEST:
            duration = min(self._counted_duration(), LONGEST)
        return VideoInfo(duration, width, height, float(rate) if rate else 0.0, first.orientation.rotation)

    def frames(self, fps: float | None = None, start: float = 0.0, end: float | None = None) -> Iterator[Frame]:
        """The frames on the screen at start, start + 1 / fps, ..., up to `end` or the end of the video.

        A frame is on the screen from its presentation time until the next one's, so a variable frame rate, a gap and a
        late start are all seen as a player shows them. Without `fps`: every frame once, at its own time, beginning
        with the one on the screen at `start`.
        """
        stop = math.inf if end is None else end
        self._unseen = Unseen(start, fps) if fps is not None and self._can_leave_out(fps) else None
        pictures = self._bounded(self._pictures(start))
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

    def _can_leave_out(self, fps: float) -> bool:
        name = self._stream.codec_context.name
        return self._sampled and self._indexed and name in CODECS and fps * self.step < WORTHWHILE

    def glimpses(self, times: Sequence[float], within: float) -> Iterator[Frame]:
        """For each time a frame that is on the screen then, or begins at most `within` seconds before.

        Where times lie far apart the file is entered anew for each, and a key frame that is near enough spares decoding
        any other. After the end it is the last frame.

        Args:
            times: in seconds, rising.
        """
        jumps = self._indexed and len(times) > 1 and times[1] - times[0] >= _FAR
        pictures = self._pictures(times[0]) if len(times) else iter(())
        shown, following = next(pictures, None), None
        for number, time in enumerate(times):
            if jumps and number and self._seek(time):
                pictures = in_line(self._decoded(self.packets()), self.step)
                shown, following = next(pictures, shown), None
            while shown is not None and shown[0] < time - within:
                following = following or next(pictures, None)
                if following is None or following[0] > time + 1e-6:
                    break
                shown, following = following, None
            if shown is None:
                return
            yield self._frame(*shown)

    def _bounded(self, pictures: Iterator[tuple[float, Any]]) -> Iterator[tuple[float, Any]]:
        for time, picture in pictures:
            if time >= LONGEST:
                self.end = LONGEST
                self._fault = self._fault or f"longer than {LONGEST / 3600:.0f} hours, of which no more is read"
                return
            yield time, picture

    def _frame(self, time: float, picture: Any) -> Frame:
        # side data refers to its frame and the frame to it, so pictures asked for it would wait for the garbage
        # collector; a tiny copy has the same side data
        if self._turned is None or self._turned[0] != picture.rotation or picture.key_frame:
            try:
                tiny = picture.reformat(width=2, height=2, format="gray", interpolation="POINT", threads=1)
            except (av.error.FFmpegError, ValueError) as error:
                kind = picture.format.name
                raise InputError(f"{self.path}: pictures of this kind ({kind}) cannot be shown") from error
            self._turned = picture.rotation, Orientation.of(tiny)
        return Frame(time, picture, self._turned[1], self._pixel_aspect)

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
            self._learned = False
            self._begin(self._zero)

    def _pictures(self, start: float) -> Iterator[tuple[float, Any]]:
        """Decoded pictures with their times, in order, from the last key frame before `start` or earlier."""
        self._rewind()
        self._untouched = False
        if start > 0 and self._indexed:
            for back in _EARLIER:
                if not self._seek(max(start - back, 0.0)):
                    break
                pictures = in_line(self._decoded(self.packets()), self.step)
                first = next(pictures, None)
                if first is not None and first[0] <= start + 1e-6 and not first[1].is_corrupt:
                    yield first
                    del first
                    yield from pictures
                    return
            self._rewind()  # the file has no index, or a broken one: from the beginning
            self._untouched = False
        yield from in_line(self._decoded(self._skipping(start)), self.step)
        if start > 0 and self._count == 0:  # what is there cannot be decoded: the last one before that is shown
            self._rewind()
            self._untouched = False
            yield from in_line(self._decoded(self.packets()), self.step)

    def _seek(self, start: float) -> bool:
        # the decoder may need what only the beginning says (some encoders name themselves, and so their bugs, there),
        # and by the first pictures one knows which stamps hold
        if not self._learned:
            for _ in zip(range(_LEARNED), self._decoded(self.packets()), strict=False):
                pass
            self._learned = True
        self._begin(None)
        self._untouched = False
        try:
            ticks = int((start + self._zero) / self._stream.time_base)
            self._container.seek(ticks, backward=True, stream=self._stream)
        except av.error.FFmpegError:
            return False
        return True

    def _skipping(self, start: float) -> Iterator[Any]:
        """All packets, but of the pictures only those from the last key frame but one before `start` on.

        Where times can be told from each other by reading on alone (transport and program streams, Ogg), this gives
        the very pictures and times that decoding everything would.
        """
        waiting: deque[list[Any]] = deque([[]])
        size = 0
        packets = self.packets()
        for packet in packets if start > 0 else ():
            if packet.stream.index != self._index:
                yield packet
                continue
            time = self._seconds(packet)
            if packet.is_keyframe and time is not None and time - self._zero <= start:
                waiting.append([])
                while len(waiting) > 2:
                    size -= sum(old.size for old in waiting.popleft())
            waiting[-1].append(packet)
            size += packet.size
            if time is None or time - self._zero > start or size > _SKIPPED:
                break
        for group in waiting:
            yield from group
        yield from packets

    def _decoded(self, packets: Iterator[Any]) -> Iterator[tuple[float, Any]]:
        """Pictures as the decoder gives them. A packet that cannot be decoded is left out and noted."""
        base, time, length = self._bases[self._index], -self.step, self.step
        reached, position, left_out, repeats, ending = 0.0, 0, 0, _Repeats(), Ending()
        for packet in packets if self._unseen is None else self._leaving_out(self._unseen, packets):
            stamp = self._seconds(packet)
            if stamp is not None:
                reached = max(reached, stamp + (packet.duration or 0) * self._bases[packet.stream_index] - self._zero)
            position = max(position, (packet.pos or 0) + packet.size)
            if packet.stream.index != self._index:
                continue
            if packet.size == 0 and stamp is not None:  # the last picture again
                self.end = max(self.end, time + length, stamp - self._zero + self.step)
                repeats.again()
                continue
            if packet.size:
                repeats.new()
            left_out += packet.is_discard and self._count > 0
            try:
                pictures = packet.decode()
            except (av.error.FFmpegError, MemoryError) as error:
                self._note(reason_of(error), lost=1)
                continue
            while pictures:
                picture = pictures.pop(0)
                chosen = self._effort.choose(picture.pts, picture.dts)
                time = time + length if chosen is None else chosen * base - self._zero
                length = (picture.duration or 0) * base
                length = length if 0 < length < LONGEST_GAP else self.step
                self.end = self._within_header(time, ending.after(time, length))
                self._count += 1
                self._interlaced |= picture.interlaced_frame
                yield time, picture
                del picture  # or it would outlive the next one's decoding
        if self._drops_repeats:
            self.end += repeats.left_out * self.step
        self._note_early_end(reached, position, left_out)

    def _leaving_out(self, unseen: Unseen, packets: Iterator[Any]) -> Iterator[Any]:
        """The same packets; before each, the decoder is told whether it may leave out its picture.

        It may once one has come, as long as presentation times have held and each was a whole picture: of two fields,
        one may be needed without the other.
        """
        context = self._stream.codec_context

        def shown(packet: Any) -> float | None:
            return None if packet.pts is None else float(packet.pts * self._bases[self._index]) - self._zero

        for packet, left_out in unseen.told(packets, self._index, shown):
            leave_out = left_out and self._count > 0 and self._effort.holds and not self._interlaced
            context.skip_frame = "NONREF" if leave_out else "DEFAULT"
            self.left_out |= leave_out
            yield packet

    def _within_header(self, time: float, end: float) -> float:
        """Where an MP4's last picture goes off the screen: its stamps tell how long a picture takes in the decoder's
        order, which where pictures are reordered is another's length on the screen; its header knows the sum."""
        whole = self._header_duration() if self._is_mov else None
        return whole if whole is not None and time < whole < end else end

    def packets(self) -> Iterator[Any]:
        """Packets of the pictures and of the sound, their stamps on one timeline; at the end an empty one of each.

        The sound is read along with the pictures since it, too, tells how far the file goes.
        """
        packets = self._container.demux([*self.sounds[:1], self._stream])
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError as error:
                self._note(reason_of(error), lost=0)
                return
            self._clock.adjust(packet)
            yield packet

    def sound(self, start: float) -> Iterator[tuple[float, Any]]:
        """Decoded sound and its times in seconds, from `start` or earlier on; what cannot be decoded is left out."""
        self._rewind()
        self._untouched = False
        if start > 0 and self._indexed:
            pieces = self._sound_sought(start)
            first = next(pieces, None)
            if first is not None and first[0] <= start:
                yield first
                yield from pieces
                return
            self._rewind()  # the file's index knows no time as early, or none
            self._untouched = False
        yield from self._sound_after(start)

    def _sound_sought(self, start: float) -> Iterator[tuple[float, Any]]:
        try:
            self._container.seek(int((start + self._zero) * av.time_base), backward=True)
        except av.error.FFmpegError:
            return
        self._begin(None)
        self._untouched = False
        yield from self._sound_after(start)

    def _sound_after(self, start: float) -> Iterator[tuple[float, Any]]:
        stream = self.sounds[0]
        for packet in self.packets():
            time = self._seconds(packet)
            if packet.stream.index != stream.index or (time is not None and time - self._zero < start - 1):
                continue
            try:
                pieces = packet.decode()
            except (av.error.FFmpegError, ValueError):
                continue
            for piece in pieces:
                if piece.pts is not None:
                    yield float(piece.pts * piece.time_base) - self._zero, piece

    def _seconds(self, packet: Any) -> float | None:
        """When a packet is shown (or, where that is not told, decoded), by the file's own clock."""
        stamp = packet.dts if packet.pts is None else packet.pts
        return None if stamp is None else float(stamp * self._bases[packet.stream_index])

    @property
    def sounds(self) -> list[Any]:
        """Streams of sound that can be decoded, the default one first."""
        found = [s for s in self._container.streams.audio if s.codec_context is not None]
        return sorted(found, key=lambda s: not s.disposition & av.stream.Disposition.default)

    def _note(self, reason: str, lost: int) -> None:
        self._fault = self._fault or f"damaged at {self.end:.1f} s ({reason})"
        self._lost += lost

    def _note_early_end(self, reached: float, position: int, left_out: int) -> None:
        boxes = self._boxes
        broken = f"breaks off at {self.end:.1f} s, in the middle of a fragment"
        if self._fault:  # the part of a picture at the end is damage, too
            if boxes.broken_off and boxes.fragments:
                self._fault += f"; {broken}"
            return
        length = (self._container.duration or 0) / av.time_base
        late = max(self._zero, 0.0)  # some headers tell the last time of a clock that begins late
        reached = max(reached, self.end) + late + self._clock.left_out
        if self._tells_length and reached < length - max(0.5, 0.02 * length):
            self._fault = f"breaks off at {self.end:.1f} s of {length:.1f} s"
        elif boxes.broken_off and boxes.fragments:
            self._fault = broken
        elif boxes.films > 1 and boxes.fragments and left_out:
            self._fault = f"leaves out {left_out} pictures where another recording follows"
        elif position and self._unread_after(position):
            self._fault = (
                f"goes on after {self.end:.1f} s with what is not read (another recording, put after this one?)"
            )

    def _unread_after(self, position: int) -> bool:
        """Whether more follows the last packet, which ends at a byte, than an index would take."""
        kinds = set(self._container.format.name.split(","))
        if self._boxes.films > 1 and not self._boxes.fragments:
            return True
        unread = self._container.size - position
        return bool(kinds & _STREAMED) and bool(unread > max(_UNREAD * self._container.size, 8192))

    def _end_of_packets(self) -> float:
        """Seconds at which the stream ends by the stamps of all packets from here on; 0 where there are none."""
        repeats, ending = _Repeats(), Ending(REORDERED)
        for packet in self.packets():
            stamps = [stamp for stamp in (packet.pts, packet.dts) if stamp is not None]
            if packet.stream.index == self._index and stamps:
                length = (packet.duration or 0) * self._bases[packet.stream_index]
                length = length if 0 < length < LONGEST_GAP else self.step
                ending.after(max(stamps) * self._bases[self._index] - self._zero, length)
                if packet.size == 0:
                    repeats.again()
                else:
                    repeats.new()
        return ending.time + (repeats.left_out * self.step if self._drops_repeats else 0.0)

    def _last_end(self, duration: float) -> float:
        """Seconds at which the stream ends, read on from near where the header says.

        What follows may be another file, put after this one; and where a clock begins late, some headers tell its last
        time.
        """
        length = 0.0
        if self._seek(max(duration - 1.0, 0.0)):
            length = self._end_of_packets()
        self._rewind()
        return length if length > 0 else duration

    def _header_duration(self) -> float | None:
        stream = self._stream
        if self._unfinished:
            return None
        if stream.duration and stream.time_base:
            begin = float((stream.start_time or 0) * stream.time_base) - self._zero
            return begin + float(stream.duration * stream.time_base)
        if self._container.duration:
            return float(self._container.duration / av.time_base)
        return None

    def _counted_duration(self) -> float:
        """Length in seconds by the stamps of all packets; nothing is decoded."""
        self._untouched = False
        end = self._end_of_packets()
        self._rewind()
        if end == 0:  # a bare stream has no stamps
            for _ in self.frames():
                pass
            end = self.end
            self._rewind()
        return end


def probe(path: str | os.PathLike[str]) -> VideoInfo:
    """Length, size as displayed, frame rate and rotation. Raises InputError for what is no video."""
    with Video(path) as video:
        return video.info()
