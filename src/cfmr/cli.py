"""The command line. Parsing only; the work is elsewhere and imported when it is needed."""

import contextlib
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from cfmr.console.interrupt import saying_what_is_kept
from cfmr.console.mode import ProgressMode
from cfmr.errors import GPU_IS_FULL, NO_ROOM, InputError, is_full_gpu
from cfmr.index import BUILT_IN
from cfmr.progress import Progress

if TYPE_CHECKING:
    from cfmr.console.handover import Export
    from cfmr.data.pack import Packed
    from cfmr.extractors.batch import Summary
    from cfmr.index.build import Encode
    from cfmr.index.encode import VideoSources
    from cfmr.index.location import IndexLocation
    from cfmr.index.model_source import IndexModel
    from cfmr.index.report import IndexReport

ProgressOption = Annotated[
    ProgressMode, typer.Option("--progress", help="on stderr: a bar, one JSON object per line, or nothing")
]
BackendOption = Annotated[str, typer.Option("--backend", help="pytorch or mindspore")]
DeviceOption = Annotated[str, typer.Option("--device", help="cpu, cuda; with mindspore CPU, GPU, Ascend")]

FEATURE_SUFFIXES = ("", ".hdf5", ".h5", ".hdf")
#: Commands as help lists them, in the order in which they are used. Those that no group has are for the page.
GROUPS = {
    "Search my videos": ("serve", "search", "extract", "index", "models", "demo"),
    "Research": ("prepare", "pack", "train", "evaluate", "report", "convert"),
}
COMMANDS = tuple(name for names in GROUPS.values() for name in names)


class Commands(TyperGroup):
    """The commands in groups; an interrupted one ends in a line."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """The names, without those for the page."""
        return [name for name in COMMANDS if name in self.commands]

    def format_commands(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        """A section of help for each group."""
        for title, names in GROUPS.items():
            found = [(name, self.commands[name]) for name in names if name in self.commands]
            room = formatter.width - 6 - max(map(len, COMMANDS))
            with formatter.section(title):
                formatter.write_dl([(name, command.get_short_help_str(room)) for name, command in found])

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run a command."""
        with saying_what_is_kept(""):
            return super().invoke(ctx)


