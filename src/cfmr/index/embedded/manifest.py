"""The one file of an index that changes: which parts make up the index now.

    INDEX/
      manifest.json            replaced in one rename; carries its own checksum
      lock                     held by the one writer
      model-NNNNNN/            card.json, text.onnx, words.json, words.npy, codec.npz ...
      segment-NNNNNN/          rows.npy, scales.npy, spans.npy, videos.npy, videos.jsonl; of small ones outline.npy ...
      ann-NNNNNN/              ivf.faiss, projection.npy (large collections only)
      building/                what an unfinished build of the last has so far; see `ann_build.py`

Each row has a number that is never used again, `first_row` + its position in the segment. Rows of a video are
neighbours.
"""

import json
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cfmr.errors import InputError
from cfmr.files.atomic import parse_json, replacing
from cfmr.files.reading import reading
from cfmr.index.base import no_index
from cfmr.index.embedded.disk import Part, sync_directory
from cfmr.index.files import FileRecord

FORMAT = "cfmr-index"
VERSION = 2  # 1: a segment has its videos in one videos.json
NAME = "manifest.json"
PREFIXES = ("model-", "segment-", "ann-")  # of the directories that it names


@dataclass(frozen=True, slots=True)
class SegmentPart:
    """Rows of some videos. `dead` are the positions of videos removed or replaced since."""

    part: Part
    first_row: int
    rows: int
    dead: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class AnnPart:
    """A compressed copy of all rows numbered below `covered`, and how to search it."""

    part: Part
    covered: int
    trained_rows: int
    nprobe: int
    rerank: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The state of an index; every change makes a new one, of the next generation."""

    generation: int
    engine: str
    model: Part
    segments: tuple[SegmentPart, ...] = ()
    ann: AnnPart | None = None
    next_row: int = 0
    next_part: int = 0
    notes: dict[str, Any] = field(default_factory=dict)

    def parts(self) -> list[Part]:
        """Every directory that belongs to the index."""
        return [self.model, *(s.part for s in self.segments), *([self.ann.part] if self.ann else [])]


def foreign_files(root: Path) -> list[str]:
    """Names in a directory that no index has."""
    own = (".", "lock", "building", NAME, *PREFIXES)
    return sorted(path.name for path in root.iterdir() if not path.name.startswith(own)) if root.is_dir() else []


def _part_to_json(part: Part) -> dict[str, Any]:
    return {"directory": part.directory, "files": {n: [f.size, f.crc32] for n, f in part.files.items()}}


def _part_from_json(value: dict[str, Any]) -> Part:
    directory = str(value["directory"])
    names = list(value["files"])
    if any(Path(n).name != n or not n.isprintable() for n in [directory, *names]):
        raise ValueError("a name with a path in it")
    return Part(directory, {n: FileRecord(int(size), int(crc)) for n, (size, crc) in value["files"].items()})


def _body(manifest: Manifest) -> dict[str, Any]:
    ann = manifest.ann
    return {
        "format": FORMAT,
        "version": VERSION,
        "generation": manifest.generation,
        "engine": manifest.engine,
        "next_row": manifest.next_row,
        "next_part": manifest.next_part,
        "notes": manifest.notes,
        "model": _part_to_json(manifest.model),
        "segments": [
            {**_part_to_json(s.part), "first_row": s.first_row, "rows": s.rows, "dead": list(s.dead)}
            for s in manifest.segments
        ],
        "ann": ann
        and {
            **_part_to_json(ann.part),
            "covered": ann.covered,
            "trained_rows": ann.trained_rows,
            "nprobe": ann.nprobe,
            "rerank": ann.rerank,
        },
    }


def _checksum(body: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(body, sort_keys=True, ensure_ascii=False).encode())


def write_manifest(root: Path, manifest: Manifest) -> Manifest:
    """Make `manifest`, as the next generation, the state of the index. Everything it names is on the disk already."""
    manifest = replace(manifest, generation=manifest.generation + 1)
    body = _body(manifest)
    sync_directory(root)
    with replacing(root / NAME) as temporary:
        text = json.dumps({**body, "checksum": _checksum(body)}, indent=1, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    sync_directory(root)
    return manifest


def read_manifest(root: Path) -> Manifest:
    """The present state of the index at `root`.

    Raises:
        InputError: there is no index, or the manifest is damaged or of a later format.
    """
    path = root / NAME
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        if others := foreign_files(root):
            raise InputError(
                f"{root}: no index; this folder has other files ({others[0]!r}). Name an index directory"
            ) from error
        raise no_index(root) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    with reading(path, "the manifest of an index", "restore it from a copy, or build the index again"):
        return _parsed(root, parse_json(content, path))


def _parsed(root: Path, body: dict[str, Any]) -> Manifest:
    checksum = body.pop("checksum")
    if body["format"] != FORMAT:
        raise ValueError(f"format {body['format']!r}")
    if body["version"] > VERSION:
        raise InputError(f"{root}: written by a newer cfmr (index format {body['version']}); update cfmr")
    if checksum != _checksum(body):
        raise ValueError("its content does not fit its checksum")
    ann = body["ann"]
    manifest = Manifest(
        generation=_count(body["generation"]),
        engine=str(body["engine"]),
        next_row=_count(body["next_row"]),
        next_part=_count(body["next_part"]),
        notes=dict(body["notes"]),
        model=_part_from_json(body["model"]),
        segments=tuple(
            SegmentPart(
                _part_from_json(s), _count(s["first_row"]), _count(s["rows"]), tuple(_count(d) for d in s["dead"])
            )
            for s in body["segments"]
        ),
        ann=None if ann is None else _ann_from_json(ann),
    )
    at = 0
    for segment in manifest.segments:
        if segment.first_row < at:
            raise ValueError(f"the rows of {segment.part.directory} are numbered like others")
        at = segment.first_row + segment.rows
    if at > manifest.next_row:
        raise ValueError("it has more rows than were ever written")
    return manifest


def _ann_from_json(value: dict[str, Any]) -> AnnPart:
    counts = (_count(value[key]) for key in ("covered", "trained_rows", "nprobe", "rerank"))
    return AnnPart(_part_from_json(value), *counts)


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value
