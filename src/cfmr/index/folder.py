"""A folder of videos becomes searchable: features and index in one run, each video soon after it is read.

The index is that of the model which answers: the built-in one at first. It grows in steps: the first video at once,
then every few seconds, and less often in a long run, since each step costs a little. With a CLIP-like checkpoint that
is to answer, the folder is read anew, and the model before goes on answering until all is read.
"""

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cfmr.data.annotations import LONGEST
from cfmr.data.features import FeatureStore, FeatureWriter
from cfmr.errors import InputError
from cfmr.extractors import get_extractor
from cfmr.extractors.batch import Summary, extract_all
from cfmr.extractors.clip import Clip
from cfmr.extractors.efficientnet_lite0 import EfficientNetLite0
from cfmr.extractors.known_checkpoints import resolve
from cfmr.files.atomic import make_directory, write_json
from cfmr.index import BUILT_IN
from cfmr.index.build import build_index, edit_index
from cfmr.index.encode import VideoSources
from cfmr.index.location import IndexLocation, is_address
from cfmr.index.model_source import CheckpointModel, IndexModel
from cfmr.index.open import open_index, parse_location
from cfmr.index.report import IndexReport
from cfmr.index.workspace import MANIFEST, MODEL, ORIGINAL, UNREAD, ServedModel, Workspace, when_free
from cfmr.progress import Progress, silent
from cfmr.video.files import find_videos, without_copies

STEP = 3.0  # seconds between two steps at least
SHARE = 0.05  # of the time since the beginning: so much lies between two steps
_NAME = re.compile(r"[A-Za-z][\w.-]*")  # of a model that is a checkpoint; learned ones have numbers
LOOKED_AT = 20  # files of which none is there any more when the folder has gone away

Calibrate = Callable[[IndexReport, IndexLocation, IndexModel], IndexReport]


@dataclass(slots=True)
class FolderReport:
    """What became of a folder: of its files, and of the index; None where nothing had to be done there.

    Attributes:
        features: the feature file.
    """

    files: Summary
    features: Path
    indexed: IndexReport | None


def read_folder(
    place: Workspace,
    calibrate: Calibrate,
    progress: Progress = silent,
    workers: int | None = None,
    zero_shot: Path | None = None,
) -> FolderReport:
    """Read what is new in a workspace's folder, and index it with the model that answers.

    It may be stopped at any time and goes on from there; no video is read twice.

    Args:
        calibrate: chooses the thresholds of an index that has grown.
        progress: told how many bytes are read.
        workers: processes that read; by default one a core.
        zero_shot: a model without training that is to answer from the end on: `builtin`, or a CLIP-like checkpoint.

    Raises:
        InputError: the folder is missing, or went away, or holds no video that can be read; the disk is full; the
            checkpoint is none that can be used.
    """
    if not place.own:
        raise InputError(f"{place.root}: beside an index that was named; add videos to it with: cfmr index --out")
    model, weights = _wanted(place, zero_shot)
    videos, copies = without_copies(find_videos([place.videos]), _known(place.features, model.features))
    place.note_copies(copies)
    extractor, options = _extractor(model, weights)
    if weights is not None:
        get_extractor(extractor, **options)  # what is missing is said before a folder is made for it
    make_directory(model.features.parent)
    steps = _Steps(place, model, weights, calibrate, list(videos.values())[:LOOKED_AT])

    def tell(label: str, done: int, total: int | None) -> None:
        progress(label.replace("extracting: ", "", 1), done, total)

    try:
        files = extract_all(videos, extractor, model.features, workers, tell, steps, place.note_reading, **options)
    finally:
        steps.batch.unlink(missing_ok=True)
        place.note_reading([])
    files.failed |= steps.failed
    write_json(place.root / UNREAD, files.failed)
    if zero_shot is not None:
        _let_answer(place, model, weights)
    return FolderReport(files, model.features, steps.report)


