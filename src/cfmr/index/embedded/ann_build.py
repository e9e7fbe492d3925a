"""Building approximate search for millions of rows: a piece for each segment, so that a killed build goes on.

    INDEX/building/
      state.json               for which model, trained on how many rows, and which pieces are whole
      trained.faiss            the lists, empty, and projection.npy
      segment-NNNNNN.faiss     the codes of a segment

A search knows nothing of it. At the end the pieces become one file; at no time is more in memory than that file, and
the rows of one segment.
"""

import contextlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfmr.errors import InputError
from cfmr.files.atomic import make_directory, parse_json, replacing
from cfmr.index.embedded.manifest import Manifest
from cfmr.index.embedded.segment import Segment
from cfmr.index.files import FileRecord, record, write_array
from cfmr.index.projection import PROJECTION

if TYPE_CHECKING:
    from cfmr.index.embedded.ivf import Ann

FOLDER = "building"
STATE, TRAINED = "state.json", "trained.faiss"


def sweep_build(root: Path, manifest: Manifest | None) -> None:
    """Delete what was built for another model than an index has now, and what has become part of it."""
    folder = root / FOLDER
    if folder.exists() and (manifest is None or _Build(folder, manifest).state is None):
        shutil.rmtree(folder, ignore_errors=True)


def build_in_pieces(
    root: Path,
    manifest: Manifest,
    segments: Sequence[Segment],
    train: Callable[[], "Ann"],
    encode: Callable[["Ann", Segment], None],
) -> tuple["Ann", int]:
    """Approximate search over segments that `manifest`, which is on the disk, names; and the rows it was trained on.

    Args:
        train: makes empty lists.
        encode: adds the rows of a segment to them.
    """
    build = _Build(make_directory(root / FOLDER), manifest)
    rows = sum(segment.entry.rows for segment in segments)
    ann = build.trained(rows) or build.start(train(), rows)
    names = []
    for segment in segments:
        name = f"{segment.path.name}.faiss"
        if not build.has(name):
            encode(ann, segment)
            build.keep(name, ann)
            ann.ivf.reset()
        names.append(name)
    build.merge(ann, names)
    return ann, build.trained_rows


class _Build:
    """What is there of a build; `state` is None where nothing is that can be used."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder = folder
        self._for = {"model": manifest.model.directory, "before": manifest.ann and manifest.ann.part.directory}
        self.state: dict[str, Any] | None = None
        with contextlib.suppress(InputError, OSError, AttributeError):
            found = parse_json((folder / STATE).read_bytes(), folder / STATE)
            if found.get("for") == self._for:
                self.state = found

    @property
    def trained_rows(self) -> int:
        return int(self.state["rows"]) if self.state else 0

    def has(self, name: str) -> bool:
        """Whether a file is there, and whole."""
        if self.state is None or name not in self.state["files"]:
            return False
        with contextlib.suppress(InputError, OSError):
            return FileRecord(*self.state["files"][name]).mismatch(self._folder / name) is None
        return False

    def trained(self, rows: int) -> "Ann | None":
        """The empty lists of before, if they were trained on about as many rows."""
        from cfmr.index.embedded import ivf

        if not self.has(TRAINED) or not rows / 2 <= self.trained_rows <= 2 * rows:
            return None
        names = [PROJECTION] if self.has(PROJECTION) else []
        return ivf.load(self._folder, names, ivf.NPROBE, ivf.RERANK, mapped=False, file=TRAINED)

    def start(self, ann: "Ann", rows: int) -> "Ann":
        """Begin anew with these lists."""
        shutil.rmtree(self._folder, ignore_errors=True)
        make_directory(self._folder)
        self.state = {"for": self._for, "rows": rows, "files": {}}
        if ann.projection is not None:
            written = write_array(self._folder / PROJECTION, [ann.projection], len(ann.projection))
            self.state["files"][PROJECTION] = [written.size, written.crc32]
        self.keep(TRAINED, ann)
        return ann

    def keep(self, name: str, ann: "Ann") -> None:
        """Write lists under a name, and then that they are there."""
        assert self.state is not None
        with replacing(self._folder / name) as temporary:
            ann.save(temporary)
        written = record(self._folder / name)
        self.state["files"][name] = [written.size, written.crc32]
        with replacing(self._folder / STATE) as temporary:
            temporary.write_text(json.dumps(self.state), encoding="utf-8")

    def merge(self, ann: "Ann", names: Sequence[str]) -> None:
        """Fill empty lists with the codes of pieces."""
        from cfmr.index.embedded import ivf

        ivf.merge(ann, [self._folder / name for name in names])
