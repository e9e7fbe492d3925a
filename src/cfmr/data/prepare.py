"""Data sets as they are published, turned into annotation files; features checked against them.

Any of the field's layouts is read (`cfmr.data.layouts`): Charades-STA's text, JSON by video in seconds or frames,
jsonl of QVHighlights, Lighthouse and TVR, lists of rows. Where a moment has no glance, one is drawn.
"""

import os
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cfmr.data.annotations import load_annotations, parse_row, rounding_slack, write_rows
from cfmr.data.features import FeatureStore
from cfmr.data.layouts import by_video, charades
from cfmr.data.layouts.recognise import TITLES, read_text
from cfmr.data.layouts.row import is_number
from cfmr.data.layouts.rows import Row, read_rows
from cfmr.errors import InputError
from cfmr.files.atomic import make_directory, read_json

# Per data set and split, the published files from which it can be made; the first that is there is taken.
SOURCES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "charades": {
        "train": ("glance_train_charades.json", "glance_charades_sta_train.txt", "charades_sta_train.txt"),
        "test": ("glance_test_charades.json", "glance_charades_sta_test.txt", "charades_sta_test.txt"),
    },
    "activitynet": {
        "train": ("glance_train_activitynet.json", "glance_train.json", "train.json"),
        "val": ("glance_val_activitynet.json", "glance_val_1.json", "val_1.json"),
        "test": ("glance_test_activitynet.json", "glance_val_2.json", "val_2.json"),
    },
    "tacos": {
        split: (f"glance_{split}_tacos.json", f"glance_{split}.json", f"{split}.json")
        for split in ("train", "val", "test")
    },
    "qvhighlights": {
        "train": ("highlight_train_release.jsonl",),
        "val": ("highlight_val_release.jsonl",),
        "test": ("highlight_test_with_gt.jsonl", "highlight_test_release.jsonl"),
    },
    "tvr": {
        "train": ("tvr_train_release.jsonl",),
        "val": ("tvr_val_release.jsonl",),
        "test": ("tvr_test_public_release.jsonl",),
    },
    "tvr-ranking": {
        "train": ("train_top01.jsonl", "train_top20.jsonl", "train_top40.jsonl"),
        "val": ("val.jsonl", "val.json"),
        "test": ("test.jsonl", "test.json"),
    },
}
# Of other data sets a file is taken for the split whose word is in its name.
SPLITS = {"train": {"train", "training"}, "val": {"val", "valid", "validation", "dev"}, "test": {"test"}}
SUFFIXES = (".jsonl", ".json", ".txt")

DEBUG_ROWS = 1000  # of the training split, in the file that config/charades/i3d_debug.json names


@dataclass(frozen=True)
class Split:
    """One annotation file that was written.

    Attributes:
        path: the file.
        rows: number of its moments.
        videos: names of its videos, in order of appearance.
        notes: what was noticed on the way, a sentence each.
    """

    path: Path
    rows: int
    videos: list[str]
    notes: list[str]


def prepare(dataset: str, raw: str | os.PathLike[str], out: str | os.PathLike[str], seed: int = 0) -> list[Split]:
    """Turn the published annotations in the folder `raw` into `glance_SPLIT_DATASET.json` in the folder `out`.

    Where a moment has no glance, one is drawn uniformly from it, the same for the same seed.

    Args:
        dataset: charades, activitynet, tacos, qvhighlights, tvr, tvr-ranking, or any name.
        raw: folder with the published files (`SOURCES`), or with files that have train, val or test in their names;
            or one file. Splits whose files are not there are skipped.
        out: another folder.
        seed: for drawing glances.

    Raises:
        InputError: a file is malformed, or there is none.
    """
    raw, out = Path(raw), Path(out)
    if not raw.exists():
        raise InputError(f"{raw}: no such folder or file")
    found = {_split_of(raw) or raw.stem: raw} if raw.is_file() else _find(dataset, raw)
    folder = raw.parent if raw.is_file() else raw
    if make_directory(out).resolve() == folder.resolve():
        raise InputError(f"{out}: the published files are there; give another folder with --out")
    # All are read before one is written, so that a broken file leaves no half of a data set.
    gathered = {split: _gather(dataset, split, path, seed) for split, path in found.items()}
    splits = []
    for split, rows in gathered.items():
        target = out / f"glance_{split}_{dataset}.json"
        write_rows(target, rows.rows)
        splits.append(Split(target, len(rows.rows), _video_names(rows.rows), rows.notes()))
    if dataset == "charades" and "train" in gathered:
        few = gathered["train"].rows[:DEBUG_ROWS]
        target = out / "glance_debug_charades.json"
        write_rows(target, few)
        splits.append(Split(target, len(few), _video_names(few), ["the first of the training file, to try things out"]))
    return splits


