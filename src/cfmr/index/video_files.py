"""Where the file of an indexed video lies."""

import glob
from pathlib import Path


def video_file(folder: Path, video: str) -> Path | None:
    """The file of a video in a folder: the one of that name, with or without an ending; None if there is none.

    A video name that leads out of the folder finds nothing.
    """
    inside = folder.resolve()
    candidates = [folder / video, *sorted(folder.glob(f"{glob.escape(video)}.*") if not video.startswith("/") else [])]
    return next((c for c in candidates if c.is_file() and c.resolve().is_relative_to(inside)), None)
