"""Pictures that no sample shows: they need not be decoded where no other picture is made from them."""

import bisect
import math
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

CODECS = {"h264", "hevc"}  # whose decoders FFmpeg tells to leave such pictures out
AHEAD = 32  # packets by which one knows when a picture is followed by the next; formats reorder 16 at most
WORTHWHILE = 0.75  # samples a picture, above which few are left out
_ROUNDING = 1e-3  # seconds by which a picture's time may be told differently later


class Unseen:
    """Which packets hold a picture that is on the screen at none of the times start, start + 1 / fps, ...

    Args:
        start: seconds.
        fps: samples a second.
    """

    def __init__(self, start: float, fps: float) -> None:
        self._start, self._fps = start, fps

    def told(
        self, packets: Iterator[Any], index: int, seconds: Callable[[Any], float | None]
    ) -> Iterator[tuple[Any, bool]]:
        """The same packets, each with whether its picture is seen by no sample. The last AHEAD count as seen.

        Args:
            index: of the stream of pictures.
            seconds: when the picture of a packet is shown; None where that is not known.
        """
        held: deque[tuple[Any, float | None]] = deque()
        times: list[float] = []  # of the packets that are held, and of those before them, rising
        pictures = 0
        for packet in packets:
            time = seconds(packet) if packet.stream.index == index and packet.size else None
            held.append((packet, time))
            if time is not None:
                pictures += 1
                bisect.insort(times, time)
            while pictures > AHEAD:
                first, time = held.popleft()
                pictures -= time is not None
                yield first, time is not None and self._is_unseen(time, times)
            del times[: -4 * AHEAD]
        for packet, _ in held:
            yield packet, False

    def _is_unseen(self, time: float, times: list[float]) -> bool:
        following = bisect.bisect_right(times, time)
        if following == len(times) or bisect.bisect_left(times, time) < following - 1:
            return False  # none follows, or another has the same time
        sample = max(math.ceil((time - _ROUNDING - self._start) * self._fps), 0)
        return self._start + sample / self._fps > times[following] + _ROUNDING
