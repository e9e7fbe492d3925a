"""A tiny site: three rendered clips and a retriever that finds words in what is known of them."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
from starlette.testclient import TestClient

from cfmr.errors import InputError
from cfmr.index.base import Value, Video
from cfmr.index.text_encoder import UnknownWord
from cfmr.search.composed import ComposedQuery, Stretch
from cfmr.search.retriever import Moment, SearchResult
from cfmr.server.app import create_app, open_state
from cfmr.server.context import AppState
from cfmr.server.settings import Settings, resolve_settings

SECONDS = 6.0
CLIPS = {
    "kitchen": [("a red square moves right", 1.0, 3.0), ("a red square stops", 3.0, 5.5)],
    "garden/dog <b>": [("a green square moves right", 2.0, 4.0)],
    "street": [("a blue square moves right", 0.5, 2.5)],
}
COLOURS = {"kitchen": (200, 40, 40), "garden/dog <b>": (40, 160, 60), "street": (50, 70, 200)}


def render(path: Path, colour: tuple[int, int, int] = (200, 40, 40), seconds: float = SECONDS, size: int = 160) -> Path:
    """A square that goes from left to right on a gray ground, 12 pictures a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=12, options={"preset": "ultrafast", "g": "12"})
        stream.width, stream.height, stream.pix_fmt = size, size * 3 // 4, "yuv420p"
        count = round(seconds * 12)
        for number in range(count):
            image = np.full((size * 3 // 4, size, 3), 110, np.uint8)
            left = int(number / count * (size - 30))
            image[30:70, left : left + 30] = colour
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode(None))
    return path


class WordRetriever:
    """Scores a moment by the words that it shares with the sentence."""

    def __init__(self, clips: Mapping[str, Sequence[tuple[str, float, float]]] = CLIPS, bonus: float = 0.0) -> None:
        self.clips, self.generation, self.bonus = dict(clips), 1, bonus

    def videos(self) -> list[Video]:
        return [Video(name, SECONDS, 1) for name in self.clips]

    def reload(self) -> bool:
        return False

    def search(
        self,
        query: str | ComposedQuery,
        top: int = 5,
        videos: Sequence[str] | None = None,
        where: Mapping[str, Value] | None = None,
        min_score: float | None = None,
    ) -> SearchResult:
        asked = ComposedQuery(query) if isinstance(query, str) else query
        sentence = asked.sentence
        words = set(sentence.lower().split()) | {word for one in asked.like for word in self.said(one)}
        words -= {*asked.without, *(word for one in asked.unlike for word in self.said(one))}
        if not words:
            raise InputError("the query has no words")
        if len(sentence) > 1000:
            raise InputError("the query is too long")
        known = {w for rows in self.clips.values() for row in rows for w in row[0].split()}
        found = [
            Moment(name, start, end, len(words & set(said.split())) / len(words) + self.bonus, SECONDS)
            for name, rows in self.clips.items()
            if videos is None or name in videos
            for said, start, end in rows
        ]
        found = sorted(found, key=lambda m: -m.score)[:top]
        unknown = tuple(UnknownWord(w, None) for w in sorted(words - known))
        return SearchResult(sentence, tuple(found), unknown, 0.5, found[0].score if found else None, 0.0004, 0.0003)

    def said(self, stretch: Stretch) -> set[str]:
        """The words of what is known of a stretch."""
        if stretch.video not in self.clips:
            raise InputError(f"no video {stretch.video!r} in this index")
        return {
            w
            for row in self.clips[stretch.video]
            if row[1] < stretch.end and row[2] > stretch.start
            for w in row[0].split()
        }

    def curve(
        self, query: str | ComposedQuery, video: str, *, part: tuple[float, float] | None = None
    ) -> tuple[Any, Any]:
        start, end = part or (0.0, SECONDS)
        if not 0 <= start < end:
            raise InputError("there is nothing")
        times = start + (np.arange(50) + 0.5) / 50 * (end - start)
        return times, np.exp(-((times - 2) ** 2))


def make_settings(root: Path, **more: Any) -> Settings:
    for name in CLIPS:
        place = root / "videos" / f"{name}.mp4"
        if not place.exists():
            render(place, COLOURS[name])
    (root / "index").mkdir(exist_ok=True)
    return resolve_settings(root / "index", root / "videos", workspace=root / "page", **more)


@contextmanager
def served(videos: Path) -> Iterator[tuple[AppState, TestClient]]:
    """A folder of videos with its own workspace, and a client that is on this machine."""
    state = open_state(resolve_settings(None, videos))
    with TestClient(create_app(state), base_url="http://127.0.0.1:8000") as client:
        yield state, client


def until(true: Callable[[], Any], seconds: float = 120) -> Any:
    """Wait for something to hold, and give what it gives."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


@contextmanager
def opened(settings: Settings, retriever: Any = None) -> Iterator[tuple[AppState, TestClient]]:
    """A site with a client that is on this machine."""
    site = open_state(settings, lambda path: retriever or WordRetriever())
    with TestClient(create_app(site), base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as client:
        yield site, client