def _video_names(rows: list[list[Any]]) -> list[str]:
    return list(dict.fromkeys(row[0] for row in rows))


def _find(dataset: str, raw: Path) -> dict[str, Path]:
    """The file of each split in a folder."""
    by_name = SOURCES.get(dataset, {})
    listed = {split: next((raw / n for n in names if (raw / n).is_file()), None) for split, names in by_name.items()}
    found = {split: path for split, path in listed.items() if path is not None}
    if found:
        return found
    for path in sorted(raw.glob("*")):
        split = _split_of(path) if path.is_file() and path.suffix in SUFFIXES else None
        if split is None:
            continue
        if split in found:
            raise InputError(
                f"{raw}: {found[split].name} and {path.name} are both for {split}; name one with --raw FILE"
            )
        found[split] = path
    if found:
        return {split: found[split] for split in SPLITS if split in found}
    if by_name:
        names = ", ".join(names[-1] for names in by_name.values())
        raise InputError(f"{raw}: no annotations of {dataset} there; expected are {names} or their glance_ versions")
    raise InputError(
        f"{raw}: no annotations there; known are {', '.join(SOURCES)} by the names of their files, of '{dataset}' "
        f"those with train, val or test in their names are taken ({', '.join(SUFFIXES)})"
    )


def _split_of(path: Path) -> str | None:
    words = set(re.split(r"[^a-z]+", path.stem.lower()))
    return next((split for split, names in SPLITS.items() if words & names), None)


def _gather(dataset: str, split: str, path: Path, seed: int) -> "_Rows":
    rng = np.random.default_rng([seed, zlib.crc32(split.encode())])
    rows = _Rows(path, rng, training=split == "train")
    for row in _published(dataset, path, rows.counts):
        rows.add(row)
    if not rows.rows:
        raise InputError(f"{path}: there is no moment in it")
    return rows


def _published(dataset: str, path: Path, counts: Counter[str]) -> Iterable[Row]:
    """Rows of a file; by the data set's name, how its times count and what the field's own files leave out."""
    if dataset == "charades" and path.suffix == ".txt":
        return charades.rows(path, read_text(path), counts)
    if dataset in ("activitynet", "tacos") and path.suffix == ".json":
        content = read_json(path)
        if isinstance(content, list):  # a glance file of the original release is in our format already
            return [Row(f"row {number}", row) for number, row in enumerate(content, 1)]
        if not isinstance(content, dict):
            raise InputError(f"{path}: a JSON object with the videos' names as keys is expected")
        return by_video.rows(path, content, frames=dataset == "tacos")
    labelled = read_rows(path)
    if labelled.layout == "prvr":
        raise InputError(
            f"{path}: is {TITLES['prvr']}, without times to train on; `cfmr evaluate --truth {path}` measures with it"
        )
    return labelled.rows


# --- gathering rows ---------------------------------------------------------------------------------------------------


