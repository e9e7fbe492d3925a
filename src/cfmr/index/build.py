"""The offline line's end: a checkpoint and features become an index."""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import onnx
from numpy.typing import NDArray

from cfmr.annotations import load_annotations
from cfmr.backends import Model, load_model
from cfmr.checkpoints import Checkpoint
from cfmr.curves import floor_of
from cfmr.errors import InputError
from cfmr.evaluation import encode_sentences
from cfmr.features import FeatureStore
from cfmr.index import disk, text_onnx
from cfmr.index.address import MilvusAddress, Place, parse_place
from cfmr.index.codec import Codec, Floats
from cfmr.index.manifest import read_manifest
from cfmr.index.segment import Value, Video, VideoRows
from cfmr.index.text import GRAPH, VECTORS, WORDS, SentenceEncoder
from cfmr.index.tokens import TokenEncoder
from cfmr.index.video_files import video_file
from cfmr.index.writer import AnyWriter, Limits, open_writer
from cfmr.retriever import TRUSTED
from cfmr.runs import find_checkpoint

Progress = Callable[[str, int, int], None]  # what, done, of how many

SENTENCES = 1000  # the quantised text encoder is judged on at most so many
CHECKED_VIDEOS = 32  # whose moments it ranks for that
PROJECTED_VIDEOS = 256  # whose moments tell a cluster's index which directions matter
TOLERANCE = 1e-5  # between the graph and the model, times the largest number of a vector where that is above 1
SAVE_SECONDS = 60.0  # a long run keeps what it has so often
LONGER = 1.25  # a video up to so many times the longest trained on is still one window


class CompactModel(Protocol):
    """A model whose rows are a linear image away from its vectors; see `Codec`."""

    def video_rows(self, features: NDArray[np.floating[Any]]) -> tuple[Floats, Floats]:
        """Features (n, frame_dim) -> rows (m, d) and their spans (m, 2) as fractions."""

    def row_map(self) -> tuple[Floats, Floats]:
        """Weight (K, d_concept, d) and bias (K, d_concept)."""


class WindowedModel(Protocol):
    """A model whose vectors depend on their window, and on the whole video."""

    def clip_vectors(self, features: NDArray[np.floating[Any]]) -> tuple[Floats, Floats]:
        """Features (n, frame_dim) -> vectors (m, d) and their spans (m, 2) as fractions."""

    def joined(self, vectors: Floats, features: Floats) -> Floats:
        """All of a video's vectors (n, d) and its features -> what is indexed, (n, D)."""


@dataclass(frozen=True, slots=True)
class Report:
    """What an index run did."""

    added: int
    replaced: int
    removed: int
    unchanged: int
    rows: int
    engine: str
    notes: Mapping[str, Any]
    failed: Mapping[str, str] = field(default_factory=dict)  # video -> one line, of those that could not be encoded

    def lines(self, out: Place) -> list[str]:
        """The report for a person."""
        counts = {"added": self.added, "replaced": self.replaced, "removed": self.removed, "unchanged": self.unchanged}
        told = ", ".join(f"{n:,} {what}" for what, n in counts.items() if n) or "nothing to do"
        result = [f"{out}: videos: {told}; {self.rows:,} moments, searched by engine {self.engine}"]
        if self.engine == "ivf":
            result.append(f"  finds {100 * self.notes['recall_at_10']:.1f} % of the exact ten best")
        if "thresholds" in self.notes:
            result += [self._told(scope) for scope in ("video", "collection")]
        if self.failed:
            result += [f"not indexed ({len(self.failed)}):", *(f"  {line}" for line in self.failed.values())]
        return result

    def _told(self, scope: str) -> str:
        """What was found out about scores in one video, or in the collection."""
        score, right = self.notes["thresholds"][scope], self.notes["threshold_accuracy"][scope]
        where = "one video" if scope == "video" else "the collection"
        if right < TRUSTED:
            return f"  in {where}, no score tells whether there is a match (the best is right for {100 * right:.0f} %)"
        return f"  in {where}, a match scores {score:.2f} or more (right for {100 * right:.0f} %)"


