"""The command line: one command a station. Parsing only; the work is elsewhere and imported when it is needed."""

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cfmr.console.interrupt import saying_what_is_kept
from cfmr.console.mode import ProgressMode
from cfmr.errors import InputError
from cfmr.progress import Progress

if TYPE_CHECKING:
    from cfmr.extractors.batch import Summary

ProgressOption = Annotated[
    ProgressMode, typer.Option("--progress", help="on stderr: a bar, a JSON object a line, or nothing")
]

app = typer.Typer(
    name="cfmr",
    help="Search inside video by sentence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _commands() -> None:
    """Search inside video by sentence."""


@app.command()
def train(
    config_path: Annotated[Path, typer.Option(help="configuration, JSON as in config/")],
    tag: Annotated[str, typer.Option(help="name of the run")] = "base",
    log: Annotated[
        Path | None,
        typer.Option("--log", "--log-dir", "--log_dir", help="where runs are written; default: model_saved_path"),
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="a run (or its 'last') to carry on")] = None,
    evaluate_only: Annotated[bool, typer.Option("--eval", help="only evaluate the checkpoint of --resume")] = False,
    backend: Annotated[str, typer.Option(help="pytorch or mindspore")] = "pytorch",
    device: Annotated[str, typer.Option(help="cpu, cuda; with mindspore CPU, GPU, Ascend")] = "cpu",
    seed: Annotated[int, typer.Option(min=0, help="of parameters, batches and masked words")] = 8,
    select: Annotated[
        str, typer.Option(help="epoch to keep: best on 'validation' videos, 'last', or best on 'test' (the original's)")
    ] = "validation",
    progress: ProgressOption = ProgressMode.BAR,
) -> None:
    """Train a model from one glance per sentence."""
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
        return f"the epochs finished are kept; go on with --resume {directory} added to the command"

    with saying_what_is_kept(kept), showing_progress(progress) as told:
        figures = find_training(backend, config).train(
            config, directory, resume=resume, seed=seed, select=check_select(select), device=device, progress=told
        )
    if figures:
        print_run(figures, directory)
    return None


