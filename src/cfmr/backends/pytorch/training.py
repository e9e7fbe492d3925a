"""Training on PyTorch: batches in, checkpoints out. Can be killed at any moment and resumed.

Every epoch draws its random numbers from (seed, epoch) alone, so a resumed run takes the steps of an unbroken one.
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn

from cfmr.annotations import Annotation
from cfmr.backends.pytorch.losses import Criterion
from cfmr.backends.pytorch.model import CFMR
from cfmr.batches import Batch, TrainingSet
from cfmr.checkpoints import Checkpoint, Tensors, check_parameters
from cfmr.config import Config, Optimizer
from cfmr.errors import InputError
from cfmr.evaluation import constant_answer, encode, evaluate, evaluate_corpus, evaluate_glances
from cfmr.files import write_json
from cfmr.runs import RunData, RunDirectory, Select, load_data

GRADIENT_NORM = 10.0


def learning_rate(config: Optimizer, step: int) -> float:
    """Linear warm-up, then falling with the root of the step (Method, Losses). The first step is step 1."""
    if step < config.warmup_updates:
        return config.warmup_init_lr + (config.lr - config.warmup_init_lr) * step / config.warmup_updates
    return float(config.lr * (config.warmup_updates / step) ** 0.5)


def build_model(config: Config, words: int) -> CFMR:
    """A new model for a vocabulary of so many words, with random parameters."""
    return CFMR.from_config(config, words)


def restore(checkpoint: Checkpoint, device: str = "cpu") -> CFMR:
    """The model of a checkpoint, in evaluation mode. Raises InputError if its parameters do not fit."""
    model = build_model(checkpoint.config, len(checkpoint.vocabulary))
    load_parameters(model, checkpoint.parameters)
    return model.to(find_device(device)).eval()


def load_parameters(model: nn.Module, parameters: Tensors) -> None:
    """Raises InputError naming the first parameter that does not fit."""
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    check_parameters(parameters, expected, "model.safetensors")
    model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in parameters.items()})


def find_device(name: str) -> torch.device:
    """Raises InputError if there is no such device."""
    try:
        device = torch.device(name.lower().replace("gpu", "cuda"))
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name}: not found on this machine; try --device cpu") from error
    return device


@dataclass(frozen=True)
class Processes:
    """The processes that train together, one of them where torchrun is not used."""

    rank: int = 0
    number: int = 1

    @classmethod
    @contextmanager
    def joined(cls, device: str) -> Iterator["Processes"]:
        """Join the processes that torchrun started."""
        if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
            yield cls()
            return
        dist.init_process_group("nccl" if find_device(device).type == "cuda" else "gloo")
        try:
            yield cls(dist.get_rank(), dist.get_world_size())
        finally:
            dist.destroy_process_group()

    @property
    def first(self) -> bool:
        return self.rank == 0

    def sum(self, tensors: list[Tensor]) -> None:
        """Add up over all processes, in place."""
        if self.number > 1:
            for tensor in tensors:
                dist.all_reduce(tensor)


class Trainer:
    """One run.

    Args:
        config: what to train.
        directory: where the run is written.
        data: checked rows.
        select: which epoch becomes the checkpoint.
    """

    def __init__(
        self,
        config: Config,
        directory: RunDirectory,
        data: RunData,
        *,
        seed: int,
        select: Select,
        device: str = "cpu",
        processes: Processes | None = None,
    ) -> None:
        self.config, self.directory, self.data = config, directory, data
        self.seed, self.select = seed, select
        self.processes = processes or Processes()
        torch.manual_seed(seed)
        self.model = build_model(config, len(data.vocabulary)).to(find_device(device))
        self.criterion = Criterion(config.loss)
        optimizer = config.train.optimizer
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=optimizer.lr, weight_decay=optimizer.weight_decay, fused=True
        )
        self.epoch, self.step = 0, 0
        self.best: dict[str, Any] = {}
        self.lines: list[dict[str, Any]] = []
        self.training = TrainingSet(
            data.training,
            data.features,
            data.vocabulary,
            max_num_frames=config.dataset.max_num_frames,
            max_num_words=config.dataset.max_num_words,
            kept=self.model.kept_clips,
        )

    # --- one epoch after the other ------------------------------------------------------------------------------------

    def run(self, console: Console) -> dict[str, Any]:
        """Train to the end and return the final figures."""
        if self.processes.first:
            self.directory.write_config(self.config)
        with self._progress(console) as progress:
            for epoch in range(self.epoch + 1, self.config.train.max_num_epochs + 1):
                line = self._train_epoch(epoch, progress)
                line |= self._validate()
                self._keep(line, progress)
        return self._finish(console) if self.processes.first else {}

    def _progress(self, console: Console) -> Progress:
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
            disable=not self.processes.first,
        )

    def _train_epoch(self, epoch: int, progress: Progress) -> dict[str, Any]:
        size = self.config.train.batch_size
        total = self.config.train.max_num_epochs
        task = progress.add_task(f"epoch {epoch}/{total}", total=self.training.num_batches(size), figures="")
        torch.manual_seed(int(np.random.SeedSequence([self.seed, epoch, self.processes.rank]).generate_state(1)[0]))
        self.model.train()
        sums: dict[str, float] = {}
        began = time.monotonic()
        rows = 0
        for batch in self.training.epoch(size, np.random.default_rng([self.seed, epoch])):
            parts = self.train_step(batch, epoch / total)
            rows += len(batch)
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + value * len(batch)
            rate = learning_rate(self.config.train.optimizer, self.step)
            progress.update(task, advance=1, figures=f"loss {parts['loss']:.3f}  lr {rate:.1e}")
        self.epoch = epoch
        progress.update(task, visible=False)
        return {
            "epoch": epoch,
            "step": self.step,
            **{name: round(value / rows, 6) for name, value in sums.items()},
            "lr": learning_rate(self.config.train.optimizer, self.step),
            "seconds": round(time.monotonic() - began, 2),
        }

    def train_step(self, batch: Batch, progress: float) -> dict[str, float]:
        """One update. With several processes each takes its share of the rows; gradients are those of the whole batch.

        Returns:
            the loss and its parts.
        """
        self.step += 1
        share = batch.share(self.processes.rank, self.processes.number)
        weight = len(share) / len(batch)
        if not len(share):  # more processes than rows
            share = batch.share(0, len(batch))
        self.optimizer.zero_grad()
        losses = self.criterion(self.model(share, progress))
        (losses.total * weight).backward()
        self._share_gradients()
        nn.utils.clip_grad_norm_(self.model.parameters(), GRADIENT_NORM)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config.train.optimizer, self.step)
        self.optimizer.step()
        parts = {"loss": losses.total, **losses.parts}
        values = torch.stack([value.detach() for value in parts.values()]) * weight
        self.processes.sum([values])
        return dict(zip(parts, values.tolist(), strict=True))

    def _share_gradients(self) -> None:
        if self.processes.number == 1:
            return
        for parameter in self.model.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            self.processes.sum([parameter.grad])

    # --- which epoch is kept ------------------------------------------------------------------------------------------

    def measure(self, rows: list[Annotation]) -> dict[str, float]:
        """Figures on rows with spans; where a row has none, how often the best answer contains the glance."""
        self.model.eval()
        config = self.config.dataset
        encoded = encode(self.model, rows, self.data.features, self.data.vocabulary, config.max_num_words)
        if all(row.span for row in rows):
            return evaluate(self.model, rows, encoded)
        return {"R@1,glance": round(evaluate_glances(self.model, rows, encoded), 2)}

    def _validate(self) -> dict[str, Any]:
        if not self.processes.first or self.select == "last":
            return {}
        rows = self.data.test if self.select == "test" else self.data.validation
        return {self.select: self.measure(rows)}

    def _keep(self, line: dict[str, Any], progress: Progress) -> None:
        """Write the epoch down. `last` is written at the end, so that a run killed before repeats the epoch."""
        if not self.processes.first:
            return
        self.lines.append(line)
        figures = line.get(self.select, {})
        value = figures.get("R@1,mIoU", figures.get("R@1,glance", float(self.epoch)))
        if not self.best or value > self.best["value"]:
            self.best = {"epoch": self.epoch, "value": value, "selected_on": self.select}
            self._checkpoint(with_optimizer=False).save(self.directory.chosen)
        self._log(line)
        self.directory.write_epochs(self.lines)
        self._checkpoint(with_optimizer=True).save(self.directory.last)
        shown = "  ".join(
            f"{name} {figures[name]:.1f}" for name in ("R@1,IoU=0.5", "R@1,mIoU", "R@1,glance") if name in figures
        )
        progress.console.print(f"epoch {self.epoch}: loss {line['loss']:.3f}  {shown}", highlight=False)

    def _log(self, line: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(str(self.directory.tensorboard)) as writer:
            for name, value in line.items():
                for label, number in value.items() if isinstance(value, dict) else [("", value)]:
                    tag = f"{name}/{label}" if label else f"training/{name}"
                    writer.add_scalar(tag, number, line["epoch"])

    def _finish(self, console: Console) -> dict[str, Any]:
        chosen = Checkpoint.load(self.directory.chosen)
        load_parameters(self.model, chosen.parameters)
        encoded = self._encode_test()
        figures = {
            "epoch": chosen.state["epoch"],
            "selected_on": self.select,
            "test": evaluate(self.model, self.data.test, encoded),
            "corpus": evaluate_corpus(self.model, self.data.test, encoded),
            "best_constant": constant_answer(self.data.test),
            "sentences": len(self.data.test),
            "videos": len(encoded.videos),
            "features": self.data.features.attributes | {"path": self.config.dataset.feature_path},
        }
        if self.select == "test":
            console.print(
                "The epoch was chosen on the test split, as the original release does: no honest test figure."
            )
        write_json(self.directory.final, figures)
        return figures

    def _encode_test(self) -> Any:
        self.model.eval()
        words = self.config.dataset.max_num_words
        return encode(self.model, self.data.test, self.data.features, self.data.vocabulary, words)

    # --- checkpoints --------------------------------------------------------------------------------------------------

    def _checkpoint(self, *, with_optimizer: bool) -> Checkpoint:
        parameters = {name: value.detach().cpu().numpy() for name, value in self.model.state_dict().items()}
        state: dict[str, Any] = {"epoch": self.epoch, "seed": self.seed, "select": self.select, "best": self.best}
        durations = self.training.durations
        state["durations"] = {"median": float(np.median(durations)), "longest": float(durations.max())}
        optimizer: Tensors = {}
        if with_optimizer:
            state |= {"step": self.step, "lines": self.lines}
            for name, parameter in self.model.named_parameters():
                for key, value in self.optimizer.state.get(parameter, {}).items():
                    optimizer[f"{name}/{key}"] = value.detach().cpu().numpy()
        return Checkpoint(self.config, self.data.vocabulary, parameters, state, optimizer)

    def resume(self, checkpoint: Checkpoint, source: str) -> None:
        """Carry on from a checkpoint with an optimiser. Raises InputError if it is of another run."""
        state = checkpoint.state
        if "step" not in state:
            raise InputError(f"{source}: holds a model only; resume from the run's 'last'")
        if checkpoint.config.model != self.config.model or checkpoint.vocabulary.words != self.data.vocabulary.words:
            raise InputError(f"{source}: was trained with another configuration or vocabulary")
        if (state["seed"], state["select"]) != (self.seed, self.select):
            raise InputError(
                f"{source}: was trained with --seed {state['seed']} --select {state['select']}; give the same"
            )
        load_parameters(self.model, checkpoint.parameters)
        device = self.model.mask_vec.device
        for name, parameter in self.model.named_parameters():
            moments = {
                key: torch.from_numpy(np.array(checkpoint.optimizer[f"{name}/{key}"]))
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"{name}/{key}" in checkpoint.optimizer
            }
            if moments:
                self.optimizer.state[parameter] = {
                    key: value if key == "step" else value.to(device) for key, value in moments.items()
                }
        self.epoch, self.step = state["epoch"], state["step"]
        self.best, self.lines = state["best"], state["lines"]


def train(
    config: Config,
    directory: Path,
    *,
    resume: Path | None = None,
    seed: int = 8,
    select: Select = "validation",
    device: str = "cpu",
    console: Console | None = None,
) -> dict[str, Any]:
    """Train a model and measure it once on the test split.

    Args:
        directory: where the run is written.
        resume: the `last` of an interrupted run, or the run's directory.

    Returns:
        the final figures, as written to `metrics.json`.
    """
    console = console or Console()
    with Processes.joined(device) as processes:
        data = load_data(config, select, seed)
        run = RunDirectory(directory)
        trainer = Trainer(config, run, data, seed=seed, select=select, device=device, processes=processes)
        if resume is not None:
            source = resume / "last" if (resume / "last").is_dir() else resume
            trainer.resume(Checkpoint.load(source), str(source))
        return trainer.run(console)