app = typer.Typer(
    name="cfmr",
    cls=Commands,
    help="Search inside video by sentence.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"cfmr {version('cfmr')}")
        raise typer.Exit


@app.callback()
def _commands(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Search inside video by sentence."""


@app.command()
def train(
    config_path: Annotated[Path, typer.Option(help="configuration, JSON as in config/")],
    tag: Annotated[str, typer.Option(help="name of the run")] = "base",
    log: Annotated[
        Path | None,
        typer.Option(
            "--log", "--log-dir", "--log_dir", help="folder for runs; default: model_saved_path of the configuration"
        ),
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="the run (or its 'last') to resume")] = None,
    evaluate_only: Annotated[bool, typer.Option("--eval", help="only evaluate the checkpoint of --resume")] = False,
    backend: BackendOption = "pytorch",
    device: DeviceOption = "cpu",
    seed: Annotated[int, typer.Option(min=0, help="seed of parameters, batches and masked words")] = 8,
    select: Annotated[
        str,
        typer.Option(help="epoch to keep: best on 'validation' videos, 'last', or best on 'test' (as the original)"),
    ] = "validation",
    progress: ProgressOption = ProgressMode.BAR,
    page_videos: Annotated[
        Path | None, typer.Option(hidden=True, help="train on what the page wrote to --log, and index this folder")
    ] = None,
    page_check: Annotated[bool, typer.Option("--page-check", hidden=True, help="check the labels in --log")] = False,
) -> None:
    """Train a model from one point label (glance) per sentence."""
    if page_videos is not None and log is not None:
        return _learn(log, page_videos, progress)
    if page_check and log is not None:
        return _check(log, progress)
    if evaluate_only:
        if resume is None:
            raise InputError("--eval needs --resume CHECKPOINT")
        return evaluate(config_path=config_path, resume=resume, backend=backend, device=device)
    from cfmr.config import load_config
    from cfmr.console.progress import showing_progress
    from cfmr.console.tables import print_run
    from cfmr.training.backends import find_training
    from cfmr.training.run import check_select

    config = load_config(config_path)
    directory = (log or Path(config.train.model_saved_path)) / tag

    def kept() -> str:
        if not (directory / "last").exists():
            return f"no epoch was finished, so nothing is kept in {directory}"
        return f"finished epochs are kept; add --resume {directory} to the command to continue"

    with saying_what_is_kept(kept), showing_progress(progress) as told:
        figures = find_training(backend, config).train(
            config, directory, resume=resume, seed=seed, select=check_select(select), device=device, progress=told
        )
    if figures:
        print_run(figures, directory)
    return None


def _check(folder: Path, progress: ProgressMode) -> None:
    """Look at the labels that the page wrote to a folder."""
    from cfmr.console.progress import showing_progress
    from cfmr.server.work.check import check_written

    with showing_progress(progress) as told:
        check_written(folder, told)


def _learn(folder: Path, videos: Path, progress: ProgressMode) -> None:
    """Train on labels and index with that model: what the page does when it learns."""
    from cfmr.console.progress import showing_progress
    from cfmr.server.work.fitting import fit_and_index

    with showing_progress(progress) as told:
        fit_and_index(folder, videos, told)


@app.command()
def evaluate(
    config_path: Annotated[
        Path | None,
        typer.Option(help="configuration that names features and the test split; default: the checkpoint's"),
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="the checkpoint, or a run's directory")] = None,
    within: Annotated[
        Path | None,
        typer.Option("--in", metavar="VIDEOS", help="instead of --resume: the model in use for this folder of videos"),
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="instead of a checkpoint: answers of any system (jsonl, or a TVR submission)")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="annotations to evaluate on, in any layout of docs/formats.md")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="write the answers: .jsonl predictions, .json a submission over all videos")
    ] = None,
    features: Annotated[
        Path | None, typer.Option(help="feature file of these videos; default: the configuration's")
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(help="validation annotations, to learn from when to say that nothing fits; default: the run's"),
    ] = None,
    corpus: Annotated[bool, typer.Option("--corpus", help="also search all test videos together")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    backend: BackendOption = "pytorch",
    device: DeviceOption = "cpu",
) -> None:
    """Evaluate a checkpoint, or answers of any system (--predictions)."""
    from cfmr.config import load_config
    from cfmr.console.tables import print_figures, print_scores
    from cfmr.models.base import check_backend

    if predictions is not None:
        if truth is None or resume is not None or out is not None:
            raise InputError("--predictions needs --truth, the annotations, and neither --resume nor --out")
        from cfmr.moments.scoring import score_file

        return print_scores(score_file(truth, predictions), as_json=as_json)
    if within is not None:
        from cfmr.index.workspace import need_workspace

        if resume is not None or truth is None:
            raise InputError("--in VIDEOS needs --truth, the annotations to evaluate on, and excludes --resume")
        place = need_workspace(within)
        resume, features = place.served().checkpoint, features or place.features
        if resume is None:
            raise InputError(f"{within}: the model in use was not trained, so it has no checkpoint to evaluate")
    if resume is None:
        raise InputError("name what to evaluate: --resume CHECKPOINT, --in VIDEOS, or --predictions FILE --truth FILE")
    from cfmr.models.checkpoint import Checkpoint, find_checkpoint
    from cfmr.training.answers import Measuring, measure_checkpoint
    from cfmr.training.evaluation import evaluate_checkpoint

    backend = check_backend(backend)
    config = Checkpoint.load(find_checkpoint(resume)).config if config_path is None else load_config(config_path)
    if truth is None and out is None and features is None and calibrate is None:
        figures = evaluate_checkpoint(config, resume, corpus=corpus, backend=backend, device=device)
        return print_figures(figures, as_json=as_json)
    wanted = Measuring(truth, out, corpus, calibrate, features)
    scores = measure_checkpoint(config, resume, wanted, backend=backend, device=device)
    return print_scores(scores, as_json=as_json, out=out)


@app.command()
def prepare(
    dataset: Annotated[
        str, typer.Argument(help="charades, activitynet, tacos, qvhighlights, tvr, tvr-ranking, or any other name")
    ],
    raw: Annotated[Path, typer.Option(help="folder with the annotations as published, or one file")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="folder for glance_train_DATASET.json, ..._val_..., ..._test_...")
    ],
    seed: Annotated[int, typer.Option(help="seed for drawing missing glances")] = 0,
    features: Annotated[Path | None, typer.Option(help="HDF5 feature file to check against the annotations")] = None,
    config: Annotated[Path | None, typer.Option(help="configuration whose frame_dim the features must have")] = None,
    pack: Annotated[Path | None, typer.Option(help="folder of .npy, .npz or .pt files to pack into --features")] = None,
) -> None:
    """Convert annotations of any published layout; check features."""
    from cfmr.config import load_config
    from cfmr.data.prepare import check_features
    from cfmr.data.prepare import prepare as run

    if features is None and (config is not None or pack is not None):
        raise InputError("--config and --pack go with --features, the feature file to check or write")
    dim = None if config is None else load_config(config).dataset.frame_dim
    splits = run(dataset, raw, out, seed)
    for split in splits:
        typer.echo(f"{split.path}: {split.rows} moments of {len(split.videos)} videos")
        for note in split.notes:
            typer.echo(f"  {note}")
    if pack is not None and features is not None:
        from cfmr.data.pack import pack as pack_folder

        _tell_packed(pack_folder(pack, features), features)
    if features is not None:
        for note in check_features(features, [split.path for split in splits], dim):
            typer.echo(note)


@app.command("pack")
def pack_features(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE ...",
            help="folders of .npy, .npz, .pt files, or with PRVR's feature.bin, or HDF5 files; several are joined",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="HDF5 feature file to write; with --npz a folder")],
    member: Annotated[str | None, typer.Option(help="array to use if a file has several")] = None,
    tokens: Annotated[
        str | None, typer.Option(help="reduce arrays (clips, tokens, dim) by mean or max over the tokens")
    ] = None,
    unit: Annotated[bool, typer.Option("--unit", help="scale each clip of each source to length 1")] = False,
    time_columns: Annotated[
        bool, typer.Option("--time-columns", help="append start and end of each clip, as fractions of the video")
    ] = False,
    annotations: Annotated[
        list[Path] | None, typer.Option(help="pack only the videos of these files; all must be present")
    ] = None,
    npz: Annotated[
        bool, typer.Option("--npz", help="write a folder of VIDEO.npz instead, as Moment-DETR and Lighthouse read it")
    ] = False,
) -> None:
    """Pack feature files of one video each into one HDF5 file."""
    from cfmr.data.layouts.queries import read_queries, video_lengths
    from cfmr.data.pack import Packing, check_tokens, pack, pack_npz

    packing = Packing(member, check_tokens(tokens), unit, time_columns)
    videos = [video for path in annotations or () for video in video_lengths(read_queries(path))]
    _tell_packed((pack_npz if npz else pack)(sources, out, packing, videos or None), out)


def _tell_packed(packed: "Packed", out: Path) -> None:
    typer.echo(f"{out}: features of {packed.videos} videos")
    if packed.cut:
        typer.echo(f"  {packed.cut} were cut by up to {packed.most} clips to the shortest of their sources")
    for title, named in (("not packed", packed.failed.values()), ("passed over", packed.skipped.items())):
        if named:
            typer.echo(f"{title} ({len(named)}):", err=True)
        for one in list(named)[:20]:
            typer.echo(f"  {one}" if isinstance(one, str) else f"  {one[0]}: {one[1]}", err=True)


@app.command()
def convert(
    checkpoint: Annotated[Path, typer.Argument(help="a .pt or .ckpt file of the original release")],
    out: Annotated[Path, typer.Option("--out", "-o", help="directory to write the checkpoint to")],
    config: Annotated[Path | None, typer.Option(help="its configuration, if the file does not contain it")] = None,
    vocab: Annotated[Path | None, typer.Option(help="the glove.pkl with which it was trained")] = None,
) -> None:
    """Convert a checkpoint of the original without running its code."""
    from cfmr.models.convert import convert as read

    converted, notes = read(checkpoint, config, vocab)
    converted.save(out)
    typer.echo(f"{out}: {sum(value.size for value in converted.parameters.values()):,} parameters")
    for note in notes:
        typer.echo(f"  {note}")


@app.command()
def report(
    out: Annotated[Path, typer.Option("--out", "-o", help="folder for report.md and its pictures")],
    runs: Annotated[list[Path] | None, typer.Argument(help="directories of finished runs")] = None,
    videos: Annotated[Path | None, typer.Option(help="folder of the videos, for frames in the pictures")] = None,
    predictions: Annotated[
        list[Path] | None, typer.Option(help="answers of another system, to compare; may be repeated")
    ] = None,
    truth: Annotated[Path | None, typer.Option(help="annotations that --predictions answer")] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(help="validation annotations, to learn from when to say that nothing fits; default: the run's"),
    ] = None,
) -> None:
    """Compare runs with published figures and other systems' answers."""
    from cfmr.report.comparison import Comparison
    from cfmr.report.writing import write_report

    if (truth is None) != (not predictions):
        raise InputError("--predictions and --truth go together: answers, and the annotations to evaluate them on")
    if calibrate is not None and truth is None:
        raise InputError("--calibrate goes with --predictions and --truth: it concerns sentences that nothing fits")
    comparison = None if truth is None else Comparison(truth, predictions or (), calibrate)
    typer.echo(f"written to {write_report(runs or [], out, videos, comparison)}")


@app.command("index")
def index_videos(
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            envvar="CFMR_INDEX",
            help="index directory, or milvus://host:port/collection; if it exists, videos are added",
        ),
    ] = None,
    within: Annotated[
        Path | None,
        typer.Option("--in", metavar="VIDEOS", help="read new videos of this folder, instead of all other options"),
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="the model: a checkpoint, or a run's directory")] = None,
    zero_shot: Annotated[
        Path | None,
        typer.Option(
            help=f"instead of a model: '{BUILT_IN}', or the CLIP checkpoint of the features, a folder or a name; "
            "with --in, it becomes the model in use"
        ),
    ] = None,
    features: Annotated[Path | None, typer.Option(help="HDF5 feature file of the videos")] = None,
    videos: Annotated[
        Path | None, typer.Option(help="folder of the video files, for --save-clips and the page")
    ] = None,
    annotations: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="durations of the videos, and sentences for checks; may be repeated"),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(help="annotations of some of the videos, to choose the score below which nothing fits"),
    ] = None,
    metadata: Annotated[Path | None, typer.Option(help="JSON {video: {key: value}}, for filters with --where")] = None,
    engine: Annotated[str | None, typer.Option(help="exact, ivf (FAISS), or auto by size")] = None,
    window: Annotated[
        float | None, typer.Option(min=1, help="seconds; longer videos are cut into overlapping windows of this length")
    ] = None,
    remove: Annotated[list[str] | None, typer.Option(metavar="VIDEO", help="video to remove; may be repeated")] = None,
    restore: Annotated[
        list[str] | None,
        typer.Option(metavar="VIDEO", help="with --in: video to restore after removal; may be repeated"),
    ] = None,
    leave_out: Annotated[Path | None, typer.Option(help="JSON list of videos of the feature file to leave out")] = None,
    workspace: Annotated[
        Path | None, typer.Option(help="with --in: folder for features and index; default: .cfmr in the folder")
    ] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="replace an existing index, even of another model")
    ] = False,
    backend: BackendOption = "pytorch",
    device: DeviceOption = "cpu",
    ray: Annotated[str | None, typer.Option(help="encode on a Ray cluster: local, auto or ray://host:port")] = None,
    progress: ProgressOption = ProgressMode.BAR,
) -> None:
    """Index videos for search; run it again to add new ones."""
    from cfmr.console.index_report import report_lines
    from cfmr.console.progress import showing_progress
    from cfmr.index.build import IndexOptions, build_index
    from cfmr.index.open import parse_location
    from cfmr.index.workspace import read_names

    if within is not None:
        given: dict[str, object] = {"checkpoint": checkpoint, "features": features}
        given |= {"videos": videos, "annotations": annotations, "calibrate": calibrate, "metadata": metadata}
        given |= {"engine": engine, "window": window, "rebuild": rebuild, "ray": ray, "leave-out": leave_out}
        return _index_folder(within, workspace, remove or [], restore or [], zero_shot, given, progress)
    if out is None or restore or workspace is not None:
        raise InputError("name what to index: --in VIDEOS, or --out INDEX (or CFMR_INDEX) and where its videos are")
    location = parse_location(out)
    if checkpoint is not None and zero_shot is not None:
        raise InputError("--checkpoint and --zero-shot: an index has one model; choose one of them")
    if checkpoint is None and zero_shot is None and features is None:
        _refuse_unused(
            videos=videos,
            annotations=annotations,
            calibrate=calibrate,
            metadata=metadata,
            window=window,
            rebuild=rebuild,
            ray=ray,
        )
        report = _edited(location, remove or [], engine)
    elif features is None:
        raise InputError("--checkpoint and --zero-shot need --features, the feature file of the videos")
    elif checkpoint is None and zero_shot is None:
        raise InputError("--features needs --checkpoint or --zero-shot, the model to encode them with")
    else:
        kept = (
            "the index is unchanged; the same command starts again"
            if rebuild
            else "the videos encoded so far are kept; run the same command to resume"
        )
        with saying_what_is_kept(kept), showing_progress(progress) as told:
            told("loading the model", 0, None)
            model, sources, encode = _index_parts(
                checkpoint,
                zero_shot,
                features,
                [*(annotations or ()), *([calibrate] if calibrate else [])],
                videos,
                metadata,
                window,
                backend,
                device,
                ray,
            )
            unwanted = read_names(leave_out) if leave_out is not None else ()
            options = IndexOptions(engine, remove or (), rebuild, unwanted)
            report = build_index(model, sources, location, options, encode, told)
            if calibrate is not None:
                report = _calibrated(report, location, model, calibrate)
            elif zero_shot is not None:
                report = _calibrated_on_names(report, location, model)
    for line in report_lines(report, location):
        typer.echo(line)
    return None