@app.command()
def evaluate(
    config_path: Annotated[Path, typer.Option(help="configuration that names features and the test split")],
    resume: Annotated[Path, typer.Option(help="the checkpoint, or a run's directory")],
    corpus: Annotated[bool, typer.Option("--corpus", help="also search all test videos together")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    backend: Annotated[str, typer.Option(help="pytorch or mindspore")] = "pytorch",
    device: Annotated[str, typer.Option(help="cpu, cuda; with mindspore CPU, GPU, Ascend")] = "cpu",
) -> None:
    """Measure a checkpoint on the test split of a configuration."""
    from cfmr.config import load_config
    from cfmr.console.tables import print_figures
    from cfmr.models.base import check_backend
    from cfmr.training.evaluation import evaluate_checkpoint

    figures = evaluate_checkpoint(
        load_config(config_path), resume, corpus=corpus, backend=check_backend(backend), device=device
    )
    print_figures(figures, as_json=as_json)


@app.command()
def prepare(
    dataset: Annotated[str, typer.Argument(help="charades, activitynet or tacos")],
    raw: Annotated[Path, typer.Option(help="folder with the annotations as published")],
    out: Annotated[Path, typer.Option(help="folder for glance_train_DATASET.json, ..._val_..., ..._test_...")],
    seed: Annotated[int, typer.Option(help="for drawing glances where there are none")] = 0,
    features: Annotated[Path | None, typer.Option(help="HDF5 feature file to check against the annotations")] = None,
    config: Annotated[Path | None, typer.Option(help="configuration whose frame_dim the features must have")] = None,
    pack: Annotated[Path | None, typer.Option(help="folder of .npy, .npz or .pt files to pack into --features")] = None,
) -> None:
    """Turn the published annotations of a data set into ours; check a feature file against them."""
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
        _pack(pack, features, None)
    if features is not None:
        for note in check_features(features, [split.path for split in splits], dim):
            typer.echo(note)


@app.command("pack")
def pack_features(
    source: Annotated[Path, typer.Argument(help="folder of .npy, .npz, .pt files, or an HDF5 file of another layout")],
    out: Annotated[Path, typer.Option(help="HDF5 feature file to write")],
    member: Annotated[str | None, typer.Option(help="which array, where a file has several")] = None,
) -> None:
    """Pack feature files of one video each into one HDF5 feature file."""
    _pack(source, out, member)


def _pack(source: Path, out: Path, member: str | None) -> None:
    from cfmr.data.pack import pack

    packed = pack(source, out, member)
    typer.echo(f"{out}: features of {packed.videos} videos")
    for title, named in (("not packed", packed.failed.values()), ("passed over", packed.skipped.items())):
        if named:
            typer.echo(f"{title} ({len(named)}):", err=True)
        for one in list(named)[:20]:
            typer.echo(f"  {one}" if isinstance(one, str) else f"  {one[0]}: {one[1]}", err=True)


@app.command()
def convert(
    checkpoint: Annotated[Path, typer.Argument(help="a .pt or .ckpt file of the original release")],
    out: Annotated[Path, typer.Option(help="directory to write the checkpoint to")],
    config: Annotated[Path | None, typer.Option(help="its configuration, where the file does not carry it")] = None,
    vocab: Annotated[Path | None, typer.Option(help="the glove.pkl it was trained with")] = None,
) -> None:
    """Turn a checkpoint of the original release into ours, executing nothing in it."""
    from cfmr.models.convert import convert as read

    converted, notes = read(checkpoint, config, vocab)
    converted.save(out)
    typer.echo(f"{out}: {sum(value.size for value in converted.parameters.values()):,} parameters")
    for note in notes:
        typer.echo(f"  {note}")


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="directories of finished runs")],
    out: Annotated[Path, typer.Option(help="folder for report.md and its pictures")],
    videos: Annotated[Path | None, typer.Option(help="folder of the videos, for frames in the pictures")] = None,
) -> None:
    """Write tables and pictures of finished runs, beside the published figures."""
    from cfmr.report import write_report

    typer.echo(f"written to {write_report(runs, out, videos)}")


@app.command("index")
def index_videos(
    out: Annotated[
        str, typer.Option(help="index directory, or milvus://host:port/collection; if it exists, videos are added")
    ],
    checkpoint: Annotated[Path | None, typer.Option(help="the model: a checkpoint, or a run's directory")] = None,
    zero_shot: Annotated[
        Path | None, typer.Option(help="instead of a model: the CLIP checkpoint the features were made with")
    ] = None,
    features: Annotated[Path | None, typer.Option(help="HDF5 feature file of the videos")] = None,
    videos: Annotated[
        Path | None, typer.Option(help="folder of the video files, for --save-clips and the page")
    ] = None,
    annotations: Annotated[
        list[Path] | None, typer.Option(help="annotation files: durations of the videos, sentences to check with")
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(help="annotations of some of the videos, to choose the score below which nothing fits"),
    ] = None,
    metadata: Annotated[Path | None, typer.Option(help="JSON {video: {key: value}} to filter by with --where")] = None,
    engine: Annotated[str | None, typer.Option(help="exact, ivf (FAISS), or auto by size")] = None,
    window: Annotated[
        float | None, typer.Option(min=1, help="seconds; longer videos are cut into overlapping windows of this length")
    ] = None,
    remove: Annotated[list[str] | None, typer.Option(help="a video to take out; may be given again")] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="replace what is there, also an index of another model")
    ] = False,
    backend: Annotated[str, typer.Option(help="pytorch or mindspore")] = "pytorch",
    device: Annotated[str, typer.Option(help="cpu, cuda; with mindspore CPU, GPU, Ascend")] = "cpu",
    ray: Annotated[str | None, typer.Option(help="encode on a Ray cluster: local, auto or ray://host:port")] = None,
    progress: ProgressOption = ProgressMode.BAR,
) -> None:
    """Index videos for searching; run again with new videos, it adds them."""
    from cfmr.console.progress import showing_progress
    from cfmr.index.build import build_index, edit_index
    from cfmr.index.location import parse_place

    place = parse_place(out)
    if checkpoint is not None and zero_shot is not None:
        raise InputError("--checkpoint and --zero-shot: an index has one model; choose one of them")
    model = checkpoint or zero_shot
    if model is None or features is None:
        for line in edit_index(place, remove=remove or (), engine=engine).lines(place):
            typer.echo(line)
        return
    kept = (
        "the index is as it was; the same command begins again"
        if rebuild
        else "the videos encoded so far are kept; the same command goes on from there"
    )
    with saying_what_is_kept(kept), showing_progress(progress) as told:
        report = build_index(
            model,
            features,
            place,
            annotations=annotations or (),
            videos=videos,
            metadata=metadata,
            engine=engine,
            window=window,
            remove=remove or (),
            rebuild=rebuild,
            calibrate=calibrate,
            backend=backend,
            device=device,
            ray=ray,
            zero_shot=zero_shot is not None,
            progress=told,
        )
    for line in report.lines(place):
        typer.echo(line)


