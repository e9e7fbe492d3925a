import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cfmr.cli import app
from cfmr.config import load_config
from cfmr.data.features import FeatureStore
from cfmr.errors import InputError
from cfmr.models.base import load_model
from cfmr.models.checkpoint import Checkpoint
from cfmr.models.convert import convert
from tests.support.worlds import World, make_world

ms = pytest.importorskip("mindspore")

from cfmr.models import mindspore as models  # noqa: E402
from cfmr.training import mindspore as training  # noqa: E402
from cfmr.training.backends import find_training  # noqa: E402

ROOT = Path(__file__).parents[4]


def run(world: World, name: str, backend: Any = training, **options: Any) -> dict[str, Any]:
    options.setdefault("select", "last")
    return backend.train(load_config(world.config), world.root / name, **options)


def weights(world: World, name: str) -> dict[str, np.ndarray]:
    return Checkpoint.load(world.root / name / "checkpoint").parameters


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world with a finished run."""
    world = make_world(tmp_path_factory.mktemp("mindspore"))
    run(world, "run", select="validation")
    return world


def test_a_run_leaves_all_its_files(trained: World) -> None:
    folder = trained.root / "run"
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "metrics.jsonl", "metrics.json", "checkpoint", "last", "tensorboard",
    }  # fmt: skip
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert {"test", "best_constant", "corpus"} <= json.loads((folder / "metrics.json").read_text()).keys()


def test_a_run_broken_off_in_mid_epoch_ends_like_an_unbroken_one(
    trained: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = training.Trainer.train_step

    def interrupted(self: training.Trainer, *arguments: Any) -> dict[str, float]:
        if self.step == 4:  # in the second epoch
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(training.Trainer, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(trained, "broken", select="validation")
    monkeypatch.undo()
    resumed = run(trained, "broken", select="validation", resume=trained.root / "broken")
    assert resumed == json.loads((trained.root / "run/metrics.json").read_text())
    assert same(weights(trained, "broken"), weights(trained, "run"))


def test_a_run_killed_without_warning_resumes(tmp_path: Path) -> None:
    world = make_world(tmp_path, videos=8, epochs=3)
    command = [sys.executable, str(ROOT / "train_ms.py"), "--config-path", str(world.config), "--select", "last"]
    options: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([*command, "--log", str(world.root), "--tag", "killed", "--seed", "8"], **options) as process:
        while not (world.root / "killed/last").exists():
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.01)
        process.kill()
    assert not (world.root / "killed/metrics.json").exists()
    assert run(world, "killed", resume=world.root / "killed") == run(world, "whole")
    assert same(weights(world, "killed"), weights(world, "whole"))


def test_another_seed_gives_other_weights(trained: World) -> None:
    trained_again = run(trained, "other", seed=3, select="validation")
    assert trained_again["epoch"] in (1, 2)
    assert not same(weights(trained, "other"), weights(trained, "run"))


def vectors(world: World, checkpoint: Checkpoint, backend: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    model = load_model(checkpoint, backend)
    features = FeatureStore(world.features).read("v00")
    sentences = checkpoint.vocabulary.vectors[np.array([[1, 2, 3], [4, 5, 0]])]
    rows: Any = model
    assert rows.row_map()[0].shape == (3, 16, 16)
    return (
        model.video_vectors(features)[0],
        model.text_vectors(sentences, np.array([3, 2])),
        rows.encode_rows(features)[0],
    )


@pytest.mark.parametrize("trainer", ["mindspore", "pytorch"])
def test_a_checkpoint_gives_the_same_vectors_on_both_backends(trained: World, trainer: str) -> None:
    pytest.importorskip("torch")
    from cfmr.training import pytorch

    if trainer == "pytorch":
        run(trained, "torch", pytorch)
    checkpoint = Checkpoint.load(trained.root / ("run" if trainer == "mindspore" else "torch") / "checkpoint")
    for one, other in zip(
        vectors(trained, checkpoint, "mindspore"), vectors(trained, checkpoint, "pytorch"), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-5)


def test_a_run_of_one_backend_is_carried_on_by_the_other(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from cfmr.training import pytorch

    world = make_world(tmp_path, videos=8, dropout=0.0, epochs=3)
    for name in ("torch", "mixed"):
        run(world, name, pytorch)
    world.edit_config(train={"max_num_epochs": 4})
    run(world, "torch", pytorch, resume=world.root / "torch")
    run(world, "mixed", resume=world.root / "mixed")
    curves = [
        [json.loads(line)["loss"] for line in (world.root / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("torch", "mixed")
    ]
    assert len(curves[0]) == 4
    assert curves[1] == pytest.approx(curves[0], rel=1e-4)


def test_both_backends_take_the_same_twenty_steps(tmp_path: Path) -> None:
    """Same seed, no dropout: the same weights and batches, the same losses, each of them, and the same figures."""
    pytest.importorskip("torch")
    from cfmr.training import pytorch

    world = make_world(tmp_path, videos=8, dropout=0.0)
    world.edit_config(loss={"use_ref_words_rec": True, "use_ref_words_sam": True})
    world.edit_config(train={"max_num_epochs": 10, "batch_size": 9})
    curves: dict[str, list[dict[str, float]]] = {"pytorch": [], "mindspore": []}

    def recorded(trainer: type, curve: list[dict[str, float]]) -> type:
        class Recorded(trainer):  # type: ignore[misc]
            def train_step(self, batch: Any, progress: float) -> dict[str, float]:
                curve.append(super().train_step(batch, progress))
                return curve[-1]

        return Recorded

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pytorch, "CFMRTrainer", recorded(pytorch.CFMRTrainer, curves["pytorch"]))
        patch.setattr(training, "Trainer", recorded(training.Trainer, curves["mindspore"]))
        figures = [run(world, "torch", pytorch), run(world, "mindspore")]
    assert len(curves["pytorch"]) == len(curves["mindspore"]) == 20
    assert curves["pytorch"][0]["loss"] > curves["pytorch"][-1]["loss"]
    for one, other in zip(curves["pytorch"], curves["mindspore"], strict=True):
        assert other == pytest.approx(one, rel=1e-3)
    assert figures[1]["test"] == figures[0]["test"]


def test_the_command_trains_and_evaluates(trained: World) -> None:
    arguments = ["evaluate", "--config-path", str(trained.config), "--resume", str(trained.root / "run"), "--json"]
    result = CliRunner().invoke(app, [*arguments, "--backend", "mindspore", "--device", "CPU"])
    assert result.exit_code == 0, result.output
    figures = json.loads((trained.root / "run/metrics.json").read_text())
    assert json.loads(result.stdout)["test"] == figures["test"]


@pytest.mark.parametrize("device", ["Ascend", "GPU", "nonsense", "CPU:x"])
def test_a_device_that_is_not_there_is_named(trained: World, device: str) -> None:
    if device == "GPU" and ms.device_context.gpu.is_available():
        pytest.skip("it is there")
    with pytest.raises(InputError, match=f"--device {device}: not found"):
        run(trained, "nowhere", device=device)
    assert not (trained.root / "nowhere/metrics.jsonl").exists()


def test_parameters_of_another_size_are_named(trained: World) -> None:
    checkpoint = Checkpoint.load(trained.root / "run/checkpoint")
    checkpoint.parameters["word_fc.bias"] = np.zeros(3, np.float32)
    with pytest.raises(InputError, match=r"parameter 'word_fc\.bias'"):
        models.restore(checkpoint)


def test_numpy_2_is_named_before_anything_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "__version__", "2.4.6")
    with pytest.raises(InputError, match=r"needs numpy below 2, here is 2\.4\.6"):
        find_training("mindspore")


def test_a_file_that_mindspore_saved_is_converted(trained: World, tmp_path: Path) -> None:
    checkpoint = Checkpoint.load(trained.root / "run/checkpoint")
    ms.save_checkpoint(models.restore(checkpoint), str(tmp_path / "model.ckpt"))
    config = json.loads(trained.config.read_text())
    config["dataset"]["vocab_path"] = ""
    (tmp_path / "config.json").write_text(json.dumps(config))
    converted, _ = convert(tmp_path / "model.ckpt", tmp_path / "config.json")
    assert same(converted.parameters, checkpoint.parameters)


def test_a_checkpoint_is_indexed_and_searched_where_pytorch_is_not(
    trained: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    said = ["--annotations", str(trained.training), "--annotations", str(trained.test)]
    index = str(tmp_path / "index")
    arguments = ["index", "--checkpoint", str(trained.root / "run/checkpoint"), "--features", str(trained.features)]
    built = CliRunner().invoke(app, [*arguments, *said, "--out", index, "--backend", "mindspore"])
    assert built.exit_code == 0, built.output
    found = CliRunner().invoke(app, ["search", "dog runs", "--index", index, "--top", "3"])
    assert found.exit_code == 0, found.output
    assert "of 12 videos" in found.stdout