def _index_folder(
    folder: Path,
    workspace: Path | None,
    remove: list[str],
    restore: list[str],
    zero_shot: Path | None,
    given: dict[str, object],
    progress: ProgressMode,
) -> None:
    """Read what is new in a folder of videos, or all with another model; or take videos out of it, or in again."""
    from cfmr.console.extraction import print_summary
    from cfmr.console.index_report import report_lines
    from cfmr.console.progress import showing_progress
    from cfmr.index.folder import read_folder, remove_videos
    from cfmr.index.workspace import find_workspace, make_workspace, need_workspace

    for name, value in given.items():
        if value:
            raise InputError(f"--{name}: with --in the folder's own features and model are used; leave it out")
    if remove:
        if zero_shot is not None:
            raise InputError("--remove and --zero-shot: videos are removed from every model; leave one out")
        place = need_workspace(workspace or folder)
        remove_videos(place, remove)
        return typer.echo(f"{folder}: {len(remove)} removed; --restore brings a video back")
    place = (None if workspace else find_workspace(folder)) or make_workspace(folder, workspace)
    if restore:
        place.restore(restore)
    kept = "the videos read so far can be searched; run the same command to resume"
    with saying_what_is_kept(kept), showing_progress(progress) as told:
        report = read_folder(place, _calibrated_on_names, told, zero_shot=zero_shot)
    print_summary(report.files, report.features)
    if report.indexed is not None:
        for line in report_lines(report.indexed, place.served().index):
            typer.echo(line)
    if zero_shot is not None:
        typer.echo(f"{folder}: {place.served().id} is now the model in use")
    return None


