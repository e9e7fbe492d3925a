"""Training on PyTorch: a step, on one process or several. Its course is in `trainer.py`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from cfmr.config import CFMRConfig, Config
from cfmr.models.cfmr.batches import Batch
from cfmr.models.cfmr.losses import Losses
from cfmr.models.cfmr.pytorch.losses import Criterion
from cfmr.models.cfmr.pytorch.model import CFMR
from cfmr.models.checkpoint import Tensors
from cfmr.models.pytorch import find_device, load_parameters
from cfmr.progress import TrainingProgress, silent
from cfmr.training import trainer
from cfmr.training.data import RunData
from cfmr.training.run import RunDirectory, Select
from cfmr.training.trainer import GRADIENT_NORM, OPTIMIZER_STATE, run_training, training_set


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train together, one of them where torchrun is not used."""

    rank: int = 0
    number: int = 1

    @classmethod
    @contextmanager
    def from_torchrun(cls, device: str) -> Iterator["ProcessGroup"]:
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
    def is_main(self) -> bool:
        return self.rank == 0

    def sum(self, tensors: list[Tensor]) -> None:
        """Add up over all processes, in place."""
        if self.number > 1:
            for tensor in tensors:
                dist.all_reduce(tensor)


class TorchTrainer(trainer.Trainer):
    """What every run on PyTorch does alike."""

    model: nn.Module

    def stop_training(self) -> None:
        self.model.eval()

    def parameters(self) -> Tensors:
        return {name: value.detach().cpu().numpy() for name, value in self.model.state_dict().items()}

    def load_parameters(self, parameters: Tensors) -> None:
        load_parameters(self.model, parameters)


class CFMRTrainer(TorchTrainer, trainer.GradientTrainer[Batch]):
    """Trains the published model."""

    def __init__(
        self, config: CFMRConfig, directory: RunDirectory, data: RunData, run: "RunOptions", processes: ProcessGroup
    ) -> None:
        self.processes, self.is_main_process = processes, processes.is_main
        self.model = self.cfmr = CFMR.from_config(config, len(data.vocabulary)).to(find_device(run.device))
        rows = training_set(config, data, self.cfmr.kept_clips)
        super().__init__(self.cfmr, rows, config, directory, data, seed=run.seed, select=run.select)
        self.criterion = Criterion(config.loss)
        optimizer = config.train.optimizer
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=optimizer.lr, weight_decay=optimizer.weight_decay, fused=True
        )

    # --- a step -------------------------------------------------------------------------------------------------------

    def start_epoch(self, epoch: int) -> None:
        torch.manual_seed(int(np.random.SeedSequence([self.seed, epoch, self.processes.rank]).generate_state(1)[0]))
        self.model.train()

    def train_step(self, batch: Batch, progress: float) -> dict[str, float]:
        """One update. With several processes each takes its share of the rows; gradients are those of the whole batch.

        Returns:
            the loss and its parts.
        """
        self.step += 1
        self.optimizer.zero_grad()
        losses, weight = self._losses(batch, progress)
        (losses.total * weight).backward()
        self._share_gradients()
        nn.utils.clip_grad_norm_(self.model.parameters(), GRADIENT_NORM)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        self.optimizer.step()
        parts = {"loss": losses.total, **losses.parts}
        values = torch.stack([value.detach() for value in parts.values()]) * weight
        self.processes.sum([values])
        return dict(zip(parts, values.tolist(), strict=True))

    def _losses(self, batch: Batch, progress: float) -> tuple[Losses[Tensor], float]:
        """The losses of this process's share of a batch, and which part of the whole it is."""
        share = batch.share(self.processes.rank, self.processes.number)
        weight = len(share) / len(batch)
        if not len(share):  # more processes than rows
            share = batch.share(0, len(batch))
        return self.criterion(self.cfmr(share, progress)), weight

    def _share_gradients(self) -> None:
        if self.processes.number == 1:
            return
        for parameter in self.model.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            self.processes.sum([parameter.grad])

    # --- what a checkpoint holds beside parameters --------------------------------------------------------------------

    def optimizer_state(self) -> Tensors:
        return {
            f"{name}/{key}": value.detach().cpu().numpy()
            for name, parameter in self.model.named_parameters()
            for key, value in self.optimizer.state.get(parameter, {}).items()
        }

    def load_optimizer_state(self, state: Tensors) -> None:
        for name, parameter in self.model.named_parameters():
            found = {
                key: torch.from_numpy(np.array(state[f"{name}/{key}"]))
                for key in OPTIMIZER_STATE
                if f"{name}/{key}" in state
            }
            if found:
                self.optimizer.state[parameter] = {
                    key: value if key == "step" else value.to(parameter.device) for key, value in found.items()
                }


@dataclass(frozen=True)
class RunOptions:
    """What is chosen for a run beside its configuration."""

    seed: int
    select: Select
    device: str


def train(
    config: Config,
    directory: Path,
    *,
    resume: Path | None = None,
    seed: int = 8,
    select: Select = "validation",
    device: str = "cpu",
    progress: TrainingProgress = silent,
) -> dict[str, Any]:
    """See `TrainingBackend.train`."""
    with ProcessGroup.from_torchrun(device) as processes:
        options = RunOptions(seed, select, device)

        def start(run: RunDirectory, data: RunData) -> trainer.Trainer:
            assert isinstance(config, CFMRConfig)
            return CFMRTrainer(config, run, data, options, processes)

        return run_training(start, config, directory, resume=resume, seed=seed, select=select, progress=progress)
