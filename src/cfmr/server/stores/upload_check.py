"""Run as `python -m cfmr.server.stores.upload_check FILE`: is it a video? In a process of its own, within limits.

Only formats that carry their pictures themselves are opened. Playlists, which FFmpeg would follow to other files and
hosts, are not.
"""

import resource
import sys
from itertools import islice
from pathlib import Path

import av

from cfmr.errors import InputError
from cfmr.video.container import HEADLESS, film_of, has_no_header, open_file

MOST_PIXELS = 8192 * 8192
LONGEST = 24 * 3600  # seconds
MEMORY = 3 << 30
SECONDS = 30
FRAMES = 3


def rejection_reason(path: str) -> str | None:
    """The reason why a file is not taken as a video; None if it is."""
    try:
        with open_file(Path(path)) as container:
            try:
                stream = film_of(container)
            except InputError:
                return "there is no video in it"
            if stream.codec_context.width * stream.codec_context.height > MOST_PIXELS:
                return "its pictures are larger than 8192 x 8192"
            if container.duration is not None and container.duration / av.time_base > LONGEST:
                return "it is longer than a day"
            if not list(islice(container.decode(stream), FRAMES)):
                return "there is no picture in it"
    except (InputError, av.error.FFmpegError, ValueError, OverflowError, MemoryError):
        return f"it {HEADLESS}" if has_no_header(Path(path)) else "it is not a video"
    return None


def main() -> int:
    """0 for a video; 2 for anything else, with the reason on stdout."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    reason = rejection_reason(sys.argv[1])
    if reason is not None:
        sys.stdout.write(reason + "\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