def _edited(location: "IndexLocation", remove: list[str], engine: str | None) -> "IndexReport":
    """Take videos out of an index, and out of what the page has learned beside it; or change how it is searched."""
    from cfmr.index.build import edit_index
    from cfmr.index.folder import remove_videos
    from cfmr.index.workspace import workspace_of_index

    place = workspace_of_index(location) if remove and isinstance(location, Path) else None
    if place is None:
        return edit_index(location, remove=remove, engine=engine)
    reports = remove_videos(place, remove)
    return edit_index(location, engine=engine) if engine is not None else reports.popitem()[1]


def _refuse_unused(**given: object) -> None:
    """Raise InputError for an option that only means something where videos are encoded."""
    for name, value in given.items():
        if value:
            raise InputError(f"--{name} needs --features and --checkpoint or --zero-shot, which say what to index")


def _index_parts(
    checkpoint: Path | None,
    zero_shot: Path | None,
    features: Path,
    annotations: list[Path],
    videos: Path | None,
    metadata: Path | None,
    window: float | None,
    backend: str,
    device: str,
    ray: str | None,
) -> "tuple[IndexModel, VideoSources, Encode]":
    """What an index run is composed of: the model, the videos, and how they are encoded."""
    from cfmr.index.build import local_encode
    from cfmr.index.encode import VideoSources

    sources = VideoSources.load(features, annotations, videos, metadata)
    if zero_shot is not None and str(zero_shot) == BUILT_IN:
        from cfmr.index.prior_source import PriorModel

        if ray is not None or window is not None:
            raise InputError(f"--zero-shot {BUILT_IN}: --ray and --window have no effect; leave them out")
        return PriorModel(sources.features), sources, local_encode
    if zero_shot is not None:
        from cfmr.index.clip_source import ClipModel

        if ray is not None:
            raise InputError("--ray: pooling CLIP's frames is too little work for a cluster; leave it out")
        return ClipModel(zero_shot, sources.features, window), sources, local_encode
    from cfmr.index.model_source import CheckpointModel

    assert checkpoint is not None
    model = CheckpointModel.load(checkpoint, window, backend, device)
    if ray is None:
        return model, sources, local_encode
    from cfmr.cluster.encode import ray_encoder

    return model, sources, ray_encoder(ray)


