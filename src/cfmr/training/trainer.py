"""The course of a training, the same for every backend: epochs, which of them is kept, resuming, the final figures.

Every epoch draws its random numbers from (seed, epoch) alone, so a resumed run takes the steps of an unbroken one.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sized
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from cfmr.config import CFMRConfig, Config, Optimizer
from cfmr.data.annotations import Annotation, by_sentence
from cfmr.errors import InputError
from cfmr.files.atomic import present_directory, write_json
from cfmr.models.base import Model
from cfmr.models.cfmr.batches import TrainingSet
from cfmr.models.cfmr.initialization import initial_parameters
from cfmr.models.checkpoint import Checkpoint, Tensors
from cfmr.models.encode import Encoded, encode
from cfmr.progress import TrainingProgress, silent
from cfmr.training.data import RunData, load_data
from cfmr.training.evaluation import constant_answer, evaluate, evaluate_corpus, evaluate_glances
from cfmr.training.run import RunDirectory, Select

BatchType = TypeVar("BatchType", bound=Sized)
BatchOf = TypeVar("BatchOf", bound=Sized, covariant=True)

GRADIENT_NORM = 10.0
OPTIMIZER_STATE = ("step", "exp_avg", "exp_avg_sq")  # Adam's of a parameter, in a checkpoint as PARAMETER/STATE


def learning_rate(config: Optimizer, step: int) -> float:
    """Linear warm-up, then falling with the root of the step (Method, Losses). The first step is step 1."""
    if step < config.warmup_updates:
        return config.warmup_init_lr + (config.lr - config.warmup_init_lr) * step / config.warmup_updates
    return float(config.lr * (config.warmup_updates / step) ** 0.5)


class BatchSource(Protocol[BatchOf]):
    """Training rows that come in batches."""

    def num_batches(self, size: int) -> int:
        """Batches of an epoch."""

    def epoch(self, size: int, rng: np.random.Generator) -> Iterator[BatchOf]:
        """All rows once, in random order."""


def training_set(config: Config, data: RunData, kept: NDArray[np.int64]) -> TrainingSet:
    """The rows of a run for a model that keeps some clips of every video."""
    sizes = config.dataset
    return TrainingSet(
        data.training,
        data.features,
        data.vocabulary,
        max_num_frames=sizes.max_num_frames,
        max_num_words=sizes.max_num_words,
        kept=kept,
    )


class Trainer(ABC):
    """One run. A subclass says what an epoch is, how to get parameters in and out, and which model is measured.

    Args:
        config: what to train.
        directory: where the run is written.
        data: checked rows.
        select: which epoch becomes the checkpoint.
    """

    is_main_process = True  # the one of several that validates and writes

    _model: Model  # as it is after the last epoch

    def __init__(self, config: Config, directory: RunDirectory, data: RunData, *, seed: int, select: Select) -> None:
        self.config, self.directory, self.data = config, directory, data
        self.seed, self.select = seed, select
        self.epoch, self.step = 0, 0
        self.best: dict[str, Any] = {}
        self.lines: list[dict[str, Any]] = []

    # --- what a backend adds ------------------------------------------------------------------------------------------

    @abstractmethod
    def train_epoch(self, epoch: int, progress: TrainingProgress) -> dict[str, Any]:
        """One pass over the rows. Returns a line of `metrics.jsonl`: the loss, its parts and what else there is."""

    @abstractmethod
    def stop_training(self) -> None:
        """Evaluation mode."""

    @abstractmethod
    def parameters(self) -> Tensors:
        """The model's parameters, by the names of the original's checkpoints."""

    @abstractmethod
    def load_parameters(self, parameters: Tensors) -> None:
        """Raises InputError naming the first parameter that does not fit."""

    def optimizer_state(self) -> Tensors:
        """What the optimiser keeps of each parameter, if there is one; see `OPTIMIZER_STATE`."""
        return {}

    def load_optimizer_state(self, state: Tensors) -> None:  # noqa: B027
        """Carry on from these."""

    # --- one epoch after the other ------------------------------------------------------------------------------------

    def run(self, progress: TrainingProgress = silent) -> dict[str, Any]:
        """Train to the end and return the final figures."""
        if self.is_main_process:
            self.directory.settle()
            self.directory.write_config(self.config)
        else:
            progress = silent
        epochs = self.config.train.epochs
        for epoch in range(self.epoch + 1, epochs + 1):
            began = time.monotonic()
            figures = self.train_epoch(epoch, progress)
            self.epoch = epoch
            line = {"epoch": epoch, "step": self.step, **figures, "seconds": round(time.monotonic() - began, 2)}
            line |= self._validate()
            self._save_epoch(line)
            steps = self.epoch_steps()
            progress(f"epoch {epoch}/{epochs}", epoch * steps, epochs * steps, _flat(line))
        return self._finish() if self.is_main_process else {}

    def epoch_steps(self) -> int:
        """Steps of an epoch, of which progress is told."""
        return 1

    # --- which epoch is kept ------------------------------------------------------------------------------------------

    def _metrics(self, rows: list[Annotation]) -> dict[str, float]:
        """Figures on rows with spans; where a row has none, how often the best answer contains the glance."""
        encoded = self._encode(rows)
        if all(row.span for row in rows):
            return evaluate(self._model, rows, encoded)
        return {"R@1,glance": round(evaluate_glances(self._model, rows, encoded), 2)}

    def _encode(self, rows: list[Annotation]) -> Encoded:
        self.stop_training()
        words = self.config.dataset.max_num_words
        return encode(self._model, rows, self.data.features, self.data.vocabulary, words)

    def _validate(self) -> dict[str, Any]:
        if not self.is_main_process or self.select == "last":
            return {}
        rows = self.data.test if self.select == "test" else self.data.validation
        return {self.select: self._metrics(rows)}

    def epoch_value(self, figures: Mapping[str, float]) -> float:
        """What the kept epoch has most of, of its validation figures."""
        return figures.get("R@1,mIoU", figures.get("R@1,glance", float(self.epoch)))

    def _save_epoch(self, line: dict[str, Any]) -> None:
        """Write the epoch down. `last` is written at the end, so that a run killed before repeats the epoch."""
        if not self.is_main_process:
            return
        self.lines.append(line)
        figures = line.get(self.select, {})
        value = self.epoch_value(figures)
        if not self.best or value > self.best["value"]:
            self.best = {"epoch": self.epoch, "value": value, "selected_on": self.select}
            self._checkpoint(with_optimizer=False).save(self.directory.chosen)
        self._log(line)
        self.directory.write_epochs(self.lines)
        self._checkpoint(with_optimizer=True).save(self.directory.last)

    def _log(self, line: Mapping[str, Any]) -> None:
        from tensorboard.summary import Writer

        writer = Writer(str(self.directory.tensorboard))
        for name, value in line.items():
            for label, number in value.items() if isinstance(value, dict) else [("", value)]:
                writer.add_scalar(f"{name}/{label}" if label else f"training/{name}", number, line["epoch"])
        writer.close()

    def _finish(self) -> dict[str, Any]:
        chosen = Checkpoint.load(self.directory.chosen)
        self.load_parameters(chosen.parameters)
        figures = {
            "epoch": chosen.state["epoch"],
            "selected_on": self.select,
            **self._test(),
            "features": self.data.features.attributes | {"path": self.config.dataset.feature_path},
        }
        write_json(self.directory.final, figures)
        return figures

    def _test(self) -> dict[str, Any]:
        """Figures on the test split; empty where there is none, as with labels that are only glances."""
        rows = self.data.test
        if not rows:
            return {"test": {}, "corpus": {}, "best_constant": {}, "sentences": 0, "videos": 0}
        encoded = self._encode(rows)
        return {
            "test": evaluate(self._model, rows, encoded),
            "corpus": evaluate_corpus(self._model, rows, encoded),
            "best_constant": constant_answer(rows),
            "sentences": len(by_sentence(rows)),
            "videos": len(encoded.videos),
        }

    # --- checkpoints --------------------------------------------------------------------------------------------------

    def _checkpoint(self, *, with_optimizer: bool) -> Checkpoint:
        state: dict[str, Any] = {"epoch": self.epoch, "seed": self.seed, "select": self.select, "best": self.best}
        durations = np.array([row.duration for row in self.data.training])
        state["durations"] = {"median": float(np.median(durations)), "longest": float(durations.max())}
        if with_optimizer:
            state |= {"step": self.step, "lines": self.lines}
        optimizer = self.optimizer_state() if with_optimizer else {}
        return Checkpoint(self.config, self.data.vocabulary.kept(), self.parameters(), state, optimizer)

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
        self.load_parameters(checkpoint.parameters)
        self.load_optimizer_state(checkpoint.optimizer)
        self.epoch, self.step = state["epoch"], state["step"]
        self.best, self.lines = state["best"], state["lines"]


def _flat(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line of `metrics.jsonl` as one flat object: the figures that the epoch is judged by beside its losses."""
    flat = {name: value for name, value in line.items() if not isinstance(value, dict)}
    return flat | {name: value for part in line.values() if isinstance(part, dict) for name, value in part.items()}


