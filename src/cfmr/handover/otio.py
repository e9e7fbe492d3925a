"""OpenTimelineIO: the interchange format of the Academy Software Foundation, written with its library."""

from typing import Any

from cfmr.errors import InputError
from cfmr.handover.clips import Edit, Programme
from cfmr.handover.text import one_line
from cfmr.video.files import shown


def write_otio(programme: Programme) -> str:
    """A timeline with one track of clips, a marker over each.

    Raises:
        InputError: the library is not installed.
    """
    try:
        import opentimelineio as otio
    except ImportError as error:
        raise InputError("OpenTimelineIO files need its library: pip install cfmr[export]") from error
    rate = float(programme.rate.fps)
    timeline = otio.schema.Timeline(
        one_line(programme.title), global_start_time=otio.opentime.RationalTime(programme.first, rate)
    )
    timeline.metadata["cfmr"] = {"drop_frame": programme.rate.drop, "notes": list(programme.notes)}
    track = otio.schema.Track("V1", kind=otio.schema.TrackKind.Video)
    track.extend([_clip(otio, edit, rate) for edit in programme.edits])
    timeline.tracks.append(track)
    return str(timeline.to_json_string(indent=1)) + "\n"


def _clip(otio: Any, edit: Edit, rate: float) -> Any:
    source = edit.source
    own = float(source.rate.fps)
    time, span = otio.opentime.RationalTime, otio.opentime.TimeRange
    available = span(time(source.first, own), time(source.frames, own))
    media = otio.schema.ExternalReference(source.path.absolute().as_uri(), available)
    media.name = shown(source.path.name)
    # begins on a frame of the file; as long as on the track
    used = span(time(source.first + edit.start, own), time(edit.length, rate).rescaled_to(own))
    text = one_line(edit.clip.text)
    clip = otio.schema.Clip(text, media, used)
    score = {} if edit.clip.score is None else {"score": round(edit.clip.score, 6)}
    clip.metadata["cfmr"] = {"video": edit.clip.video, "start": edit.clip.start, "end": edit.clip.end, **score}
    clip.markers.append(otio.schema.Marker(text, used, color=otio.schema.MarkerColor.GREEN))
    return clip
