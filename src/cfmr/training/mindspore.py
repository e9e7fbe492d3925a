"""Training on MindSpore: a step. Its course is in `trainer.py`."""

from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, ops

from cfmr.config import CFMRConfig, Config
from cfmr.models.cfmr.batches import Batch
from cfmr.models.cfmr.mindspore.losses import Criterion
from cfmr.models.cfmr.mindspore.model import CFMR
from cfmr.models.checkpoint import Tensors
from cfmr.models.mindspore import build_model, load_parameters, require_cfmr, use_device
from cfmr.progress import TrainingProgress, silent
from cfmr.training import trainer
from cfmr.training.data import RunData
from cfmr.training.run import RunDirectory, Select
from cfmr.training.trainer import GRADIENT_NORM, run_training, training_set


class Adam:
    """Adam as PyTorch has it: epsilon is added to the corrected root, where MindSpore's own adds it to the raw one.

    Args:
        parameters: by their names in a checkpoint.
    """

    DECAYS = (0.9, 0.999)
    EPSILON = 1e-8

    def __init__(self, parameters: dict[str, Parameter], weight_decay: float) -> None:
        self.parameters, self.weight_decay = parameters, weight_decay
        self.mean, self.square = (
            {name: Parameter(ops.zeros_like(value), name=f"{kind}/{name}") for name, value in parameters.items()}
            for kind in ("exp_avg", "exp_avg_sq")
        )
        self.step = 0
        self._update = ops.Adam()

    def update(self, gradients: list[Tensor], rate: float) -> None:
        """One step against gradients in the order of the parameters."""
        self.step += 1
        first, second = (decay**self.step for decay in self.DECAYS)
        numbers = [first, second, rate, *self.DECAYS, self.EPSILON * (1 - second) ** 0.5]
        settings = [Tensor(number, ms.float32) for number in numbers]
        for (name, parameter), gradient in zip(self.parameters.items(), gradients, strict=True):
            if self.weight_decay:
                gradient = gradient + self.weight_decay * parameter
            self._update(parameter, self.mean[name], self.square[name], *settings, gradient)


class Trainer(trainer.GradientTrainer[Batch]):
    """One run.

    Args:
        config: what to train.
        directory: where the run is written.
        data: checked rows.
        select: which epoch becomes the checkpoint.
    """

    def __init__(
        self,
        config: CFMRConfig,
        directory: RunDirectory,
        data: RunData,
        *,
        seed: int,
        select: Select,
        device: str = "cpu",
    ) -> None:
        use_device(device)
        self.model = build_model(config, len(data.vocabulary))
        rows = training_set(config, data, self.model.kept_clips)
        super().__init__(self.model, rows, config, directory, data, seed=seed, select=select)
        self.criterion = Criterion(config.loss)
        self.trained = trained_parameters(self.model)
        self.optimizer = Adam(self.trained, config.train.optimizer.weight_decay)
        self._parts: list[str] = []
        self._gradients = ms.value_and_grad(
            self._losses, None, ParameterTuple(list(self.trained.values())), has_aux=True
        )

    # --- a step -------------------------------------------------------------------------------------------------------

    def start_epoch(self, epoch: int) -> None:
        # MindSpore's seeds are signed
        ms.set_seed(int(np.random.SeedSequence([self.seed, epoch, 0]).generate_state(1)[0] >> 1))
        self.model.set_train(True)

    def stop_training(self) -> None:
        self.model.set_train(False)

    def train_step(self, batch: Batch, progress: float) -> dict[str, float]:
        """One update.

        Returns:
            the loss and its parts.
        """
        self.step += 1
        (_, values), gradients = self._gradients(batch, progress)
        self.optimizer.update(clipped(list(gradients)), self.rate())
        return dict(zip(["loss", *self._parts], values.asnumpy().tolist(), strict=True))

    def _losses(self, batch: Batch, progress: float) -> tuple[Tensor, Tensor]:
        """The loss; and with its parts, to be reported."""
        losses = self.criterion(self.model(batch, progress))
        self._parts = list(losses.parts)
        return losses.total, ops.stack([losses.total, *losses.parts.values()])

    # --- what a checkpoint holds --------------------------------------------------------------------------------------

    def parameters(self) -> Tensors:
        return {name: value.asnumpy().copy() for name, value in self.model.checkpoint_parameters().items()}

    def load_parameters(self, parameters: Tensors) -> None:
        load_parameters(self.model, parameters)

    def optimizer_state(self) -> Tensors:
        found: Tensors = {}
        for name in self.trained if self.optimizer.step else ():
            found[f"{name}/step"] = np.array(self.optimizer.step, np.float32)
            found[f"{name}/exp_avg"] = self.optimizer.mean[name].asnumpy().copy()
            found[f"{name}/exp_avg_sq"] = self.optimizer.square[name].asnumpy().copy()
        return found

    def load_optimizer_state(self, state: Tensors) -> None:
        for name in self.trained:
            if f"{name}/step" in state:
                self.optimizer.step = int(state[f"{name}/step"])
                self.optimizer.mean[name].set_data(Tensor(np.array(state[f"{name}/exp_avg"])))
                self.optimizer.square[name].set_data(Tensor(np.array(state[f"{name}/exp_avg_sq"])))


def trained_parameters(model: CFMR) -> dict[str, Parameter]:
    """Parameters that a loss depends on. Encoders own a cross-attention that they never run."""

    def read(name: str) -> bool:
        return name != "vid_pred_vec" and ("encoder_attn" not in name or name.startswith("cross_decoder"))

    return {name: value for name, value in model.checkpoint_parameters().items() if read(name)}


def clipped(gradients: list[Tensor], limit: float = GRADIENT_NORM) -> list[Tensor]:
    """Scaled down to the given norm of all together, where it is larger."""
    norm = ops.sqrt(ops.stack([ops.square(gradient).sum() for gradient in gradients]).sum())
    scale = ops.minimum(limit / (norm + 1e-6), Tensor(1.0, ms.float32))
    return [gradient * scale for gradient in gradients]


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

    def start(run: RunDirectory, data: RunData) -> Trainer:
        return Trainer(require_cfmr(config), run, data, seed=seed, select=select, device=device)

    return run_training(start, config, directory, resume=resume, seed=seed, select=select, progress=progress)