def _calibrated(
    report: "IndexReport", location: "IndexLocation", model: "IndexModel", annotations: Path
) -> "IndexReport":
    """Choose thresholds for an index that was just written; the report with what was found."""
    from dataclasses import replace

    from cfmr.data.annotations import load_annotations
    from cfmr.index.model_source import CheckpointModel
    from cfmr.search.calibrate import ABSENT, calibrate_index

    names = model.unclicked_names(ABSENT) if isinstance(model, CheckpointModel) else []
    metrics = calibrate_index(location, load_annotations(annotations, spans=False), names)
    return replace(report, metrics={**report.metrics, **metrics})


def _calibrated_on_names(report: "IndexReport", location: "IndexLocation", model: "IndexModel") -> "IndexReport":
    """The same without annotations; thresholds from annotations are kept."""
    from dataclasses import replace

    from cfmr.search.calibrate import RANDOM_SENTENCES, calibrate_on_random_words

    same = "thresholds" in report.metrics and not (report.added or report.replaced or report.removed)
    if same or report.metrics.get("threshold_accuracy") or not report.rows:
        return report
    names = model.random_names(RANDOM_SENTENCES)
    if not names:
        return report
    metrics = calibrate_on_random_words(location, names)
    return replace(report, metrics={**report.metrics, **metrics})


def _where_to_search(within: Path | None, index: str | None) -> str | Path:
    """The folder of videos, or the index that was named."""
    if within is not None:
        from cfmr.index.workspace import need_workspace

        need_workspace(within)
        return within
    if index is None:
        raise InputError("name where to search: --in VIDEOS, or --index INDEX (or CFMR_INDEX)")
    return index


