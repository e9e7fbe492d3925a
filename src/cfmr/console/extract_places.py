"""`cfmr extract`: the same work in processes of this machine, or on a cluster."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cfmr.cluster.remote_files import is_remote
from cfmr.console.extraction import showing_job, showing_progress
from cfmr.errors import InputError
from cfmr.extractors.batch import Summary, extract_all
from cfmr.video.files import find_videos


def extract_places(
    places: Sequence[str], extractor: str, out: Path, workers: int | None, ray: str | None, **options: Any
) -> tuple[Summary, set[str]]:
    """Extract videos with a progress bar on stderr.

    Args:
        places: video files and folders; with a cluster also addresses.
        workers: processes here; `ray`: the address of a cluster instead.
        options: of the extractor.

    Returns:
        what became of each video, and which were named themselves rather than found in a folder.

    Raises:
        InputError: see `extract_all` and `extract_on_ray`.
    """
    if ray is not None:
        from cfmr.cluster.extract import extract_on_ray, named

        if workers is not None:
            raise InputError("--workers counts processes of this machine; with --ray the cluster's size decides")
        with showing_job() as told:
            summary, sources = extract_on_ray(places, extractor, out, ray, told, **options)
        return summary, {video for video, source in sources.items() if named(places, source)}
    for place in places:
        if is_remote(place):
            raise InputError(f"{place}: only a cluster reads from there; give --ray (local, for this machine alone)")
    paths = [Path(place) for place in places]
    found = find_videos(paths)
    with showing_progress(len(found)) as progress:
        summary = extract_all(found, extractor, out, workers=workers, progress=progress, **options)
    return summary, {video for video, path in found.items() if path in paths}
