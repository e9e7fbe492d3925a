"""Files for other programs, as `cfmr search --export` writes them."""

import shutil
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cfmr.console.answers import save_clips
from cfmr.console.queries import STANDARD
from cfmr.errors import InputError
from cfmr.files.atomic import replacing
from cfmr.handover.clips import Clip
from cfmr.handover.export import BY_NAME, Format, Wish, export, file_names, format_of
from cfmr.handover.timecode import parse_fps
from cfmr.search.retriever import Moment, SearchResult
from cfmr.video.files import VideoFolder, restored_path


@dataclass(frozen=True, slots=True)
class Export:
    """A file that is asked for; checked before anything is searched.

    Attributes:
        path: of the file, `-` for standard output.
        form: its format; None for a .zip of clips.
        wish: frame rate and drop frame.
    """

    path: str
    form: Format | None
    wish: Wish

    @classmethod
    def parse(cls, path: str, form: str | None, fps: str | None, drop: bool | None) -> "Export":
        """Raises InputError for a format or a frame rate that is not known."""
        try:
            rate = None if fps is None else parse_fps(fps)
        except ValueError as error:
            raise InputError(f"--fps: {error}") from None
        if form is not None and form not in BY_NAME:
            raise InputError(f"--format {form}: the formats are {', '.join(BY_NAME)}")
        if path == STANDARD and form is None:
            raise InputError(f"--export -: say in which format with --format ({', '.join(BY_NAME)})")
        zipped = form is None and path.lower().endswith(".zip")
        chosen = None if zipped else BY_NAME[form] if form is not None else format_of(path)
        return cls(path, chosen, Wish(Path(path).stem if path != STANDARD else "cfmr", rate, drop))

    def write(self, results: Sequence[SearchResult], videos: Path | None) -> tuple[list[Path], Sequence[str]]:
        """Write the moments of some results; the files, and what a person should know of them.

        Raises:
            InputError: there is no moment, the file of a video is missing, or it cannot be written.
        """
        if self.form is None:
            moments = [moment for result in results for moment in result]
            return [_zip_clips(moments, Path(self.path), videos)], ()
        files, notes = export(clips_of(results, videos), self.form, self.wish)
        if self.path == STANDARD:
            if len(files) > 1:
                raise InputError(
                    f"--export -: a {self.form.suffix} file is of one video, and these moments are of {len(files)}; "
                    "name one with --video, or name a file"
                )
            sys.stdout.write(next(iter(files.values())))
            return [], notes
        place = Path(self.path)
        suffix = self.form.suffix if place.name.lower().endswith(self.form.suffix) else place.suffix
        names = file_names(list(files), place.name[: len(place.name) - len(suffix)], suffix)
        written = []
        for video, text in files.items():
            target = place.with_name(names[video])
            with replacing(target) as temporary:
                temporary.write_bytes(text.encode("utf-8", "replace"))
            written.append(target)
        return written, notes


def clips_of(results: Sequence[SearchResult], videos: Path | None = None) -> list[Clip]:
    """Moments as clips with their files, as far as those are there."""
    folder = None if videos is None else VideoFolder(videos)
    return [
        Clip(m.video, m.start, m.end, result.sentence or str(result.query), m.score, m.duration, _file(m, folder))
        for result in results
        for m in result
    ]


def _file(moment: Moment, folder: VideoFolder | None) -> Path | None:
    if folder is not None:
        return folder.find(moment.video)
    path = restored_path(moment.path) if moment.path else None
    return path if path is not None and path.is_file() else None


def _zip_clips(moments: Sequence[Moment], path: Path, videos: Path | None) -> Path:
    """Cut each moment out and put the files into one archive."""
    if not moments:
        raise InputError("there is no moment to export")
    with replacing(path) as temporary:
        cuts = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.stem[:40]}-"))
        try:
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
                for file in save_clips(moments, cuts, videos):
                    archive.write(file, file.name)
        finally:
            shutil.rmtree(cuts, ignore_errors=True)
    return path
