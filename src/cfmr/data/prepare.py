"""The three data sets as they are published, turned into annotation files; features checked against them.

Charades-STA comes as text (`VIDEO start end##sentence`) with the videos' lengths in the CSV files of Charades,
ActivityNet Captions as JSON in seconds, TACoS as JSON in frames. The field's glance files are the same with a time
inside each moment; where there is none, one is drawn.
"""

import csv
import math
import os
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cfmr.data.annotations import load_annotations, parse_row, rounding_slack, write_rows
from cfmr.data.features import FeatureStore
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
}

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
        dataset: charades, activitynet or tacos.
        raw: folder with the published files (`SOURCES`); splits whose files are not there are skipped.
        out: another folder.
        seed: for drawing glances.

    Raises:
        InputError: a file is malformed, or there is none.
    """
    raw, out = Path(raw), Path(out)
    if dataset not in SOURCES:
        raise InputError(f"no data set '{dataset}'; known are {', '.join(SOURCES)}")
    found = {
        split: next((raw / name for name in names if (raw / name).is_file()), None)
        for split, names in SOURCES[dataset].items()
    }
    if not any(found.values()):
        names = ", ".join(names[-1] for names in SOURCES[dataset].values())
        raise InputError(f"{raw}: no annotations of {dataset} there; expected are {names} or their glance_ versions")
    if make_directory(out).resolve() == raw.resolve():
        raise InputError(f"{out}: the published files are there; give another folder with --out")
    # All are read before one is written, so that a broken file leaves no half of a data set.
    gathered = {split: _gather(dataset, split, path, seed) for split, path in found.items() if path is not None}
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


def _gather(dataset: str, split: str, path: Path, seed: int) -> "_Rows":
    rows = _Rows(path, np.random.default_rng([seed, zlib.crc32(split.encode())]))
    for moment in _moments(dataset, path, rows.counts):
        rows.add(*moment)
    if not rows.rows:
        raise InputError(f"{path}: there is no moment in it")
    return rows


# A moment as published: where it stands in its file, and the row of our format (the glance may be None).
Moment = tuple[str, list[Any]]


def _moments(dataset: str, path: Path, counts: Counter[str]) -> Iterator[Moment]:
    if path.suffix == ".txt":
        return _charades(path, counts)
    content = read_json(path)
    if isinstance(content, list):  # a glance file of the original release is in our format already
        return ((f"row {number}", row) for number, row in enumerate(content, 1))
    if not isinstance(content, dict):
        raise InputError(f"{path}: a JSON object with the videos' names as keys is expected")
    return _by_video(path, content, _frames if dataset == "tacos" else _seconds)


# --- gathering rows ---------------------------------------------------------------------------------------------------


@dataclass
class _Rows:
    """Rows of one split, cleaned one by one; counts what had to be done."""

    path: Path
    rng: np.random.Generator
    rows: list[list[Any]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    latest: float = 0.0
    _seen: set[tuple[Any, ...]] = field(default_factory=set)

    def add(self, where: str, row: list[Any]) -> None:
        """Keep a row, as published where it can be used as it is."""
        cleaned = self._cleaned(row) if _is_timed(row) else row
        if cleaned is None:
            return
        row = cleaned
        try:
            parse_row(row)
        except ValueError as error:
            raise InputError(f"{self.path}: {where} {error}") from None
        if len(row) < 5 or row[4] is None:
            self.counts["drawn"] += 1
            row = [*row[:4], self._draw(row[2], row[1])]
        identity = (row[0], *row[2], row[3])
        self.counts["repeated"] += identity in self._seen
        self._seen.add(identity)
        self.rows.append(row)

    def _cleaned(self, row: list[Any]) -> list[Any] | None:
        video, duration, (start, end), sentence, *glance = row
        reason = _unusable(start, end, duration)
        if reason:
            self.counts[reason] += 1
            return None
        if end > duration + rounding_slack(duration):
            self.counts["cut"] += 1
            return [video, duration, [start, duration], sentence, *(g and min(g, duration) for g in glance)]
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
            "repeated": "there more than once (same video, moment and sentence): {}; kept as published",
        }
        return [f"moments {text.format(self.counts[key])}" for key, text in texts.items() if self.counts[key]]


def _is_timed(row: Any) -> bool:
    """Whether a row has the shape and numbers that cleaning needs; what has not is reported by parse_row."""
    try:
        _, duration, (start, end), _, *glance = row
    except (TypeError, ValueError):
        return False
    numbers = [duration, start, end, *(g for g in glance if g is not None)]
    return all(isinstance(n, int | float) and math.isfinite(n) for n in numbers) and duration > 0


def _unusable(start: float, end: float, duration: float) -> str | None:
    if end < start:
        return "reversed"
    if end == start:
        return "empty"
    return "outside" if start >= duration else None


# --- Charades-STA -----------------------------------------------------------------------------------------------------

_LINE = re.compile(r"(?P<video>\S+) (?P<start>\S+) (?P<end>[^\s#]+)##(?:(?P<glance>[\d.]+)##)?(?P<sentence>.*)")


def _charades(path: Path, counts: Counter[str]) -> Iterator[Moment]:
    lengths = _charades_lengths(path.parent)
    videos: dict[str, list[float]] = {}
    moments = []
    for number, line in enumerate(_read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        try:
            assert match
            start, end = float(match["start"]), float(match["end"])
            glance = float(match["glance"]) if match["glance"] else None
        except (AssertionError, ValueError):
            raise InputError(f"{path}: line {number} is not 'VIDEO start end##sentence'") from None
        videos.setdefault(match["video"], []).append(end)
        moments.append((f"line {number}", match["video"], start, end, match["sentence"], glance))
    missing = [video for video in videos if video not in lengths]
    if missing:
        listed = ", ".join(missing[:10])
        raise InputError(
            f"{path}: the CSV files beside it have no length for {len(missing)} videos ({listed}"
            f"{', ...' if len(missing) > 10 else ''}); Charades_v1_train.csv and Charades_v1_test.csv are both needed"
        )
    unfinished = {video for video, ends in videos.items() if _all_unfinished(ends, lengths[video])}
    for where, video, start, end, sentence, glance in moments:
        if video in unfinished and start < lengths[video]:
            counts["unfinished"] += 1
        else:
            yield where, [video, _counted_length(lengths[video]), [start, end], sentence, glance]


def _counted_length(length: float) -> float:
    """A video's length as the field's glance files have it, by way of a frame count at 24 frames a second.

    It differs from the published length by rounding only, by which those files came to leave out 59 moments.
    """
    frames = round(24 * length) + 1
    return frames / (frames / length)


def _all_unfinished(ends: list[float], length: float) -> bool:
    return all(min(end, length) > _counted_length(length) for end in ends)


def _charades_lengths(folder: Path) -> dict[str, float]:
    files = sorted(path for path in folder.glob("Charades_v1_*.csv") if "classes" not in path.name)
    if not files:
        raise InputError(
            f"{folder}: Charades_v1_train.csv and Charades_v1_test.csv, which have the lengths, are not there"
        )
    lengths: dict[str, float] = {}
    for path in files:
        reader = csv.DictReader(_read_text(path).splitlines(keepends=True))
        columns = reader.fieldnames or []
        for column in ("id", "length"):
            if column not in columns:
                raise InputError(f"{path}: no column '{column}' (there are {', '.join(columns) or 'none'})")
        for row in reader:
            try:
                lengths[row["id"]] = float(row["length"])
            except (TypeError, ValueError):
                raise InputError(f"{path}: line {reader.line_num} has no number in column 'length'") from None
            if not lengths[row["id"]] > 0:
                raise InputError(f"{path}: line {reader.line_num} has a video of {row['length']} s")
    return lengths


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text; copy it again") from error


# --- ActivityNet Captions, TACoS --------------------------------------------------------------------------------------


class _Clock(NamedTuple):
    """A video's length in seconds, and what turns its times and its glances into seconds."""

    duration: float
    time: Callable[[Any], Any]
    glance: Callable[[Any], Any]