@dataclass
class _Rows:
    """Rows of one split, cleaned one by one; counts what had to be done."""

    path: Path
    rng: np.random.Generator
    training: bool = True
    rows: list[list[Any]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    latest: float = 0.0
    _seen: set[tuple[Any, ...]] = field(default_factory=set)

    def add(self, found: Row) -> None:
        """Keep a row, as published where it can be used as it is."""
        row = self._cleaned(found.values) if _is_timed(found.values) else found.values
        if row is None:
            return
        try:
            annotation, _ = parse_row(row)
        except ValueError as error:
            raise InputError(f"{self.path}: {found.where} {error}") from None
        video, duration, span, sentence, glance, qid = (*row, None, None)[:6]
        if annotation.glance is None and annotation.span is None and self.training:
            self.counts["absent" if annotation.absent else "unlabelled"] += 1
            return
        if glance is None and annotation.span is not None:
            self.counts["drawn"] += 1
            glance = self._draw(span, duration)
        identity = (video, *(span or ()), sentence)
        self.counts["repeated"] += annotation.span is not None and identity in self._seen
        self._seen.add(identity)
        self.rows.append([video, duration, span, sentence, glance, *([] if qid is None else [qid])])

    def _cleaned(self, row: list[Any]) -> list[Any] | None:
        video, duration, (start, end), sentence, *rest = row
        reason = _unusable(start, end, duration)
        if reason:
            self.counts[reason] += 1
            return None
        if end > duration + rounding_slack(duration):
            self.counts["cut"] += 1
            if rest and rest[0] is not None:
                rest[0] = min(rest[0], duration)
            return [video, duration, [start, duration], sentence, *rest]
        if end > duration:
            self.counts["late"] += 1
            self.latest = max(self.latest, end - duration)
        return row

    def _draw(self, span: list[float], duration: float) -> float:
        start, end = span[0], min(span[1], duration)
        return min(max(round(self.rng.uniform(start, end), 2), start), end)

    def notes(self) -> list[str]:
        """What was counted, a sentence each."""
        late = f"that end up to {self.latest:.2g} s after their video, as the data set rounds"
        texts = {
            "drawn": "without a glance in the source: {}; one was drawn inside each",
            "late": f"{late}: {{}}; kept as published, cut at its end when read",
            "cut": "that reach further beyond the end of their video: {}; cut there",
            "reversed": "that end before they start: {}; left out",
            "empty": "without a length: {}; left out",
            "outside": "that start after the end of their video: {}; left out",
            "unfinished": "of videos none of whose moments ends inside: {}; left out, as the field's glance files do",
            "absent": "of sentences that nothing in their video fits: {}; left out of training",
            "unlabelled": "with neither glance nor start and end: {}; left out of training",
            "repeated": "there more than once (same video, moment and sentence): {}; kept as published",
        }
        return [f"moments {text.format(self.counts[key])}" for key, text in texts.items() if self.counts[key]]


def _is_timed(row: Any) -> bool:
    """Whether a row has the shape and numbers that cleaning needs; what has not is reported by parse_row."""
    if not isinstance(row, list | tuple) or not 4 <= len(row) <= 6:
        return False
    duration, span, glance = row[1], row[2], row[4] if len(row) > 4 else None
    if not isinstance(span, list | tuple) or len(span) != 2:
        return False
    numbers = [duration, *span, *([] if glance is None else [glance])]
    return all(map(is_number, numbers)) and duration > 0


def _unusable(start: float, end: float, duration: float) -> str | None:
    if end < start:
        return "reversed"
    if end == start:
        return "empty"
    return "outside" if start >= duration else None


# --- features ---------------------------------------------------------------------------------------------------------


def check_features(features: str | os.PathLike[str], annotations: list[Path], dim: int | None = None) -> list[str]:
    """Check a feature file against the annotation files that are to be used with it.

    Args:
        features: HDF5 file.
        annotations: annotation files.
        dim: width that the configuration expects; None if any will do.

    Returns:
        What was found, a sentence each: width, and clips per second with the videos that are out of line.

    Raises:
        InputError: videos are missing (the first ten and how many), are of another width, or hold NaN.
    """
    durations = {row.video: row.duration for path in annotations for row in load_annotations(path)}
    with FeatureStore(features) as store:
        _check_groups(store, durations)
        store.check(durations, dim if dim is not None else store.dim)
        clips = {video: store.clips(video) for video in durations}
        found = [f"{store.path}: all {len(durations)} videos are there, {store.dim} numbers a clip, none of them NaN"]
    return found + _rates(clips, durations)


def _check_groups(store: FeatureStore, videos: Mapping[str, float]) -> None:
    """Name the members of a file that has a group of several data sets for each video."""
    video = next((video for video in videos if video not in store), None)
    members = [name.removeprefix(f"{video}/") for name in store.videos if video and name.startswith(f"{video}/")]
    if members:
        raise InputError(
            f"{store.path}: has a group of data sets for each video ({', '.join(members[:5])}) where one data set is "
            f"needed; `cfmr pack {store.path} --member {members[0]} --out F.hdf5` takes one of them out"
        )


def _rates(clips: Mapping[str, int], durations: Mapping[str, float]) -> list[str]:
    if len(clips) > 1 and len(set(clips.values())) == 1:
        return [f"every video has {next(iter(clips.values()))} clips, whatever its length"]
    rates = {video: count / durations[video] for video, count in clips.items()}
    usual = float(np.median(list(rates.values())))
    odd = [video for video, rate in rates.items() if not usual / 1.5 <= rate <= usual * 1.5]
    notes = [f"{usual:.3g} clips a second"]
    if odd:
        listed = ", ".join(f"{video} ({rates[video]:.3g})" for video in odd[:10])
        notes.append(
            f"{len(odd)} videos are out of line with that: {listed}{', ...' if len(odd) > 10 else ''}; their moments "
            "will be looked for at the wrong times. Extract them again, or correct their durations"
        )
    return notes
