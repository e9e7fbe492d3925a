"""The offline line's end: a model and features become an index.

A run is composed of an `IndexModel` (what rows and sentences are), `VideoSources` (which videos), a strategy that
encodes them (here, or on a cluster) and the `IndexWriter` of a store.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np

from cfmr.errors import InputError
from cfmr.index.base import IndexWriter, Value, Video, VideoRows
from cfmr.index.codec import Codec, Floats
from cfmr.index.encode import Encoded, VideoEncoder, VideoSources
from cfmr.index.location import GivenLocation, IndexLocation
from cfmr.index.model_source import IndexModel
from cfmr.index.open import open_writer, parse_location
from cfmr.index.report import IndexReport
from cfmr.index.text_export import SET, TextCheck
from cfmr.moments.span_reader import readout_to_json
from cfmr.progress import Progress, silent

CHECKED_SENTENCES = 1000  # the quantised text encoder is judged on at most so many
CHECKED_MOMENTS = 4 * SET  # that it ranks for that
MOMENTS_PER_VIDEO = 96  # of these at most; a film of hours is not to be all of them
TUNING_SENTENCES = 200  # on which approximate search is tuned
PROJECTED_MOMENTS = 12_000  # that tell a cluster's index which directions matter
SAMPLED_VIDEOS = 128  # whose lengths tell how many rows there will be
SAVE_SECONDS = 60.0  # a long run keeps what it has so often

Answer = Encoded | InputError | None  # rows; why there are none; or neither, if the index has the video as it is
Encode = Callable[[IndexModel, VideoSources, Sequence[str], Mapping[str, str]], Iterator[tuple[str, Answer]]]


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """What is asked of an index run.

    Args:
        engine: "auto", "exact" or "ivf"; None keeps what the index has.
        remove: videos to take out.
        leave_out: videos of the feature file that are not to be indexed.
        rebuild: replace whatever is there, in one step at the end.
    """

    engine: str | None = None
    remove: Sequence[str] = ()
    rebuild: bool = False
    leave_out: Collection[str] = ()


def local_encode(
    model: IndexModel, sources: VideoSources, names: Sequence[str], known: Mapping[str, str]
) -> Iterator[tuple[str, Answer]]:
    """Encode videos in this process, one after the other.

    Args:
        known: fingerprints of what the index has already.

    Raises:
        InputError: features or a duration are missing or cannot be used.
    """
    sources.features.check(names, model.frame_dim)
    encoder = VideoEncoder(sources, model.encoder)
    for name in names:
        yield name, encoder.encode(name, known.get(name, ""))


@dataclass(slots=True)
class _Counts:
    """What became of the videos of a run."""

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    failed: dict[str, str] = field(default_factory=dict)


class IndexBuild:
    """One run of `cfmr index`.

    Args:
        model: what the index is built from.
        sources: the videos.
        encode: strategy that makes rows of videos.
        progress: told of every video.
    """

    def __init__(
        self,
        model: IndexModel,
        sources: VideoSources,
        options: IndexOptions,
        encode: Encode = local_encode,
        progress: Progress = silent,
    ) -> None:
        self.model, self.sources, self.options = model, sources, options
        self.encode, self.progress = encode, progress

    @cached_property
    def sentences(self) -> list[str]:
        """On which the exported text encoder and approximate search are judged."""
        said = self.model.readable(self.sources.sentences)[:CHECKED_SENTENCES]
        return said or self.model.made_up(CHECKED_SENTENCES)

    def run(self, out: IndexLocation) -> IndexReport:
        """Add the videos that the index at `out` lacks, replace those whose features have changed.

        Raises:
            InputError: the index was made with another model, someone else writes it, or features cannot be used.
        """
        options = self.options
        with open_writer(out) as writer:
            if options.engine is not None:
                writer.set_engine(options.engine)
            fresh = self._prepare(writer, out)
            unwanted = {*options.remove, *options.leave_out}
            names = [v for v in self.sources.features.videos if v not in unwanted]
            left = set(writer.videos).difference(names) if fresh else set()  # by a broken-off run with other features
            writer.remove([*options.remove, *sorted(left)])
            counts = _Counts()
            try:
                self._write_videos(writer, names, counts)
            except KeyboardInterrupt:
                if not options.rebuild:
                    writer.commit(tidy=False)
                raise
            self.progress("writing the index", len(names), None)
            if names and len(counts.failed) == len(names):
                raise InputError(f"no video could be encoded: {next(iter(counts.failed.values()))}")
            if fresh or counts.added or counts.replaced or options.remove or options.engine is not None:
                writer.commit()
            return IndexReport(
                counts.added,
                counts.replaced,
                len(options.remove),
                counts.unchanged,
                writer.rows,
                writer.engine,
                dict(writer.metrics),
                counts.failed,
                self.sources.features.skipped,
            )

    def _write_videos(self, writer: IndexWriter, names: Sequence[str], counts: _Counts) -> None:
        """Encode videos and hand them to the writer; what is written is kept from time to time."""
        known = writer.videos
        saved = time.monotonic()
        for number, (name, item) in enumerate(self._videos(names, known)):
            self.progress(f"encoding: {number:,} of {len(names):,} videos", number, len(names))
            if isinstance(item, InputError):
                counts.failed[name] = str(item)
                continue
            if item is None:
                counts.unchanged += 1
                continue
            writer.add([item])
            counts.replaced += name in known
            counts.added += name not in known
            if not self.options.rebuild and time.monotonic() - saved > SAVE_SECONDS:
                writer.commit(tidy=False)
                saved = time.monotonic()

    def _prepare(self, writer: IndexWriter, out: IndexLocation) -> bool:
        """Give the writer this model if it has none; True if it was given."""
        writer.set_queries(lambda: self.model.text_vectors(self.sentences[:TUNING_SENTENCES]))
        card = writer.card
        if card and not self.options.rebuild:
            if card["fingerprint"] != self.model.fingerprint:
                codec, own = self._card()
                raise InputError(
                    f"{out}: this index was made with another model ({_named(card, card['dim'])}; "
                    f"the checkpoint is {_named(own, codec.dim)}); choose another --out, or replace it with --rebuild"
                )
            return False
        codec, card = self._card()
        check = TextCheck(self.sentences, lambda: self._some_moments(CHECKED_MOMENTS))
        writer.plan_capacity(self._expected_rows, lambda: self._some_moments(PROJECTED_MOMENTS))
        writer.set_model(card, codec, lambda folder: self.model.export_text(folder, card, check))
        return True

    def _card(self) -> tuple[Codec, dict[str, Any]]:
        codec = self.model.encoder.codec
        if codec is None:
            codec = Codec(self.model.text_vectors(self.sentences[:1]).shape[1])
        windowing = self.model.encoder.windowing
        card = {
            "name": self.model.name,
            **self.model.card_extras(),
            "fingerprint": self.model.fingerprint,
            "cfmr": version("cfmr"),
            "readout": readout_to_json(self.model.readout),
            "max_words": self.model.max_words,
            "frame_dim": self.model.frame_dim,
            "window": {"length": windowing.length, "longest": windowing.longest},
            "features": {k: str(v) for k, v in self.sources.features.attributes.items()},
        }
        return codec, card

    def _some_moments(self, count: int) -> Floats:
        """Vectors (n, dim) of about so many moments of videos at random, or of all videos where these have fewer."""
        names, found, rows = self.sources.features.videos, list[Floats](), 0
        order = np.random.default_rng(0).permutation(len(names)).tolist()
        for number in sorted(order, key=bool):  # the first one first: what all lack is told of it
            vectors = self._moments_of(names[number])
            found.append(vectors[:: -(-len(vectors) // MOMENTS_PER_VIDEO)])
            rows += len(found[-1])
            if rows >= count:
                break
        return np.concatenate(found)

    def _moments_of(self, name: str) -> Floats:
        features = self.sources.features.read(name)
        return self.model.moment_vectors(features, self.sources.duration(name, len(features)))

    def _expected_rows(self) -> int:
        """About how many rows all videos will have, judged by one of them."""
        features = self.sources.features
        names = features.videos
        if not names:
            return 0
        clips = sorted((features.clips(name), name) for name in names[:: max(1, len(names) // SAMPLED_VIDEOS)])
        encoded = VideoEncoder(self.sources, self.model.encoder).encode(clips[len(clips) // 2][1])
        return len(names) * (0 if encoded is None else len(encoded.rows))

    def _videos(
        self, names: Sequence[str], known: Mapping[str, Video]
    ) -> Iterator[tuple[str, VideoRows | InputError | None]]:
        """Videos with their rows, or with None if the index has them as they are; in any order."""
        same: dict[str, str] = {}
        for name in names:
            video = known.get(name)
            if video is not None and (video.path, video.metadata) == (self.sources.path(name), self._metadata(name)):
                same[name] = video.fingerprint
        for name, found in self.encode(self.model, self.sources, names, same):
            if found is None or isinstance(found, InputError):
                yield name, found
                continue
            path, metadata = self.sources.path(name), self._metadata(name)
            video = Video(name, found.duration, len(found.rows), 0, path, metadata, found.fingerprint)
            yield name, VideoRows(video, found.rows, found.spans)

    def _metadata(self, name: str) -> dict[str, Value]:
        return dict(self.sources.metadata.get(name, {}))


def _named(card: Mapping[str, Any], dim: int) -> str:
    return f"{card['name']} of {dim} numbers, {card['fingerprint']}"


def build_index(
    model: IndexModel,
    sources: VideoSources,
    out: GivenLocation,
    options: IndexOptions | None = None,
    encode: Encode = local_encode,
    progress: Progress = silent,
) -> IndexReport:
    """Index videos, or add them to an index; see `IndexBuild`.

    Args:
        out: a directory, or an address of a server.

    Raises:
        InputError: something given cannot be used; names the file, video or key.
    """
    return IndexBuild(model, sources, options or IndexOptions(), encode, progress).run(parse_location(out))


def edit_index(out: IndexLocation, *, remove: Sequence[str] = (), engine: str | None = None) -> IndexReport:
    """Take videos out of an index, or change how it is searched; no model and no features are needed for that.

    Raises:
        InputError: nothing is asked for, there is no index, or a video is not in it.
    """
    if not remove and engine is None:
        raise InputError(
            "adding videos needs --features and --checkpoint or --zero-shot; "
            "without them only --remove and --engine are allowed"
        )
    with open_writer(out, create=False) as writer:
        if engine is not None:
            writer.set_engine(engine)
        writer.remove(remove)
        writer.commit()
        return IndexReport(0, 0, len(remove), 0, writer.rows, writer.engine, dict(writer.metrics))
