"""Moments that are known from annotation files: the true ones on the timeline, and sentences to begin with."""

import logging
from collections.abc import Container, Sequence
from pathlib import Path

from cfmr.data.annotations import Annotation, load_annotations
from cfmr.errors import InputError
from cfmr.server.stores.labels import normalized_sentence

log = logging.getLogger(__name__)

Span = tuple[float, float]
SHORT = 48  # characters of a sentence that makes a good example


class GroundTruth:
    """Annotated moments by video and sentence.

    Args:
        paths: annotation files; one that cannot be read is left out with a warning.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._spans: dict[tuple[str, str], list[Span]] = {}
        self._examples: list[Annotation] = []
        for path in paths:
            try:
                rows = load_annotations(path)
            except InputError as error:
                log.warning("%s; its moments are not shown", error)
                continue
            for row in rows:
                if row.span is not None:
                    self._spans.setdefault((row.video, normalized_sentence(row.sentence)), []).append(row.span)
                    self._examples.append(row)

    def spans(self, video: str, sentence: str) -> list[Span]:
        """Where this happens in this video, as far as is known."""
        return self._spans.get((video, normalized_sentence(sentence)), [])

    def examples(self, videos: Container[str], count: int) -> list[str]:
        """Short sentences of different videos of these, spread evenly over what is known."""
        by_video: dict[str, str] = {}
        for row in self._examples:
            if row.video in videos and len(row.sentence) <= SHORT:
                by_video.setdefault(row.video, row.sentence)
        sentences = list(dict.fromkeys(by_video.values()))
        return sentences[:: max(len(sentences) // count, 1)][:count]