def _by_video(path: Path, content: dict[str, Any], clock: Callable[[dict[str, Any]], _Clock]) -> Iterator[Moment]:
    for video, entry in content.items():
        try:
            rows = _rows_of(video, entry, clock(entry))
        except KeyError as error:
            raise InputError(f"{path}: video {video} has no {error.args[0]!r}") from None
        except (AttributeError, TypeError, ValueError) as error:
            raise InputError(f"{path}: video {video} is malformed: {error}") from None
        for number, row in enumerate(rows, 1):
            yield f"video {video}, moment {number}", row


def _rows_of(video: str, entry: dict[str, Any], clock: _Clock) -> list[list[Any]]:
    times, sentences = entry["timestamps"], entry["sentences"]
    glances = entry.get("glance") or [None] * len(times)
    if not len(times) == len(sentences) == len(glances):
        raise ValueError(f"{len(times)} timestamps, {len(sentences)} sentences and {len(glances)} glances")
    return [
        [
            video,
            clock.duration,
            [clock.time(start), clock.time(end)],
            sentence,
            None if glance is None else clock.glance(glance),
        ]
        for (start, end), sentence, glance in zip(times, sentences, glances, strict=True)
    ]


def _seconds(entry: dict[str, Any]) -> _Clock:
    return _Clock(entry["duration"], lambda time: time, lambda time: time)


def _frames(entry: dict[str, Any]) -> _Clock:
    fps, frames = float(entry["fps"]), float(entry["num_frames"])
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"its fps is {entry['fps']}, by which frames cannot be turned into seconds")
    if not (math.isfinite(frames) and frames > 0):
        raise ValueError(f"its num_frames is {entry['num_frames']}")
    # By way of the fraction, the glances are those of the field's files to the last digit.
    return _Clock(frames / fps, lambda frame: frame / fps, lambda frame: frame / frames * (frames / fps))


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