@dataclass(frozen=True)
class Sources:
    """What is known of videos besides their features.

    Args:
        features: to be indexed.
        durations: seconds by video, where an annotation file tells.
        folder: where the video files lie.
        metadata: values by video.
    """

    features: FeatureStore
    durations: Mapping[str, float] = field(default_factory=dict)
    folder: Path | None = None
    metadata: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)

    def duration(self, video: str, clips: int) -> float:
        """Seconds of a video. Raises InputError if nothing tells."""
        if video in self.durations:
            return self.durations[video]
        seconds = self.features.duration(video)
        if seconds is None and (rate := clips_per_second(self.features.attributes)):
            seconds = clips / rate
        if seconds is None or not seconds > 0:
            raise InputError(
                f"{self.features.path}: does not say how long {video} is; "
                "give --annotations FILE, a JSON list of [video, duration, ...]"
            )
        return seconds

    def path(self, video: str) -> str | None:
        """The video file, if the feature file or the folder has it."""
        if self.folder is not None and (found := video_file(self.folder, video)) is not None:
            return str(found.resolve())
        known = self.features.attributes_of(video).get("path")
        return None if known is None else str(known)


def clips_per_second(attributes: Mapping[str, Any]) -> float | None:
    """Rate of a feature file's clips, where its attributes tell."""
    try:
        if "clips_per_second" in attributes:
            return float(attributes["clips_per_second"])
        return float(attributes["fps"]) / float(attributes["stride"])
    except (KeyError, ValueError, ZeroDivisionError):
        return None


def windows(duration: float, length: float | None) -> list[tuple[float, float]]:
    """Windows of `length` seconds that overlap by at least half and cover a video; the video itself if it is no longer.

    Args:
        duration: seconds.
        length: seconds; None for never cutting.
    """
    if length is None or duration <= length:
        return [(0.0, duration)]
    count = int(np.ceil((duration - length) / (length / 2))) + 1
    return [(float(s), float(s) + length) for s in np.linspace(0, duration - length, count)]


@dataclass(frozen=True, slots=True)
class Windowing:
    """How long videos are cut: those longer than `longest` seconds into windows of `length` seconds."""

    length: float | None
    longest: float

    @classmethod
    def of(cls, checkpoint: Checkpoint, length: float | None) -> "Windowing":
        """From what the model was trained on, unless a length is asked for."""
        trained = checkpoint.state.get("durations")
        if length is not None:
            return cls(length, length)
        if not trained:
            return cls(None, 0.0)
        return cls(float(trained["median"]), LONGER * float(trained["longest"]))

    def cut(self, duration: float) -> list[tuple[float, float]]:
        """The windows of a video."""
        return [(0.0, duration)] if duration <= self.longest else windows(duration, self.length)


class RowEncoder:
    """Features of a video to index rows with spans in absolute seconds."""

    def __init__(self, model: Model, windowing: Windowing) -> None:
        self.windowing = windowing
        self.curve = floor_of(model.readout) is not None
        self.codec: Codec | None = None
        self._encode = model.video_vectors
        self._join: Callable[[Floats, Floats], Floats] = lambda rows, features: rows
        if hasattr(model, "joined"):
            windowed = cast(WindowedModel, model)
            self._encode, self._join = windowed.clip_vectors, windowed.joined
        if hasattr(model, "video_rows"):
            compact = cast(CompactModel, model)
            weight, bias = compact.row_map()
            self.codec = Codec(weight.shape[2], weight, bias)
            self._encode = compact.video_rows

    def rows(self, features: Floats, duration: float) -> tuple[Floats, NDArray[np.float64]]:
        """Rows (n, width) and spans (n, 2) in seconds."""
        rate = len(features) / duration
        cuts = self.windowing.cut(duration)
        rows, spans = [], []
        for number, (start, end) in enumerate(cuts):
            first = min(int(start * rate), len(features) - 1)
            last = min(max(int(np.ceil(end * rate)), first + 1), len(features))
            found, fractions = self._encode(features[first:last])
            seconds = first / rate + fractions.astype(np.float64) * (last - first) / rate
            if self.curve:  # of two windows that overlap, each gives the half nearer to its middle
                kept = _nearest_to(seconds.mean(1), cuts, number, rate)
                found, seconds = found[kept], seconds[kept]
            rows.append(found)
            spans.append(seconds)
        return self._join(np.concatenate(rows), features), np.minimum(np.concatenate(spans), duration)