class GradientTrainer(Trainer, Generic[BatchType]):
    """A run of many small steps, from the weights of its seed. A backend says how to take one.

    Args:
        model: new, on its device.
        training: what is trained on.
    """

    def __init__(
        self,
        model: Model,
        training: BatchSource[BatchType],
        config: CFMRConfig,
        directory: RunDirectory,
        data: RunData,
        *,
        seed: int,
        select: Select,
    ) -> None:
        super().__init__(config, directory, data, seed=seed, select=select)
        self._model = model
        self.training, self.steps = training, config.train
        shapes = {name: value.shape for name, value in self.parameters().items()}
        self.load_parameters(initial_parameters(shapes, seed))

    @abstractmethod
    def train_step(self, batch: BatchType, progress: float) -> dict[str, float]:
        """One update; counts `step`. Returns the loss and its parts. `progress` is epoch / max_epoch."""

    @abstractmethod
    def start_epoch(self, epoch: int) -> None:
        """Training mode; random numbers from (seed, epoch)."""

    def rate(self) -> float:
        """The learning rate of the step that `step` counts."""
        return learning_rate(self.steps.optimizer, self.step)

    def epoch_steps(self) -> int:
        return self.training.num_batches(self.steps.batch_size)

    def train_epoch(self, epoch: int, progress: TrainingProgress) -> dict[str, Any]:
        size, total, steps = self.steps.batch_size, self.steps.max_num_epochs, self.epoch_steps()
        progress(f"epoch {epoch}/{total}", (epoch - 1) * steps, total * steps)
        self.start_epoch(epoch)
        sums: dict[str, float] = {}
        rows = 0
        batches = self.training.epoch(size, np.random.default_rng([self.seed, epoch]))
        for done, batch in enumerate(batches, (epoch - 1) * steps + 1):
            parts = self.train_step(batch, epoch / total)
            rows += len(batch)
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + value * len(batch)
            progress(f"epoch {epoch}/{total}, loss {parts['loss']:.3f}", done, total * steps)
        return {**{name: round(value / rows, 6) for name, value in sums.items()}, "lr": self.rate()}


def run_training(
    start: Callable[[RunDirectory, RunData], Trainer],
    config: Config,
    directory: Path,
    *,
    resume: Path | None,
    seed: int,
    select: Select,
    progress: TrainingProgress = silent,
) -> dict[str, Any]:
    """Train a model and measure it once on the test split; see a backend's `train`.

    Args:
        start: makes the backend's trainer, once the data is checked.
        progress: told of every step, and of the figures of every epoch.
    """
    data = load_data(config, select, seed)
    trainer = start(RunDirectory(directory), data)
    if resume is not None:
        source = resume / "last" if present_directory(resume / "last").is_dir() else resume
        # a run that was killed in its first epoch has nothing to carry on from but its configuration
        if source != resume or not (resume / "config.json").is_file() or (resume / "state.json").exists():
            trainer.resume(Checkpoint.load(source), str(source))
    return trainer.run(progress)
