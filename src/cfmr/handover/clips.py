"""What is handed over: stretches of videos with a name, and what editing programs need to know of their files."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path, PurePath

from cfmr.errors import InputError
from cfmr.handover.timecode import Rate, can_drop, standard, timeline_fps
from cfmr.video.timing import Timing, read_timing

Read = Callable[[Path], Timing]


@dataclass(frozen=True, slots=True)
class Clip:
    """A stretch of a video.

    Attributes:
        video: its name.
        start, end: seconds.
        text: what happens; the sentence that found it.
        score: of the search; None for a selection by hand.
        duration: of the video, in seconds.
        path: its file; None where that is not there.
    """

    video: str
    start: float
    end: float
    text: str
    score: float | None = None
    duration: float = 0.0
    path: Path | None = None

    @property
    def file_name(self) -> str:
        """Of the file, or the video's name where there is none."""
        return self.path.name if self.path is not None else PurePath(self.video).name


@dataclass(frozen=True, slots=True)
class Source:
    """A video file as an editing program sees it.

    Attributes:
        video: its name.
        path: its file.
        timing: of its frames.
        rate: of its own time line, with which its frames are counted.
        first: frame number of its first frame; not 0 where the camera wrote a timecode.
        exact: whether its frames are those of `rate`: not where the rate is variable, or no standard one.
    """

    video: str
    path: Path
    timing: Timing
    rate: Rate
    first: int = 0
    exact: bool = True

    @property
    def frames(self) -> int:
        """Length in frames of `rate`."""
        return max(int(Fraction(round(self.timing.duration * 1e6), 10**6) * self.rate.fps + Fraction(1, 100)), 1)

    @property
    def note(self) -> str | None:
        """What a person should know of its times; None where they are exact."""
        if self.timing.variable:
            said = f"a variable frame rate ({float(self.timing.fps):.2f} a second on average)"
        elif not self.exact:
            said = f"{float(self.timing.fps):.6g} frames a second"
        else:
            return None
        return f"{self.path.name} has {said}; its times are counted in frames of {self.rate} and may be one frame off"


@dataclass(frozen=True, slots=True)
class Edit:
    """A clip as it lies on a programme's time line; frames of the programme's rate unless said otherwise.

    Attributes:
        clip: what it is.
        source: its file.
        start, end: in the file, in frames of the file's own rate, from 0.
        begin: on the programme.
        length: on the programme.
    """

    clip: Clip
    source: Source
    start: int
    end: int
    begin: int
    length: int


@dataclass(frozen=True, slots=True)
class Programme:
    """Clips one after the other, at one frame rate.

    Attributes:
        title: its name.
        rate: of its time line.
        edits: in order.
        notes: what a person should know of it.
    """

    title: str
    rate: Rate
    edits: tuple[Edit, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def first(self) -> int:
        """The frame number of 01:00:00:00, where it begins."""
        return self.rate.frame("01:00:00:00")

    @property
    def length(self) -> int:
        """Frames."""
        return sum(edit.length for edit in self.edits)


def read_source(video: str, path: Path, drop: bool | None = None, read: Read = read_timing) -> Source:
    """Read what editing needs to know of a file.

    Args:
        video: its name.
        path: its file.
        drop: drop-frame numbers where the rate has them; None: as the file's own timecode, and else drop frame.
        read: reads a file's timing.

    Raises:
        InputError: it is no video.
    """
    timing = read(path)
    fps = timeline_fps(timing.fps)
    exact = not timing.variable and standard(timing.fps) is not None
    own = timing.timecode
    dropped = can_drop(fps) and (drop if drop is not None else own is None or own[-3:-2] in ";.,")
    rate = Rate(fps, dropped)
    return Source(video, path, timing, rate, _first(own, rate), exact)


def _first(timecode: str | None, rate: Rate) -> int:
    """The number of a file's first frame, whichever way the camera counted."""
    if timecode is None:
        return 0
    own = Rate(rate.fps, can_drop(rate.fps) and timecode[-3:-2] in ";.,")
    try:
        return own.frame(timecode)
    except ValueError:
        return 0


def make_programme(
    clips: Sequence[Clip],
    title: str,
    *,
    fps: Fraction | None = None,
    drop: bool | None = None,
    read: Read = read_timing,
) -> Programme:
    """Lay clips one after the other.

    Args:
        clips: with their files.
        title: of the programme.
        fps: of its time line; None: what most of the files have.
        drop: see `read_source`.
        read: reads a file's timing.

    Raises:
        InputError: a file is not there, or is no video; there is no clip.
    """
    if not clips:
        raise InputError("there is no moment to export")
    sources: dict[str, Source] = {}
    for clip in clips:
        if clip.video not in sources:
            if clip.path is None:
                raise InputError(f"video {clip.video!r}: its file is not there, and its frame rate is needed")
            sources[clip.video] = read_source(clip.video, clip.path, drop, read)
    rate = _common_rate(sources[clip.video].rate for clip in clips)
    if fps is not None:
        rate = Rate(fps, can_drop(fps) and (drop if drop is not None else True))
    edits: list[Edit] = []
    begin = 0
    for clip in clips:
        edit = _edit(clip, sources[clip.video], begin, rate)
        edits.append(edit)
        begin += edit.length
    notes = [source.note for source in sources.values() if source.note]
    if others := sum(source.rate.fps != rate.fps for source in sources.values()):
        files = "1 file has" if others == 1 else f"{others} files have"
        notes.append(f"{files} another frame rate than the programme's {rate}; cuts in them are rounded to its frames")
    return Programme(title, rate, tuple(edits), tuple(notes))


def _common_rate(rates: Iterable[Rate]) -> Rate:
    """The rate that most clips have; of several the fastest, which shows the most of all."""
    counts = Counter(rates)
    return max(counts, key=lambda rate: (counts[rate], rate.fps, rate.drop))


def _edit(clip: Clip, source: Source, begin: int, rate: Rate) -> Edit:
    frames = source.frames
    start, end = source.rate.span(clip.start, clip.end)
    start = min(start, frames - 1)
    end = min(max(end, start + 1), frames)
    if source.rate.fps == rate.fps:
        return Edit(clip, source, start, end, begin, end - start)
    # no more frames on the programme than the file has pictures for: programs refuse to reach past its end
    length = max(int((end - start) / source.rate.fps * rate.fps), 1)
    return Edit(clip, source, start, end, begin, length)


def located(clips: Iterable[Clip], find: Callable[[Clip], Path | None]) -> list[Clip]:
    """The same clips with their files, as far as they are found."""
    return [clip if clip.path is not None else replace(clip, path=find(clip)) for clip in clips]