def _parse_export(path: str, form: str | None, fps: str | None, drop: bool | None) -> "Export":
    from cfmr.console.handover import Export  # opens video files; searching alone should not wait for that

    return Export.parse(path, form, fps, drop)


@app.command()
def search(
    sentence: Annotated[list[str] | None, typer.Argument(metavar="SENTENCE", help="what happens in the moment")] = None,
    queries: Annotated[
        str | None, typer.Option(metavar="FILE", help="list of sentences, one per line or CSV; - is stdin")
    ] = None,
    like: Annotated[
        list[str] | None,
        typer.Option(metavar="VIDEO@START-END", help="find more like this moment; may be repeated"),
    ] = None,
    unlike: Annotated[
        list[str] | None,
        typer.Option(
            "--not",
            metavar="VIDEO@START-END|WORDS",
            help="nothing like this moment, or without these words; may be repeated",
        ),
    ] = None,
    within: Annotated[
        Path | None, typer.Option("--in", metavar="VIDEOS", help="folder of videos read by serve or index --in")
    ] = None,
    index: Annotated[
        str | None,
        typer.Option("--index", "-i", envvar="CFMR_INDEX", help="index directory, or milvus://host:port/collection"),
    ] = None,
    video: Annotated[
        list[str] | None, typer.Option(metavar="VIDEO", help="search in this video only; may be repeated")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="only videos with this metadata; may be repeated"),
    ] = None,
    top: Annotated[int, typer.Option("--top", "-n", help="how many moments")] = 5,
    min_score: Annotated[
        str | None, typer.Option(help="leave out moments with a lower score; auto: those that do not match")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    save_clips: Annotated[
        Path | None, typer.Option(help="folder in which to save each moment as a playable file")
    ] = None,
    export: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="write the moments for another program, by the suffix: .csv .json .srt .vtt .m3u8 .ffmeta "
            ".chapters.txt .edl .markers.edl .fcpxml .otio, or .zip of clips; - is stdout",
        ),
    ] = None,
    form: Annotated[str | None, typer.Option("--format", help="format of --export, regardless of the suffix")] = None,
    fps: Annotated[str | None, typer.Option(help="frame rate of an edit list; default: that of most videos")] = None,
    drop: Annotated[
        bool | None,
        typer.Option(
            "--drop/--non-drop", help="timecode at 29.97 and 59.94; default: as in the files, else drop frame"
        ),
    ] = None,
    videos: Annotated[Path | None, typer.Option(help="folder of the video files, if they have moved")] = None,
) -> None:
    """Find the moments that a sentence describes. A minus excludes a word: "a dog -cat"."""
    from cfmr.console import answers
    from cfmr.console.queries import STANDARD, composed_queries
    from cfmr.search.retriever import MomentRetriever

    asked = composed_queries(" ".join(sentence or []), queries, like or [], unlike or [])
    if export is None and (form or fps or drop is not None):
        raise InputError("--format, --fps and --drop go with --export FILE")
    exporting = None if export is None else _parse_export(export, form, fps, drop)
    to_stdout = export == STANDARD
    if to_stdout and as_json:
        raise InputError("--json and --export - both write to standard output; leave one out")
    filters = answers.parse_where(where or [])
    retriever = MomentRetriever.load(_where_to_search(within, index))
    least = answers.parse_min_score(min_score, retriever, video)
    results, failed = [], 0
    for where_it_stands, query in asked:
        try:
            result = retriever.search(query, top, video, filters, least)
        except InputError as error:
            if not where_it_stands:
                raise
            typer.echo(f"cfmr: {where_it_stands}: {error}", err=True)
            failed += 1
            continue
        results.append(result)
        if not to_stdout and not as_json:
            if where_it_stands:
                typer.echo(f"{query}:")
            for line in answers.lines(retriever, result):
                typer.echo(line)
    if as_json:
        typer.echo(answers.as_json(results[0]) if queries is None else answers.list_as_json(results))
    if save_clips is not None:
        moments = [moment for result in results for moment in result]
        for path in answers.save_clips(moments, save_clips, videos):
            typer.echo(path, err=as_json or to_stdout)
    if exporting is not None:
        written, notes = exporting.write(results, videos)
        for path in written:
            typer.echo(path, err=as_json)
        for note in notes:
            typer.echo(f"note: {note}", err=True)
    if failed:
        raise SystemExit(2)


