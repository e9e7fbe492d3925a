"""Fitting CFMR-Dense to glances by gradient descent (Method, CFMR-Dense, Fitting).

Constants are the same for every data set and every kind of feature; what the data has to decide is in `selection.py`.

Rows up to N say what happens; behind them come the negative ones.

Shapes: N rows, V videos, n clips of a video, k components, W words of the vocabulary, J of them in the rows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from cfmr.models.dense.clips import ClipSet
from cfmr.models.dense.model import NUM_WAVES, SHARPNESS, Dense, Projections, Whitening, unit, waves
from cfmr.models.dense.objective import Batch, loss_and_gradient
from cfmr.models.dense.regression import regress
from cfmr.models.dense.word_prior import WordPrior
from cfmr.moments.span_reader import SpanReader, running_mean

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]
LeftOut = tuple[Projections, Projections, Indices]  # a fit, the regression beside it, and rows that both lack

NUM_COMPONENTS = 128  # of the features; 64 and 256 give no more
SIZE = 128  # numbers of a vector of one fit
DROPOUT = 0.5  # on the inputs of both sides: 3 to 4 points
BATCH_VIDEOS = 24
ROWS_PER_VIDEO = 4  # in a batch: more of one video would teach little about others
NUM_EPOCHS = 15
MIN_STEPS = 100  # with few glances there are more epochs
RATE = 4e-3  # falls to 0 along half a cosine, which does what an average of the last weights would
DECAY = 0.01
BELL_SHARE = 1 / 3  # standard deviation of the target in usual widths: a glance is anywhere in its moment
MIN_BELL = 0.7  # clips
LOCATED_BY, LOCATING_FOLDS = 4.0, 3  # see `DenseFit.regression`
SAMPLED_CLIPS = 20_000  # whose principal components are taken
MIN_VARIANCE = 1e-6  # of a component, relative to the first: below, nothing varies
OVERSAMPLED, SUBSPACE_ROUNDS = 32, 4  # of the subspace in which the components are found
CARRY_ON = 0.4  # share of epochs and rate of a fit that starts from an earlier one


def fit_whitening(rows: ClipSet, seed: int) -> Whitening:
    """Principal components of the training videos' clips; directions in which nothing varies are left out."""
    share = max(1, -(-SAMPLED_CLIPS // len(rows.names)))
    draw = np.random.default_rng([seed, 1])
    sample = np.concatenate(
        [unit(clips[draw.permutation(len(clips))[:share]] if len(clips) > share else clips) for clips in rows.clips()]
    )
    mean = sample.mean(axis=0)
    sample -= mean
    variances, axes = _principal(sample, draw)
    alive = variances > MIN_VARIANCE * max(variances[0], MIN_VARIANCE)
    if not alive.any():  # constant features: every clip looks the same
        return Whitening(mean, np.zeros((len(mean), 1), np.float32))
    return Whitening(mean, (axes[:, alive] / np.sqrt(variances[alive])).astype(np.float32))


def _principal(sample: Floats, draw: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The largest variances (k,), falling, and their directions (D, k), of centred rows (n, D), k <= NUM_COMPONENTS.

    By randomised subspace iteration (Halko, Martinsson and Tropp 2011) where D is large: all directions take seconds.
    """
    dim = sample.shape[1]
    basis: NDArray[Any] = np.eye(dim)
    if dim > 4 * NUM_COMPONENTS:
        basis = draw.standard_normal((dim, NUM_COMPONENTS + OVERSAMPLED)).astype(np.float32)
        for _ in range(SUBSPACE_ROUNDS):
            basis, _ = np.linalg.qr(sample.T @ (sample @ basis))
    inside = sample @ basis.astype(np.float32)
    variances, turned = np.linalg.eigh((inside.T @ inside / len(sample)).astype(np.float64))
    return variances[::-1][:NUM_COMPONENTS], (basis @ turned)[:, ::-1][:, :NUM_COMPONENTS]


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    def __init__(self, maps: Projections) -> None:
        self.maps, self.steps = maps, 0
        self._first, self._second = ([np.zeros_like(array) for array in maps.arrays()] for _ in range(2))

    def step(self, gradient: Projections, rate: float) -> None:
        """Change the maps in place."""
        self.steps += 1
        scale, second_scale = rate / (1 - 0.9**self.steps), 1 / (1 - 0.999**self.steps)
        states = zip(self._first, self._second, strict=True)
        for values, slope, (first, second) in zip(self.maps.arrays(), gradient.arrays(), states, strict=True):
            first += np.float32(0.1) * (slope - first)
            second += np.float32(0.001) * (slope * slope - second)
            values -= np.float32(scale) * first / (np.sqrt(second * np.float32(second_scale)) + np.float32(1e-8))
            values -= np.float32(rate * DECAY) * values


class DenseFit:
    """One training set, ready for any number of fits.

    Args:
        rows: what is learned from.
        reader: how wide moments usually are, and with it the bell and the smoothing; see `use_reader`.
        whitening: of an earlier model that is carried on with; None: of these rows.
    """

    def __init__(self, rows: ClipSet, seed: int, reader: SpanReader, whitening: Whitening | None = None) -> None:
        self.rows, self.seed = rows, seed
        self.whitening = whitening or fit_whitening(rows, seed)
        self.components = [self.whitening(clips) for clips in rows.clips()]
        # only what several sentences may share can look like something of its own
        self._videos = np.concatenate([rows.videos, rows.negative_videos])
        self._glances = np.concatenate([rows.glances, rows.negative_glances])
        self._word_ids = [*rows.word_ids, *rows.negative_word_ids]
        self.known = np.unique(np.concatenate(self._word_ids)) if rows.has_words else np.zeros(0, np.intp)
        self.words = np.stack([rows.vectors[ids].mean(axis=0) for ids in self._word_ids])
        # word vectors come in any unit
        squares = (self.words[: len(rows)] ** 2).sum(1)
        self.word_scale = np.float32(1 / max(float(np.sqrt(squares.mean())), 1e-6))
        self._waves = {count: waves(count) for count in {len(clips) for clips in self.components}}
        self.left_out = list[LeftOut]()  # fits to some of the videos, and the rows of the others
        self.regression_share = 0.0  # of a score; see `shares.py`
        self.use_reader(reader)

    def use_reader(self, reader: SpanReader) -> None:
        """Take other widths for bell and smoothing."""
        self.reader = reader
        self._regressed: Projections | None = None
        seconds = self.rows.seconds.tolist()
        self.inputs = [
            running_mean(clips, reader.window_in(len(clips), duration))
            for clips, duration in zip(self.components, seconds, strict=True)
        ]
        self._means = np.stack([clips.mean(axis=0) for clips in self.inputs])
        self._targets = [self._bell(row) for row in range(len(self._videos))]

    def _bell(self, row: int) -> Floats:
        video = self._videos[row]
        count = len(self.components[video])
        std = max(BELL_SHARE * self.reader.width_in(float(self.rows.seconds[video])) * count, MIN_BELL)
        squares = ((np.arange(count) + 0.5 - self._glances[row] * count) / std) ** 2 / 2
        bell = np.exp(squares.min() - squares)
        return np.asarray(bell if row >= len(self.rows) else bell / bell.sum(), np.float32)

    def initial(self, number: int) -> Projections:
        """Random projections; looks of single words are 0."""
        draw = np.random.default_rng([self.seed, number, 2])
        components, dim = self.whitening.axes.shape[1], self.words.shape[1]

        def drawn(rows: int, fan_in: int) -> Floats:
            return (draw.standard_normal((rows, SIZE)) / np.sqrt(fan_in)).astype(np.float32)

        return Projections(
            clip=drawn(components, 2 * components),
            video=drawn(components, 2 * components),
            place=np.zeros((NUM_WAVES, SIZE), np.float32),
            word=drawn(dim, SIZE),
            own=np.zeros((len(self.known), SIZE), np.float32),
        )

    # --- batches ------------------------------------------------------------------------------------------------------

    def _groups(self, rows: Indices, draw: np.random.Generator) -> list[Indices]:
        """Rows in shuffled groups of one video each, of ROWS_PER_VIDEO at most."""
        order = draw.permutation(rows)
        order = order[np.argsort(self._videos[order], kind="stable")]
        cuts = np.flatnonzero(np.diff(self._videos[order])) + 1
        groups = [
            group[i : i + ROWS_PER_VIDEO]
            for group in np.split(order, cuts)
            for i in range(0, len(group), ROWS_PER_VIDEO)
        ]
        return [groups[i] for i in draw.permutation(len(groups))]

    def _epoch(self, rows: Indices, draw: np.random.Generator) -> list[Indices]:
        """All rows in batches: as many as the positive ones need, which negative ones do not make fewer in any."""
        groups = self._groups(rows[rows < len(self.rows)], draw)
        batches = [groups[i : i + BATCH_VIDEOS] for i in range(0, len(groups), BATCH_VIDEOS)]
        if np.any(denied := rows >= len(self.rows)):
            for i, group in enumerate(self._groups(rows[denied], draw)):
                batches[i % len(batches)].append(group)
        return [np.concatenate(batch) for batch in batches]

    def _shares(self, rows: Indices) -> Floats:
        """Share of each known word in the sentences, (R, J)."""
        shares = np.zeros((len(rows), len(self.known)), np.float32)
        if not self.rows.has_words:
            return shares
        for line, row in zip(shares, rows, strict=True):
            ids = self._word_ids[row]
            np.add.at(line, np.searchsorted(self.known, ids), 1 / len(ids))
        return shares

    def batch(self, rows: Indices, draw: np.random.Generator) -> Batch:
        """Inputs of these rows, a random part of them hidden."""
        videos, asked = np.unique(self._videos[rows], return_inverse=True)
        clips = [self.inputs[video] for video in videos]
        counts = np.array([len(shown) for shown in clips])
        begins = np.cumsum(counts) - counts
        target = np.zeros((len(rows), int(counts.sum())), np.float32)
        for line, row, begin in zip(target, rows, begins[asked], strict=True):
            line[begin : begin + len(self._targets[row])] = self._targets[row]
        return Batch(
            clips=_dropped(np.concatenate(clips), draw),
            videos=_dropped(self._means[videos], draw),
            waves=np.concatenate([self._waves[count] for count in counts.tolist()]),
            video_of_clip=np.repeat(np.arange(len(videos)), counts),
            words=_dropped(self.words[rows] * self.word_scale, draw),
            own=_dropped(self._shares(rows), draw),
            video_of_sentence=asked,
            target=target,
            negative=rows >= len(self.rows),
        )

    # --- descent ------------------------------------------------------------------------------------------------------

    def run(
        self,
        rows: Indices,
        number: int,
        start: Projections | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> tuple[Projections, float]:
        """Fit to some rows, and to the negative ones of all videos of which no row is left out.

        Args:
            rows: their numbers.
            number: of the fit; random numbers are drawn from it and the seed.
            start: an earlier fit that is carried on with, with shorter training.
            progress: told the steps done and in all.

        Returns:
            what was learned, and the mean loss of the last epoch.
        """
        rows = np.concatenate([rows, self._negatives_beside(rows)])
        draw = np.random.default_rng([self.seed, number, 3])
        share = 1.0 if start is None else CARRY_ON
        maps = self.initial(number) if start is None else start
        steps = len(self._epoch(rows, np.random.default_rng(0)))
        epochs = max(1, round(share * max(NUM_EPOCHS, -(-MIN_STEPS // steps))))
        adam, total, losses = AdamW(maps), epochs * steps, list[float]()
        with threadpool_limits(1, "blas"):  # matrices are too small to share; on a busy machine threads wait for others
            for _ in range(epochs):
                losses = []
                for batch in self._epoch(rows, draw):
                    loss, gradient = loss_and_gradient(maps, self.batch(batch, draw))
                    adam.step(gradient, share * RATE * 0.5 * (1 + float(np.cos(np.pi * adam.steps / total))))
                    losses.append(loss)
                    progress(adam.steps, total)
        return maps, float(np.mean(losses))

    def _negatives_beside(self, rows: Indices) -> Indices:
        """Negative rows whose videos have no other row than these."""
        left_out = np.delete(self.rows.videos, rows)
        return len(self.rows) + np.flatnonzero(~np.isin(self.rows.negative_videos, left_out))

    def regression(self, rows: Indices) -> Projections:
        """The map in closed form that stands beside fits to these rows.

        A moment shows what its sentence says in some of its clips more than in others. Which these are near the glance
        is told by regressions that have not seen the video: they sharpen the bell, and what is shown there is regressed
        on anew.
        """
        located = list(self._targets)
        fold = np.unique(self.rows.videos[rows], return_inverse=True)[1] % LOCATING_FOLDS
        for number in range(int(fold.max()) + 1 if fold.any() else 0):
            unseen = rows[fold == number]
            maps = self._regressed_on(rows[fold != number], self._targets)
            for row, target in zip(unseen, self._located(maps, unseen), strict=True):
                located[row] = target
        return self._regressed_on(rows, located)

    def _regressed_on(self, rows: Indices, targets: Sequence[Floats]) -> Projections:
        """The regression of some rows on what is shown at targets, which are those of all rows."""
        shown, places = [], []
        for row in rows.tolist():
            inputs = self.inputs[self.rows.videos[row]]
            shown.append(targets[row] @ inputs)
            places.append(self._targets[row] @ self._waves[len(inputs)])
        asked = self.words[rows] * self.word_scale
        return regress(asked, np.stack(shown), np.stack(places), len(self.known), SIZE)

    def _located(self, maps: Projections, rows: Indices) -> Iterator[Floats]:
        """Bells (n,) around the glances of rows, higher at clips that are more alike the sentence."""
        for row, sentence in zip(rows, unit(self.sentences(maps, rows)), strict=True):
            alike = np.float32(LOCATED_BY * SHARPNESS) * (maps.clips(self.inputs[self.rows.videos[row]]) @ sentence)
            alike += np.log(np.maximum(self._targets[row], np.finfo(np.float32).tiny))
            located = np.exp(alike - alike.max())
            yield np.asarray(located / located.sum(), np.float32)

    def sentences(self, maps: Projections, rows: Indices) -> Floats:
        """Vectors (R, d) of the sentences of rows, of any length."""
        return np.asarray(self.words[rows] * self.word_scale @ maps.word + self._shares(rows) @ maps.own)

    def target(self, row: int) -> Floats:
        """Where the glance of a row says that its moment is: shares (n,) of the clips of its video."""
        return self._targets[row]

    def places(self, rows: Indices) -> tuple[Indices, NDArray[np.float64]]:
        """The videos of rows, and their glances as fractions of these."""
        return self._videos[rows], self._glances[rows]

    def curves(self, maps: Projections, rows: Indices) -> list[NDArray[Any]]:
        """Relevance curves (n,) of rows in their own videos, by a fit or a regression."""
        shown: dict[int, Floats] = {}
        found = []
        sentences = unit(self.sentences(maps, rows))
        for row, sentence in zip(rows, sentences, strict=True):
            video = int(self._videos[row])
            if video not in shown:
                inputs = self.inputs[video]
                window = self.reader.window_in(len(inputs), float(self.rows.seconds[video]))
                shown[video] = running_mean(maps.clips(inputs), window)
            found.append(np.float32(SHARPNESS) * (shown[video] @ sentence))
        return found

    def scores(self, maps: Projections, regression: Projections, rows: Indices) -> list[NDArray[Any]]:
        """Relevance curves (n,) of rows in their own videos, by a fit and the regression beside it."""
        if not (share := self.regression_share):
            return self.curves(maps, rows)
        both = zip(self.curves(maps, rows), self.curves(regression, rows), strict=True)
        return [(1 - share) * curve + share * beside for curve, beside in both]

    def exported(self, maps: Projections) -> Projections:
        """A fit as a model keeps it: for word vectors as they are and ids of the vocabulary."""
        own = np.zeros((len(self.rows.vectors) if self.rows.has_words else 1, SIZE), np.float32)
        own[self.known] = maps.own
        return replace(maps, word=maps.word * self.word_scale, own=own)

    def imported(self, maps: Projections) -> Projections:
        """Undo `exported`, for a fit that is carried on with."""
        return replace(maps, word=maps.word / self.word_scale, own=maps.own[self.known])

    def model(self, fits: list[Projections], max_num_frames: int, prior: WordPrior | None = None) -> Dense:
        """The model of these fits, which are `exported`, and of what was known before."""
        regression = self.exported(self._regression) if self.regression_share else None
        return Dense(self.whitening, fits, self.reader, max_num_frames, prior, regression, self.regression_share)

    @property
    def _regression(self) -> Projections:
        """Of all rows."""
        if self._regressed is None:
            self._regressed = self.regression(np.arange(len(self.rows)))
        return self._regressed


def _dropped(inputs: Floats, draw: np.random.Generator) -> Floats:
    """Inputs of which a share is hidden; the rest is larger to make up for it."""
    kept = draw.random(inputs.shape, dtype=np.float32) >= DROPOUT
    return np.asarray(inputs * (kept * np.float32(1 / (1 - DROPOUT))), np.float32)
