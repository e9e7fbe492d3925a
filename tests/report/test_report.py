import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from PIL import Image  # noqa: E402

from cfmr.cli import app  # noqa: E402
from cfmr.config import load_config  # noqa: E402
from cfmr.data.vocabulary import tokenize  # noqa: E402
from cfmr.errors import InputError  # noqa: E402
from cfmr.models.base import load_model  # noqa: E402
from cfmr.models.cfmr.pytorch.model import CFMR  # noqa: E402
from cfmr.models.checkpoint import Checkpoint  # noqa: E402
from cfmr.report.efficiency import count_flops, count_parameters  # noqa: E402
from cfmr.report.finished_run import read_runs  # noqa: E402
from cfmr.report.published import benchmark_of, benchmarks  # noqa: E402
from cfmr.report.writing import write_report  # noqa: E402
from cfmr.training.backends import find_training  # noqa: E402
from cfmr.training.pytorch import train  # noqa: E402
from tests.support.worlds import World, make_world  # noqa: E402

CONFIGS = {"charades": "charades/i3d.json", "activitynet": "activitynet/c3d.json", "tacos": "tacos/c3d.json"}
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on a tiny world that calls itself Charades-STA."""
    root = tmp_path_factory.mktemp("report")
    world: World = make_world(root / "world")
    world.edit_config(dataset={"dataset": "CharadesSTA"})
    train(load_config(world.config), root / "first", seed=1)
    return root / "first"


def copied(run: Path, target: Path, **changes: Any) -> Path:
    """A copy of a run with other final figures."""
    shutil.copytree(run, target)
    figures = json.loads((target / "metrics.json").read_text())
    (target / "metrics.json").write_text(json.dumps({**figures, **changes}))
    return target


def picture_size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        image.verify()
        return image.size


def test_a_report_sets_measured_figures_beside_published_ones(run: Path, tmp_path: Path) -> None:
    target = write_report([run], tmp_path)
    text = target.read_text()
    figures = json.loads((run / "metrics.json").read_text())
    assert "| CFMR | point | published | I3D | 48.14 | 22.58 | 80.06 | 56.09 |" in text
    (own,) = [line for line in text.splitlines() if line.startswith("| **first** (CFMR)")]
    assert "| **measured** | made-up, 12-d |" in own
    for measure in ("R@1,IoU=0.5", "R@1,IoU=0.7", "R@5,IoU=0.5", "R@5,IoU=0.7"):
        assert f"{figures['test'][measure]:.2f}" in own
    (constant,) = [line for line in text.splitlines() if line.startswith("| best constant answer")]
    assert f"{figures['best_constant']['R@1,IoU=0.5']:.2f}" in constant
    assert "chosen on validation" in text
    assert "**not the whole test split**" in text


def test_a_run_of_the_linear_model_is_reported_with_what_its_table_costs(tmp_path: Path) -> None:
    world = make_world(tmp_path / "world")
    value = json.loads(world.config.read_text())
    dense = {"dataset": value["dataset"], "model": {"name": "CFMR-Dense"}, "train": {"num_fits": 2}}
    world.config.write_text(json.dumps(dense))
    find_training("pytorch", load_config(world.config)).train(
        load_config(world.config), tmp_path / "dense", resume=None, seed=1, select="last", device="cpu"
    )
    lines = write_report([tmp_path / "dense"], tmp_path / "report").read_text().splitlines()
    assert any(line.startswith("| **dense** (CFMR-Dense)") for line in lines)
    (cost,) = [line.split(" | ") for line in lines if line.startswith("| **dense** | **measured**")]
    model = load_model(checkpoint := Checkpoint.load(tmp_path / "dense" / "checkpoint"))
    table = model.word_inputs(checkpoint.vocabulary.vectors)
    words = np.mean([len(tokenize(row[3])) for row in json.loads(world.test.read_text())])
    assert float(cost[2]) == pytest.approx(words * table.shape[1] / 1e8, rel=0.01)
    assert float(cost[3]) == round(table[1:].size / 1e6, 2)


def test_every_picture_of_the_report_is_there_and_not_empty(run: Path, tmp_path: Path) -> None:
    text = write_report([run], tmp_path).read_text()
    pictures = {line.split("](")[1].rstrip(")") for line in text.splitlines() if line.startswith("![")}
    assert pictures == {"efficiency-charades.png", "training-first.png", "queries-first.png"}
    for name in pictures:
        assert min(picture_size(tmp_path / name)) > 200
        with Image.open(tmp_path / name) as image:
            assert np.asarray(image.convert("L")).std() > 5
    assert {path.name for path in tmp_path.iterdir()} == pictures | {"report.md"}


@pytest.mark.parametrize("suffix", [".mp4", ".m4v", ".ts"])
def test_frames_are_shown_where_the_videos_are_at_hand(run: Path, tmp_path: Path, suffix: str) -> None:
    av = pytest.importorskip("av")
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("v09", "v10", "v11"):
        with av.open(str(videos / f"{name}{suffix}"), "w", format="mp4" if suffix == ".m4v" else None) as file:
            stream = file.add_stream("libx264", rate=4)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for shade in range(160):
                picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), shade, np.uint8), format="rgb24")
                file.mux(stream.encode(picture))
            file.mux(stream.encode(None))
    write_report([run], tmp_path / "with", videos)
    write_report([run], tmp_path / "without")
    tall, plain = (picture_size(tmp_path / name / "queries-first.png") for name in ("with", "without"))
    assert tall[1] > plain[1]


def test_runs_of_several_seeds_are_averaged_with_their_spread(run: Path, tmp_path: Path) -> None:
    test = json.loads((run / "metrics.json").read_text())["test"]
    others = [
        copied(run, tmp_path / name, test={**test, "R@1,IoU=0.5": value}) for name, value in (("a", 40.0), ("b", 44.0))
    ]
    text = write_report(others, tmp_path / "out").read_text()
    (mean,) = [line for line in text.splitlines() if line.startswith("| mean of these 2, ± std")]
    assert "| 42.00 ± 2.83 |" in mean


def test_simulated_features_are_named_so_that_nobody_compares_them(run: Path, tmp_path: Path) -> None:
    told = {"hidden": "0.35", "ambient": "0.3", "confusers": "0.6", "distractors": "1.0", "seed": "7"}
    text = write_report([copied(run, tmp_path / "a", features=told)], tmp_path / "out").read_text()
    assert "simulated (simulate_features.py, seed 7, 12-d)" in text
    assert "**simulated features: not comparable with published figures**" in text


def test_a_run_whose_features_are_gone_is_reported_from_its_figures(run: Path, tmp_path: Path) -> None:
    moved = copied(run, tmp_path / "a")
    config = json.loads((moved / "config.json").read_text())
    config["dataset"]["feature_path"] = str(tmp_path / "gone.hdf5")
    (moved / "config.json").write_text(json.dumps(config))
    text = write_report([moved], tmp_path / "out").read_text()
    assert "- a: not measured: " in text
    assert "gone.hdf5" in text
    assert "**a** (CFMR)" in text
    assert not (tmp_path / "out" / "queries-a.png").exists()


def test_a_run_on_other_data_has_a_table_of_its_own(run: Path, tmp_path: Path) -> None:
    moved = copied(run, tmp_path / "a")
    config = json.loads((moved / "config.json").read_text())
    config["dataset"]["dataset"] = "my videos"
    (moved / "config.json").write_text(json.dumps(config))
    text = write_report([moved], tmp_path / "out").read_text()
    assert "## Other data" in text
    assert "| 2D-TAN |" not in text


def test_runs_of_one_name_are_told_apart(run: Path, tmp_path: Path) -> None:
    paths = [copied(run, tmp_path / place / "CFMR") for place in ("charades", "tacos")]
    assert [read.name for read in read_runs(paths)] == ["charades-CFMR", "tacos-CFMR"]


@pytest.mark.parametrize(
    ("missing", "says"),
    [("config.json", "not a run's directory"), ("metrics.json", "the run is not finished")],
)
def test_what_is_no_finished_run_is_named(run: Path, tmp_path: Path, missing: str, says: str) -> None:
    broken = copied(run, tmp_path / "a")
    (broken / missing).unlink()
    with pytest.raises(InputError, match=says) as error:
        write_report([broken], tmp_path / "out")
    assert str(broken) in str(error.value)
    assert not (tmp_path / "out").exists()


def test_half_a_line_of_metrics_is_named(run: Path, tmp_path: Path) -> None:
    broken = copied(run, tmp_path / "a")
    (broken / "metrics.jsonl").write_text('{"epoch": 1}\n{"epo')
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 2: not valid JSON"):
        write_report([broken], tmp_path / "out")


def test_the_command_writes_a_report(run: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["report", str(run), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "report.md").exists()


def test_published_tables_are_whole() -> None:
    for benchmark in benchmarks().values():
        methods = {row.method for row in benchmark.accuracy}
        assert {cost.method for cost in benchmark.efficiency} <= methods
        assert all(len(row.values) == len(benchmark.measures) == 4 for row in benchmark.accuracy)
        assert all(0 < value < 100 for row in benchmark.accuracy for value in row.values if value is not None)
        assert {row.supervision for row in benchmark.accuracy} == {"full", "weak", "point"}
    assert [benchmark_of(name) for name in ("CharadesSTA", "Charades-STA", "ActivityNet", "TACoS", "demo")] == [
        "charades",
        "charades",
        "activitynet",
        "tacos",
        None,
    ]


def model_of(name: str) -> tuple[CFMR, Any]:
    config = load_config(ROOT / "config" / CONFIGS[name])
    return CFMR.from_config(config, config.dataset.vocab_size).eval(), config


def all_positions(words: int, concepts: int) -> int:
    """Multiply-adds of a text encoder that computes every position, written out (docs/reproduction.md)."""
    length, d = words + 2, 256
    return length * 300 * d + 3 * (8 * length * d * d + 2 * length * length * d) + d * d + d * concepts * d


@pytest.mark.parametrize("name", CONFIGS)
def test_the_written_out_cost_is_what_pytorch_counts(name: str) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    from cfmr.models.cfmr.pytorch import reference as plain

    model, config = model_of(name)
    for words in (1, 8, 20):
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            plain.encode_text_online(model, torch.zeros(1, words, 300), torch.tensor([words]))
        assert counter.get_total_flops() / 2 == all_positions(words, config.model.config.num_concept)
        assert count_flops(model, words, 300) < all_positions(words, config.model.config.num_concept)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_published_cost_is_that_of_an_everyday_sentence(shared: Path, name: str) -> None:
    """It lies between what the middle half of the test sentences costs; a full stop counts as a word in it."""
    _, config = model_of(name)
    rows = json.loads((shared / "data" / name / f"glance_test_{name}.json").read_text())
    words = [min(len(tokenize(row[3])) + 1, 20) for row in rows]
    (published,) = [cost.flops for cost in benchmarks()[name].efficiency if cost.method == "CFMR"]
    low, high = (all_positions(int(np.quantile(words, q)), config.model.config.num_concept) / 1e8 for q in (0.25, 0.75))
    assert low <= published <= high


@pytest.mark.parametrize(("name", "owned"), [("charades", 2_975_744), ("activitynet", 3_041_536)])
def test_the_parameters_read_online_are_the_published_ones_without_cross_attention(name: str, owned: int) -> None:
    model, _ = model_of(name)
    parameters = dict(model.named_parameters())
    text = {key: value.numel() for key, value in parameters.items() if key.startswith(("txt_encoder", "word_fc"))}
    assert sum(text.values()) == owned
    never = sum(size for key, size in text.items() if "encoder_attn" in key)
    assert count_parameters(model, 300) == owned - never + 2 * 300  # the start and prediction vectors