@dataclass(frozen=True, slots=True)
class Encoded:
    """What becomes of a video's features: rows (n, width), spans (n, 2) in seconds, and its length in seconds.

    `fingerprint`: equal for equal features, duration and windows.
    """

    rows: Floats
    spans: NDArray[np.float64]
    duration: float
    fingerprint: str


@dataclass(frozen=True)
class VideoEncoder:
    """From a video's name to what is indexed of it."""

    sources: Sources
    rows: RowEncoder

    def encode(self, name: str, known: str = "") -> Encoded | None:
        """Read and encode a video; None if that would give what has the fingerprint `known`.

        Raises:
            InputError: its features or its duration are missing.
        """
        features = self.sources.features.read(name)
        duration = self.sources.duration(name, len(features))
        digest = hashlib.blake2b(np.ascontiguousarray(features).data, digest_size=12)
        digest.update(repr((duration, self.rows.windowing)).encode())
        if digest.hexdigest() == known:
            return None
        rows, spans = self.rows.rows(features, duration)
        return Encoded(rows, spans, duration, digest.hexdigest())


def _nearest_to(
    times: NDArray[np.float64], cuts: Sequence[tuple[float, float]], number: int, rate: float
) -> NDArray[np.bool_]:
    """Which times belong to a window because no other one's middle is nearer; `rate` in clips a second."""
    middles = np.array([(start + end) / 2 for start, end in cuts])
    edges = [-np.inf, *(np.round((middles[1:] + middles[:-1]) / 2 * rate) / rate), np.inf]  # between clips
    kept: NDArray[np.bool_] = (times >= edges[number]) & (times < edges[number + 1])
    return kept


def model_fingerprint(checkpoint: Checkpoint) -> str:
    """Equal for equal parameters and words."""
    digest = hashlib.blake2b(digest_size=12)
    for name in sorted(checkpoint.parameters):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(checkpoint.parameters[name]).data)
    digest.update("\n".join(checkpoint.vocabulary.words).encode())
    digest.update(np.ascontiguousarray(checkpoint.vocabulary.vectors).data)
    return digest.hexdigest()