@app.command()
def extract(
    videos: Annotated[
        list[str],
        typer.Argument(metavar="VIDEO|DIR ...", help="video files or folders; with --ray also s3://..."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="HDF5 file to write or extend")],
    video: Annotated[
        list[str] | None, typer.Option(metavar="VIDEO", help="only this video of a folder; may be repeated")
    ] = None,
    extractor: Annotated[
        str, typer.Option(help="backbone that computes the features; see docs/features.md")
    ] = "efficientnet-lite0",
    weights: Annotated[
        Path | None,
        typer.Option(help="published weights, for extractors that need them: a path, or for CLIP a name (cfmr models)"),
    ] = None,
    layer: Annotated[str | None, typer.Option(help="layer of C3D: fc6 or fc7")] = None,
    pca: Annotated[
        str | None, typer.Option(help="number of principal components, or a file of components (OUT.pca.safetensors)")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cuda, for the default extractor with onnxruntime-gpu")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="number of processes; default: one per core")] = None,
    ray: Annotated[str | None, typer.Option(help="extract on a Ray cluster: local, auto or ray://host:port")] = None,
    progress: ProgressOption = ProgressMode.BAR,
) -> None:
    """Extract features of videos. Can be interrupted and resumed."""
    from cfmr.console.extraction import print_summary
    from cfmr.console.progress import showing_progress

    if out.suffix.lower() not in FEATURE_SUFFIXES:
        raise InputError(f"--out {out}: features are written as HDF5; name the file .hdf5")
    if pca is not None:
        from cfmr.extractors.pca import check_wanted, reduce_features

        check_wanted(pca)
    raw = out if pca is None else out.with_name(f"{out.name}.raw")
    options = {"weights": weights, "layer": layer, "device": device}
    kept = "the features of finished videos are kept; run the same command to resume"
    with saying_what_is_kept(kept), showing_progress(progress) as told:
        summary, named = _extract(videos, video or [], extractor, raw, workers, ray, told, **options)
    print_summary(summary, out)
    if pca is not None:
        components = reduce_features(raw, out, pca)
        size, dim = components.directions.shape
        typer.echo(f"{size} of {dim} numbers a clip, {100 * components.share:.1f} % of the variance; all are in {raw}")
    if named & set(summary.failed):  # in a folder there may be anything
        raise SystemExit(2)


def _extract(
    videos: list[str],
    only: list[str],
    extractor: str,
    out: Path,
    workers: int | None,
    ray: str | None,
    progress: Progress,
    **options: Any,
) -> tuple["Summary", set[str]]:
    """Extract here or on a cluster: what became of each video, and which were named rather than found in a folder."""
    from cfmr.cluster.remote_files import is_remote
    from cfmr.extractors.batch import extract_all
    from cfmr.video.files import find_videos

    if ray is not None:
        from cfmr.cluster.extract import extract_on_ray, named

        if workers is not None:
            raise InputError("--workers counts processes of this machine; with --ray the cluster's size decides")
        if only:
            raise InputError("--video chooses among the files of a folder here; with --ray name the files themselves")
        summary, sources = extract_on_ray(videos, extractor, out, ray, progress, **options)
        return summary, {video for video, source in sources.items() if named(videos, source)}
    for video in videos:
        if is_remote(video):
            raise InputError(f"{video}: only a cluster reads from there; give --ray (local, for this machine alone)")
    paths = [Path(video) for video in videos]
    found = find_videos(paths)
    if missing := [name for name in only if name not in found]:
        raise InputError(f"--video {missing[0]}: there is no such video in {', '.join(videos)}")
    found = {name: found[name] for name in only} or found
    summary = extract_all(found, extractor, out, workers=workers, progress=progress, **options)
    return summary, {summary.called.get(video, video) for video, path in found.items() if path in paths}


models_app = typer.Typer(
    help="List known CLIP-like checkpoints, or fetch one.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(models_app, name="models")


@models_app.callback(invoke_without_command=True)
def list_checkpoints(context: typer.Context) -> None:
    """List known CLIP-like checkpoints, or fetch one."""
    if context.invoked_subcommand is not None:
        return
    from cfmr.console.checkpoints import table_of
    from cfmr.extractors.known_checkpoints import KNOWN

    for line in table_of(KNOWN):
        typer.echo(line)


@models_app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="as `cfmr models` lists it")],
    progress: ProgressOption = ProgressMode.BAR,
) -> None:
    """Download a checkpoint from the Hugging Face hub. Can be interrupted and resumed."""
    from cfmr.console.progress import showing_progress
    from cfmr.extractors.hub import fetch as fetch_checkpoint
    from cfmr.extractors.known_checkpoints import INSTALL, known_checkpoint

    known = known_checkpoint(name)
    kept = "the part downloaded so far is kept; run the same command to resume"
    with saying_what_is_kept(kept), showing_progress(progress) as told:
        folder = fetch_checkpoint(known, told)
    typer.echo(f"{name}: ready in {folder}")
    typer.echo(f"cfmr index --in VIDEOS --zero-shot {name} reads a folder with it and makes it the model in use")
    if missing := known.missing():
        typer.echo(f"that needs {' and '.join(missing)}: {INSTALL}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="folder for all results; a second run reuses them")] = Path(
        "runs/demo"
    ),
    videos: Annotated[
        int, typer.Option("--videos", "-n", help="number of videos to render; 40 make a small demo")
    ] = 300,
    seed: Annotated[int, typer.Option(min=0, help="random seed of videos and training")] = 0,
    published: Annotated[bool, typer.Option(help="also train the published model, for comparison")] = False,
    progress: ProgressOption = ProgressMode.BAR,
) -> None:
    """Render videos, train on one click per sentence, and search."""
    from cfmr.console.progress import showing_progress
    from cfmr.demo.run import run_demo

    kept = f"finished steps are kept in {out}; run the same command to resume"
    with saying_what_is_kept(kept), showing_progress(progress) as told:
        run_demo(out, videos, seed, published=published, progress=told)


