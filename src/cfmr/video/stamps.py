"""When a picture is shown: which of a file's stamps hold, where its clock starts anew, and what they leave open."""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

LONGEST_GAP = 3600.0  # seconds; a longer leap is a broken stamp, not a still picture
_DISCONTINUITY = 10.0  # seconds; FFmpeg's `dts_delta_threshold`, for formats whose clock may leap
_BACK = 0.5  # seconds by which decoding times may step back without being a clock that starts anew
_ABREAST = 1.0  # seconds that streams are apart in a file at most
REORDERED = 20  # pictures that presentation times may step back by
_ALIKE = 2  # pictures that may have one and the same stamp; in a file whose index ends before it does, all have
_HELD = 4  # pictures looked ahead to find a stamp that is ahead of its time

_LEAPING = frozenset({"mpegts", "mpeg", "mpegtsraw", "flv", "live_flv", "nut", "ogg"})

Picture = TypeVar("Picture")


@dataclass(slots=True)
class _Track:
    end: float  # seconds of the file's clock at which its next packet is expected
    presented: bool  # whether that is a presentation time
    shift: float = 0.0  # seconds added to its own stamps
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=REORDERED))  # ends of its last packets


class Clock:
    """Carries one timeline through all packets of a file, also where its stamps start anew or leap.

    Recordings put one after the other, and recorders that lost their signal, begin again at another time. Streams that
    leap together keep their distance. `ends` never goes back.

    Args:
        kind: the container's format, as FFmpeg names it; transport and program streams may leap ahead by design.
        bases: seconds of a tick of each stream, by its index.
        zero: seconds at which the file begins; None after seeking, when the first packet may be of any time.
        rate: pictures a second.
    """

    def __init__(self, kind: str, bases: dict[int, float], zero: float | None, rate: float) -> None:
        kinds = set(kind.split(","))
        self._ahead = _DISCONTINUITY if kinds & _LEAPING else LONGEST_GAP
        self._presented = "matroska" in kinds  # which stores no decoding times; those there are, are made up
        self._bases, self._zero, self._rate = bases, zero, rate
        self._tracks: dict[int, _Track] = {}
        self._shift = 0.0

    @property
    def left_out(self) -> float:
        """Seconds by which the timeline is shorter than the file's clock, which leapt ahead."""
        return max(-self._shift, 0.0)

    def _leaps(self, time: float, track: _Track, back: float) -> bool:
        """Whether the clock leaps. It does not where the track alone has a gap, to whose end other streams have come;
        nor where a picture comes that was reordered across a gap."""
        if -back <= time - track.end <= self._ahead:
            return False
        if any(abs(time - other.end) < _ABREAST for other in self._tracks.values() if other is not track):
            return False
        return not (track.presented and any(abs(time - end) < _BACK for end in track.recent))

    def adjust(self, packet: Any) -> None:
        """Move a packet's stamps to the timeline."""
        presented = packet.dts is None or (self._presented and packet.pts is not None)
        stamp = packet.pts if presented else packet.dts
        index = packet.stream_index
        base = self._bases[index]
        if stamp is None or not base:
            return
        own, back = stamp * base, _BACK
        track = self._tracks.get(index)
        if presented or (track is not None and track.presented):  # which may go back, and are ahead of the others
            back = max(1.0, REORDERED / self._rate)
        if track is None:
            expected = own if self._zero is None else self._zero
            track = self._tracks[index] = _Track(expected, presented)
            if abs(own - expected) > LONGEST_GAP:
                track.shift = self._shift = expected - own
        elif self._leaps(own + track.shift, track, back):
            if -back <= own + self._shift - track.end <= self._ahead:
                track.shift = self._shift  # another stream has found the new clock
            else:
                track.shift = self._shift = track.end - own
        track.presented = presented
        if track.shift:
            ticks = round(track.shift / base)
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks
        length = (packet.duration or 0) * base
        end = own + track.shift + (length if length < LONGEST_GAP else 0.0)
        track.end = max(track.end, end) if presented else end
        track.recent.append(end)


class BestEffort:
    """The time of a decoded picture, chosen as FFmpeg does (`best_effort_timestamp`; libavcodec/decode.c).

    The presentation time holds, unless presentation times have gone backwards more often than decoding times: AVI, and
    MP4 without composition offsets, store decoding times in the place of presentation times.
    """

    def __init__(self) -> None:
        self._faulty_pts = self._faulty_dts = 0
        self.begin()

    def begin(self) -> None:
        """After seeking: what was last seen is forgotten, what was learned of the file is not."""
        self._last_pts = self._last_dts = -math.inf
        self._chosen: int | None = None
        self._alike = 0

    @property
    def holds(self) -> bool:
        """Whether presentation times have gone forwards so far."""
        return self._faulty_pts == 0

    def choose(self, pts: int | None, dts: int | None) -> int | None:
        """The stamp of the next picture in the decoder's order; None if it has none, or one that stands still."""
        if dts is not None:
            self._faulty_dts += dts <= self._last_dts
            self._last_dts = dts
        elif pts is not None:
            self._last_dts = pts
        if pts is not None:
            self._faulty_pts += pts <= self._last_pts
            self._last_pts = pts
        elif dts is not None:
            self._last_pts = dts
        chosen = pts if pts is not None and (self._faulty_pts <= self._faulty_dts or dts is None) else dts
        self._alike = self._alike + 1 if chosen == self._chosen else 1
        self._chosen = chosen
        return chosen if self._alike <= _ALIKE else None


class Ending:
    """When the last picture goes off the screen, looked for as pictures come.

    The end of a picture that was followed by another counts for nothing: it went when the other came. A stamp that is
    far ahead is forgotten when others have followed it.

    Args:
        remembered: pictures that may come in another order than they are shown in.
    """

    def __init__(self, remembered: int = _HELD + 1) -> None:
        self._last: deque[tuple[float, float]] = deque(maxlen=remembered)

    def after(self, time: float, length: float) -> float:
        """Take in the next picture, shown at `time` for so many seconds; when the last one so far ends."""
        self._last.append((time, time + length))
        return self.time

    @property
    def time(self) -> float:
        """Seconds; 0 where there was no picture."""
        return max(self._last, default=(0.0, 0.0))[1]


def in_line(pictures: Iterator[tuple[float, Picture]], step: float) -> Iterator[tuple[float, Picture]]:
    """The same pictures in the same order, with times that never fall.

    The decoder's order is that of the screen. A time that a later one shows to be ahead is put between its neighbours.

    Args:
        pictures: times in seconds, and pictures.
        step: seconds that a picture is usually shown.
    """
    held: deque[tuple[float, Picture]] = deque()
    last = -math.inf
    for time, picture in pictures:
        time = max(time, last)
        wrong = sum(1 for other, _ in held if other >= time)
        if wrong:
            kept = len(held) - wrong
            before = held[kept - 1][0] if kept else last
            before = time - (wrong + 1) * step if before == -math.inf else before
            for number in range(wrong):
                held[kept + number] = before + (time - before) * (number + 1) / (wrong + 1), held[kept + number][1]
        held.append((time, picture))
        if len(held) > _HELD:
            last = held[0][0]
            yield held.popleft()
    yield from held
