"""Training CFMR-Dense: how its curves are read is chosen first, then the fits that stand side by side are made."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from cfmr.config import Config, DenseConfig
from cfmr.data.vocabulary import Vocabulary
from cfmr.errors import InputError
from cfmr.models.checkpoint import Checkpoint, Tensors
from cfmr.models.dense.clips import ClipSet
from cfmr.models.dense.fit import DenseFit
from cfmr.models.dense.model import Dense, Projections, Whitening, regression_share
from cfmr.models.dense.prior_weight import believed, choose_weight
from cfmr.models.dense.selection import choose_reader, first_reader
from cfmr.models.dense.tower_prior import centred, find_tower_prior
from cfmr.models.dense.word_prior import WordPrior, adapted, find_prior
from cfmr.progress import TrainingProgress, silent
from cfmr.training.data import RunData
from cfmr.training.run import RunDirectory, Select
from cfmr.training.trainer import Trainer, run_training

RECHOSEN = 1.2  # times the rows that a reader was chosen on, from which a carried-on fit chooses anew


class DenseTrainer(Trainer):
    """One run of CFMR-Dense. An epoch is a whole fit; the last model, which has all of them, is kept.

    Resumed with the rows it was broken off with, a run goes on with the next fit. Resumed with other rows, as when
    glances were added, every fit is carried on with from where it was.
    """

    config: DenseConfig

    def __init__(self, config: DenseConfig, directory: RunDirectory, data: RunData, seed: int, select: Select) -> None:
        self.seen = data.vocabulary  # words that something is learned of
        self.rows = ClipSet(
            data.training,
            data.features,
            self.seen,
            max_num_words=config.dataset.max_num_words,
            negatives=data.negatives,
        )
        self.prior: WordPrior | None = None
        if config.train.prior and (found := self._find_prior(config.train.prior_checkpoint, data)) is not None:
            self.prior, vocabulary = found
            data = replace(data, vocabulary=vocabulary)
        self._reader = first_reader(self.rows.glances, self.rows.seconds[self.rows.videos])
        self._whitening: Whitening | None = None  # of the model that is carried on with
        self._regression_share = 0.0  # of that model
        self.chosen: dict[str, Any] = {}
        self.fits, self.earlier = list[Projections](), list[Projections]()
        self._max_num_frames = config.dataset.max_num_frames
        super().__init__(config, directory, data, seed=seed, select=select)

    def _find_prior(self, checkpoint: str | None, data: RunData) -> tuple[WordPrior, Vocabulary] | None:
        if checkpoint is None or not self.seen.words:
            return find_prior(data.features, self.seen)
        return find_tower_prior(checkpoint, data.features, self.seen)

    @cached_property
    def fit(self) -> DenseFit:
        """Made when it is first needed: it reads all features, and a resumed run reads them with its own whitening."""
        made = DenseFit(self.rows, self.seed, self._reader, self._whitening)
        made.regression_share = self._regression_share
        return made

    def _current(self) -> Dense:
        return self.fit.model(self.fits, self._max_num_frames, self.prior)

    def train_epoch(self, epoch: int, progress: TrainingProgress) -> dict[str, Any]:
        if not self.chosen:
            given = {name: value for name, value in self.config.model.config if value is not None}
            choosing = partial(progress, "choosing how moments are read")
            self.chosen = {**choose_reader(self.fit, given, choosing), "rows": len(self.rows)}
        if epoch == 1 and self.prior is not None:
            self._weigh_prior(partial(progress, "choosing how much is known before"))
        label = f"fit {epoch}/{self.config.train.num_fits}"
        maps, loss = self.fit.run(np.arange(len(self.rows)), epoch, self._start(epoch), partial(progress, label))
        self.fits.append(self.fit.exported(maps))
        self._model = self._current()
        self.step += 1
        return {"loss": round(loss, 6)}

    def _start(self, number: int) -> Projections | None:
        """The earlier fit that one is carried on from."""
        return self.fit.imported(self.earlier[number - 1]) if number <= len(self.earlier) else None

    def _weigh_prior(self, progress: Callable[[int, int], None]) -> None:
        """Fit the prior to the collection, and choose how much it counts unless an earlier model has."""
        assert self.prior is not None
        adapt = adapted if self.config.train.prior_checkpoint is None else centred
        self.prior = adapt(self.prior, self.rows.clips())
        if "prior_weight" not in self.chosen:
            weight = choose_weight(self.fit, self.prior, progress)
            self.chosen = {**self.chosen, "prior_weight": weight}
            if "curve_weight" not in self.chosen.get("given", {}):
                self.fit.reader = believed(self.fit.reader, weight)
        self.prior = replace(self.prior, weight=self.chosen["prior_weight"])

    def stop_training(self) -> None:
        """Nothing is random in a model."""

    def epoch_value(self, figures: Mapping[str, float]) -> float:
        """Every fit makes the model better on average, so the last is kept whatever a few rows say."""
        return float(self.epoch)

    def _log(self, line: Mapping[str, Any]) -> None:
        """A handful of fits has no curve to plot."""

    # --- checkpoints --------------------------------------------------------------------------------------------------

    def parameters(self) -> Tensors:
        return self._current().parameters()

    def load_parameters(self, parameters: Tensors) -> None:
        names = Projections.__annotations__
        fits = len(parameters["clip"]) - (regression_share(parameters) > 0)
        self.fits = [Projections(*(parameters[name][i] for name in names)) for i in range(fits)]
        self.prior = WordPrior.restore(parameters)
        self._model = self._current()

    def _checkpoint(self, *, with_optimizer: bool) -> Checkpoint:
        made = super()._checkpoint(with_optimizer=with_optimizer)
        made.state |= {"reader": self.fit.reader.to_json(), "chosen": self.chosen, "rows": self._rows_digest()}
        return made

    def _rows_digest(self) -> str:
        """Equal for equal rows."""
        digest = hashlib.blake2b(digest_size=12)
        for row in [*self.data.training, *self.data.negatives]:
            digest.update(
                repr((row.video, row.duration, row.sentence, row.glance, *(["absent"] if row.absent else []))).encode()
            )
        return digest.hexdigest()

    def resume(self, checkpoint: Checkpoint, source: str) -> None:
        """Go on with a broken-off run, or carry on from one with other rows. Raises InputError for another model."""
        model = self._earlier_model(checkpoint, source)
        same = checkpoint.state.get("rows") == self._rows_digest() and checkpoint.config == self.config
        if same and checkpoint.vocabulary.words == self.data.vocabulary.words and "step" in checkpoint.state:
            super().resume(checkpoint, source)
            self.chosen = checkpoint.state["chosen"]
            return
        self.earlier = [self._translated(fit, checkpoint) for fit in model.descended]
        chosen = checkpoint.state.get("chosen", {})
        if len(self.rows) < RECHOSEN * chosen.get("rows", 0):
            self.chosen = chosen

    def _earlier_model(self, checkpoint: Checkpoint, source: str) -> Dense:
        """The model of a checkpoint, of which components, reading and the regression's share are taken."""
        if not isinstance(checkpoint.config, DenseConfig):
            raise InputError(f"{source}: not a CFMR-Dense; it can only carry on from one")
        if checkpoint.config.dataset.frame_dim != self.config.dataset.frame_dim:
            raise InputError(f"{source}: was trained on features of another width; train anew")
        model = Dense.restore(checkpoint)
        self._reader, self._whitening = model.readout, model.whitening
        self._regression_share = model.regression_share
        return model

    def adopt(self, checkpoint: Checkpoint, source: str) -> None:
        """Take what a finished run on some of these rows has chosen: components, reading, the prior and its weight.

        Raises:
            InputError: it is no CFMR-Dense, or of other features.
        """
        self._earlier_model(checkpoint, source)
        self.chosen = checkpoint.state.get("chosen", {})

    def _translated(self, fit: Projections, checkpoint: Checkpoint) -> Projections:
        """An earlier fit for this run's vocabulary; words that it did not know have no look of their own yet."""
        seen = checkpoint.vocabulary.words[: len(fit.own) - 1]
        known = {word: i for i, word in enumerate(seen, 1)}
        own = np.zeros((len(self.seen) + 1, fit.own.shape[1]), np.float32)
        for i, word in enumerate(self.seen.words, 1):
            if word in known:
                own[i] = fit.own[known[word]]
        return replace(fit, own=own)


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
    """Train CFMR-Dense; see `TrainingBackend.train`. It runs on the processor, whatever the device."""

    def start(run: RunDirectory, data: RunData) -> DenseTrainer:
        assert isinstance(config, DenseConfig)
        return DenseTrainer(config, run, data, seed, select)

    return run_training(start, config, directory, resume=resume, seed=seed, select=select, progress=progress)


def train_finally(
    config: DenseConfig, directory: Path, tried: Path, *, seed: int = 8, progress: TrainingProgress = silent
) -> dict[str, Any]:
    """Train on all rows in the way that a run without some of them has chosen.

    Args:
        tried: the checkpoint of that run.

    Raises:
        InputError: as `train`, and as `Checkpoint.load`.
    """

    def start(run: RunDirectory, data: RunData) -> DenseTrainer:
        trainer = DenseTrainer(config, run, data, seed, "last")
        trainer.adopt(Checkpoint.load(tried), str(tried))
        return trainer

    return run_training(start, config, directory, resume=None, seed=seed, select="last", progress=progress)