@app.command()
def serve(
    folder_of_videos: Annotated[
        Path | None, typer.Argument(metavar="VIDEOS", help="folder of videos; no other option is needed")
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(
            "--index",
            "-i",
            help="serve this index (a directory, or milvus://...) instead of reading the folder; default: CFMR_INDEX",
        ),
    ] = None,
    videos: Annotated[Path | None, typer.Option(help="with --index: folder of its video files")] = None,
    host: Annotated[
        str, typer.Option(help="address to listen on; beyond this machine only with a token")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="port to listen on; 0 chooses a free one")] = 8000,
    token: Annotated[str | None, typer.Option(envvar="CFMR_TOKEN", help="access token (16 characters or more)")] = None,
    database: Annotated[
        str | None, typer.Option(envvar="CFMR_DATABASE", help="SQLAlchemy URL of the labels; default: SQLite")
    ] = None,
    workspace: Annotated[
        Path | None,
        typer.Option(
            help="folder for features, index, labels and models; "
            "default: .cfmr in the folder of videos, or page beside the index"
        ),
    ] = None,
    features: Annotated[
        Path | None, typer.Option(help="feature file of the videos; default: features.hdf5 beside the index")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="the index's model; default: checkpoint beside the index")
    ] = None,
    annotations: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="annotations to show as true moments; default: annotations beside the index"),
    ] = None,
    folder: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="folder from which videos may be imported; default: home, without a token"),
    ] = None,
    max_upload: Annotated[int, typer.Option(min=1, help="size limit of an uploaded video, in MB")] = 4096,
    workers: Annotated[int, typer.Option(min=1, max=64, help="number of server processes; they share the index")] = 1,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="open the page in the browser")] = True,
) -> None:
    """Search, watch, label and train in the browser."""
    from cfmr.server.app import serve as run
    from cfmr.server.settings import resolve_settings

    index, videos = _what_to_serve(folder_of_videos, index, videos)
    settings = resolve_settings(
        index,
        videos,
        host=host,
        port=port,
        token=token or None,
        database=database,
        workspace=workspace,
        features=features,
        checkpoint=checkpoint,
        annotations=annotations or (),
        folders=folder or (),
        max_upload=max_upload << 20,
        workers=workers,
    )
    if index is None and workspace is None and not settings.workspace.is_relative_to(settings.videos):
        typer.echo(f"cfmr: {videos} is not writable; its workspace is {settings.workspace}", err=True)
    with contextlib.suppress(KeyboardInterrupt):  # the usual way to end it
        run(settings, browser=browser and sys.stdout.isatty())
    typer.echo("cfmr: stopped", err=True)


def _what_to_serve(folder: Path | None, index: Path | None, videos: Path | None) -> tuple[Path | None, Path]:
    """The index that was named, if any, and the folder of the videos."""
    if folder is not None and videos is not None:
        raise InputError(f"{folder} and --videos {videos}: one server has one folder of videos; name it once")
    found = folder or videos
    if found is None:
        raise InputError("name the folder with your videos: cfmr serve VIDEOS")
    if index is None and folder is None and (named := os.environ.get("CFMR_INDEX")):
        index = Path(named)
    return index, found


def main() -> None:
    """Run a command; a mistake of the user ends in one line on stderr and exit code 2."""
    for stream in (sys.stdout, sys.stderr):  # a terminal that cannot write a sign writes another in its place
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    if "CFMR_JOB" in os.environ:
        from cfmr.server.stores.orphans import end_with_server

        end_with_server()
    try:
        app(prog_name="cfmr")
    except InputError as error:
        print(f"cfmr: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None
    except OSError as error:  # a disk may be full wherever something is written
        if error.errno not in NO_ROOM:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"cfmr: {where}the disk is full; free some space and run the same command to resume", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None
    except RuntimeError as error:  # a GPU's memory may be full wherever a model computes
        if not is_full_gpu(error):
            raise
        print(f"cfmr: {GPU_IS_FULL}", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