@app.command()
def search(
    sentence: Annotated[str, typer.Argument(help="what happens in the moment")],
    index: Annotated[str, typer.Option(help="index directory, or milvus://host:port/collection")],
    video: Annotated[list[str] | None, typer.Option(help="search in this video only; may be given again")] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="key=value of the videos' metadata; may be given again")
    ] = None,
    top: Annotated[int, typer.Option(help="how many moments")] = 5,
    min_score: Annotated[
        str | None, typer.Option(help="leave out moments below it; auto: as chosen on validation")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    save_clips: Annotated[Path | None, typer.Option(help="folder to write each moment to as a playable file")] = None,
    videos: Annotated[Path | None, typer.Option(help="folder of the video files, if they have moved")] = None,
) -> None:
    """Find the moments of indexed videos that a sentence describes."""
    from cfmr.console import answers
    from cfmr.search.retriever import MomentRetriever

    filters = answers.parse_where(where or [])
    retriever = MomentRetriever.load(index)
    least = answers.parse_min_score(min_score, retriever, video)
    result = retriever.search(sentence, top, video, filters, least)
    if as_json:
        typer.echo(answers.as_json(result))
    else:
        for line in answers.lines(retriever, result):
            typer.echo(line)
    if save_clips is not None:
        for path in answers.save_clips(result, save_clips, videos):
            typer.echo(path, err=as_json)


@app.command()
def extract(
    videos: Annotated[
        list[str],
        typer.Argument(metavar="VIDEO|DIR ...", help="video files, folders of them; with --ray also s3://..."),
    ],
    out: Annotated[Path, typer.Option(help="the HDF5 file to write, or to add to")],
    extractor: Annotated[
        str, typer.Option(help="what makes the features; see docs/features.md")
    ] = "efficientnet-lite0",
    weights: Annotated[Path | None, typer.Option(help="published weights, for the extractors that need them")] = None,
    layer: Annotated[str | None, typer.Option(help="of C3D: fc6 or fc7")] = None,
    pca: Annotated[
        str | None, typer.Option(help="principal components: how many, or a file of them (OUT.pca.safetensors)")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="processes; default: one a core")] = None,
    ray: Annotated[str | None, typer.Option(help="extract on a Ray cluster: local, auto or ray://host:port")] = None,
    progress: ProgressOption = ProgressMode.BAR,
) -> None:
    """Turn videos into features. Broken off, it carries on; damaged files are named at the end."""
    from cfmr.console.extraction import print_summary
    from cfmr.console.progress import showing_progress

    if pca is not None:
        from cfmr.extractors.pca import check_wanted, reduce_features

        check_wanted(pca)
    raw = out if pca is None else out.with_name(f"{out.name}.raw")
    options = {"weights": weights, "layer": layer}
    kept = "the features of finished videos are kept; the same command goes on from there"
    with saying_what_is_kept(kept), showing_progress(progress) as told:
        summary, named = _extract(videos, extractor, raw, workers, ray, told, **options)
    print_summary(summary, out)
    if pca is not None:
        components = reduce_features(raw, out, pca)
        size, dim = components.directions.shape
        typer.echo(f"{size} of {dim} numbers a clip, {100 * components.share:.1f} % of the variance; all are in {raw}")
    if named & set(summary.failed):  # in a folder there may be anything
        raise SystemExit(2)


