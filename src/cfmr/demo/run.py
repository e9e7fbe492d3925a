"""`cfmr demo`: from rendered video files to moments found by sentence, one stage after the other.

What a stage has left behind is reused by the next run, as long as it was made from the same things.
"""

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console

from cfmr.config import Config, preset
from cfmr.data.annotations import Annotation, load_annotations
from cfmr.demo.world import World, render_videos
from cfmr.errors import InputError
from cfmr.extractors.batch import available_cores
from cfmr.files.atomic import read_json, write_json
from cfmr.progress import TrainingProgress, silent

EXTRACTOR = "efficientnet-lite0"
ANSWERED = 5  # held-out sentences shown at the end
# seconds that one core takes for each video, on an AMD EPYC
CORE_SECONDS = {"rendering": 0.25, "extracting features": 0.45, "training, indexing, answering": 0.3}
PUBLISHED_CORE_SECONDS = {"training the published model": 1.0}
DRAWING = {"fonticon_fa6": "fonticon-fontawesome6", "matplotlib": "matplotlib"}  # module -> package
MODELS = {"dense": "CFMR-Dense", "cfmr": "CFMR as published"}


@dataclass(frozen=True)
class DemoPaths:
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
    published: bool = False,
    progress: TrainingProgress = silent,
    console: Console | None = None,
) -> None:
    """Render, extract, train, evaluate, index, answer, draw.

    Args:
        out: directory of everything; what is there from the same world is reused.
        videos: how many, 300 for the figures in the docs.
        seed: of the world and of training.
        published: train the published model too, to stand beside.
        progress: told of every stage.
        console: where results are printed.

    Raises:
        InputError: too few videos, or a package that draws is not installed.
    """
    _need_packages()
    console = console or Console()
    began = time.monotonic()
    paths = DemoPaths(out)
    console.print(expected_duration(videos, available_cores(), published), highlight=False, soft_wrap=True)
    world = render_videos(out, videos, seed, progress)
    _done(console, f"{videos} videos rendered")
    _extract(world, paths, progress)
    _done(console, f"features extracted with {EXTRACTOR}")
    models = [name for name in MODELS if name == "dense" or published]
    figures = {name: _train(name, paths, seed, console, progress) for name in models}
    _print_figures(figures, videos, seed, console)
    _index(world, paths, progress)
    _done(console, "all videos indexed")
    _answer(world, paths, console)
    took = f"That took {time.monotonic() - began:.0f} s. Everything is in {out}; look at {paths.picture}."
    console.print(f"\n{took}", soft_wrap=True)
    console.print("Search it in the browser:")
    command = f"{_program()} serve --index {paths.index} --videos {world.videos}"
    console.print(f"  {command}", highlight=False, soft_wrap=True)  # in one line, to be copied


def _need_packages() -> None:
    missing = [package for module, package in DRAWING.items() if find_spec(module) is None]
    if missing:
        raise InputError(f"the demo draws with {' and '.join(missing)}; pip install 'cfmr[demo]'")


def expected_duration(videos: int, cores: int, published: bool) -> str:
    """How long the steps take, said before they begin."""
    steps = CORE_SECONDS | (PUBLISHED_CORE_SECONDS if published else {})
    lines = [f"  {name:<32}about {_to_fives(videos * each / cores):>4} s" for name, each in steps.items()]
    machine = "one core" if cores == 1 else f"{cores} cores"
    return "\n".join([f"{videos} videos on {machine}; what an earlier run has left is reused", *lines])


def _to_fives(seconds: float) -> int:
    return max(5, 5 * round(seconds / 5))


def _program() -> str:
    """How this shell calls `cfmr`: by name, or where it is installed."""
    beside = Path(sys.executable).with_name("cfmr")
    return "cfmr" if shutil.which("cfmr") or not beside.exists() else os.path.relpath(beside)


def _done(console: Console, what: str) -> None:
    console.print(f"[green]\u2713[/] {what}", highlight=False)


def _extract(world: World, paths: DemoPaths, progress: TrainingProgress) -> None:
    from cfmr.extractors.batch import extract_all
    from cfmr.video.files import find_videos

    extract_all(find_videos([world.videos]), EXTRACTOR, paths.features, progress=progress)


def _train(model: str, paths: DemoPaths, seed: int, console: Console, progress: TrainingProgress) -> dict[str, Any]:
    """Figures of a finished run, which is trained, carried on or just read, whichever it needs."""
    from cfmr.training.backends import find_training

    directory = paths.run(model)
    config = preset(model, paths.root)
    key = _key(config, seed)
    record = directory / "trained-from.json"
    same = record.exists() and read_json(record) == key
    if same and (directory / "metrics.json").exists():
        _done(console, f"{MODELS[model]} is trained already")
        figures: dict[str, Any] = read_json(directory / "metrics.json")
        return figures
    console.print(f"training {MODELS[model]} on one click per sentence")
    (directory / "metrics.json").unlink(missing_ok=True)
    resume = directory if same and (directory / "last").is_dir() else None
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


def _index(world: World, paths: DemoPaths, progress: TrainingProgress) -> None:
    from cfmr.index.build import IndexOptions, build_index
    from cfmr.index.encode import VideoSources
    from cfmr.index.model_source import CheckpointModel
    from cfmr.search.calibrate import ABSENT, calibrate_index

    sources = VideoSources.load(paths.features, list(world.annotations.values()), world.videos)
    model = CheckpointModel.load(paths.run("dense"))
    build_index(model, sources, paths.index, IndexOptions(rebuild=True), progress=progress)
    names = model.unclicked_names(ABSENT)
    calibrate_index(paths.index, load_annotations(world.annotations["val"], spans=False), names)


def _answer(world: World, paths: DemoPaths, console: Console) -> None:
    """Five held-out sentences, asked of their videos through the index, printed and drawn."""
    from cfmr.demo.picture import Answer, draw_answers
    from cfmr.search.retriever import MomentRetriever

    retriever = MomentRetriever.load(paths.index)
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
        found = f"found {result[0].start:.1f} - {result[0].end:.1f} s in {milliseconds:.1f} ms"
        true = f"true {row.span[0]:.1f} - {row.span[1]:.1f} s"
        # the terminal breaks a long line where it ends, not rich within the sentence
        console.print(f"  {row.sentence}\n    {row.video}: {found} ({true})", highlight=False, soft_wrap=True)
    draw_answers(answers, paths.picture)


def held_out_sentences(world: World) -> Sequence[Annotation]:
    """Test sentences about pairs of actor and event never seen in training, each from another video."""
    rows = load_annotations(world.annotations["test"], spans=True)
    chosen: dict[str, Annotation] = {}
    for row, _ in sorted(zip(rows, world.unseen, strict=True), key=lambda pair: not pair[1]):
        chosen.setdefault(row.video, row)
    return list(chosen.values())[:ANSWERED]