def _wanted(place: Workspace, zero_shot: Path | None) -> tuple[ServedModel, Path | None]:
    """The model to read for, and its checkpoint where that is CLIP-like."""
    if zero_shot is None:
        model = place.served()
        return model, _clip_of(model)
    if str(zero_shot) == BUILT_IN:
        return place.original, None
    weights = resolve(zero_shot)
    name = zero_shot.resolve().name
    if not _NAME.fullmatch(name) or name == ORIGINAL:
        raise InputError(
            f"{zero_shot}: the model would be called {name!r}; rename the folder, in letters to begin with"
        )
    model = place.of_checkpoint(name)
    before = _clip_of(model)
    if before is not None and before.resolve() != weights.resolve():
        raise InputError(f"{model.index.parent}: of another checkpoint, {before}; rename the folder of this one")
    return model, weights


def _let_answer(place: Workspace, model: ServedModel, weights: Path | None) -> None:
    """Serve a model for which all was read."""
    if weights is not None:
        known = _indexed(model.index)
        if known is None:
            raise InputError(f"{place.videos}: no video could be indexed with {model.id}; the model before stays")
        if gone := sorted(place.removed() & known.keys()):  # while it was read
            _remove(parse_location(model.index), gone)
        said = model.index.parent / MODEL
        if not said.exists():
            write_json(said, {"created": time.time(), "labels": 0, "comparison": {}, "zero_shot": str(weights)})
    place.serve(model.id)


def remove_videos(place: Workspace, names: list[str]) -> dict[Path, IndexReport]:
    """Take videos out of every index of a workspace, and keep them out.

    Returns:
        what became of each index that had one of them.

    Raises:
        InputError: a video is in none of them; then none is removed.
    """
    holding: dict[Path, list[str]] = {}
    for model in place.models():
        if (known := _indexed(model.index)) is not None:
            holding[model.index] = [name for name in names if name in known]
    for name in names:
        if not any(name in found for found in holding.values()):
            raise InputError(f"{place.videos}: no video {name!r} is indexed, so it cannot be removed")
    place.remove(names)
    return {index: _remove(parse_location(index), found) for index, found in holding.items() if found}


def drop_videos(place: Workspace, names: Iterable[str]) -> None:
    """Take videos out of every index of a workspace that has them, without keeping them out."""
    for model in place.models():
        if (known := _indexed(model.index)) is not None and (found := [name for name in names if name in known]):
            _remove(parse_location(model.index), found)


def _remove(index: IndexLocation, names: list[str]) -> IndexReport:
    return when_free(lambda: edit_index(index, remove=names))


def _indexed(index: Path) -> dict[str, str | None] | None:
    """The videos of an index with their files; None where there is none."""
    if not is_address(index) and not (index / MANIFEST).exists():
        return None
    return {video.id: video.path for video in open_index(parse_location(index), verify=False).videos()}


def _known(*files: Path) -> frozenset[str]:
    """Videos that have features."""
    known: frozenset[str] = frozenset()
    for path in files:
        if path.exists():
            with FeatureStore(path) as features:
                known |= frozenset(features.videos)
    return known


def _extractor(model: ServedModel, weights: Path | None) -> tuple[str, dict[str, Any]]:
    """Name and options of what made the features so far, or makes the first."""
    name = EfficientNetLite0.name if weights is None else Clip.family
    if model.features.exists():
        with FeatureStore(model.features) as features:
            name = str(features.attributes.get("extractor", name))
    if weights is None or name.partition("/")[0] != Clip.family:
        return name, {}
    return name, {"weights": weights}


def _clip_of(model: ServedModel) -> Path | None:
    """The CLIP-like checkpoint that a model is, or whose features it has learned from; None for any other."""
    source = zero_shot_source(model.index) if model.checkpoint is None else features_source(model.features)
    return None if source is None or str(source) == BUILT_IN else source


def features_source(features: Path) -> Path | None:
    """What the index beside a feature file of a workspace was made with, see `zero_shot_source`."""
    return zero_shot_source(features.with_name("index"))


def zero_shot_source(index: Path) -> Path | None:
    """What an index without training was made with: `builtin`, or a CLIP checkpoint; None for any other."""
    if is_address(index) or not (index / MANIFEST).exists():
        return None
    said = open_index(parse_location(index), verify=False).card.get("zero_shot")
    return None if said is None else Path(str(said))