class IndexBuild:
    """One run of `cfmr index`.

    Args:
        checkpoint: the model.
        sources: the videos.
        sentences: on which the text encoder is checked and the search tuned; made up from the vocabulary where there
            are none.
        ray: address of a cluster that encodes the videos; see `cfmr.cluster`.
        progress: told what is going on.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        sources: Sources,
        *,
        sentences: Sequence[str] = (),
        window: float | None = None,
        backend: str = "pytorch",
        device: str = "cpu",
        limits: Limits | None = None,
        ray: str | None = None,
        progress: Progress = lambda what, done, total: None,
    ) -> None:
        self.window, self.backend, self.device, self.ray = window, backend, device, ray
        self.checkpoint, self.sources, self.progress, self.limits = checkpoint, sources, progress, limits
        self.model = load_model(checkpoint, backend, device)
        self.encoder = RowEncoder(self.model, Windowing.of(checkpoint, window))
        self.name: str = checkpoint.config.model.name
        self.frame_dim = checkpoint.config.dataset.frame_dim
        self.max_words = checkpoint.config.dataset.max_num_words
        known = [s for s in dict.fromkeys(sentences) if checkpoint.vocabulary.ids(s, self.max_words)]
        self.sentences = known[:SENTENCES] or made_up_sentences(checkpoint.vocabulary.words, self.max_words)
        self.fingerprint = model_fingerprint(checkpoint)

    def run(
        self, out: Place, *, engine: str | None = None, remove: Sequence[str] = (), rebuild: bool = False
    ) -> Report:
        """Add the videos that the index at `out` lacks, replace those whose features have changed.

        Args:
            engine: "auto", "exact" or "ivf"; None keeps what the index has.
            remove: videos to take out.
            rebuild: replace whatever is there, in one step at the end.

        Raises:
            InputError: the index was made with another model, someone else writes it, or features cannot be used.
        """
        features = self.sources.features
        with open_writer(out, self.limits) as writer:
            if engine is not None:
                writer.set_engine(engine)
            fresh = self._prepare(writer, out, rebuild)
            writer.queries = lambda: self._text_vectors(self.sentences[:200])
            known = writer.videos
            names = [v for v in features.videos if v not in remove]
            left = set(known).difference(names) if fresh else set()  # by a broken-off run with other features
            writer.remove([*remove, *sorted(left)])
            if self.ray is None:
                features.check(names, self.frame_dim)
            added = replaced = unchanged = 0
            failed: dict[str, str] = {}
            saved = time.monotonic()
            for number, (name, item) in enumerate(self._videos(names, known)):
                self.progress("encoding videos", number, len(names))
                if isinstance(item, InputError):
                    failed[name] = str(item)
                    continue
                if item is None:
                    unchanged += 1
                    continue
                writer.add([item])
                replaced, added = replaced + (name in known), added + (name not in known)
                if not (fresh and rebuild) and time.monotonic() - saved > SAVE_SECONDS:
                    writer.commit(tidy=False)
                    saved = time.monotonic()
            self.progress("writing the index", len(names), len(names))
            if names and len(failed) == len(names):
                raise InputError(f"no video could be encoded: {next(iter(failed.values()))}")
            changed = fresh or added or replaced or remove or engine is not None
            if changed:
                writer.commit()
            rows, notes = writer.rows, dict(writer.notes)
            return Report(added, replaced, len(remove), unchanged, rows, writer.engine, notes, failed)

    def _prepare(self, writer: AnyWriter, out: Place, rebuild: bool) -> bool:
        """Give the writer this model if it has none; True if it was given."""
        card = writer.card
        if card and not rebuild:
            if card["fingerprint"] != self.fingerprint:
                codec, own = self._card()
                raise InputError(
                    f"{out}: this index was made with another model ({_named(card, card['dim'])}; "
                    f"the checkpoint is {_named(own, codec.dim)}); choose another --out, or replace it with --rebuild"
                )
            return False
        codec, card = self._card()
        writer.expect(self._expected_rows, lambda: self._some_moments(PROJECTED_VIDEOS))
        writer.set_model(card, codec, lambda folder: self._write_text(folder, card))
        return True

    def _card(self) -> tuple[Codec, dict[str, Any]]:
        from importlib.metadata import version

        codec = self.encoder.codec
        if codec is None:
            codec = Codec(self._text_vectors(self.sentences[:1]).shape[1])
        windowing = self.encoder.windowing
        card = {
            "name": self.name,
            **self._described(),
            "fingerprint": self.fingerprint,
            "cfmr": version("cfmr"),
            "readout": self.model.readout,
            "max_words": self.max_words,
            "frame_dim": self.frame_dim,
            "window": {"length": windowing.length, "longest": windowing.longest},
            "features": {k: str(v) for k, v in self.sources.features.attributes.items()},
        }
        return codec, card

    def _described(self) -> dict[str, Any]:
        """What else the card of the index says of the model."""
        return {"dataset": self.checkpoint.config.dataset.dataset, "epoch": self.checkpoint.state.get("epoch")}

    def _text_vectors(self, sentences: Sequence[str]) -> Floats:
        return encode_sentences(self.model, sentences, self.checkpoint.vocabulary, self.max_words)

    def _write_text(self, folder: Path, card: dict[str, Any]) -> Iterable[str]:
        """The text encoder and its vocabulary; what was measured on the way goes into the card."""
        vocabulary = self.checkpoint.vocabulary
        disk.write_json(folder / WORDS, vocabulary.words)
        disk.write_array(folder / VECTORS, [vocabulary.vectors], len(vocabulary.vectors))
        onnx.save(text_onnx.text_graph(self.checkpoint.parameters, self.checkpoint.config), folder / "whole.onnx")
        if difference := self._keep_graph(folder, card, SentenceEncoder):
            raise RuntimeError(f"the exported text encoder differs from the model by {difference:.1e}")
        return [GRAPH, WORDS, VECTORS]

    def _keep_graph(
        self, folder: Path, card: dict[str, Any], reader: type[SentenceEncoder] | type[TokenEncoder]
    ) -> float:
        """Make GRAPH of `whole.onnx`, and write into the card what was measured.

        Returns:
            by how much its vectors differ from the model's, where that is too much; else 0.
        """
        truth = self._text_vectors(self.sentences)
        card["text"] = text_onnx.keep_smaller(
            folder,
            GRAPH,
            lambda graph: reader(folder, self.max_words, graph).vectors(self.sentences),
            truth,
            self._some_moments(),
        )
        difference = float(card["text"]["largest_difference"])
        return 0.0 if difference <= TOLERANCE * max(1.0, float(np.abs(truth).max())) else difference

    def _some_moments(self, videos: int = CHECKED_VIDEOS) -> Floats:
        """Vectors of some videos' moments, (n, dim)."""
        features = self.sources.features
        names = features.videos[:: max(1, len(features.videos) // videos)][:videos]
        return np.concatenate([self.model.video_vectors(features.read(name))[0] for name in names])

    def _expected_rows(self) -> int:
        """About how many rows all videos will have, judged by one of them."""
        features = self.sources.features
        names = features.videos
        if not names:
            return 0
        clips = sorted((features.clips(name), name) for name in names[:: max(1, len(names) // CHECKED_VIDEOS)])
        encoded = VideoEncoder(self.sources, self.encoder).encode(clips[len(clips) // 2][1])
        return len(names) * (0 if encoded is None else len(encoded.rows))

    def _videos(
        self, names: Sequence[str], known: Mapping[str, Video]
    ) -> Iterator[tuple[str, VideoRows | InputError | None]]:
        """Videos with their rows, or with None if the index has them as they are; by a cluster, in any order."""
        same: dict[str, str] = {}
        for name in names:
            video = known.get(name)
            if video is not None and (video.path, video.metadata) == (self.sources.path(name), self._metadata(name)):
                same[name] = video.fingerprint
        for name, found in self._encoded(names, same):
            if found is None or isinstance(found, InputError):
                yield name, found
                continue
            path, metadata = self.sources.path(name), self._metadata(name)
            video = Video(name, found.duration, len(found.rows), 0, path, metadata, found.fingerprint)
            yield name, VideoRows(video, found.rows, found.spans)

    def _metadata(self, name: str) -> dict[str, Value]:
        return dict(self.sources.metadata.get(name, {}))

    def _encoded(
        self, names: Sequence[str], known: Mapping[str, str]
    ) -> Iterator[tuple[str, Encoded | InputError | None]]:
        if self.ray is not None:
            from cfmr.index.on_ray import encode_on_ray

            yield from encode_on_ray(self, names, known)
            return
        encoder = VideoEncoder(self.sources, self.encoder)
        for name in names:
            yield name, encoder.encode(name, known.get(name, ""))


def _named(card: Mapping[str, Any], dim: int) -> str:
    return f"{card['name']} of {dim} numbers, {card['fingerprint']}"


def made_up_sentences(words: Sequence[str], max_words: int, count: int = SENTENCES) -> list[str]:
    """Sentences of words as frequent as in speech, for want of real ones."""
    rng = np.random.default_rng(0)
    chance = 1 / np.arange(1, len(words) + 1)
    chance /= chance.sum()
    lengths = rng.integers(1, min(max_words, 12) + 1, count)
    return [" ".join(rng.choice(words, n, p=chance)) for n in lengths]


def read_metadata(path: Path) -> dict[str, dict[str, Value]]:
    """Values to filter by: a JSON object {video: {key: value}}. Raises InputError naming the video."""
    from cfmr.files import read_json

    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: a JSON object is expected, {{video: {{key: value}}}}")
    for video, values in content.items():
        if not isinstance(values, dict) or not all(isinstance(v, str | int | float | bool) for v in values.values()):
            raise InputError(f"{path}: the metadata of {video!r} is not an object of texts, numbers or booleans")
    return content


def edit_index(out: Place, *, remove: Sequence[str] = (), engine: str | None = None) -> Report:
    """Take videos out of an index, or change how it is searched; no model and no features are needed for that.

    Raises:
        InputError: nothing is asked for, there is no index, or a video is not in it.
    """
    if not remove and engine is None:
        raise InputError(
            "adding videos needs --features and --checkpoint or --zero-shot; without them --remove or --engine is left"
        )
    if isinstance(out, Path):
        read_manifest(out)  # before a directory is made where there is none
    with open_writer(out) as writer:
        if not writer.card:
            raise InputError(f"{out}: no index here; build one with: cfmr index --out {out}")
        if engine is not None:
            writer.set_engine(engine)
        writer.remove(remove)
        writer.commit()
        return Report(0, 0, len(remove), 0, writer.rows, writer.engine, dict(writer.notes))


def build_index(
    checkpoint: Path,
    features: Path,
    out: str | os.PathLike[str] | MilvusAddress,
    *,
    annotations: Sequence[Path] = (),
    videos: Path | None = None,
    metadata: Path | None = None,
    engine: str | None = None,
    window: float | None = None,
    remove: Sequence[str] = (),
    rebuild: bool = False,
    calibrate: Path | None = None,
    backend: str = "pytorch",
    device: str = "cpu",
    ray: str | None = None,
    zero_shot: bool = False,
    progress: Progress = lambda what, done, total: None,
) -> Report:
    """Index videos, or add them to an index; see `cfmr index --help` for the arguments.

    Args:
        zero_shot: `checkpoint` is one of CLIP, and the features are made with it.

    Raises:
        InputError: something given cannot be used; names the file, video or key.
    """
    rows = [row for path in [*annotations, *([calibrate] if calibrate else [])] for row in load_annotations(path)]
    sources = Sources(
        FeatureStore(features),
        {row.video: row.duration for row in rows},
        videos,
        read_metadata(metadata) if metadata else {},
    )
    sentences = [row.sentence for row in rows]
    build: IndexBuild
    if zero_shot:
        from cfmr.index.zero_shot import ZeroShotBuild

        if ray is not None:
            raise InputError("--ray: pooling CLIP's frames is too little work for a cluster; leave it out")
        build = ZeroShotBuild(checkpoint, sources, sentences=sentences, window=window, progress=progress)
    else:
        build = IndexBuild(
            Checkpoint.load(find_checkpoint(checkpoint)),
            sources,
            sentences=sentences,
            window=window,
            backend=backend,
            device=device,
            ray=ray,
            progress=progress,
        )
    place = parse_place(out)
    report = build.run(place, engine=engine, remove=remove, rebuild=rebuild)
    if calibrate is not None:
        from cfmr.index.calibrate import calibrate_index

        notes = calibrate_index(place, load_annotations(calibrate, spans=False))
        return replace(report, notes={**report.notes, **notes})
    return report
