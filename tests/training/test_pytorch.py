import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cfmr.config import Optimizer, load_config
from cfmr.console.tables import print_run
from cfmr.errors import InputError
from cfmr.models.checkpoint import Checkpoint
from cfmr.training.data import load_data
from cfmr.training.trainer import learning_rate
from tests.support.worlds import World, make_world

torch = pytest.importorskip("torch")

from cfmr.models import pytorch as models  # noqa: E402
from cfmr.training import pytorch as training  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def run(world: World, name: str, **options: Any) -> dict[str, Any]:
    options.setdefault("select", "last")
    return training.train(load_config(world.config), world.root / name, **options)


def weights(world: World, name: str) -> dict[str, np.ndarray]:
    return Checkpoint.load(world.root / name / "checkpoint").parameters


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_the_learning_rate_rises_then_falls_with_the_root_of_the_step() -> None:
    optimizer = Optimizer(lr=4e-4, warmup_updates=400, warmup_init_lr=1e-7)
    assert learning_rate(optimizer, 200) == pytest.approx(2e-4, rel=1e-3)
    assert learning_rate(optimizer, 400) == pytest.approx(4e-4)
    assert learning_rate(optimizer, 1600) == pytest.approx(2e-4)


def test_a_run_leaves_all_its_files(world: World) -> None:
    figures = run(world, "run", select="validation")
    folder = world.root / "run"
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "metrics.jsonl", "metrics.json", "checkpoint", "last", "tensorboard",
    }  # fmt: skip
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert {"loss", "reconstruction/video", "lr", "validation"} <= lines[0].keys()
    assert json.loads((folder / "metrics.json").read_text()) == json.loads(json.dumps(figures))
    assert {"test", "best_constant", "corpus"} <= figures.keys()


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(world: World) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(world, name, seed=seed)
    assert same(weights(world, "a"), weights(world, "b"))
    assert not same(weights(world, "a"), weights(world, "c"))


def test_start_and_end_of_training_moments_change_nothing(world: World) -> None:
    run(world, "with-spans")
    rows = json.loads(world.training.read_text())
    world.training.write_text(
        json.dumps([[video, length, None, said, glance] for video, length, _, said, glance in rows])
    )
    run(world, "without")
    assert same(weights(world, "with-spans"), weights(world, "without"))


def test_a_run_needs_no_test_split(world: World) -> None:
    world.edit_config(dataset={"test_data": "", "val_data": None})
    figures = run(world, "run")
    assert (figures["test"], figures["sentences"]) == ({}, 0)
    with pytest.raises(InputError, match="test_data"):
        run(world, "other", select="test")


def test_without_spans_the_epoch_is_chosen_by_the_glances_it_hits(world: World) -> None:
    rows = json.loads(world.training.read_text())
    world.training.write_text(
        json.dumps([[video, length, None, said, glance] for video, length, _, said, glance in rows])
    )
    run(world, "run", select="validation")
    lines = [json.loads(line) for line in (world.root / "run/metrics.jsonl").read_text().splitlines()]
    assert lines[0]["validation"].keys() == {"R@1,glance"}


def test_videos_held_out_for_validation_are_not_trained_on(world: World) -> None:
    config = load_config(world.config)
    data = load_data(config, "validation", seed=3)
    assert data.validation
    assert not {row.video for row in data.training} & {row.video for row in data.validation}
    assert len(data.training) + len(data.validation) == len(json.loads(world.training.read_text()))


def test_a_run_broken_off_in_mid_epoch_ends_like_an_unbroken_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.edit_config(train={"max_num_epochs": 3})
    whole = run(world, "whole", select="validation")
    step = training.CFMRTrainer.train_step

    def interrupted(self: training.CFMRTrainer, *arguments: Any) -> dict[str, float]:
        if self.step == 6:  # in the second epoch
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(training.CFMRTrainer, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(world, "broken", select="validation")
    monkeypatch.undo()
    resumed = run(world, "broken", select="validation", resume=world.root / "broken")
    assert resumed == whole
    assert same(weights(world, "broken"), weights(world, "whole"))
    assert len((world.root / "broken/metrics.jsonl").read_text().splitlines()) == 3


def test_a_run_whose_last_checkpoint_was_being_replaced_when_it_was_killed_resumes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training.CFMRTrainer, "_finish", ended)
    with pytest.raises(KeyboardInterrupt):
        run(world, "killed", select="last")
    monkeypatch.undo()
    (world.root / "killed/last").rename(world.root / "killed/.last.old")
    assert run(world, "killed", select="last", resume=world.root / "killed")["epoch"] == 2


