"""From the field's files to the field's files, on a made-up world: its annotations as QVHighlights jsonl, its features
as a folder of npz files."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cfmr.cli import app
from cfmr.config import load_config
from cfmr.data.annotations import load_annotations
from cfmr.data.features import FeatureStore
from cfmr.errors import InputError
from cfmr.moments.rejection import Existence
from cfmr.moments.span_reader import SpanReader
from cfmr.training.answers import Measuring, clip_scores, measure_checkpoint
from cfmr.training.backends import find_training
from tests.support.worlds import World

pytest.importorskip("torch")

SPLITS = {"train": "train", "val": "val", "test": "val"}  # which file a configuration's key names


def as_jsonl(rows: Path, path: Path, *, nothing: int = 0) -> list[dict[str, Any]]:
    """Annotations as jsonl: every second row is a further moment of the one before; some that nothing fits."""
    objects: list[dict[str, Any]] = []
    for number, row in enumerate(load_annotations(rows)):
        assert row.span is not None
        if number % 3 == 1:
            objects[-1]["relevant_windows"].append(list(row.span))
            continue
        told = {"qid": f"q{number}", "query": row.sentence, "duration": row.duration, "vid": row.video}
        objects.append({**told, "relevant_windows": [list(row.span)]})
    for number in range(nothing):
        objects.append({**objects[number], "qid": f"n{number}", "relevant_windows": []})
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(value) + "\n" for value in objects))
    return objects


def cfmr(*arguments: Any) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def trained(world: World) -> World:
    config = load_config(world.config)
    find_training("pytorch", config).train(config, world.root / "run", resume=None, seed=1, select="last", device="cpu")
    return world


def answers(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_jsonl_and_npz_go_in_and_predictions_come_out_in_five_commands(world: World, tmp_path: Path) -> None:
    raw, folder = tmp_path / "raw", tmp_path / "npz"
    as_jsonl(world.training, raw / "highlight_train_release.jsonl")
    truth = as_jsonl(world.test, raw / "highlight_val_release.jsonl")
    folder.mkdir()
    with FeatureStore(world.features) as store:
        for video in store.videos:
            np.savez(folder / f"{video}.npz", features=store.read(video))
    annotations, features, predictions = tmp_path / "ours", tmp_path / "f.hdf5", tmp_path / "hl_val_submission.jsonl"
    val = annotations / "glance_val_qvhighlights.json"
    train = {"train_data": str(annotations / "glance_train_qvhighlights.json"), "val_data": str(val)}
    world.edit_config(dataset={**train, "test_data": str(val), "feature_path": str(features)})

    cfmr("prepare", "qvhighlights", "--raw", raw, "--out", annotations)
    cfmr("pack", folder, "--out", features)
    cfmr("train", "--config-path", world.config, "--log", tmp_path, "--tag", "run", "--select", "last")
    validation = raw / "highlight_val_release.jsonl"
    own = cfmr("evaluate", "--resume", tmp_path / "run", "--truth", validation, "--out", predictions, "--json")
    theirs = cfmr("evaluate", "--predictions", predictions, "--truth", validation, "--json")

    figures = json.loads(theirs)
    assert json.loads(own[own.index("{") :].partition("}")[0] + "}") == figures
    assert {"R@1,IoU=0.5", "R@1,IoU=0.7", "mAP", "mAP,IoU=0.75"} <= figures.keys()
    written = answers(predictions)
    assert [row["qid"] for row in written] == [row["qid"] for row in truth]
    for row, asked in zip(written, truth, strict=True):
        assert (row["query"], row["vid"]) == (asked["query"], asked["vid"])
        assert len(row["pred_saliency_scores"]) == int(np.ceil(asked["duration"] / 2))
        assert all(0 <= start <= end <= asked["duration"] for start, end, _ in row["pred_relevant_windows"])
        values = [value for _, _, value in row["pred_relevant_windows"]]
        assert values == sorted(values, reverse=True)


def test_figures_of_a_run_count_sentences_and_not_their_moments(trained: World, tmp_path: Path) -> None:
    truth = as_jsonl(trained.test, tmp_path / "raw" / "test.jsonl")
    cfmr("prepare", "mine", "--raw", tmp_path / "raw", "--out", tmp_path)
    trained.edit_config(dataset={"test_data": str(tmp_path / "glance_test_mine.json")})
    config = load_config(trained.config)
    figures = find_training("pytorch", config).train(
        config, trained.root / "again", resume=None, seed=1, select="last", device="cpu"
    )
    assert figures["sentences"] == len(truth) < len(load_annotations(tmp_path / "glance_test_mine.json"))
    scores = measure_checkpoint(
        config, trained.root / "again", Measuring(tmp_path / "raw" / "test.jsonl"), backend="pytorch", device="cpu"
    )
    for name in ("R@1,IoU=0.5", "R@5,IoU=0.7", "R@1,mIoU", "mAP"):
        assert scores[name] == pytest.approx(figures["test"][name], abs=0.02), "written numbers have four digits"


def test_sentences_that_nothing_fits_are_measured_once_that_is_learnt(trained: World, tmp_path: Path) -> None:
    as_jsonl(trained.test, tmp_path / "raw" / "test.jsonl", nothing=3)
    out = tmp_path / "pred.jsonl"
    wanted = Measuring(tmp_path / "raw" / "test.jsonl", out, calibrate=trained.training)
    config = load_config(trained.config)
    scores = measure_checkpoint(config, trained.root / "run", wanted, backend="pytorch", device="cpu")
    assert {"AUROC", "Rej-F1@0.5", "G-mIoU@1,score>0.5"} <= scores.keys()
    assert all(0 <= row["pred_exist_score"] <= 1 for row in answers(out))
    assert json.loads(cfmr("evaluate", "--predictions", out, "--truth", wanted.truth, "--json")) == scores


def test_a_run_learns_what_fits_nothing_from_what_it_validated_on(world: World, tmp_path: Path) -> None:
    truth = tmp_path / "raw" / "test.jsonl"
    as_jsonl(world.test, truth, nothing=3)
    rows = json.loads(world.training.read_text())
    held = sorted({row[0] for row in rows})[-2:]
    (tmp_path / "val.json").write_text(json.dumps([row for row in rows if row[0] in held]))
    world.training.write_text(json.dumps([row for row in rows if row[0] not in held]))
    world.edit_config(dataset={"val_data": str(tmp_path / "val.json")})
    config = load_config(world.config)
    find_training("pytorch", config).train(config, tmp_path / "run", resume=None, seed=1, device="cpu")

    def measured(*options: Any) -> dict[str, float]:
        out = tmp_path / "pred.jsonl"
        cfmr("evaluate", "--resume", tmp_path / "run", "--truth", truth, "--out", out, *options)
        assert all("pred_exist_score" in row for row in answers(out))
        return dict(json.loads(cfmr("evaluate", "--predictions", out, "--truth", truth, "--json")))

    assert measured() == measured("--calibrate", tmp_path / "val.json")
    cfmr("report", tmp_path / "run", "--predictions", tmp_path / "pred.jsonl", "--truth", truth, "--out", tmp_path)
    lines = (tmp_path / "report.md").read_text().splitlines()
    header, other, own = (
        next(line for line in lines if line.startswith(start)) for start in ("| system", "| pred |", "| **run** (CFMR)")
    )
    measures = header.split(" | ")[2:]
    assert {"AUROC", "Rej-F1@0.5", "G-mIoU@1,score>0.5", "mR@1", "mR+@3"} <= set(measures)
    assert own.split(" | ")[2:] == other.split(" | ")[2:], "the same answers, the same figures"


def test_a_run_that_could_not_learn_it_says_nothing_of_rejecting(trained: World, tmp_path: Path) -> None:
    truth = tmp_path / "raw" / "test.jsonl"
    asked = as_jsonl(trained.test, truth, nothing=3)  # trained with --select last, so nothing was held back
    scores = json.loads(cfmr("evaluate", "--resume", trained.root / "run", "--truth", truth, "--json"))
    assert "AUROC" in scores
    assert not [name for name in scores if name.startswith(("Rej", "G-mIoU"))]
    given = [{"qid": row["qid"], "pred_relevant_windows": [[0, 1, 0.9]]} for row in asked]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given))
    wanted = ("--predictions", tmp_path / "p.jsonl", "--truth", truth, "--out", tmp_path)
    cfmr("report", trained.root / "run", *wanted)
    assert "- run: when to say that nothing fits was not learnt" in (tmp_path / "report.md").read_text()
    cfmr("report", trained.root / "run", *wanted, "--calibrate", trained.training)
    assert "not learnt" not in (tmp_path / "report.md").read_text()
    with pytest.raises(InputError, match="--calibrate goes with --predictions and --truth"):
        cfmr("report", trained.root / "run", "--out", tmp_path, "--calibrate", trained.training)


def test_a_collection_is_submitted_as_tvr_has_it(trained: World, tmp_path: Path) -> None:
    as_jsonl(trained.test, tmp_path / "raw" / "test.jsonl")
    truth, out = tmp_path / "raw" / "test.jsonl", tmp_path / "submission.json"
    scores = json.loads(cfmr("evaluate", "--resume", trained.root / "run", "--truth", truth, "--out", out, "--json"))
    assert {"VCMR R@10,IoU=0.5", "SVMR R@1,IoU=0.7", "video R@100", "SumR"} <= scores.keys()
    assert json.loads(cfmr("evaluate", "--predictions", out, "--truth", truth, "--json")) == scores
    value = json.loads(out.read_text())
    assert set(value) == {"video2idx", "VCMR", "SVMR", "VR"}
    assert len(value["VR"][0]["predictions"]) == len(value["video2idx"])


def test_of_captions_without_times_videos_are_ranked(trained: World, tmp_path: Path) -> None:
    rows = load_annotations(trained.test)
    captions = tmp_path / "test.caption.txt"
    captions.write_text("".join(f"{row.video}#enc#{n} {row.sentence}\n" for n, row in enumerate(rows)))
    config = load_config(trained.config)
    scores = measure_checkpoint(config, trained.root / "run", Measuring(captions), backend="pytorch", device="cpu")
    assert set(scores) == {"video R@1", "video R@5", "video R@10", "video R@100", "SumR"}
    with pytest.raises(InputError, match=r"the length of v\d+ is not known"):
        wanted = Measuring(captions, tmp_path / "pred.jsonl")
        measure_checkpoint(config, trained.root / "run", wanted, backend="pytorch", device="cpu")


def test_a_sentence_without_a_known_word_is_answered_with_the_whole_video(trained: World, tmp_path: Path) -> None:
    truth = as_jsonl(trained.test, tmp_path / "raw" / "test.jsonl")
    strange = {**truth[0], "qid": "strange", "query": "xylophones?"}
    (tmp_path / "raw" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*truth, strange]))
    out = tmp_path / "pred.jsonl"
    wanted = Measuring(tmp_path / "raw" / "test.jsonl", out)
    measure_checkpoint(load_config(trained.config), trained.root / "run", wanted, backend="pytorch", device="cpu")
    assert answers(out)[-1]["pred_relevant_windows"] == [[0.0, truth[0]["duration"], 0.0]]


def test_videos_without_features_are_listed_before_anything_is_answered(trained: World, tmp_path: Path) -> None:
    truth = as_jsonl(trained.test, tmp_path / "raw" / "test.jsonl")
    (tmp_path / "raw" / "test.jsonl").write_text(json.dumps({**truth[0], "vid": "elsewhere"}))
    wanted = Measuring(tmp_path / "raw" / "test.jsonl", tmp_path / "pred.jsonl")
    with pytest.raises(InputError, match="no features for 1 of 1 videos: elsewhere"):
        measure_checkpoint(load_config(trained.config), trained.root / "run", wanted, backend="pytorch", device="cpu")
    assert not (tmp_path / "pred.jsonl").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "name what to evaluate"),
        (("--predictions", "p.jsonl"), "--predictions needs --truth"),
        (("--predictions", "p.jsonl", "--truth", "t.jsonl", "--out", "o.jsonl"), "neither --resume nor --out"),
    ],
)
def test_options_that_do_not_go_together_are_named(options: tuple[str, ...], says: str) -> None:
    with pytest.raises(InputError, match=says):
        CliRunner().invoke(app, ["evaluate", *options], catch_exceptions=False)


def test_a_name_that_tells_no_kind_of_file_is_refused(trained: World, tmp_path: Path) -> None:
    wanted = Measuring(trained.test, tmp_path / "answers.csv")
    with pytest.raises(InputError, match=r"answers\.csv: \.jsonl writes predictions"):
        measure_checkpoint(load_config(trained.config), trained.root / "run", wanted, backend="pytorch", device="cpu")


def test_sureness_is_half_at_the_threshold_and_rises_with_the_score() -> None:
    existence = Existence.between(np.array([3.0, 4.0, 5.0]), np.array([0.0, 1.0, 2.0]))
    assert existence(existence.threshold) == 0.5
    assert existence(1.0) < 0.5 < existence(4.0) <= 1


def test_clips_of_two_seconds_have_the_mean_of_what_lies_in_them() -> None:
    spans = np.array([[t, t + 0.5] for t in np.arange(0, 6, 0.5)], np.float32)
    scores = np.repeat([1.0, 2.0, 4.0], 4).astype(np.float32)
    assert clip_scores(SpanReader(), scores, spans, 3).tolist() == [1.0, 2.0, 4.0]
    sparse = clip_scores(SpanReader(), np.array([0.0, 4.0], np.float32), np.array([[0, 8], [8, 16]], np.float32), 8)
    assert (np.diff(sparse) >= 0).all(), "between distant vectors scores rise from one to the other"


def test_runs_and_answers_of_other_systems_stand_in_one_table(trained: World, tmp_path: Path) -> None:
    truth = as_jsonl(trained.test, tmp_path / "raw" / "test.jsonl")
    perfect = [
        {"qid": row["qid"], "pred_relevant_windows": [[*window, 1.0] for window in row["relevant_windows"]]}
        for row in truth
    ]
    (tmp_path / "other_system.jsonl").write_text("".join(json.dumps(row) + "\n" for row in perfect))
    asked = ("--predictions", tmp_path / "other_system.jsonl", "--truth", tmp_path / "raw" / "test.jsonl")
    cfmr("report", trained.root / "run", *asked, "--out", tmp_path / "report")
    lines = (tmp_path / "report" / "report.md").read_text().splitlines()
    header = next(line for line in lines if line.startswith("| system |")).split(" | ")
    theirs = next(line for line in lines if line.startswith("| other_system |")).split(" | ")
    ours = next(line for line in lines if line.startswith("| **run** (CFMR) | made-up")).split(" | ")
    column = header.index("R@1,IoU=0.7")
    scores = json.loads(cfmr("evaluate", "--resume", trained.root / "run", "--truth", asked[3], "--json"))
    assert (theirs[column], ours[column]) == ("100.00", f"{scores['R@1,IoU=0.7']:.2f}")
    assert len(header) == len(theirs) == len(ours)


def test_answers_are_compared_without_any_run_and_a_run_without_features_is_said(
    trained: World, tmp_path: Path
) -> None:
    truth = as_jsonl(trained.test, tmp_path / "raw" / "test.jsonl")
    truth = [{**row, "vid": f"other-{row['vid']}"} for row in truth]
    (tmp_path / "raw" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in truth))
    answered = [{"qid": row["qid"], "pred_relevant_windows": [[0, 1, 1.0]]} for row in truth]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answered))
    asked = ("--predictions", tmp_path / "p.jsonl", "--truth", tmp_path / "raw" / "test.jsonl")
    cfmr("report", *asked, "--out", tmp_path / "report")
    assert "| p | answers in p.jsonl |" in (tmp_path / "report" / "report.md").read_text()
    cfmr("report", trained.root / "run", *asked, "--out", tmp_path / "report")
    assert "run: not measured on these sentences" in (tmp_path / "report" / "report.md").read_text()
    with pytest.raises(InputError, match="--predictions and --truth go together"):
        cfmr("report", "--predictions", tmp_path / "p.jsonl", "--out", tmp_path / "report")


def real_jsonl(rows: list[list[Any]], path: Path) -> None:
    """Real annotations as QVHighlights has them: a sentence that a video has several times has several windows."""
    objects: dict[tuple[str, str], dict[str, Any]] = {}
    for video, duration, span, sentence, _ in rows:
        told = {"qid": len(objects), "query": sentence, "duration": duration, "vid": video, "relevant_windows": []}
        inside = [span[0], min(span[1], duration)]
        objects.setdefault((video, sentence), told)["relevant_windows"].append(inside)
    path.write_text("".join(json.dumps(value) + "\n" for value in objects.values()))


def test_simulated_features_of_real_annotations_go_the_same_way(shared: Path, tmp_path: Path) -> None:
    data, raw, features = shared / "data" / "charades", tmp_path / "raw", tmp_path / "f.hdf5"
    raw.mkdir()
    chosen = {}
    for split, source in (("train", "train_small.json"), ("val", "test_small.json")):
        rows = json.loads((data / source).read_text())
        videos = list(dict.fromkeys(row[0] for row in rows))[:60]
        chosen[split] = [row for row in rows if row[0] in videos]
        (tmp_path / f"{split}.json").write_text(json.dumps(chosen[split]))
        real_jsonl(chosen[split], raw / f"highlight_{split}_release.jsonl")
    simulated = [sys.executable, shared / "tools" / "simulate_features.py", "--vocab", data / "glove.pkl"]
    simulated += ["--annotations", tmp_path / "train.json", tmp_path / "val.json", "--dim", "32"]
    subprocess.run([*simulated, "--clips-per-second", "0.5", "--out", tmp_path / "all.hdf5"], check=True)
    for name, columns in (("slowfast", slice(0, 24)), ("clip", slice(24, 32))):
        (tmp_path / name).mkdir()
        with FeatureStore(tmp_path / "all.hdf5") as store:
            for video in store.videos:
                np.savez(tmp_path / name / f"{video}.npz", features=store.read(video)[:, columns])
    value = json.loads((Path(__file__).parents[2] / "config" / "charades" / "dense.json").read_text())
    glance = {f"{key}_data": str(tmp_path / f"glance_{of}_qvhighlights.json") for key, of in SPLITS.items()}
    value["dataset"] |= {
        **glance,
        "feature_path": str(features),
        "frame_dim": 32,
        "vocab_path": str(data / "glove.pkl"),
    }
    (tmp_path / "qv.json").write_text(json.dumps(value))
    truth, answered = raw / "highlight_val_release.jsonl", tmp_path / "hl_val_submission.jsonl"

    cfmr("prepare", "qvhighlights", "--raw", raw, "--out", tmp_path)
    cfmr("pack", tmp_path / "slowfast", tmp_path / "clip", "--out", features)
    cfmr("train", "--config-path", tmp_path / "qv.json", "--log", tmp_path, "--tag", "run", "--select", "last")
    cfmr("evaluate", "--resume", tmp_path / "run", "--truth", truth, "--out", answered)
    figures = json.loads(cfmr("evaluate", "--predictions", answered, "--truth", truth, "--json"))
    own = json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]
    for name in ("R@1,mIoU", "R@5,mIoU", "mAP"):
        assert figures[name] == pytest.approx(own[name], abs=0.05), "written numbers have four digits"
    assert len(answers(answered)) == len(truth.read_text().splitlines())
