"""`cfmr demo`: from rendered video files to moments found by sentence, one station after the other.

What a station has left behind is reused by the next run, as long as it was made from the same things.
"""

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from cfmr.config import Config, preset
from cfmr.data.annotations import Annotation, load_annotations
from cfmr.demo.world import World, render_videos
from cfmr.files.atomic import read_json, write_json
from cfmr.progress import TrainingProgress, silent

EXTRACTOR = "efficientnet-lite0"
ANSWERED = 5  # held-out sentences shown at the end
MODELS = {"dense": "CFMR-Dense", "cfmr": "CFMR as published"}


@dataclass(frozen=True)
class Places:
    """What the demo leaves behind."""

    root: Path

    @property
    def features(self) -> Path:
        return self.root / "features.hdf5"

    @property
    def index(self) -> Path:
        return self.root / "index"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.json"

    @property
    def picture(self) -> Path:
        return self.root / "moments.png"

    def run(self, model: str) -> Path:
        """A training's directory; the better model's is the demo's own, so that `checkpoint` lies at its top."""
        return self.root if model == "dense" else self.root / "published"


def run_demo(
    out: Path,
    videos: int,
    seed: int,
    *,
    published: bool = True,
    progress: TrainingProgress = silent,
    console: Console | None = None,
) -> None:
    """Render, extract, train, evaluate, index, answer, draw.

    Args:
        out: directory of everything; what is there from the same world is reused.
        videos: how many, 300 for the figures in the docs.
        seed: of the world and of training.
        published: train the published model too, to stand beside.
        progress: told of every station.
        console: where results are printed.
    """
    console = console or Console()
    began = time.monotonic()
    places = Places(out)
    world = render_videos(out, videos, seed, progress)
    _done(console, f"{videos} videos rendered")
    _extract(world, places, progress)
    _done(console, f"features extracted with {EXTRACTOR}")
    models = [name for name in MODELS if name == "dense" or published]
    figures = {name: _train(name, places, seed, console, progress) for name in models}
    _print_figures(figures, videos, seed, console)
    _index(world, places, progress)
    _done(console, "all videos indexed")
    _answer(world, places, console)
    console.print(f"\nThat took {time.monotonic() - began:.0f} s. Everything is in {out}; look at {places.picture}.")
    console.print("Search it in the browser:")
    command = f"{_program()} serve --index {places.index} --videos {world.videos}"
    console.print(f"  {command}", highlight=False, soft_wrap=True)  # in one line, to be copied


def _program() -> str:
    """How this shell calls `cfmr`: by name, or where it is installed."""
    beside = Path(sys.executable).with_name("cfmr")
    return "cfmr" if shutil.which("cfmr") or not beside.exists() else os.path.relpath(beside)


def _done(console: Console, what: str) -> None:
    console.print(f"[green]\u2713[/] {what}", highlight=False)


def _extract(world: World, places: Places, progress: TrainingProgress) -> None:
    from cfmr.extractors.batch import extract_all
    from cfmr.video.files import find_videos

    extract_all(find_videos([world.videos]), EXTRACTOR, places.features, progress=progress)


def _train(model: str, places: Places, seed: int, console: Console, progress: TrainingProgress) -> dict[str, Any]:
    """Figures of a finished run, which is trained, carried on or just read, whichever it needs."""
    from cfmr.training.backends import find_training

    directory = places.run(model)
    config = preset(model, places.root)
    key = _key(config, seed)
    record = directory / "trained-from.json"
    known = record.exists() and read_json(record) == key
    if known and (directory / "metrics.json").exists():
        _done(console, f"{MODELS[model]} is trained already")
        figures: dict[str, Any] = read_json(directory / "metrics.json")
        return figures
    console.print(f"training {MODELS[model]} on one click per sentence")
    (directory / "metrics.json").unlink(missing_ok=True)
    resume = directory if known and (directory / "last").is_dir() else None
    write_json(record, key)
    training = find_training("pytorch", config)
    return training.train(
        config, directory, resume=resume, seed=seed, select="validation", device="cpu", progress=progress
    )


def _key(config: Config, seed: int) -> dict[str, Any]:
    """What a training depends on: equal keys, equal results."""
    contents = [Path(config.dataset.train_data), Path(config.dataset.val_data or "")]
    digest = hashlib.blake2b(b"".join(path.read_bytes() for path in contents), digest_size=12).hexdigest()
    return {"config": config.model_dump(), "seed": seed, "rows": digest}


def _print_figures(figures: dict[str, dict[str, Any]], videos: int, seed: int, console: Console) -> None:
    from cfmr.console.tables import corpus_table, moment_table

    best = figures["dense"]
    title = f"{best['sentences']} sentences on {best['videos']} test videos of {videos}, seed {seed}"
    rows = {MODELS[name]: run["test"] for name, run in figures.items()}
    console.print(moment_table(rows | {"best constant answer": best["best_constant"]}, title))
    console.print(corpus_table(best["corpus"]))


def _index(world: World, places: Places, progress: TrainingProgress) -> None:
    from cfmr.index.build import IndexOptions, build_index
    from cfmr.index.encode import VideoSources
    from cfmr.index.model_source import CheckpointModel
    from cfmr.search.calibrate import calibrate_index

    sources = VideoSources.load(places.features, list(world.annotations.values()), world.videos)
    model = CheckpointModel.load(places.run("dense"))
    build_index(model, sources, places.index, IndexOptions(rebuild=True), progress=progress)
    calibrate_index(places.index, load_annotations(world.annotations["val"], spans=False))


def _answer(world: World, places: Places, console: Console) -> None:
    """Five held-out sentences, asked of their videos through the index, printed and drawn."""
    from cfmr.demo.picture import Answer, draw_answers
    from cfmr.search.retriever import MomentRetriever

    retriever = MomentRetriever.load(places.index)
    answers = []
    for row in held_out_sentences(world):
        retriever.search(row.sentence, videos=[row.video])  # the first search loads the model
        result = retriever.search(row.sentence, videos=[row.video])
        milliseconds = 1000 * (result.encode_seconds + result.search_seconds)
        times, relevance = retriever.curve(row.sentence, row.video)
        assert row.span is not None
        answer = Answer(
            row.sentence, world.videos / f"{row.video}.mp4", row.duration, row.span, (result[0].start, result[0].end),
            times, relevance, milliseconds,
        )  # fmt: skip
        answers.append(answer)
        console.print(
            f"  {milliseconds:4.1f} ms  {result[0].start:5.1f} - {result[0].end:4.1f} s "
            f"(true: {row.span[0]:5.1f} - {row.span[1]:4.1f} s)  {row.video}: {row.sentence}",
            highlight=False,
        )
    draw_answers(answers, places.picture)


def held_out_sentences(world: World) -> Sequence[Annotation]:
    """Test sentences about pairs of actor and event never seen in training, each from another video."""
    rows = load_annotations(world.annotations["test"], spans=True)
    chosen: dict[str, Annotation] = {}
    for row, _ in sorted(zip(rows, world.unseen, strict=True), key=lambda pair: not pair[1]):
        chosen.setdefault(row.video, row)
    return list(chosen.values())[:ANSWERED]
