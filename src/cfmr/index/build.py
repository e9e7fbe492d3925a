"""The offline line's end: a checkpoint and features become an index."""

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from cfmr.data.annotations import load_annotations
from cfmr.data.features import FeatureStore
from cfmr.errors import InputError
from cfmr.index import text_export
from cfmr.index.base import Value, Video, VideoRows
from cfmr.index.codec import Codec, Floats
from cfmr.index.embedded import disk
from cfmr.index.embedded.manifest import read_manifest
from cfmr.index.embedded.writer import Limits
from cfmr.index.encode import Encoded, RowEncoder, Sources, VideoEncoder, Windowing
from cfmr.index.location import MilvusAddress, Place, parse_place
from cfmr.index.model_source import model_fingerprint
from cfmr.index.open import AnyWriter, open_writer
from cfmr.index.report import Report
from cfmr.index.token_encoder import TokenEncoder
from cfmr.index.word_encoder import GRAPH, VECTORS, WORDS, SentenceEncoder
from cfmr.models.base import load_model
from cfmr.models.checkpoint import Checkpoint, find_checkpoint
from cfmr.models.encode import encode_sentences
from cfmr.models.text_graph import text_graph
from cfmr.moments.span_reader import readout_to_json
from cfmr.progress import Progress, silent

SENTENCES = 1000  # the quantised text encoder is judged on at most so many
CHECKED_VIDEOS = 32  # whose moments it ranks for that
PROJECTED_VIDEOS = 256  # whose moments tell a cluster's index which directions matter
TOLERANCE = 1e-5  # between the graph and the model, times the largest number of a vector where that is above 1
SAVE_SECONDS = 60.0  # a long run keeps what it has so often


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
        progress: Progress = silent,
    ) -> None:
        self.window, self.backend, self.device, self.ray = window, backend, device, ray
        self.checkpoint, self.sources, self.progress, self.limits = checkpoint, sources, progress, limits
        progress("loading the model", 0, None)
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
            try:
                for number, (name, item) in enumerate(self._videos(names, known)):
                    self.progress(f"encoding: {number:,} of {len(names):,} videos", number, len(names))
                    if isinstance(item, InputError):
                        failed[name] = str(item)
                        continue
                    if item is None:
                        unchanged += 1
                        continue
                    writer.add([item])
                    replaced, added = replaced + (name in known), added + (name not in known)
                    if not rebuild and time.monotonic() - saved > SAVE_SECONDS:
                        writer.commit(tidy=False)
                        saved = time.monotonic()
            except KeyboardInterrupt:
                if not rebuild:
                    writer.commit(tidy=False)
                raise
            self.progress("writing the index", len(names), None)
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
            "readout": readout_to_json(self.model.readout),
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
        disk.write_array(folder / VECTORS, [self.model.word_inputs(vocabulary.vectors)], len(vocabulary.vectors))
        onnx.save(text_graph(self.checkpoint.parameters, self.checkpoint.config), folder / "whole.onnx")
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
        card["text"] = text_export.keep_smaller(
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
        return np.concatenate([self._vectors(name) for name in names])

    def _vectors(self, name: str) -> Floats:
        features = self.sources.features.read(name)
        return self.model.video_vectors(features, self.sources.duration(name, len(features)))[0]

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
            from cfmr.cluster.encode import encode_on_ray

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
    from cfmr.files.atomic import read_json

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
    progress: Progress = silent,
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
        from cfmr.index.clip_source import ZeroShotBuild

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
        from cfmr.search.calibrate import calibrate_index

        notes = calibrate_index(place, load_annotations(calibrate, spans=False))
        return replace(report, notes={**report.notes, **notes})
    return report