def test_a_run_killed_in_its_first_epoch_starts_anew(world: World) -> None:
    whole = run(world, "whole", select="last")
    (world.root / "killed").mkdir()
    shutil.copy(world.root / "whole/config.json", world.root / "killed")
    assert run(world, "killed", select="last", resume=world.root / "killed") == whole


def cfmr(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "cfmr.cli", *map(str, arguments)]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}


def test_a_run_killed_without_warning_resumes(tmp_path: Path) -> None:
    world = make_world(tmp_path, epochs=6)
    command = cfmr("train", "--config-path", world.config, "--select", "last", "--log", world.root)
    subprocess.run([*command, "--tag", "whole"], check=True, env=environment(), capture_output=True)
    process = subprocess.Popen(
        [*command, "--tag", "killed"], env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 100
    while not (world.root / "killed/last").exists():
        assert time.monotonic() < deadline, "no epoch was finished"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    resume = [*command, "--tag", "killed", "--resume", str(world.root / "killed")]
    subprocess.run(resume, check=True, env=environment(), capture_output=True)
    figures = [json.loads((world.root / name / "metrics.json").read_text()) for name in ("whole", "killed")]
    assert figures[0] == figures[1]


def test_two_processes_reach_the_losses_of_one(tmp_path: Path) -> None:
    world = make_world(tmp_path, epochs=2, dropout=0.0)
    run(world, "one")
    train = ["-m", "cfmr.cli", "train", "--config-path", str(world.config), "--select", "last"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    launch = [*torchrun, *train, "--log-dir", str(world.root), "--tag", "two"]
    done = subprocess.run(launch, env=environment(), capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    losses = [
        [json.loads(line)["loss"] for line in (world.root / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda w: w.features.unlink(), "features.hdf5"),
        (lambda w: w.edit_config(dataset={"frame_dim": 9}), "frames_input_size is 12 but dataset.frame_dim is 9"),
        (lambda w: rewrite(w, lambda row: row.__setitem__(0, "nowhere")), "no features for 1 of"),
        (lambda w: rewrite(w, lambda row: row.__setitem__(3, "zzzz qqqq")), "has no known word in 'zzzz qqqq'"),
        (lambda w: rewrite(w, lambda row: row.__setitem__(4, None)), "has no glance"),
        (lambda w: rewrite(w, lambda row: row.__setitem__(4, 1e4)), "row 1"),
    ],
)  # fmt: skip
def test_data_that_cannot_be_used_is_named_before_training(world: World, spoil: Any, message: str) -> None:
    spoil(world)
    with pytest.raises(InputError, match=re.escape(message)) as error:
        run(world, "run")
    assert "\n" not in str(error.value)
    assert not (world.root / "run/metrics.jsonl").exists()


def rewrite(world: World, change: Any) -> None:
    rows = json.loads(world.training.read_text())
    change(rows[0])
    world.training.write_text(json.dumps(rows))


def test_a_run_of_another_seed_is_not_carried_on(world: World) -> None:
    run(world, "run", seed=1)
    with pytest.raises(InputError, match="was trained with --seed 1"):
        run(world, "run", seed=2, resume=world.root / "run")


def test_a_checkpoint_without_optimiser_cannot_be_carried_on(world: World) -> None:
    run(world, "run")
    with pytest.raises(InputError, match="holds a model only"):
        run(world, "other", resume=world.root / "run/checkpoint")


def test_parameters_of_another_size_are_named(world: World) -> None:
    run(world, "run")
    checkpoint = Checkpoint.load(world.root / "run/checkpoint")
    checkpoint.parameters["word_fc.bias"] = np.zeros(3, np.float32)
    with pytest.raises(InputError, match=r"parameter 'word_fc\.bias'"):
        models.restore(checkpoint)


def test_a_device_that_is_not_there_is_named(world: World) -> None:
    with pytest.raises(InputError, match="--device nonsense: not found"):
        run(world, "run", device="nonsense")


def test_choosing_on_the_test_split_says_so(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    print_run(run(world, "run", select="test"), world.root / "run")
    assert "chosen on the test split" in capsys.readouterr().out


def test_progress_rises_to_the_whole_and_each_epoch_tells_its_figures(world: World) -> None:
    calls: list[tuple[int, int | None, Any]] = []

    def told(label: str, done: int, total: int | None, metrics: Any = None) -> None:
        calls.append((done, total, metrics))

    run(world, "run", select="validation", progress=told)
    assert len({total for _, total, _ in calls}) == 1
    assert [done for done, _, _ in calls] == sorted(done for done, _, _ in calls)
    assert calls[-1][:2] == (calls[-1][1], calls[-1][1])
    figures = [metrics for _, _, metrics in calls if metrics is not None]
    assert [line["epoch"] for line in figures] == [1, 2]
    assert all({"loss", "R@1,mIoU"} <= line.keys() for line in figures)
