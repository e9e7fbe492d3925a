"""Which of the videos found a feature file knows already, and what the others are to be called."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unicodedata import normalize

from cfmr.data.features import FeatureWriter
from cfmr.video.files import free_name, other_names, restored_path, same_content


@dataclass(frozen=True, slots=True)
class Found:
    """A video as it lies somewhere.

    Attributes:
        where: its path or address, as it is stored.
        fingerprint: of its content.
    """

    where: str
    fingerprint: str


def recognise(found: Mapping[str, Found], writer: FeatureWriter) -> dict[str, str]:
    """The name under which the feature file has, or gets, each video.

    A video is its content. One that the file knows keeps the name it has there, also when its file has been moved or
    renamed since; then its new place is noted. One that only has the name of another, as cameras give them, is called
    otherwise; it never takes the other's place. A file whose content has changed where it lies is the same video, to be
    extracted again.

    Args:
        found: by the names that `cfmr.video.files.find_videos` gives.

    Returns:
        the same names -> those in the feature file, no two alike.
    """
    known = {video: writer.attributes_of(video) for video in writer.videos}
    names: dict[str, str] = {}
    for name, one in found.items():
        if name in known and same_content(known[name].get("fingerprint"), one.fingerprint):
            names[name] = name
    by_content: dict[str, list[str]] = {}
    for video, said in known.items():
        by_content.setdefault(_start(said.get("fingerprint")), []).append(video)
    taken = dict.fromkeys(names.values())
    for name, one in found.items():
        if name in names:
            continue
        alike = [video for video in by_content.get(_start(one.fingerprint), []) if video not in taken]
        moved = next((video for video in alike if _moved(video, known[video], name, one)), None)
        names[name] = moved or _own_name(name, one, known, taken)
        taken[names[name]] = None
    for name, one in found.items():
        said = known.get(names[name], {})
        if said.get("path", one.where) != one.where and same_content(said.get("fingerprint"), one.fingerprint):
            writer.note(names[name], path=one.where)
    return {name: names[name] for name in found}


def _start(fingerprint: object) -> str:
    """What the fingerprints of one content have in common, whichever version made them."""
    return "-".join(str(fingerprint).split("-")[:2])


def _moved(video: str, said: Mapping[str, Any], name: str, one: Found) -> bool:
    if not same_content(said.get("fingerprint"), one.fingerprint):
        return False
    path = said.get("path")
    if path is None:
        return normalize("NFC", video) == name
    return path == one.where or ("://" not in str(path) and not restored_path(str(path)).exists())


def _own_name(name: str, one: Found, known: Mapping[str, Mapping[str, Any]], taken: dict[str, None]) -> str:
    """The name, if no other video has it; else with folders before it, or a number."""

    def is_free(candidate: str) -> bool:
        said = known.get(candidate)
        same_place = said is not None and said.get("path", one.where) == one.where
        return candidate not in taken and (said is None or same_place)

    if is_free(name):
        return name
    folders = Path(one.where).parent.parts if "://" not in one.where else ()
    longer = next((other for other in other_names(name, folders[-3:]) if is_free(other)), None)
    return longer or free_name(name, {**known, **taken})
