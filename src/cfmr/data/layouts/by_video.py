"""Objects with the videos' names as keys: ActivityNet Captions, TACoS, and the glance files of ViGA and D3G."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cfmr.data.layouts.row import Row
from cfmr.errors import InputError

GLANCES = ("glance", "glances")  # ViGA's key, and D3G's


class _Clock(NamedTuple):
    """A video's length in seconds, and what turns its times and its glances into seconds."""

    duration: float
    time: Callable[[Any], Any]
    glance: Callable[[Any], Any]


def rows(path: Path, content: dict[str, Any], *, frames: bool | None = None) -> Iterator[Row]:
    """A row for each of a video's moments.

    Args:
        path: the file, for messages.
        content: `{video: {"timestamps", "sentences", "duration" or "fps" and "num_frames", "glance" or "glances"}}`.
        frames: whether times are frames, as TACoS has them; None: where a video has `num_frames` and no `duration`.

    Raises:
        InputError: naming the video.
    """
    for video, entry in content.items():
        try:
            count = _in_frames(entry) if frames is None else frames
            found = _of_video(video, entry, _frames(entry) if count else _seconds(entry))
        except KeyError as error:
            raise InputError(f"{path}: video {video} has no {error.args[0]!r}") from None
        except (AttributeError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"{path}: video {video} is malformed: {error}") from None
        for number, row in enumerate(found, 1):
            yield Row(f"video {video}, moment {number}", row)


def _in_frames(entry: dict[str, Any]) -> bool:
    return "num_frames" in entry and "duration" not in entry


def _of_video(video: str, entry: dict[str, Any], clock: _Clock) -> list[list[Any]]:
    times, sentences = entry["timestamps"], entry["sentences"]
    glances = next((entry[key] for key in GLANCES if entry.get(key)), None) or [None] * len(times)
    if not len(times) == len(sentences) == len(glances):
        raise ValueError(f"{len(times)} timestamps, {len(sentences)} sentences and {len(glances)} glances")
    return [
        [
            video,
            clock.duration,
            [clock.time(start), clock.time(end)],
            sentence,
            None if glance is None else clock.glance(glance),
        ]
        for (start, end), sentence, glance in zip(times, sentences, glances, strict=True)
    ]


def _seconds(entry: dict[str, Any]) -> _Clock:
    return _Clock(entry["duration"], lambda time: time, lambda time: time)


def _frames(entry: dict[str, Any]) -> _Clock:
    fps, frames = float(entry["fps"]), float(entry["num_frames"])
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"its fps is {entry['fps']}, by which frames cannot be turned into seconds")
    if not (math.isfinite(frames) and frames > 0):
        raise ValueError(f"its num_frames is {entry['num_frames']}")
    # By way of the fraction, the glances are those of the field's files to the last digit.
    return _Clock(frames / fps, lambda frame: frame / fps, lambda frame: frame / frames * (frames / fps))
