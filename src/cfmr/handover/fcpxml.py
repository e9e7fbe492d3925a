"""Final Cut Pro's XML, version 1.9, which DaVinci Resolve reads too.

Times are fractions of a second and whole multiples of a frame: of the sequence's frames for where a clip lies on it, of
the file's own for where it begins in the file. No clip reaches past the end of its file.
"""

import xml.etree.ElementTree as ET
from fractions import Fraction

from cfmr.handover.clips import Edit, Programme, Source
from cfmr.handover.text import one_line
from cfmr.handover.timecode import Rate
from cfmr.video.files import shown

VERSION = "1.9"
_CONFORM = {Fraction(24000, 1001): "23.98", Fraction(30000, 1001): "29.97", Fraction(60000, 1001): "59.94"}


def write_fcpxml(programme: Programme) -> str:
    """A library with one event, one project, and the clips one after the other in its storyline."""
    root = ET.Element("fcpxml", version=VERSION)
    resources = ET.SubElement(root, "resources")
    formats: dict[tuple[Fraction, int, int], str] = {}
    sources = {edit.source.video: edit.source for edit in programme.edits}
    first = programme.edits[0].source
    sequence_format = _format(resources, formats, programme.rate, first)
    assets = {video: _asset(resources, formats, source, number) for number, (video, source) in _numbered(sources)}
    title = one_line(programme.title)
    event = ET.SubElement(ET.SubElement(root, "library"), "event", name=title)
    sequence = ET.SubElement(
        ET.SubElement(event, "project", name=title),
        "sequence",
        format=sequence_format,
        duration=_time(programme.length, programme.rate),
        tcStart=_time(programme.first, programme.rate),
        tcFormat=_numbering(programme.rate),
        audioLayout="stereo",
        audioRate="48k",
    )
    if programme.notes:
        ET.SubElement(sequence, "note").text = one_line("; ".join(programme.notes))
    spine = ET.SubElement(sequence, "spine")
    for edit in programme.edits:
        _clip(spine, programme, edit, assets[edit.source.video])
    ET.indent(root)
    body = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n{body}\n'


def _numbered(sources: dict[str, Source]) -> list[tuple[int, tuple[str, Source]]]:
    return list(enumerate(sources.items(), 1))


def _format(resources: ET.Element, formats: dict[tuple[Fraction, int, int], str], rate: Rate, source: Source) -> str:
    size = source.timing.width, source.timing.height
    key = (rate.fps, *size)
    if key not in formats:
        formats[key] = f"f{len(formats) + 1}"
        shape = {"width": str(size[0]), "height": str(size[1])} if all(size) else {}
        ET.SubElement(resources, "format", shape, id=formats[key], frameDuration=_time(1, rate))
    return formats[key]


def _asset(
    resources: ET.Element, formats: dict[tuple[Fraction, int, int], str], source: Source, number: int
) -> tuple[str, str]:
    """The identifiers of a file's asset and of its format."""
    format_id = _format(resources, formats, source.rate, source)
    sound = source.timing.channels
    audio = {"hasAudio": "1", "audioSources": "1", "audioChannels": str(sound)} if sound else {}
    asset = ET.SubElement(
        resources,
        "asset",
        audio,
        id=f"a{number}",
        name=shown(source.path.name),
        start=_time(source.first, source.rate),
        duration=_time(source.frames, source.rate),
        hasVideo="1",
        videoSources="1",
        format=format_id,
    )
    ET.SubElement(asset, "media-rep", kind="original-media", src=source.path.absolute().as_uri())
    return f"a{number}", format_id


def _clip(spine: ET.Element, programme: Programme, edit: Edit, asset: tuple[str, str]) -> None:
    source = edit.source
    text = one_line(edit.clip.text)
    start = _time(source.first + edit.start, source.rate)
    clip = ET.SubElement(
        spine,
        "asset-clip",
        ref=asset[0],
        format=asset[1],
        name=text or shown(source.path.name),
        offset=_time(programme.first + edit.begin, programme.rate),
        start=start,
        duration=_time(edit.length, programme.rate),
        tcFormat=_numbering(source.rate),
    )
    if source.rate.fps != programme.rate.fps:
        own = _CONFORM.get(source.rate.fps, str(source.rate.nominal))
        ET.SubElement(clip, "conform-rate", scaleEnabled="0", srcFrameRate=own)
    ET.SubElement(clip, "marker", start=start, duration=_time(1, source.rate), value=text)


def _numbering(rate: Rate) -> str:
    return "DF" if rate.drop else "NDF"


def _time(frames: int, rate: Rate) -> str:
    seconds = rate.seconds(frames)
    if seconds.denominator == 1:
        return f"{seconds.numerator}s"
    # not reduced: the denominator is the rate's own, by which readers check for whole frames
    return f"{frames * rate.fps.denominator}/{rate.fps.numerator}s"