class _Steps:
    """Called as videos are finished; indexes them from time to time. See `cfmr.extractors.batch.Taken`.

    Args:
        model: what is read for. If another one is chosen meanwhile that is made of the same features, it is that one.
        weights: of a CLIP-like checkpoint, if the model is one.
        files: some of the folder, to see whether it is still there.

    Attributes:
        batch: the file in which features of a step stand.
        report: of all steps so far.
        failed: video -> one line, for those whose features cannot be indexed.
    """

    def __init__(
        self, place: Workspace, model: ServedModel, weights: Path | None, calibrate: Calibrate, files: list[Path]
    ) -> None:
        self.place, self.calibrate, self.files = place, calibrate, files
        self.begun_for, self.weights = model, weights
        self.batch = model.features.with_name(f"{model.features.name}.step")
        self.report: IndexReport | None = None
        self.failed: dict[str, str] = {}
        self._began = time.monotonic()
        self._due = 0.0
        self._served: ServedModel | None = None
        self._model: IndexModel | None = None
        self._done: dict[str, str | None] = {}  # indexed videos with their files
        self._pending: set[str] = set()  # that were indexed in this run

    def __call__(self, writer: FeatureWriter, last: bool) -> None:
        if not any(path.exists() for path in self.files):
            raise InputError(
                f"{self.place.videos}: the folder cannot be reached any more; what was read is kept, "
                "and the rest is read when it is back"
            )
        now = time.monotonic()
        if (last or now >= self._due) and self._step(writer):
            now = time.monotonic()
            self._due = now + max(STEP, SHARE * (now - self._began))

    def _step(self, writer: FeatureWriter) -> bool:
        """Index what is finished and is not indexed; whether there was anything."""
        served = self.place.served()
        if served.features != self.begun_for.features:
            served = self.begun_for
        if served != self._served:
            self._served, self._model = served, None
            self._done, self._pending = _indexed(served.index) or {}, set()
        removed = self.place.removed()
        fresh = set(writer.pending) - self._pending
        names = [
            video
            for video in writer.videos
            if video not in removed and (video in fresh or self._done.get(video, "") != _file_of(writer, video))
        ]
        names = self._of_known_length(writer, names)
        if not names:
            return False
        writer.copy(names, self.batch)
        with FeatureStore(self.batch) as features:
            self._index(served, features)
        self._pending |= fresh
        self._done |= {video: _file_of(writer, video) for video in names}
        return True

    def _of_known_length(self, writer: FeatureWriter, names: list[str]) -> list[str]:
        """Those that can be indexed: the container of a damaged file may claim any length."""
        for name in names:
            if not 0 < float(writer.attributes_of(name).get("duration", 0)) <= LONGEST:
                self.failed[name] = f"{_file_of(writer, name)}: does not say how long it is; is it damaged?"
        return [name for name in names if name not in self.failed]

    def _index(self, served: ServedModel, features: FeatureStore) -> None:
        if self._model is None:
            self._model = _model_of(served, self.weights, features)
        model, location = self._model, parse_location(served.index)

        def write() -> IndexReport:
            return self.calibrate(build_index(model, VideoSources(features), location), location, model)

        report, before = when_free(write), self.report
        if before is not None:
            report = replace(report, added=report.added + before.added, replaced=report.replaced + before.replaced)
        self.report = report


def _file_of(writer: FeatureWriter, video: str) -> str | None:
    path = writer.attributes_of(video).get("path")
    return None if path is None else str(path)


def _model_of(served: ServedModel, weights: Path | None, features: FeatureStore) -> IndexModel:
    """What a model's index is built with."""
    if served.checkpoint is not None:
        return CheckpointModel.load(served.checkpoint)
    source = weights or zero_shot_source(served.index)
    if source is None and not is_address(served.index) and not (served.index / MANIFEST).exists():
        source = Path(BUILT_IN)
    if source is None:
        raise InputError(f"{served.index}: its checkpoint is not known; start the server with --checkpoint")
    if str(source) == BUILT_IN:
        from cfmr.index.prior_source import PriorModel

        return PriorModel(features)
    from cfmr.index.clip_source import ClipModel

    return ClipModel(source, features)
