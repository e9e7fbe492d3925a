"""Run as `python -m cfmr.server.stores.upload_check FILE`: is it a video? In a process of its own, within limits.

Only formats that carry their pictures themselves are opened. Playlists, which FFmpeg would follow to other files and
hosts, are not.
"""

import resource
import sys
from itertools import islice

import av

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf,flv,ogg"
MOST_PIXELS = 8192 * 8192
LONGEST = 24 * 3600  # seconds
MEMORY = 3 << 30
SECONDS = 30
FRAMES = 3


def rejection_reason(path: str) -> str | None:
    """The reason why a file is not taken as a video; None if it is."""
    try:
        with av.open(path, options={"format_whitelist": FORMATS, "protocol_whitelist": "file"}) as container:
            streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
            if not streams or streams[0].codec_context is None:
                return "there is no video in it"
            stream = streams[0]
            if stream.codec_context.width * stream.codec_context.height > MOST_PIXELS:
                return "its pictures are larger than 8192 x 8192"
            if container.duration is not None and container.duration / av.time_base > LONGEST:
                return "it is longer than a day"
            if not list(islice(container.decode(stream), FRAMES)):
                return "there is no picture in it"
    except (av.error.FFmpegError, ValueError, OverflowError, MemoryError):
        return "it is not a video"
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