def _extract(
    videos: list[str],
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
        summary, sources = extract_on_ray(videos, extractor, out, ray, progress, **options)
        return summary, {video for video, source in sources.items() if named(videos, source)}
    for place in videos:
        if is_remote(place):
            raise InputError(f"{place}: only a cluster reads from there; give --ray (local, for this machine alone)")
    paths = [Path(place) for place in videos]
    found = find_videos(paths)
    summary = extract_all(found, extractor, out, workers=workers, progress=progress, **options)
    return summary, {summary.called.get(video, video) for video, path in found.items() if path in paths}


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="where everything goes; a second run reuses what is there")] = Path(
        "runs/demo"
    ),
    videos: Annotated[int, typer.Option(help="how many to render; 40 make a small demo")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="of the world and of training")] = 0,
    published: Annotated[bool, typer.Option(help="train the published model too, to stand beside")] = True,
    progress: ProgressOption = ProgressMode.BAR,
) -> None:
    """Render videos, learn from one click per sentence, find moments by sentence."""
    from cfmr.console.progress import showing_progress
    from cfmr.demo.run import run_demo

    kept = f"what is finished is kept in {out}; the same command goes on from there"
    with saying_what_is_kept(kept), showing_progress(progress) as told:
        run_demo(out, videos, seed, published=published, progress=told)


@app.command()
def serve(
    index: Annotated[
        Path, typer.Option(help="index directory, or milvus://...; where there is none yet, one labels first")
    ],
    videos: Annotated[Path, typer.Option(help="folder of the video files")],
    host: Annotated[
        str, typer.Option(help="address to listen on; beyond this machine only with a token")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one")] = 8000,
    token: Annotated[
        str | None, typer.Option(envvar="CFMR_TOKEN", help="what one needs to get in (16 characters or more)")
    ] = None,
    database: Annotated[
        str | None, typer.Option(envvar="CFMR_DATABASE", help="SQLAlchemy URL of the labels; default: SQLite")
    ] = None,
    workspace: Annotated[
        Path | None, typer.Option(help="folder for labels, jobs and learned models; default: page, beside the index")
    ] = None,
    features: Annotated[
        Path | None, typer.Option(help="feature file of the videos; default: features.hdf5 beside the index")
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="the index's model; default: checkpoint beside it")] = None,
    annotations: Annotated[
        list[Path] | None, typer.Option(help="files of which true moments are shown; default: annotations beside it")
    ] = None,
    folder: Annotated[
        list[Path] | None, typer.Option(help="where videos may be taken in from; default: home, without a token")
    ] = None,
    max_upload: Annotated[int, typer.Option(min=1, help="megabytes of one uploaded video")] = 4096,
    workers: Annotated[int, typer.Option(min=1, max=64, help="processes that answer; they share the index")] = 1,
) -> None:
    """Serve the web page: search, watch, label, learn."""
    from cfmr.server.app import serve as run
    from cfmr.server.settings import resolve_settings

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
    with contextlib.suppress(KeyboardInterrupt):  # the usual way to end it
        run(settings)
    typer.echo("cfmr: stopped", err=True)


def main() -> None:
    """Run a command; a mistake of the user ends in one line on stderr and exit code 2."""
    try:
        app()
    except InputError as error:
        print(f"cfmr: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
